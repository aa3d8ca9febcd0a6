//! A mount, from mount to unmount.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::{FS_TYPE, MountError, Result, direct, fusermount, is_root, mountinfo};

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
    /// Tells our mount from one that somebody puts at the same path later. `None` if it was not in
    /// mountinfo any more.
    file_system: Option<(u32, u32)>,
    /// The connection to the kernel. `None` only once unmounting began.
    device: Option<OwnedFd>,
}

/// Mounts at a path that [`crate::prepare`] returned.
pub fn mount(path: &Path, options: &Options) -> Result<Mounted> {
    let device =
        if is_root() { direct::mount(path, options)? } else { fusermount::mount(path, options)? };
    Ok(Mounted { path: path.to_owned(), file_system: file_system_at(path), device: Some(device) })
}

/// Unmounts whatever ncfs is mounted at this resolved path; `lazy` also when it is in use.
pub fn unmount(path: &Path, lazy: bool) -> Result<()> {
    if file_system_at(path).is_none() {
        return Err(MountError::NotMounted(path.to_owned()));
    }
    if is_root() { direct::unmount(path, lazy) } else { fusermount::unmount(path, lazy) }
}

/// The device number of the ncfs mount at `path`.
fn file_system_at(path: &Path) -> Option<(u32, u32)> {
    let entries = mountinfo::read().ok()?;
    let entry = mountinfo::at(&entries, path)?;
    (entry.fs_type == FS_TYPE).then_some(entry.device)
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

    /// Unmounts, lazily if programs use it.
    ///
    /// Our descriptor is closed first: if no daemon holds another, pages of shared mappings that
    /// were not written back fail at once instead of waiting for an answer that nobody gives.
    pub fn unmount(mut self) -> Result<Unmounted> {
        self.end()
    }

    fn end(&mut self) -> Result<Unmounted> {
        self.device = None;
        let Some(ours) = self.file_system.take() else { return Ok(Unmounted::Already) };
        if file_system_at(&self.path) != Some(ours) {
            return Ok(Unmounted::Already);
        }
        match unmount(&self.path, false) {
            Ok(()) => Ok(Unmounted::Gone),
            Err(MountError::NotMounted(_)) => Ok(Unmounted::Already),
            // fusermount3 has no words of its own for a mount in use, so any refusal is tried again.
            Err(_) => unmount(&self.path, true).map(|()| Unmounted::Detached),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; a dead mount is detached by the next one at this path.
        let _ = self.end();
    }
}
