//! What somebody asks for who does not want to wait: one more try, one more look.

use std::time::Duration;

use super::engine::{Engine, is_below};
use super::problems::{self, Problem};
use super::{ListError, Lister};
use crate::tree::{Pending, Push, TreeError};
use crate::types::{Ino, Time};

/// How often it is looked whether a try is over, at the latest.
const LOOK: Duration = Duration::from_millis(200);

/// What came of trying blocked and failing nodes again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// How many were tried.
    pub tried: u64,
    /// Of these the server has now.
    pub sent: u64,
    /// Failed again, in a way that is tried again by itself.
    pub failing: u64,
    /// Not tried yet: they wait for others, or for a program that has them open.
    pub waiting: u64,
    /// Refused again, with the reason.
    pub blocked: Vec<Problem>,
}

/// What a look at the server brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Names that appeared, vanished or lead to something else; a rename is two.
    pub names: u64,
    /// Files with another content, size or time under the same name.
    pub files: u64,
}

impl Engine {
    /// Makes everything at or below `scope` that is blocked or waits after a failure due now, and
    /// looks at the server soon. Returns what is tried.
    pub fn retry(&self, scope: Ino) -> Result<Vec<Ino>, TreeError> {
        let tried = self.tree.transact(|tx| {
            let mut tried = Vec::new();
            for node in tx.dirty()? {
                let held = node.push.blocked.is_some() || node.push.not_before > Time::default();
                if held && is_below(tx, node.ino, scope)? {
                    tried.push(node.ino);
                    let mut node = (*node).clone();
                    node.push = Push { attempts: 0, not_before: Time::default(), ..node.push };
                    tx.put(node)?;
                }
            }
            Ok::<_, TreeError>(tried)
        })?;
        self.refresh();
        Ok(tried)
    }

    /// What has come so far of a try.
    pub fn retried(&self, tried: &[Ino]) -> Result<Retried, TreeError> {
        self.tree.view(|tx| {
            let mut outcome = Retried { tried: tried.len() as u64, ..Retried::default() };
            for ino in tried {
                match tx.node(*ino)?.filter(|node| node.is_dirty()) {
                    None => outcome.sent += 1,
                    Some(node) if node.push.attempts == 0 => outcome.waiting += 1,
                    Some(node) if node.push.blocked.is_some() => {
                        outcome.blocked.push(problems::problem(tx, &node)?);
                    }
                    Some(_) => outcome.failing += 1,
                }
            }
            Ok(outcome)
        })
    }

    /// Waits until each of them was tried, the server turns out to be away, or `timeout` is over.
    pub async fn wait_for_retry(
        &self,
        tried: &[Ino],
        timeout: Duration,
        mut progress: impl FnMut(Pending),
    ) -> Result<Retried, TreeError> {
        let began = tokio::time::Instant::now();
        loop {
            let outcome = self.retried(tried)?;
            progress(Pending { files: outcome.waiting, ..Pending::default() });
            let over = began.elapsed() >= timeout || self.offline().is_some();
            if outcome.waiting == 0 || over {
                return Ok(outcome);
            }
            self.turn(LOOK).await;
        }
    }

    /// Looks at the server now, and returns when what changed there shows here. With a directory,
    /// that one is listed whatever its tag says.
    pub async fn look_now(&self, dir: Option<Ino>) -> Result<Seen, ListError> {
        let before = self.puller.seen();
        if let Some(dir) = dir {
            self.list(dir).await?;
        }
        self.puller.poll(Duration::ZERO).await?;
        let now = self.puller.seen();
        Ok(Seen { names: now.names - before.names, files: now.files - before.files })
    }
}
