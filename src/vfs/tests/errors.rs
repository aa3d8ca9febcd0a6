use std::io;

use super::*;
use crate::content::BodyError;
use crate::sync::BadRemoteName;
use crate::types::BadName;

#[test]
fn each_error_has_the_errno_that_programs_know_it_by() {
    let disk = |errno| io::Error::from_raw_os_error(errno);
    let table: [(VfsError, i32); 30] = [
        (VfsError::Stale, libc::ESTALE),
        (VfsError::NotFound, libc::ENOENT),
        (VfsError::Exists, libc::EEXIST),
        (VfsError::NotADirectory, libc::ENOTDIR),
        (VfsError::IsADirectory, libc::EISDIR),
        (VfsError::NotEmpty, libc::ENOTEMPTY),
        (VfsError::IntoItself, libc::EINVAL),
        (VfsError::IsASymlink, libc::ELOOP),
        (VfsError::Invalid("x"), libc::EINVAL),
        (VfsError::NotPermitted("x"), libc::EPERM),
        (VfsError::TooBig, libc::EFBIG),
        (VfsError::BadHandle, libc::EBADF),
        (VfsError::ReadOnly, libc::EROFS),
        (VfsError::Forbidden, libc::EACCES),
        (BadName::TooLong.into(), libc::ENAMETOOLONG),
        (BadName::Forbidden.into(), libc::EINVAL),
        (BadRemoteName::NotUtf8.into(), libc::EILSEQ),
        (BadRemoteName::TooLong.into(), libc::ENAMETOOLONG),
        (BadRemoteName::Refused.into(), libc::EINVAL),
        (TreeError::Full.into(), libc::ENOSPC),
        (TreeError::Corrupt("x".into()).into(), libc::EIO),
        (BodyError::Offline.into(), libc::EIO),
        (BodyError::Stale.into(), libc::ESTALE),
        (BodyError::Io(disk(libc::ENOSPC)).into(), libc::ENOSPC),
        (BodyError::Io(disk(libc::EDQUOT)).into(), libc::EDQUOT),
        (ListError::Offline.into(), libc::EIO),
        (ListError::Gone.into(), libc::ENOENT),
        (ListError::Failed("x".into()).into(), libc::EIO),
        (VfsError::StaysUnlisted, libc::EIO),
        (VfsError::TimedOut, libc::EIO),
    ];
    for (error, errno) in table {
        assert_eq!(error.errno(), errno, "{error}");
    }
}

#[test]
fn errnos_of_our_own_files_do_not_pass_for_those_of_the_users() {
    for errno in [libc::ENOENT, libc::EACCES, libc::ENOSYS, libc::EBADF, libc::EINTR] {
        let error = VfsError::from(BodyError::Io(io::Error::from_raw_os_error(errno)));
        assert_eq!(error.errno(), libc::EIO);
    }
}
