//! Push: makes the server equal to what programs see, one node at a time.
//!
//! [`Pusher::push`] takes a node's next step from the plan, carries it out and commits what the
//! answer means. It is safe to stop at any instruction: before the commit the plan still says the
//! same step, and a step that was carried out without our learning of it is recognised when it is
//! tried again (a condition fails, a look shows what was sent). Nothing is ever dropped: what the
//! server refuses stays _blocked_ with its reason.
//!
//! [`schedule`] decides when a node's turn has come.

mod allowed;
mod below;
mod claim;
mod delete;
mod failure;
mod recall;
mod resolve;
pub mod schedule;
mod upload;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use super::engine::Shared;
use super::plan::Step;
use super::settle;
use crate::content::ContentsError;
use crate::remote::{MoveIf, RemoteError, sendable_mtime};
use crate::tree::{Node, Place, Sent, TreeError};
use crate::types::{Ino, RemotePath, Time, Version};
use claim::{Begin, Claim};

/// What came of a node's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Nothing was left to do.
    Nothing,
    /// A step was carried out, or turned out to be unneeded: look at these nodes again.
    Done(Vec<Ino>),
    /// Other nodes come first.
    Waits(Vec<Ino>),
    /// A step under way is in the way.
    Busy,
    /// It failed; not before this time again.
    Failed(Time),
    /// The server does not answer.
    Offline,
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// The server would not allow it, or would and should not.
    #[error("the server does not allow it")]
    NotAllowed,
    /// What the plan was made from is not true any more: the server has to be listed first.
    #[error("the server changed")]
    Outdated,
}

/// Carries out the steps of nodes.
pub struct Pusher {
    shared: Shared,
    claims: Mutex<HashMap<Ino, Claim>>,
}

impl Deref for Pusher {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Pusher {
    pub fn new(shared: Shared) -> Self {
        Self { shared, claims: Mutex::default() }
    }

    /// Gives a node its turn: at most one step.
    pub async fn push(&self, ino: Ino) -> Pushed {
        let begun = match self.begin(ino) {
            Ok(Begin::Begun(begun)) => begun,
            Ok(Begin::Ended(pushed)) => return pushed,
            Err(error) => return self.failed(ino, StepError::Tree(error)),
        };
        let outcome = self.carry_out(&begun.step).await;
        match outcome {
            Ok(()) => Pushed::Done(begun.step.nodes()),
            Err(error) => self.failed(ino, error),
        }
    }

    async fn carry_out(&self, step: &Step) -> Result<(), StepError> {
        tracing::debug!(?step, "push");
        self.check_allowed(step)?;
        match step {
            Step::MakeDir { ino } => self.make_dir(*ino).await,
            Step::Create { ino } | Step::Replace { ino } => self.upload(*ino).await,
            Step::Move { ino, to, over } => self.rename(*ino, to, *over).await,
            Step::MoveAside { ino, to } => self.rename(*ino, to, None).await,
            Step::CopyAside { ino, to, heir } => self.copy_aside(*ino, to, *heir).await,
            Step::HandOver { from, to } => {
                // What `from` shows elsewhere, or to those who have it open, goes with the object.
                self.keep(*from).await?;
                self.tree.transact(|tx| settle::handed_over(tx, *from, *to))?;
                Ok(())
            }
            Step::Delete { ino } | Step::Leave { ino } => self.delete(*ino).await,
            Step::SetMtime { ino } => self.set_mtime(*ino).await,
            Step::Resolve { ino } => self.resolve_changed(*ino).await,
            Step::Recall { ino } => self.recall(*ino).await,
        }
    }

    /// Makes a file independent of its object on the server, if programs may still want its bytes.
    async fn keep(&self, ino: Ino) -> Result<(), StepError> {
        let wanted = self.tree.pins().is_open(ino)
            || self.tree.node(ino)?.is_some_and(|node| node.local.is_some());
        if wanted {
            self.contents.keep(ino).await?;
        }
        Ok(())
    }

