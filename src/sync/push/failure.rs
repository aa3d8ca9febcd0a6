//! What becomes of a step that failed: tried again later, or _blocked_ until somebody does something.
//! Nothing is dropped.

use std::time::Duration;

use super::{Pushed, Pusher, StepError};
use crate::content::ContentsError;
use crate::remote::RemoteError;
use crate::sync::Event;
use crate::tree::{Content, Node, TreeError};
use crate::types::Ino;

/// The longest wait between two attempts for a node that fails again and again.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// When a blocked node is tried again without anybody asking for it.
const BLOCKED_RETRY: Duration = Duration::from_secs(3600);

/// What to do about a file whose bytes cannot be had.
enum Vanish {
    Gone,
    /// The server may hold another content by now: that is to be seen first.
    LookFirst,
    /// Something of it was written here.
    Precious,
}

impl Pusher {
    /// Writes down that an attempt failed, and when the next one may be made.
    pub(super) fn failed(&self, ino: Ino, error: StepError) -> Pushed {
        let now = self.clock.now();
        let (transient, reason) = match &error {
            StepError::Outdated => {
                self.look.notify_one();
                (true, None)
            }
            StepError::Remote(remote) | StepError::Contents(ContentsError::Remote(remote)) => {
                self.health.failed(remote);
                if self.health.offline().is_some() {
                    return Pushed::Offline;
                }
                if matches!(remote, RemoteError::NotFound | RemoteError::PreconditionFailed { .. })
                {
                    self.look.notify_one();
                }
                let transient = remote.is_transient()
                    || matches!(
                        remote,
                        RemoteError::NotFound | RemoteError::PreconditionFailed { .. }
                    );
                let reason = match remote {
                    RemoteError::Forbidden(_) => self.forbidden(ino, remote),
                    _ => remote.to_string(),
                };
                (transient, Some(reason))
            }
            StepError::NotAllowed => (false, Some(self.forbidden(ino, &error))),
            StepError::Contents(ContentsError::Changed) => {
                return Pushed::Failed(now.plus_millis(300));
            }
            StepError::Contents(ContentsError::BaseGone) => match self.let_vanish(ino) {
                Ok(Vanish::Gone) => return Pushed::Done(vec![ino]),
                Ok(Vanish::LookFirst) => {
                    self.look.notify_one();
                    (true, None)
                }
                Ok(Vanish::Precious) => (false, Some(error.to_string())),
                Err(error) => (true, Some(error.to_string())),
            },
            StepError::Contents(ContentsError::Lost(_)) => (false, Some(error.to_string())),
            StepError::Contents(_) | StepError::Tree(_) => (true, Some(error.to_string())),
        };
        tracing::debug!(?ino, %error, "a step failed");
        let asked = match &error {
            StepError::Remote(remote) => remote.retry_after(),
            _ => None,
        };
        let noted = self.tree.transact(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok(now) };
            let mut node = (*node).clone();
            node.push.attempts = node.push.attempts.saturating_add(1);
            let wait = if transient { self.backoff(node.push.attempts) } else { BLOCKED_RETRY };
            let wait = asked.unwrap_or(wait).max(wait);
            node.push.not_before = now.plus_millis(wait.as_millis() as i64);
            if !transient {
                // The reason can hold names; `ncfs explain --ino` tells it.
                tracing::warn!(?ino, "the server does not take it: it is kept here");
                node.push.blocked = reason.map(Into::into);
            }
            let not_before = node.push.not_before;
            tx.put(node)?;
            Ok::<_, TreeError>(not_before)
        });
        Pushed::Failed(noted.unwrap_or_else(|error| {
            tracing::error!("the state cannot be written: {error}");
            now.plus_millis(BACKOFF_MAX.as_millis() as i64)
        }))
    }

    /// A file whose bytes were never here and are nowhere on the server any more: it was deleted
    /// there, and only its name was changed here.
    fn let_vanish(&self, ino: Ino) -> Result<Vanish, TreeError> {
        let outcome = self.tree.transact(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok((Vanish::Gone, None)) };
            if !matches!(node.content(), Some(Content::Remote(_))) {
                return Ok((Vanish::Precious, None));
            }
            if node.synced.is_some() {
                return Ok((Vanish::LookFirst, None));
            }
            tx.put(Node { local: None, ..(*node).clone() })?;
            Ok::<_, TreeError>((Vanish::Gone, node.local.clone()))
        })?;
        if let (vanish, Some(place)) = outcome {
            tracing::warn!(?ino, "a file that was renamed here was deleted on the server, unread");
            self.tell(Event::Entry { parent: place.parent, name: place.name });
            return Ok(vanish);
        }
        Ok(outcome.0)
    }

    /// 1 s doubling to [`BACKOFF_MAX`], with full jitter in its upper half.
    fn backoff(&self, attempts: u32) -> Duration {
        let full = Duration::from_millis(500).saturating_mul(1 << attempts.min(10));
        full.min(BACKOFF_MAX).mul_f64(0.5 + self.clock.chance() / 2.0)
    }
}
