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
mod delete;
mod recall;
mod resolve;
pub mod schedule;
mod upload;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::health::Health;
use super::overlap::{InFlight, Overlap, Subject};
use super::plan::{Decision, Step};
use super::{Event, order, settle};
use crate::clock::Clock;
use crate::content::{Contents, ContentsError};
use crate::remote::{MoveIf, Remote, RemoteError, sendable_mtime};
use crate::tree::{Content, Node, Place, Sent, Tree, TreeError, Tx};
use crate::types::{Ino, RemotePath, Sha1Sum, Time, Version};

/// The longest wait between two attempts for a node that fails again and again.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// When a blocked node is tried again without anybody asking for it.
const BLOCKED_RETRY: Duration = Duration::from_secs(3600);

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
    pub(super) tree: Arc<Tree>,
    pub(super) remote: Arc<dyn Remote>,
    pub(super) contents: Arc<dyn Contents>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: Health,
    pub(super) overlap: Overlap,
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// Asks the pull side to look at the server soon.
    pub(super) look: Arc<tokio::sync::Notify>,
    claims: Mutex<HashMap<Ino, Claim>>,
}

/// What to do about a file whose bytes cannot be had.
enum Vanish {
    Gone,
    /// The server may hold another content by now: that is to be seen first.
    LookFirst,
    /// Something of it was written here.
    Precious,
}

/// The nodes and server paths that a step under way uses.
struct Claim {
    nodes: Vec<Ino>,
    paths: Vec<RemotePath>,
    /// It moves or removes whole directories: nothing below may be under way.
    subtree: bool,
}

impl Claim {
    fn collides(&self, other: &Claim) -> bool {
        let below = |a: &RemotePath, b: &RemotePath| b.0.starts_with(&a.0);
        self.paths.iter().any(|mine| {
            other.paths.iter().any(|theirs| {
                mine == theirs
                    || (self.subtree && below(mine, theirs))
                    || (other.subtree && below(theirs, mine))
            })
        })
    }
}

/// A step that may be carried out now, and what keeps others from interfering.
struct Begun<'a> {
    pusher: &'a Pusher,
    ino: Ino,
    step: Step,
    _in_flight: InFlight,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.pusher.claims.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.ino);
    }
}

enum Begin<'a> {
    Begun(Begun<'a>),
    Ended(Pushed),
}

impl Pusher {
    #[allow(clippy::too_many_arguments, reason = "the rooms it stands on, once, at the start")]
    pub fn new(
        tree: Arc<Tree>,
        remote: Arc<dyn Remote>,
        contents: Arc<dyn Contents>,
        clock: Arc<dyn Clock>,
        health: Health,
        overlap: Overlap,
        events: mpsc::UnboundedSender<Event>,
        look: Arc<tokio::sync::Notify>,
    ) -> Self {
        let claims = Mutex::default();
        Self { tree, remote, contents, clock, health, overlap, events, look, claims }
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

    /// Plans the node's next step and claims what it needs, as one act.
    fn begin(&self, ino: Ino) -> Result<Begin<'_>, TreeError> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        self.tree.view(|tx| {
            let step = match order::next(tx, ino)? {
                Decision::Nothing => return Ok(Begin::Ended(Pushed::Nothing)),
                Decision::Wait(blockers) => {
                    tracing::debug!(?ino, ?blockers, "waits");
                    let blockers = blockers.into_iter().map(|(ino, _)| ino).collect();
                    return Ok(Begin::Ended(Pushed::Waits(blockers)));
                }
                Decision::Do(step) => step,
            };
            let (claim, subjects) = needs(tx, &step)?;
            let nodes = step.nodes();
            let busy = nodes.iter().any(|node| claims.contains_key(node))
                || nodes.iter().any(|node| self.overlap.is_in_flight(&Subject::Node(*node)))
                || claims.values().any(|other| other.collides(&claim));
            if busy {
                return Ok(Begin::Ended(Pushed::Busy));
            }
            claims.insert(ino, claim);
            let _in_flight = self.overlap.step(subjects);
            Ok(Begin::Begun(Begun { pusher: self, ino, step, _in_flight }))
        })
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
        let sent = Sent { place: place.clone(), size: 0, mtime: 0, sum: Sha1Sum([0; 20]) };
        self.note_sent(&node, sent)?;
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
        let (from, target, tag, condition) = self.tree.view(|tx| {
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
            Ok((tx.synced_path(ino)?, tx.remote_path(to)?, tag, replaced))
        })?;
        let (Some(from), Some(target), Some(condition)) = (from, target, condition) else {
            return Err(StepError::Outdated);
        };
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
            ) => self.rename_failed(ino, to, &from, &target, over).await,
            Err(error) => Err(error.into()),
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
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let is_claimed = |claim: &Claim| claim.nodes.contains(&ino) && claim.paths.contains(&path);
        if !claims.values().any(is_claimed) {
            return Err(ContentsError::Changed.into());
        }
        Ok((node, place, path))
    }

    /// Writes down that an attempt failed, and when the next one may be made.
    fn failed(&self, ino: Ino, error: StepError) -> Pushed {
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

    /// Tells the rooms above. Nobody listens when the mount is being taken down.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// What a step uses: its paths, so that no other step runs across it, and its subjects, so that no
/// observation of the server meanwhile is believed.
fn needs(tx: &mut Tx<'_>, step: &Step) -> Result<(Claim, Vec<Subject>), TreeError> {
    let mut paths = Vec::new();
    let mut subjects = Vec::new();
    for ino in step.nodes() {
        subjects.push(Subject::Node(ino));
        let Some(node) = tx.node(ino)? else { continue };
        let synced = node.synced.as_ref().map(|synced| synced.place.clone());
        let created = match step {
            Step::MakeDir { .. } | Step::Create { .. } => node.local.clone(),
            _ => None,
        };
        let sent = node.push.sent.as_ref().map(|sent| sent.place.clone());
        for place in [synced, created, sent].into_iter().flatten() {
            subjects.push(Subject::name(&place));
            paths.extend(tx.remote_path(&place)?);
        }
    }
    if let Step::Move { to, .. } | Step::MoveAside { to, .. } | Step::CopyAside { to, .. } = step {
        subjects.push(Subject::name(to));
        paths.extend(tx.remote_path(to)?);
    }
    let subtree = match step {
        Step::Move { ino, .. }
        | Step::MoveAside { ino, .. }
        | Step::Delete { ino }
        | Step::Leave { ino } => tx.node(*ino)?.is_some_and(|node| node.is_dir()),
        _ => false,
    };
    if subtree && matches!(step, Step::Delete { .. } | Step::Leave { .. }) {
        for ino in step.nodes() {
            collect_subjects(tx, ino, &mut subjects)?;
        }
    }
    Ok((Claim { nodes: step.nodes(), paths, subtree }, subjects))
}

fn collect_subjects(
    tx: &mut Tx<'_>,
    dir: Ino,
    subjects: &mut Vec<Subject>,
) -> Result<(), TreeError> {
    for child in tx.synced_children(dir)? {
        subjects.push(Subject::Node(child.ino));
        if let Some(synced) = &child.synced {
            subjects.push(Subject::name(&synced.place));
        }
        if child.is_dir() {
            collect_subjects(tx, child.ino, subjects)?;
        }
    }
    Ok(())
}
