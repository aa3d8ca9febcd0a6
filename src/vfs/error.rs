//! What a system call can fail with.

use crate::content::BodyError;
use crate::sync::BadRemoteName;
use crate::sync::ListError;
use crate::tree::TreeError;
use crate::types::BadName;

/// A call that was refused or could not be carried out; nothing was changed. What a program sees of
/// it is decided in [`VfsError::errno`].
#[derive(Debug, thiserror::Error)]
pub enum VfsError {
    /// The number names nothing any more. Path look-ups are repeated by the kernel.
    #[error("the node does not exist any more")]
    Stale,
    #[error("no such name")]
    NotFound,
    #[error("the name is taken")]
    Exists,
    #[error("not a directory")]
    NotADirectory,
    #[error("is a directory")]
    IsADirectory,
    #[error("the directory is not empty")]
    NotEmpty,
    #[error("a directory cannot be moved into itself")]
    IntoItself,
    #[error("is a symbolic link")]
    IsASymlink,
    /// Of this kind of node, or with these flags, it means nothing.
    #[error("not possible here: {0}")]
    Invalid(&'static str),
    /// Never, whoever asks: hard links, device nodes.
    #[error("not supported: {0}")]
    NotPermitted(&'static str),
    /// Not here, though elsewhere on Linux: programs do it another way.
    #[error("not supported: {0}")]
    NotSupported(&'static str),
    /// lseek(2) for data or a hole: there is none from there on.
    #[error("nothing of this kind up to the end of the file")]
    NoSuchOffset,
    #[error("larger than a file can be")]
    TooBig,
    /// The handle is unknown, or was not opened for this.
    #[error("the handle does not allow it")]
    BadHandle,
    #[error("more files are open than can be remembered")]
    TooManyOpen,
    #[error("mounted read-only")]
    ReadOnly,
    #[error("the server does not allow it")]
    Forbidden,
    #[error(transparent)]
    Name(#[from] BadName),
    #[error(transparent)]
    RemoteName(#[from] BadRemoteName),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    List(#[from] ListError),
    /// Listings ended well and the directory is unlisted all the same.
    #[error("the directory changes faster than it can be listed")]
    StaysUnlisted,
    #[error("the server did not answer in time")]
    TimedOut,
}

impl VfsError {
    /// Whether all that is wrong is that the server cannot be reached.
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::List(ListError::Offline) | Self::Body(BodyError::Offline))
    }
}
