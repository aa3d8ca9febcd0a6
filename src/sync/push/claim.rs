//! Which steps may run beside each other: a step is planned and claims what it needs in one act, so
//! no other runs across it, and no observation of the server meanwhile is believed.
//!
//! In memory only: after a crash no step is under way.

use std::sync::PoisonError;

use super::{Pushed, Pusher};
use crate::sync::order;
use crate::sync::overlap::{InFlight, Subject};
use crate::sync::plan::{Decision, Step};
use crate::tree::{TreeError, Tx};
use crate::types::{Ino, RemotePath};

/// The nodes and server paths that a step under way uses.
pub(super) struct Claim {
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
pub(super) struct Begun<'a> {
    pusher: &'a Pusher,
    ino: Ino,
    pub(super) step: Step,
    _in_flight: InFlight,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.pusher.claims.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.ino);
    }
}

pub(super) enum Begin<'a> {
    Begun(Begun<'a>),
    Ended(Pushed),
}

impl Pusher {
    /// Whether a step under way is about this node under this path.
    pub(super) fn has_claimed(&self, ino: Ino, path: &RemotePath) -> bool {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.values().any(|claim| claim.nodes.contains(&ino) && claim.paths.contains(path))
    }

    /// Plans the node's next step and claims what it needs, as one act.
    pub(super) fn begin(&self, ino: Ino) -> Result<Begin<'_>, TreeError> {
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
