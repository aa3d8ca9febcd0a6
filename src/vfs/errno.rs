//! What programs see of an error: the one place where an errno is chosen.
//!
//! Programs know EIO as "the medium failed, try later"; the errnos of sockets surprise them, so an
//! unreachable server is EIO, too. ENOSYS is never given: the kernel would not ask again.

use std::io;

use super::VfsError;
use crate::content::BodyError;
use crate::sync::BadRemoteName;
use crate::sync::ListError;
use crate::tree::TreeError;
use crate::types::BadName;

impl VfsError {
    /// The errno of the system call.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Stale => libc::ESTALE,
            Self::NotFound => libc::ENOENT,
            Self::Exists => libc::EEXIST,
            Self::NotADirectory => libc::ENOTDIR,
            Self::IsADirectory => libc::EISDIR,
            Self::NotEmpty => libc::ENOTEMPTY,
            Self::IntoItself | Self::Invalid(_) => libc::EINVAL,
            Self::IsASymlink => libc::ELOOP,
            Self::NotPermitted(_) => libc::EPERM,
            Self::NotSupported(_) => libc::EOPNOTSUPP,
            Self::NoSuchOffset => libc::ENXIO,
            Self::TooBig => libc::EFBIG,
            Self::BadHandle => libc::EBADF,
            Self::TooManyOpen => libc::ENFILE,
            Self::ReadOnly => libc::EROFS,
            Self::Forbidden => libc::EACCES,
            Self::Name(error) => name(error),
            Self::RemoteName(error) => remote_name(error),
            Self::Tree(error) => tree(error),
            Self::Body(error) => body(error),
            Self::List(error) => list(error),
            Self::StaysUnlisted | Self::TimedOut => libc::EIO,
        }
    }
}

fn name(error: &BadName) -> i32 {
    match error {
        BadName::TooLong => libc::ENAMETOOLONG,
        BadName::Reserved | BadName::Forbidden => libc::EINVAL,
    }
}

fn remote_name(error: &BadRemoteName) -> i32 {
    match error {
        BadRemoteName::NotUtf8 => libc::EILSEQ,
        BadRemoteName::TooLong | BadRemoteName::PathTooLong => libc::ENAMETOOLONG,
        BadRemoteName::Refused => libc::EINVAL,
    }
}

fn tree(error: &TreeError) -> i32 {
    match error {
        TreeError::Full => libc::ENOSPC,
        TreeError::Io(error) => disk(error),
        TreeError::Sql(_)
        | TreeError::Corrupt(_)
        | TreeError::NewerSchema { .. }
        | TreeError::InUse(_)
        | TreeError::OtherAccount { .. } => libc::EIO,
    }
}

fn body(error: &BodyError) -> i32 {
    match error {
        BodyError::Tree(error) => tree(error),
        BodyError::Io(error) => disk(error),
        BodyError::Stale => libc::ESTALE,
        BodyError::NotAFile => libc::EINVAL,
        BodyError::Offline | BodyError::Lost | BodyError::Server(_) => libc::EIO,
    }
}

fn list(error: &ListError) -> i32 {
    match error {
        ListError::Gone => libc::ENOENT,
        ListError::Offline | ListError::Failed(_) => libc::EIO,
    }
}

/// Of the errnos of our own files only those that mean the same to the program: an ENOENT of a
/// staging file must not read as the absence of the user's file.
fn disk(error: &io::Error) -> i32 {
    match error.raw_os_error() {
        Some(
            errno @ (libc::ENOSPC
            | libc::EDQUOT
            | libc::EFBIG
            // fallocate, where the file system of the state directory does not know it.
            | libc::EOPNOTSUPP
            | libc::ENOMEM
            | libc::EMFILE
            | libc::ENFILE),
        ) => errno,
        None if error.kind() == io::ErrorKind::StorageFull => libc::ENOSPC,
        _ => libc::EIO,
    }
}