    async fn make_dir(&self, ino: Ino) -> Result<(), StepError> {
        let (node, place, path) = self.target(ino)?;
        self.note_sent(&node, Sent::name(place.clone()))?;
        match self.remote.make_dir(&path).await {
            Ok(file_id) => {
                self.health.answered();
                self.tree.transact(|tx| settle::made_dir(tx, ino, &place, file_id))?;
                Ok(())
            }
            Err(RemoteError::Exists) => self.name_taken(&node, &place, &path).await,
            Err(RemoteError::NotFound | RemoteError::Conflict(_)) => {
                self.forget_sent(ino)?;
                Err(StepError::Outdated)
            }
            Err(error) => {
                self.unless_unknown(ino, &error)?;
                Err(error.into())
            }
        }
    }

    async fn rename(&self, ino: Ino, to: &Place, over: Option<Ino>) -> Result<(), StepError> {
        if let Some(over) = over {
            self.keep(over).await?;
            let (replaced, path) =
                self.tree.view(|tx| Ok((tx.node(over)?, tx.synced_path(over)?)))?;
            if let (Some(replaced), Some(path)) = (replaced, path)
                && let Some(synced) = replaced.synced.as_ref().filter(|synced| synced.racy)
                && !self.is_still(&replaced, synced, &path).await?
            {
                return Ok(());
            }
        }
        let (node, from, target, tag, condition) = self.tree.view(|tx| {
            let node = tx.node(ino)?;
            let tag = node
                .as_ref()
                .filter(|node| node.is_file())
                .and_then(|node| node.synced.as_ref()?.version.etag.clone());
            let replaced = match over {
                Some(over) => tx
                    .node(over)?
                    .and_then(|node| node.synced.as_ref()?.version.etag.clone())
                    .map(MoveIf::Holds),
                None => Some(MoveIf::Free),
            };
            Ok((node, tx.synced_path(ino)?, tx.remote_path(to)?, tag, replaced))
        })?;
        let (Some(node), Some(from), Some(target), Some(condition)) =
            (node, from, target, condition)
        else {
            return Err(StepError::Outdated);
        };
        if node.is_file() {
            // Without an answer the object may have either name, and have replaced another one.
            self.note_sent(&node, Sent::name(to.clone()))?;
        }
        match self.remote.rename(&from, &target, tag.as_ref(), condition).await {
            Ok(()) => {
                self.health.answered();
                self.tree.transact(|tx| settle::moved(tx, ino, to, over))?;
                Ok(())
            }
            Err(
                RemoteError::NotFound
                | RemoteError::PreconditionFailed { .. }
                | RemoteError::Exists
                | RemoteError::Conflict(_),
            ) => {
                self.forget_sent(ino)?;
                self.rename_failed(ino, to, &from, &target, over).await
            }
            Err(error) => {
                self.unless_unknown(ino, &error)?;
                Err(error.into())
            }
        }
    }

    async fn copy_aside(&self, ino: Ino, to: &Place, heir: Ino) -> Result<(), StepError> {
        let (node, from, target) =
            self.tree.view(|tx| Ok((tx.node(ino)?, tx.synced_path(ino)?, tx.remote_path(to)?)))?;
        let (Some(node), Some(from), Some(target)) = (node, from, target) else {
            return Err(StepError::Outdated);
        };
        if !self.remote.capabilities().file_ids {
            // Nothing but the name ties anything to the object, and a copy has another version.
            return self.rename(ino, to, None).await;
        }
        let Some(object) = &node.synced else { return Err(StepError::Outdated) };
        if object.racy && !self.is_still(&node, object, &from).await? {
            return Ok(());
        }
        match self.remote.copy(&from, &target, object.version.etag.as_ref()).await {
            Ok(()) => self.health.answered(),
            // The name is taken: by our own copy, when the answer to an earlier attempt was lost, or
            // by somebody else's file.
            Err(RemoteError::PreconditionFailed { .. } | RemoteError::Exists) => {
                return self.part_with(ino, heir).await;
            }
            Err(RemoteError::NotFound | RemoteError::Conflict(_)) => {
                return Err(StepError::Outdated);
            }
            Err(error) => return Err(error.into()),
        }
        let copy = self.remote.look(&target).await?.entry;
        // A copy has the tag and times of what was copied, and no checksum (FACTS 6).
        let expected = Version { file_id: None, checksum: None, ..object.version.clone() };
        if copy.is_dir || !expected.agrees(&copy.version) {
            // The object was changed under the same tag, or the copy since.
            return self.part_with(ino, heir).await;
        }
        self.tree.transact(|tx| settle::copied_aside(tx, ino, to, copy.version.clone(), heir))?;
        Ok(())
    }

