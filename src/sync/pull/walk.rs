//! The walk: lists the directories whose tag is not the adopted one, and adopts what they say by
//! the four rules of DESIGN 7.

use std::collections::{HashMap, HashSet, VecDeque};

use futures_util::StreamExt;

use super::merge::{Merged, Pending};
use super::{PullError, Puller};
use crate::remote::{Depth, Entry, RemoteError};
use crate::sync::overlap::Observation;
use crate::tree::{Body, Node, TreeError};
use crate::types::{Etag, Ino, RemotePath};

/// The most entries of one directory that are taken. Bounds what a hostile server can make us hold.
const MAX_ENTRIES: usize = 1_000_000;

/// A whole directory's listing.
pub(super) struct Listed {
    pub server_time: Option<i64>,
    pub tag: Option<Etag>,
    pub children: Vec<Entry>,
}

/// What the walk knows of a directory that it listed.
struct Visited {
    observation: Observation,
    tag: Option<Etag>,
    complete: bool,
    below: Vec<Ino>,
}

impl Puller {
    /// Walks from the root down, wherever tags differ.
    ///
    /// Returns whether everything was merged and adopted; otherwise the next poll walks again.
    pub(super) async fn walk(&self) -> Result<bool, PullError> {
        let mut pending = Pending::default();
        let mut visited: HashMap<Ino, Visited> = HashMap::new();
        let mut order = Vec::new();
        let mut queue = VecDeque::from([Ino::ROOT]);
        // Blurred by own steps until the walk has ended: what is put off is decided then.
        let whole = self.overlap.observe();
        while let Some(dir) = queue.pop_front() {
            if visited.contains_key(&dir) {
                continue;
            }
            let observation = self.overlap.observe();
            let Some(path) = self.tree.view(|tx| tx.synced_path(dir))? else { continue };
            let listed = match self.list_children(&path).await {
                Ok(listed) => listed,
                // Gone since its parent was listed: the next walk sees that.
                Err(RemoteError::NotFound | RemoteError::NotADirectory) if dir != Ino::ROOT => {
                    let (tag, complete, below) = (None, false, Vec::new());
                    visited.insert(dir, Visited { observation, tag, complete, below });
                    order.push(dir);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.health.answered();
            if dir == Ino::ROOT && listed.children.is_empty() && self.is_mass_removal()? {
                return Err(PullError::RootEmptied);
            }
            let merged = self.merge_listing(dir, &listed, &observation, &mut pending)?;
            let Some(merged) = merged else { continue };
            queue.extend(&merged.changed_dirs);
            order.push(dir);
            let (tag, complete, below) = (listed.tag, merged.complete, merged.changed_dirs);
            visited.insert(dir, Visited { observation, tag, complete, below });
        }
        let before = visited.get(&Ino::ROOT).and_then(|root| root.tag.clone());
        let nothing_put_off = pending.is_empty();
        let firm = nothing_put_off || self.root_tag().await? == before;
        let mut settled = nothing_put_off;
        if firm && !nothing_put_off {
            settled = self.settle(pending, &whole).await?;
        }
        self.adopt(&order, &visited, settled)
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
                listed.tag = entry.version.etag;
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
            if let Some(node) = tx.node(dir)?.filter(|node| !node.is_listed()) {
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
        use crate::sync::overlap::Subject;
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
    /// crash in between makes the next walk come here again.
    fn adopt(
        &self,
        order: &[Ino],
        visited: &HashMap<Ino, Visited>,
        settled: bool,
    ) -> Result<bool, PullError> {
        let mut adopted: HashSet<Ino> = HashSet::new();
        for dir in order.iter().rev() {
            let Some(seen) = visited.get(dir) else { continue };
            let whole = settled
                && seen.complete
                && seen.tag.is_some()
                && !seen.observation.is_outdated(*dir)
                && seen.below.iter().all(|below| adopted.contains(below));
            if !whole {
                continue;
            }
            self.tree.transact(|tx| {
                let Some(node) = tx.node(*dir)? else { return Ok(()) };
                let mut node = (*node).clone();
                if let Body::Dir { tag, .. } = &mut node.body {
                    tag.clone_from(&seen.tag);
                }
                tx.put(node)?;
                Ok::<_, TreeError>(())
            })?;
            adopted.insert(*dir);
        }
        Ok(adopted.contains(&Ino::ROOT))
    }
}
