//! ncfs mounts a person's Nextcloud as a directory.
//!
//! For every file and directory the tree keeps what programs see (_local_) and what the server held
//! when it and we last agreed (_synced_). Calls of programs change _local_ and return; push makes the
//! server equal to it; pull brings in what changed there. `docs/architecture.md` is the long form.
//!
//! The rooms, from the top; calls go down this list, and what must travel up is an event on a
//! channel (`tests/rooms.rs` checks it):
//!
//! - [`cli`]: arguments, commands, progress, exit codes. [`supervise`]: the parent process, which
//!   mounts and holds the descriptor and the credential. [`daemon`]: wires the rooms below into a
//!   running mount.
//! - [`rescue`]: unsent files out of a state directory, without a mount.
//! - [`control`]: the socket behind `ncfs status`, `flush`, `problems`, `unmount` and others, and the
//!   endpoint for measurements.
//! - [`fuse`]: the kernel's side, the only user of `fuser`.
//! - [`vfs`]: what POSIX says of names, handles and permissions.
//! - [`sync`]: the plan of what to send (pure), push and pull.
//! - [`content`]: bytes: the disposable cache, the precious staging files, fetching.
//! - [`tree`]: nodes, names and states, the only user of SQL.
//! - [`remote`]: the server, the only user of HTTP.
//!
//! [`types`], [`clock`], [`secret`], [`failure`], [`fault`], [`path_text`], [`request`],
//! [`server_url`], [`config`], [`credential_file`] and [`accounts`] are the vocabulary between them;
//! [`mount_memory`] is what a mount remembers when the process dies that serves it.

pub mod accounts;
pub mod cli;
pub mod clock;
pub mod config;
pub mod content;
pub mod control;
pub mod credential_file;
pub mod daemon;
pub mod failure;
pub mod fault;
pub mod fuse;
pub mod mount_memory;
pub mod path_text;
pub mod remote;
pub mod request;
pub mod rescue;
pub mod secret;
pub mod server_url;
pub mod supervise;
pub mod sync;
pub mod tree;
pub mod types;
pub mod vfs;
