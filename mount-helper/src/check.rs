//! What must hold of a mount point before it is mounted on.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::{FS_TYPE, MountError, Result, is_root, mounted, mountinfo};

/// Finds out whether a mount at `path` can work, and detaches a dead ncfs mount there.
///
/// Gives the path as the kernel writes it: absolute, without symlinks. It must be an empty directory
/// unless `allow_non_empty`, no living ncfs mount, and writable by an ordinary user; FUSE must be
/// there. Nothing is mounted yet.
pub fn prepare(path: &Path, allow_non_empty: bool) -> Result<PathBuf> {
    let path = resolve(path)?;
    while detach_if_dead(&path)? {}
    if is_mounted(&path)? {
        return Err(MountError::AlreadyMounted(path));
    }
    check_directory(&path, allow_non_empty)?;
    check_fuse()?;
    Ok(path)
}

/// The path without symlinks and `..`, also when a dead mount is at its end.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(cause) if is_disconnected(&cause) => {
            let absolute = std::path::absolute(path).map_err(|cause| unreadable(path, cause))?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => parent
                    .canonicalize()
                    .map(|parent| parent.join(name))
                    .map_err(|cause| unreadable(path, cause)),
                _ => Ok(absolute),
            }
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            Err(MountError::Missing(path.to_owned()))
        }
        Err(cause) => Err(unreadable(path, cause)),
    }
}

/// Whether ncfs is what is seen at this resolved path, living or dead.
pub fn is_mounted(path: &Path) -> Result<bool> {
    let entries = mountinfo::read().map_err(|cause| unreadable(path, cause))?;
    Ok(mountinfo::at(&entries, path).is_some_and(|entry| entry.fs_type == FS_TYPE))
}

/// Detaches an ncfs mount at this resolved path if no process holds its descriptor any more.
/// Returns whether there was one.
pub fn detach_if_dead(path: &Path) -> Result<bool> {
    if !is_mounted(path)? || !is_dead(path) {
        return Ok(false);
    }
    mounted::unmount(path, true)?;
    Ok(true)
}

/// Whether the mount at this path has lost its daemon.
///
/// FUSE answers for a connection without a daemon with ENOTCONN, and for one that was aborted
/// through sysfs with ECONNABORTED. A daemon that hangs makes this wait, killably. Users who may not
/// look into the mount are told `false`.
pub fn is_dead(path: &Path) -> bool {
    // Not stat(2): the kernel answers that from its cache for as long as it may keep attributes.
    nix::sys::statvfs::statvfs(path).is_err_and(|errno| is_disconnected(&errno.into()))
}

fn is_disconnected(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED))
}

fn check_directory(path: &Path, allow_non_empty: bool) -> Result<()> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(cause) if is_disconnected(&cause) => {
            let entries = mountinfo::read().unwrap_or_default();
            let fs_type = mountinfo::at(&entries, path)
                .map_or_else(|| "FUSE".to_owned(), |entry| entry.fs_type.clone());
            return Err(MountError::DeadMount { path: path.to_owned(), fs_type });
        }
        Err(cause) => return Err(unreadable(path, cause)),
    };
    if !metadata.is_dir() {
        return Err(MountError::NotADirectory(path.to_owned()));
    }
    if !allow_non_empty {
        let mut entries = std::fs::read_dir(path).map_err(|cause| unreadable(path, cause))?;
        if entries.next().is_some() {
            return Err(MountError::NotEmpty(path.to_owned()));
        }
    }
    if !is_root() && access(path, AccessFlags::W_OK).is_err() {
        return Err(MountError::NotWritable(path.to_owned()));
    }
    Ok(())
}

/// `fusermount3` opens the device with the rights of the user who starts it.
fn check_fuse() -> Result<()> {
    crate::direct::open_device()?;
    if !is_root() {
        crate::fusermount::find()?;
    }
    Ok(())
}

fn unreadable(path: &Path, cause: io::Error) -> MountError {
    MountError::Unreadable { path: path.to_owned(), cause }
}
