//! Makes the server and this machine equal: the plan of what to send (pure), push, and pull.
//!
//! For every node the tree keeps _local_ and _synced_ (DESIGN 2). [`plan`] and [`order`] say what has
//! to be sent next, from the rows alone; [`push`] sends it and [`pull`] brings in what changed on
//! the server. _synced_ changes only in the commit that handles an answer or a listing. Each commit
//! leaves a state from which everything goes on, so a crash at any instruction costs at most the
//! repetition of a request, and a look before it.
//!
//! Nothing here knows of paths but at the moment of sending; nothing keeps a list of operations.

mod arrive;
mod conflict;
mod engine;
mod events;
pub mod explain;
mod health;
pub mod order;
mod overlap;
pub mod plan;
pub mod problems;
#[cfg(test)]
mod properties;
mod pull;
mod push;
mod retry;
mod settle;
#[cfg(test)]
mod simulation;

pub use conflict::{numbered, original_name};
pub use engine::{Engine, FlushOutcome, Rooms};
pub use events::Event;
pub use explain::Explanation;
pub use health::Offline;
pub use pull::PullError;
pub use retry::{Retried, Seen};

pub use crate::remote::{BadRemoteName, NameRules, Quota};
use crate::types::Ino;

/// Lists directories that nobody has listed yet.
#[async_trait::async_trait]
pub trait Lister: Send + Sync + 'static {
    /// Returns when the directory's children are known. One listing however many wait.
    async fn list(&self, dir: Ino) -> Result<(), ListError>;

    /// A program uses the directory: it read it, or looked up a name in it. Cheap, never waits.
    fn used(&self, _dir: Ino) {}
}

/// Why a directory could not be listed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListError {
    #[error("the server cannot be reached and the directory was never listed")]
    Offline,
    #[error("the directory is gone on the server")]
    Gone,
    #[error("{0}")]
    Failed(String),
}
