//! The walk: lists directories from the given ones down, and adopts what they say by the four rules
//! of DESIGN 7.
//!
//! Where tags propagate it begins at the root and goes wherever a tag is not the adopted one; what
//! is missing is gone if the root's tag is the same at the end. Where they do not, it begins with
//! the directories that are due ([`super::age`]) and goes to those that are new or in which something
//! was left open; what is missing is gone if it is missing in a second listing, too, after which the
//! root still answers.

use std::collections::{HashMap, HashSet, VecDeque};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::merge::{Merged, Pending};
use super::{PullError, Puller};
use crate::remote::{Depth, Entry, RemoteError};
use crate::sync::overlap::{Observation, Subject};
use crate::sync::settle::{self, MERGED};
use crate::tree::{Body, Node, TreeError};
use crate::types::{Etag, Ino, NameKey, RemotePath};

/// The most entries of one directory that are taken. Bounds what a hostile server can make us hold.
const MAX_ENTRIES: usize = 1_000_000;

/// Directories that are listed at once. More would be in the way of programs.
pub(super) const PARALLEL: usize = 4;

/// A whole directory's listing.
pub(super) struct Listed {
    pub server_time: Option<i64>,
    /// What to adopt as the directory's tag once all was merged.
    pub tag: Option<Etag>,
    pub children: Vec<Entry>,
}

/// What the walk knows of a directory that it listed.
struct Visited {
    observation: Observation,
    tag: Option<Etag>,
    complete: bool,
    /// Something in it is decided at the end of the walk.
    put_off: bool,
    below: Vec<Ino>,
}

