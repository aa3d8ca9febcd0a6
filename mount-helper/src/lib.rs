//! Mounts a FUSE file system and hands out its descriptor: by mount(2) as root, through
//! `fusermount3` as an ordinary user.
//!
//! Guarantees:
//! - [`prepare`] says in one sentence what is wrong with a mount point before anything is changed.
//!   The one thing that it changes is a dead mount of a predecessor, which it detaches.
//! - A [`Mounted`] that goes out of scope is unmounted, so that an error on the way to a working
//!   mount leaves nothing behind. Only that very mount is ever unmounted: what
//!   somebody else mounted at that path since is left alone ([`Identity`]).
//! - Descriptors are close-on-exec; [`pass_to_child`] is the one way to a child.
//!
//! It assumes that nobody else mounts ncfs at the same path at the same moment: check and mount are
//! two calls.
//!
//! After a kill -9 of all holders of the descriptor the mount stays behind, dead: every access gives
//! ENOTCONN. The next [`prepare`] for that path, or [`detach_if_dead`], removes it.

mod check;
mod direct;
mod error;
mod fusermount;
mod identity;
mod inherit;
mod mounted;
pub mod mountinfo;

pub use check::{detach_if_dead, is_dead, is_mounted, prepare, resolve};
pub use error::MountError;
pub use identity::Identity;
pub use inherit::pass_to_child;
pub use mounted::{Mounted, Options, Unmounted, mount, unmount};

/// The file system type as it stands in mountinfo: FUSE with this subtype.
pub const FS_TYPE: &str = "fuse.ncfs";

const SUBTYPE: &str = "ncfs";

/// The result of this crate.
pub type Result<T> = std::result::Result<T, MountError>;

/// Whether this process mounts by itself rather than through `fusermount3`.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
