//! mount(2) and umount2(2), for root.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use nix::unistd::{getegid, geteuid};

use crate::{FS_TYPE, MountError, Options, Result};

/// A descriptor without a connection yet; closing it has no effect.
pub(crate) fn open_device() -> Result<OwnedFd> {
    match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(device) => Ok(device.into()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(MountError::NoDevice),
        Err(cause) => Err(MountError::DeviceRefused(cause)),
    }
}

pub(crate) fn mount(path: &Path, options: &Options) -> Result<OwnedFd> {
    let device = open_device()?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        geteuid(),
        getegid(),
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    if let Some(bytes) = options.max_read {
        // Writing to a String cannot fail.
        let _ = write!(data, ",max_read={bytes}");
    }
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if options.read_only {
        flags |= MsFlags::MS_RDONLY;
    }
    if options.no_exec {
        flags |= MsFlags::MS_NOEXEC;
    }
    nix::mount::mount(
        Some(options.source.as_str()),
        path,
        Some(FS_TYPE),
        flags,
        Some(data.as_str()),
    )
    .map_err(|errno| MountError::Refused { path: path.to_owned(), cause: errno.into() })?;
    Ok(device)
}

pub(crate) fn unmount(path: &Path, lazy: bool) -> Result<()> {
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    if lazy {
        flags |= MntFlags::MNT_DETACH;
    }
    nix::mount::umount2(path, flags).map_err(|errno| match errno {
        Errno::EBUSY => MountError::Busy(path.to_owned()),
        errno => MountError::UnmountRefused { path: path.to_owned(), cause: errno.into() },
    })
}