impl Puller {
    /// Walks from these directories down.
    ///
    /// What was not merged and adopted is walked again by the next poll.
    pub(super) async fn walk(&self, from: Vec<Ino>) -> Result<(), PullError> {
        let mut pending = Pending::default();
        let mut visited: HashMap<Ino, Visited> = HashMap::new();
        let mut order = Vec::new();
        let mut queue = VecDeque::from(from);
        let mut begun = HashSet::new();
        let mut listings = FuturesUnordered::new();
        // Blurred by own steps until the walk has ended: what is put off is decided then.
        let whole = self.overlap.observe();
        loop {
            while listings.len() < PARALLEL
                && let Some(dir) = queue.pop_front()
            {
                if !begun.insert(dir) {
                    continue;
                }
                let observation = self.overlap.observe();
                let Some(path) = self.tree.view(|tx| tx.synced_path(dir))? else { continue };
                let listing = async move { self.list_children(&path).await };
                listings.push(listing.map(move |listed| (dir, observation, listed)));
            }
            let Some((dir, observation, listed)) = listings.next().await else { break };
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) if dir != Ino::ROOT && is_about_one(&error) => {
                    let parent = self.left_open(dir, &error)?;
                    if let Some(seen) = parent.and_then(|parent| visited.get_mut(&parent)) {
                        seen.complete = false;
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.health.answered();
            if dir == Ino::ROOT && listed.children.is_empty() && self.is_mass_removal()? {
                return Err(PullError::RootEmptied);
            }
            let before = pending.len();
            let merged = self.merge_listing(dir, &listed, &observation, &mut pending)?;
            let Some(merged) = merged else { continue };
            queue.extend(&merged.changed_dirs);
            order.push(dir);
            let put_off = pending.len() > before;
            let (tag, complete, below) = (listed.tag, merged.complete, merged.changed_dirs);
            visited.insert(dir, Visited { observation, tag, complete, put_off, below });
        }
        let root = visited.get(&Ino::ROOT).and_then(|root| root.tag.as_ref());
        let settled = match pending.is_empty() {
            true => true,
            false if self.remote.capabilities().tags_propagate => {
                self.root_tag().await?.as_ref() == root && self.settle(pending, &whole).await?
            }
            false => {
                let (sure, all) = self.confirm(pending).await?;
                self.settle(sure, &whole).await? && all
            }
        };
        self.adopt(&order, &visited, settled)
    }

    /// A directory could not be listed, and others can: it went since its parent was listed, or is not
    /// ours to read. Returns its parent if that one has to be listed again, which is noted there.
    fn left_open(&self, dir: Ino, error: &RemoteError) -> Result<Option<Ino>, TreeError> {
        if matches!(error, RemoteError::Forbidden(_)) {
            return Ok(None);
        }
        self.tree.transact(|tx| {
            let parent = tx.node(dir)?.and_then(|dir| Some(dir.synced.as_ref()?.place.parent));
            if let Some(parent) = parent {
                settle::stale_parent(tx, parent)?;
            }
            Ok(parent)
        })
    }

    /// Lists the directories again in which something was missing or is another object, and keeps what
    /// is so still; then the root has to be there. Returns whether all of it was so still.
    async fn confirm(&self, pending: Pending) -> Result<(Pending, bool), PullError> {
        let place_of = |ino: Ino| -> Result<_, TreeError> {
            let node = self.tree.node(ino)?;
            Ok(node.and_then(|node| Some(node.synced.as_ref()?.place.clone())))
        };
        let mut again: HashMap<Ino, Option<HashMap<NameKey, Entry>>> = HashMap::new();
        let mut dirs = Vec::new();
        for ino in pending.absent.iter().chain(pending.replaced.iter().map(|(ino, _)| ino)) {
            let dir = place_of(*ino)?.map(|place| place.parent);
            dirs.extend(dir.filter(|dir| again.insert(*dir, None).is_none()));
        }
        for dir in dirs {
            let Some(path) = self.tree.view(|tx| tx.synced_path(dir))? else { continue };
            match self.list_children(&path).await {
                Ok(listed) => {
                    let names = listed.children.into_iter();
                    let named = names.filter_map(|entry| Some((entry.path.0.last()?.key(), entry)));
                    again.insert(dir, Some(named.collect()));
                }
                Err(error) if dir != Ino::ROOT && is_about_one(&error) => {
                    self.left_open(dir, &error)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut sure = Pending { arrived: pending.arrived, ..Pending::default() };
        let mut all = true;
        for ino in pending.absent {
            let still = place_of(ino)?.is_some_and(|place| {
                let names = again.get(&place.parent).and_then(Option::as_ref);
                names.is_some_and(|names| !names.contains_key(&place.name.key()))
            });
            all &= still;
            sure.absent.extend(still.then_some(ino));
        }
        for (ino, seen) in pending.replaced {
            let names = again.get(&seen.place.parent).and_then(Option::as_ref);
            let now = names.and_then(|names| names.get(&seen.place.name.key()));
            let still = now.is_some_and(|now| {
                now.is_dir == seen.entry.is_dir && now.version.file_id == seen.entry.version.file_id
            });
            all &= still;
            sure.replaced.extend(still.then_some((ino, seen)));
        }
        self.root_tag().await?;
        Ok((sure, all))
    }

    /// The tag to adopt for a directory with this entry.
    pub(super) fn tag_of(&self, tag: Option<Etag>) -> Option<Etag> {
        match self.remote.capabilities().tags_propagate {
            true => tag,
            false => Some(Etag(MERGED.into())),
        }
    }

    pub(super) async fn list_children(&self, path: &RemotePath) -> Result<Listed, RemoteError> {
        let mut listing = self.remote.list(path, Depth::Children).await?;
        let mut listed =
            Listed { server_time: listing.server_time, tag: None, children: Vec::new() };
        let mut seen_self = false;
        while let Some(entry) = listing.entries.next().await {
            let entry = entry?;
            if entry.path == *path {
                if !entry.is_dir {
                    return Err(RemoteError::NotADirectory);
                }
                seen_self = true;
                listed.tag = self.tag_of(entry.version.etag);
            } else if entry.path.parent().as_ref() == Some(path) {
                if listed.children.len() >= MAX_ENTRIES {
                    return Err(RemoteError::Protocol("a directory with too many entries".into()));
                }
                listed.children.push(entry);
            }
        }
        if !seen_self {
            return Err(RemoteError::Protocol("a listing without the directory itself".into()));
        }
        Ok(listed)
    }

    /// Merges one listing in one transaction. `None` when the directory went away here meanwhile.
    pub(super) fn merge_listing(
        &self,
        dir: Ino,
        listed: &Listed,
        observation: &Observation,
        pending: &mut Pending,
    ) -> Result<Option<Merged>, PullError> {
        let mut merge = self.merge(listed.server_time);
        let merged = self.tree.transact(|tx| {
            let alive = dir == Ino::ROOT || tx.node(dir)?.is_some_and(|node| node.synced.is_some());
            if !alive {
                return Ok(None);
            }
            let merged = merge.listing(tx, dir, &listed.children, observation, pending)?;
            if let Some(node) = tx.node(dir)?.filter(|node| is_outrun(node, listed)) {
                tx.put(Node { body: Body::Dir { listed: true, tag: None }, ..(*node).clone() })?;
            }
            Ok::<_, TreeError>(Some(merged))
        })?;
        let events = std::mem::take(&mut merge.events);
        self.tell(events);
        Ok(merged)
    }

    /// Decides what was put off, unless own steps since make it worthless.
    async fn settle(&self, pending: Pending, whole: &Observation) -> Result<bool, PullError> {
        let mut blurred = false;
        let mut sure = Pending::default();
        for ino in pending.absent {
            match whole.is_blurred(&Subject::Node(ino)) {
                true => blurred = true,
                false => sure.absent.push(ino),
            }
        }
        for seen in pending.arrived {
            match whole.is_blurred(&Subject::name(&seen.place)) {
                true => blurred = true,
                false => sure.arrived.push(seen),
            }
        }
        for (ino, seen) in pending.replaced {
            let hit = whole.is_blurred(&Subject::Node(ino))
                || whole.is_blurred(&Subject::name(&seen.place));
            match hit {
                true => blurred = true,
                false => sure.replaced.push((ino, seen)),
            }
        }
        let mut merge = self.merge(None);
        let complete = self.tree.transact(|tx| merge.settle(tx, sure))?;
        let (events, orphaned) = (merge.events, merge.orphaned);
        self.tell(events);
        for ino in orphaned {
            // The cached bytes are still there if this fails, and the upload tries again.
            if let Err(error) = self.contents.keep(ino).await {
                tracing::warn!(?ino, "a file that was deleted on the server could not be kept yet");
                tracing::debug!(?ino, %error);
            }
        }
        Ok(complete && !blurred)
    }

    /// Adopts tags from the bottom up: a directory's only when all below it was adopted, so that a
    /// crash in between makes the next walk come here again. Where tags do not propagate each
    /// stands for itself.
    fn adopt(
        &self,
        order: &[Ino],
        visited: &HashMap<Ino, Visited>,
        settled: bool,
    ) -> Result<(), PullError> {
        let alone = !self.remote.capabilities().tags_propagate;
        let mut adopted: HashSet<Ino> = HashSet::new();
        for dir in order.iter().rev() {
            let Some(seen) = visited.get(dir) else { continue };
            let below_too = alone || seen.below.iter().all(|below| adopted.contains(below));
            let whole = (settled || (alone && !seen.put_off))
                && seen.complete
                && seen.tag.is_some()
                && !seen.observation.is_outdated(*dir)
                && below_too;
            if !whole && !alone {
                continue;
            }
            self.tree.transact(|tx| {
                let Some(node) = tx.node(*dir)? else { return Ok(()) };
                let mut node = (*node).clone();
                if let Body::Dir { tag, .. } = &mut node.body {
                    *tag = seen.tag.clone().filter(|_| whole);
                }
                tx.put(node)?;
                Ok::<_, TreeError>(())
            })?;
            adopted.insert(*dir);
        }
        Ok(())
    }
}

/// Whether a directory was never listed, or its tag is that of an earlier listing than the one that is
/// merged: if that tag came back, with a restored backup, it would not speak of what is here.
fn is_outrun(dir: &Node, listed: &Listed) -> bool {
    !dir.is_listed() || (dir.tag().is_some() && dir.tag() != listed.tag.as_ref())
}

/// Whether only the directory that was asked for cannot be listed.
pub(super) fn is_about_one(error: &RemoteError) -> bool {
    use RemoteError::{Forbidden, NotADirectory, NotFound};
    matches!(error, NotFound | NotADirectory | Forbidden(_))
}
