//! Why a mount or unmount was not done, in sentences that say what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The outcome of a call that did not mount or unmount. Nothing was left mounted by it.
#[derive(Debug)]
pub enum MountError {
    /// The mount point does not exist.
    Missing(PathBuf),
    /// The mount point is not a directory.
    NotADirectory(PathBuf),
    /// The mount point holds files, which the mount would hide.
    NotEmpty(PathBuf),
    /// A living ncfs is mounted there.
    AlreadyMounted(PathBuf),
    /// Some other FUSE file system is mounted there whose daemon is gone.
    DeadMount { path: PathBuf, fs_type: String },
    /// An ordinary user may only mount on a directory that they can write to.
    NotWritable(PathBuf),
    /// The mount point could not be looked at.
    Unreadable { path: PathBuf, cause: io::Error },
    /// `/dev/fuse` does not exist.
    NoDevice,
    /// `/dev/fuse` exists and cannot be opened.
    DeviceRefused(io::Error),
    /// `fusermount3` is not installed.
    NoFusermount,
    /// `/etc/fuse.conf` does not let ordinary users use `allow_other`.
    AllowOtherRefused,
    /// mount(2) failed.
    Refused { path: PathBuf, cause: io::Error },
    /// `fusermount3` failed and said this.
    Fusermount { path: PathBuf, message: String },
    /// Nothing of ncfs is mounted there.
    NotMounted(PathBuf),
    /// Programs use the mount.
    Busy(PathBuf),
    /// umount2(2) failed.
    UnmountRefused { path: PathBuf, cause: io::Error },
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(
                f,
                "the mount point {0} does not exist; create it first: mkdir -p {0}",
                path.display()
            ),
            Self::NotADirectory(path) => write!(
                f,
                "the mount point {} is not a directory; name an empty directory",
                path.display()
            ),
            Self::NotEmpty(path) => write!(
                f,
                "the mount point {} is not empty; name an empty directory, or hide what is in it \
                 with --allow-non-empty",
                path.display()
            ),
            Self::AlreadyMounted(path) => write!(
                f,
                "{0} is already mounted; to mount it anew, run first: ncfs unmount {0}",
                path.display()
            ),
            Self::DeadMount { path, fs_type } => write!(
                f,
                "a dead {fs_type} mount is in the way at {0}; remove it with: fusermount3 -u {0}",
                path.display()
            ),
            Self::NotWritable(path) => write!(
                f,
                "the mount point {} is not writable by you; name a directory that you own",
                path.display()
            ),
            Self::Unreadable { path, cause } => {
                write!(f, "the mount point {} cannot be used: {cause}", path.display())
            }
            Self::NoDevice => f.write_str(
                "there is no /dev/fuse; load the kernel module (modprobe fuse), or give the \
                 container the device (docker run --device /dev/fuse --cap-add SYS_ADMIN)",
            ),
            Self::DeviceRefused(cause) => write!(
                f,
                "/dev/fuse cannot be opened: {cause}; as root run: chmod 0666 /dev/fuse; in a \
                 container, allow the device too (docker run --device /dev/fuse --cap-add SYS_ADMIN)"
            ),
            Self::NoFusermount => f.write_str(
                "fusermount3 is not installed, without which only root can mount; install it \
                 (Debian, Ubuntu: apt install fuse3)",
            ),
            Self::AllowOtherRefused => f.write_str(
                "this machine does not let you use --allow-other; add the line user_allow_other to \
                 /etc/fuse.conf (as root), or mount without --allow-other",
            ),
            Self::Refused { path, cause } if cause.raw_os_error() == Some(libc::EPERM) => write!(
                f,
                "the kernel does not allow the mount at {}: {cause}; in a container, add the \
                 capability SYS_ADMIN and an AppArmor profile that allows mounts",
                path.display()
            ),
            Self::Refused { path, cause } => {
                write!(f, "mounting at {} failed: {cause}", path.display())
            }
            Self::Fusermount { path, message } => {
                write!(f, "fusermount3 failed at {}: {message}", path.display())
            }
            Self::NotMounted(path) => {
                write!(f, "nothing of ncfs is mounted at {}", path.display())
            }
            Self::Busy(path) => write!(
                f,
                "{0} is in use; close the programs that use it (lsof +f -- {0} lists them)",
                path.display()
            ),
            Self::UnmountRefused { path, cause } => {
                write!(f, "unmounting {} failed: {cause}", path.display())
            }
        }
    }
}

impl std::error::Error for MountError {}
