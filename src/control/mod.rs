//! The control socket: how `ncfs status`, `flush`, `unmount` and others talk to a running daemon.
//!
//! Every mount has one Unix socket in a private directory of its user, and beside it a record that
//! names the mount point, so that the commands find it (`registry`). One request and its replies
//! are lines of JSON (`protocol`); who may ask is decided by the kernel's word on the peer, not by
//! anything it says (`server`).
//!
//! Guarantees: only the user who runs the daemon, and root, are answered. A request is bounded in
//! length and a slow reader holds up nobody else. `status` never waits for the network.
//!
//! Beside it, where it is asked for, an HTTP endpoint tells measurements to whoever can reach it
//! (`scrape`, `metrics`).
//!
//! A crash leaves the socket and the record behind. Nobody listens there any more, which is how they
//! are recognised and removed by whoever comes next.

mod client;
mod error;
mod metrics;
mod problems;
mod protocol;
mod registry;
mod scrape;
mod server;
mod status;

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

pub use client::Client;
pub use error::ControlError;
pub use metrics::{Exposition, Kind};
pub use problems::{Problem, ProblemKind, Problems};
pub use protocol::{FlushOutcome, Progress, RefreshOutcome, RetryOutcome};
pub use registry::{Record, RuntimeDir, find, list};
pub use scrape::{Endpoint, Measured};
pub use server::Server;
pub use status::{State, Status};

pub use crate::sync::Explanation;
use crate::types::{Ino, RemotePath};

/// The result of this room.
pub type Result<T> = std::result::Result<T, ControlError>;

/// A node, by what a person knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Where programs see it, or saw it.
    Path(RemotePath),
    /// Its inode number, from a log.
    Ino(Ino),
}

/// What a running daemon does for the socket.
#[async_trait]
pub trait Daemon: Send + Sync + 'static {
    /// How things stand. Answered from memory or disk, never from the network.
    fn status(&self) -> Status;

    /// Returns when everything at and below the path that was changed before the call is on the
    /// server, when that is hopeless (what is left is blocked), or when `timeout` is over.
    ///
    /// The latest progress is kept in the channel; the future may be dropped at any time.
    async fn flush(
        &self,
        below: RemotePath,
        timeout: Option<Duration>,
        progress: watch::Sender<Progress>,
    ) -> FlushOutcome;

    /// Ends the daemon: sends what is pending as [`Daemon::flush`] does, but no longer than
    /// `timeout`, then returns what is left and goes on to unmount by itself.
    ///
    /// A second call while one is running may shorten it and gets the same outcome. The future may
    /// be dropped; the daemon ends all the same.
    async fn shutdown(
        &self,
        timeout: Option<Duration>,
        progress: watch::Sender<Progress>,
    ) -> FlushOutcome;

    /// What needs somebody's attention. Never from the network.
    fn problems(&self) -> Problems;

    /// Tries at once what is blocked or waits after a failure at or below the path, and a refused
    /// password. Returns what came of it, or what has so far when `timeout` is over.
    ///
    /// `Err` is a sentence for the user, as in the functions below.
    async fn retry(
        &self,
        below: RemotePath,
        timeout: Duration,
        progress: watch::Sender<Progress>,
    ) -> std::result::Result<RetryOutcome, String>;

    /// Why a node is as it is. Never from the network.
    fn explain(&self, subject: Subject) -> std::result::Result<Explanation, String>;

    /// Looks at the server, and returns when what changed there shows here, or is not known within
    /// `timeout`.
    async fn refresh(
        &self,
        path: RemotePath,
        timeout: Duration,
    ) -> std::result::Result<RefreshOutcome, String>;

    /// Lets the program that is installed by now take the mount over. The caller has answered.
    fn upgrade(&self);
}
