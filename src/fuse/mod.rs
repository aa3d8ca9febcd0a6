//! The kernel's side: requests become calls of [`crate::vfs`], results become replies. The only user
//! of `fuser`.
//!
//! # What holds
//!
//! - Each request is answered once, within its deadline. fuser cannot be interrupted: a request
//!   without an answer is a process that cannot be killed.
//! - What is ready without the network is answered on the thread that read the request. Only what
//!   has to wait moves into a task of the runtime ([`dispatch`]).
//! - The kernel's caches are told of changes by one thread that holds no lock and that nothing waits
//!   for ([`notifier`]); it falls silent before the mount goes.
//! - ENOSYS is replied only for operations that do not exist here: the kernel remembers it for the
//!   life of the mount.
//!
//! # What is assumed
//!
//! - The mount has `default_permissions`: the kernel checks modes and owners. Whoever may reach the
//!   mount is its business, too (`allow_other`), so all requests are taken.
//! - The descriptor is of a mount that nobody has served, or of one that was served by a process that
//!   died, with the memory that both share ([`handshake`]).
//!
//! # After a crash
//!
//! Whoever keeps the descriptor still has the mount; what was asked and not answered waits there, and
//! is sent again to the process that takes over. A request that was there at two deaths that it may
//! have caused gets EIO.
//!
//! # Locks
//!
//! The registry of requests is a leaf, held for one insertion or removal.

mod adapter;
mod convert;
mod dispatch;
mod handshake;
mod init;
mod notifier;
mod prime;
mod refusal;
mod replies;
mod requests;
mod session;

pub use session::{RequestWatch, Serving, refuse, serve};
