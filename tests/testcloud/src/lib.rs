//! A small server that speaks what a real Nextcloud 32 speaks, traps included, and spoils requests on
//! demand. The project's tests and `ncfs demo` run against it.
//!
//! What it does was seen in experiments with a real server; comments name the section of their record,
//! FACTS. `tests/transcripts.rs` compares it with recorded exchanges and lists what is left out:
//! OAuth 2, bulk upload, search, the share API, trash, archives, paging.
//!
//! ```
//! use testcloud::{Config, Fault, Testcloud};
//!
//! let cloud = Testcloud::start(Config::default().user("alice", "secret"))?;
//! cloud.put_file("alice", "/notes/a.txt", b"hello", None)?;
//! cloud.fault(Fault::on("GET", r"\.txt$").status(503))?;
//! // A client of cloud.files_url("alice") now fails once, then reads hello.
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Rooms
//!
//! - `tree`, `stamps`, `path`: metadata, tags and names, without I/O;
//! - `store`: the bytes, in a directory laid out as Nextcloud's own (`<dir>/<user>/files/...`);
//! - `cloud`, `files`, `write`, `uploads`, `locks`, `shares`: what can be done to files, by requests
//!   and by the handle alike;
//! - `auth`, `login`, `ocs`, `dav`: the protocol;
//! - `faults`, `latency`, `requests`, `admin`, `server`: what a test controls and sees.
//!
//! # What is promised
//!
//! Bodies are streamed, so big files cost no memory. Metadata live in memory and survive
//! [`Testcloud::stop`] and [`Testcloud::restart`] but not the process; a directory that is given is
//! imported at start and what is written is there as plain files. A panic in a request ends its
//! connection only. Nothing is fsynced.
//!
//! # Differences from the real server
//!
//! A revoked app password ends at once, not after up to 10 s; MOVE over an existing name is atomic;
//! deleted is gone; quota is never cached; a listing is one consistent view; the lock of a cut PUT is
//! free at once; connections are not closed after 1000 requests; a login password costs nothing.

mod admin;
mod auth;
mod cloud;
mod config;
mod dav;
mod error;
mod faults;
mod files;
mod latency;
mod locks;
mod login;
mod ocs;
mod path;
mod requests;
mod server;
mod shares;
mod stamps;
mod store;
mod sync;
mod testcloud;
mod tree;
mod uploads;
mod write;
mod xml;

pub use config::Config;
pub use faults::{Action, Fault};
pub use latency::Latency;
pub use requests::{Counters, RequestRecord};
pub use testcloud::{Testcloud, TreeEntry};
