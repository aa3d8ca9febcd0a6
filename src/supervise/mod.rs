//! The parent of the daemon: mounts, owns the FUSE descriptor and the credential, starts `serve`.
//!
//! Three processes, one program:
//!
//! ```text
//! ncfs mount ──────────▶ ncfs supervise ───────────▶ ncfs serve
//! launcher               supervisor                  the file system
//! checks, waits for      mounts, keeps the FUSE      answers the kernel,
//! "ready", ends          descriptor, unmounts        talks to the server
//! ```
//!
//! With `--foreground` the launcher is the supervisor. Down go the configuration with the credential,
//! over a pipe, and the FUSE descriptor; up come lines of JSON ([`link`]). The supervisor has no
//! threads, no network and no parser but that of these lines, so that it outlives what it watches.
//!
//! Guarantees:
//! - Nothing stays mounted when the start fails, when `serve` ends in whatever way, or when the
//!   launcher is killed before it heard "ready".
//! - The end is bounded: `serve` that does not end in its time is killed.
//! - The credential is in no argument, variable, file, core file, and not readable through /proc by
//!   other processes of the same user.
//!
//! A kill -9 of the supervisor ends `serve` as SIGTERM does, which then unmounts itself if it may. If both
//! are killed the mount is dead, and detached by the next `ncfs mount` or `ncfs unmount` of that path.

mod launcher;
pub mod link;
pub mod notify;
mod private;
pub mod process;
mod sealed;
mod supervisor;

pub use launcher::{launch, log_file, supervise};
pub use link::ReadySender;
pub use supervisor::{Launcher, run};