    /// Without the short cut of a copy: the object goes to the heir, and `ino` is uploaded as the new
    /// file that it is under its name here.
    async fn part_with(&self, ino: Ino, heir: Ino) -> Result<(), StepError> {
        self.contents.keep(ino).await?;
        self.tree.transact(|tx| settle::handed_over(tx, ino, heir))?;
        Ok(())
    }

    async fn set_mtime(&self, ino: Ino) -> Result<(), StepError> {
        let (node, path) = self.tree.view(|tx| Ok((tx.node(ino)?, tx.synced_path(ino)?)))?;
        let (Some(node), Some(path)) = (node, path) else { return Err(StepError::Outdated) };
        let Some(synced) = &node.synced else { return Err(StepError::Outdated) };
        if !self.remote.capabilities().sets_mtime {
            // From a time when it was another server: written once more it stays here.
            self.tree.transact(|tx| tx.put((*node).clone()))?;
            return Ok(());
        }
        let mtime = sendable_mtime(node.attr.mtime.secs());
        match self.remote.set_mtime(&path, mtime, synced.version.etag.as_ref()).await {
            Ok(()) => self.health.answered(),
            Err(RemoteError::NotFound | RemoteError::PreconditionFailed { .. }) => {
                return Err(StepError::Outdated);
            }
            Err(error) => return Err(error.into()),
        }
        let look = self.remote.look(&path).await?;
        let version = look.entry.version;
        // The tag is another one now; all else must be as it was, or somebody else wrote meanwhile.
        let expected = Version { mtime, etag: None, ..synced.version.clone() };
        if look.entry.is_dir || !expected.agrees(&version) {
            return Err(StepError::Outdated);
        }
        self.tree.transact(|tx| {
            // Set again meanwhile: the next step tells that.
            let again = tx
                .node(ino)?
                .is_some_and(|now| sendable_mtime(now.attr.mtime.secs()) != mtime && now.mtime_set);
            settle::mtime_set(tx, ino, version)?;
            match tx.node(ino)?.filter(|_| again) {
                Some(node) => tx.put(Node { mtime_set: true, ..(*node).clone() }),
                None => Ok(()),
            }
        })?;
        Ok(())
    }

    /// Where a node belongs on the server: its own object's name, or its name here. Fails when that is
    /// not the place that the step has claimed: the node was renamed since, and under its new name
    /// another step is the right one.
    fn target(&self, ino: Ino) -> Result<(Arc<Node>, Place, RemotePath), StepError> {
        let found = self.tree.view(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok(None) };
            let synced = node.synced.as_ref().map(|synced| synced.place.clone());
            let Some(place) = synced.or_else(|| node.local.clone()) else { return Ok(None) };
            Ok(tx.remote_path(&place)?.map(|path| (node, place, path)))
        })?;
        let (node, place, path) = found.ok_or(StepError::Outdated)?;
        if !self.has_claimed(ino, &path) {
            return Err(ContentsError::Changed.into());
        }
        Ok((node, place, path))
    }
}
