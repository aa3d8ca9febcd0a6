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
//! over a pipe, the FUSE descriptor, and the memory of the mount ([`crate::mount_memory`]); up come
//! lines of JSON ([`link`]). The supervisor has no threads, no network and no parser but that of these
//! lines, so that it outlives what it watches.
//!
//! Guarantees:
//! - A `serve` that dies is replaced at once by one that takes the mount over, so that programs see a
//!   pause. If it dies again and again as soon as it is started ([`deaths`]), one that opens no state
//!   and refuses everything takes its place, until `ncfs upgrade` or `ncfs unmount`.
//! - `ncfs upgrade` kills `serve` in the same way and starts the program that is at its path by then;
//!   if that one does not come to serve, the one before goes on.
//! - Nothing stays mounted when the start fails, when `serve` ends by itself, or when the launcher is
//!   killed before it heard "ready".
//! - The end is bounded: `serve` that does not end in its time is killed.
//! - The credential is in no argument, variable, file, core file, and not readable through /proc by
//!   other processes of the same user.
//!
//! A kill -9 of the supervisor ends `serve` as SIGTERM does, which then unmounts itself if it may. If both
//! are killed the mount is dead, and detached by the next `ncfs mount` or `ncfs unmount` of that path.

mod deaths;
mod launcher;
pub mod link;
pub mod notify;
mod private;
pub mod process;
mod program;
mod sealed;
mod serve;
mod supervisor;

pub use launcher::{launch, log_file, supervise};
pub use link::ReadySender;
pub use supervisor::{Launcher, run};
