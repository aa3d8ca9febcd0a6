//! Which mount it is that is seen at a path.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::{FS_TYPE, is_dead, mountinfo};

/// STATX_MNT_ID_UNIQUE of linux/stat.h (Linux 6.8): the number of a mount that no other mount of this
/// boot gets. All other numbers, of mounts and of file systems, are given to the next one at once.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Tells a mount of ours from one that somebody puts at the same path later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    path: PathBuf,
    /// Major and minor number of the file system.
    device: (u32, u32),
    /// `None` before Linux 6.8.
    unique: Option<u64>,
}

impl Identity {
    /// Of the ncfs mount at this resolved path, if one is there.
    pub fn at(path: &Path) -> Option<Self> {
        let entries = mountinfo::read().ok()?;
        let entry = mountinfo::at(&entries, path)?;
        let (device, unique) = (entry.device, unique(path));
        (entry.fs_type == FS_TYPE).then(|| Self { path: path.to_owned(), device, unique })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the mount is still seen at its path. `connection` is its `/dev/fuse`.
    ///
    /// Where mounts have no unique number, that of the file system says it as long as the kernel has
    /// not ended the connection. After that the mount is ours if it is dead (only aborted); for that
    /// answer a successor that is just starting is waited for.
    pub(crate) fn is_there(&self, connection: BorrowedFd<'_>) -> bool {
        Self::at(&self.path).as_ref() == Some(self)
            && (self.unique.is_some() || is_connected(connection) || is_dead(&self.path))
    }
}

/// The kernel answers this without asking the file system, be it alive, starting or dead.
fn unique(path: &Path) -> Option<u64> {
    let found = statx(CWD, path, AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT, UNIQUE).ok()?;
    (found.stx_mask & UNIQUE.bits() != 0).then_some(found.stx_mnt_id)
}

/// The kernel ends a connection when its file system is unmounted or aborted (fuse_dev_poll in
/// fs/fuse/dev.c).
fn is_connected(connection: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(connection, PollFlags::empty())];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(_) => !polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR)),
        Err(_) => false,
    }
}
