//! A mount, from mount to unmount.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::{Identity, MountError, Result, direct, fusermount, is_mounted, is_root};

/// How to mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What stands in the first column of `df` and `mount`.
    pub source: String,
    pub read_only: bool,
    /// Lets the kernel start no program from there.
    pub no_exec: bool,
    /// Lets other users in, as far as file modes allow. For an ordinary user `/etc/fuse.conf` must
    /// permit it.
    pub allow_other: bool,
    /// The largest read that the kernel asks for, bytes; its own default without.
    pub max_read: Option<u32>,
}

/// How a mount ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// It is gone.
    Gone,
    /// Programs still use it: the name is free, they keep what they hold until they end.
    Detached,
    /// Somebody had unmounted it before.
    Already,
}

/// A FUSE file system that this process mounted. Dropping it unmounts.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    /// `None` if it was not in mountinfo any more, or once unmounting began.
    identity: Option<Identity>,
    /// The connection to the kernel. `None` only once unmounting began.
    device: Option<OwnedFd>,
}

/// Mounts at a path that [`crate::prepare`] returned.
pub fn mount(path: &Path, options: &Options) -> Result<Mounted> {
    let device =
        if is_root() { direct::mount(path, options)? } else { fusermount::mount(path, options)? };
    Ok(Mounted { path: path.to_owned(), identity: Identity::at(path), device: Some(device) })
}

/// Unmounts whatever ncfs is mounted at this resolved path; `lazy` also when it is in use.
pub fn unmount(path: &Path, lazy: bool) -> Result<()> {
    if !is_mounted(path)? {
        return Err(MountError::NotMounted(path.to_owned()));
    }
    if is_root() { direct::unmount(path, lazy) } else { fusermount::unmount(path, lazy) }
}

impl Mounted {
    /// Where it is mounted: absolute, without symlinks.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The connection to the kernel. While any copy of it is open the mount is not dead: accesses
    /// wait for an answer.
    pub fn device(&self) -> Option<BorrowedFd<'_>> {
        self.device.as_ref().map(AsFd::as_fd)
    }

    /// As [`Identity::unmount`].
    pub fn unmount(mut self) -> Result<Unmounted> {
        self.end()
    }

    fn end(&mut self) -> Result<Unmounted> {
        match (self.identity.take(), self.device.take()) {
            (Some(identity), Some(device)) => identity.unmount(device),
            _ => Ok(Unmounted::Already),
        }
    }
}

impl Identity {
    /// Unmounts, lazily if programs use it. What took its place is left alone.
    ///
    /// Our descriptor of the connection is closed first: if no daemon holds another, pages of shared
    /// mappings that were not written back fail at once instead of waiting for an answer that nobody
    /// gives.
    pub fn unmount(&self, connection: OwnedFd) -> Result<Unmounted> {
        let is_there = self.is_there(connection.as_fd());
        drop(connection);
        if !is_there {
            return Ok(Unmounted::Already);
        }
        match unmount(self.path(), false) {
            Ok(()) => Ok(Unmounted::Gone),
            Err(MountError::NotMounted(_)) => Ok(Unmounted::Already),
            // fusermount3 has no words of its own for a mount in use, so any refusal is tried again.
            Err(_) => unmount(self.path(), true).map(|()| Unmounted::Detached),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; a dead mount is detached by the next one at this path.
        let _ = self.end();
    }
}
