//! The first load: one streamed listing of everything, merged as it arrives.
//!
//! Until its end every directory stays unlisted, so that nothing is derived from absence; a crash
//! leaves nodes that are known and directories that are not, which is true.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::merge::{Merged, Pending};
use super::walk::{PARALLEL, is_about_one};
use super::{PullError, Puller};
use crate::remote::{Depth, Entry};
use crate::sync::overlap::{Observation, Subject};
use crate::tree::{Body, Node, Place, TreeError};
use crate::types::{Etag, Ino, RemotePath};

/// Entries merged in one transaction.
const BATCH: usize = 500;

/// Entries that came before their directory; a server that sends more than this many in such an
/// order is loaded lazily instead.
const MAX_EARLY: usize = 10_000;

#[derive(Default)]
struct Loading {
    dirs: HashMap<RemotePath, Ino>,
    tags: Vec<(Ino, RemotePath, Option<Etag>)>,
    /// Directories in which something could not be merged.
    unsettled: HashSet<RemotePath>,
    early: Vec<Entry>,
    pending: Pending,
}

impl Puller {
    /// Loads everything below the root that was never listed.
    pub async fn load(&self) -> Result<(), PullError> {
        // Directories of which some children are known already, from a load that a crash ended: what
        // is missing in them by now only a listing of their own shows.
        let mut tried = HashSet::new();
        while let Some(dir) = self.tree.view(|tx| tx.half_listed())?
            && tried.insert(dir.ino)
        {
            self.list_now(dir.ino).await?;
        }
        if self.tree.view(|tx| tx.unlisted(Ino::default(), 1))?.is_empty() {
            return Ok(());
        }
        if !self.remote.capabilities().depth_infinity {
            return self.load_by_levels().await;
        }
        let observation = self.overlap.observe();
        let mut listing = match self.remote.list(&RemotePath::root(), Depth::Everything).await {
            Ok(listing) => listing,
            Err(error) if !error.is_transient() => return self.load_by_levels().await,
            Err(error) => return Err(error.into()),
        };
        let server_time = listing.server_time;
        let mut loading = Loading::default();
        loading.dirs.insert(RemotePath::root(), Ino::ROOT);
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(entry) = listing.entries.next().await {
            batch.push(entry?);
            if batch.len() >= BATCH {
                self.load_batch(&mut batch, server_time, &observation, &mut loading)?;
            }
        }
        self.load_batch(&mut batch, server_time, &observation, &mut loading)?;
        let mut early = std::mem::take(&mut loading.early);
        self.load_batch(&mut early, server_time, &observation, &mut loading)?;
        self.health.answered();
        self.finish_load(loading, &observation)
    }

    fn load_batch(
        &self,
        batch: &mut Vec<Entry>,
        server_time: Option<i64>,
        observation: &Observation,
        loading: &mut Loading,
    ) -> Result<(), PullError> {
        let mut merge = self.merge(server_time);
        self.tree.transact(|tx| {
            for entry in batch.drain(..) {
                if entry.path.0.is_empty() {
                    let tag = self.tag_of(entry.version.etag);
                    loading.tags.push((Ino::ROOT, entry.path, tag));
                    continue;
                }
                let parent = entry
                    .path
                    .parent()
                    .and_then(|parent| loading.dirs.get(&parent).copied().map(|ino| (parent, ino)));
                let Some((parent_path, parent)) = parent else {
                    if loading.early.len() >= MAX_EARLY {
                        return Err(PullError::Unordered);
                    }
                    loading.early.push(entry);
                    continue;
                };
                let Some(name) = entry.path.0.last() else { continue };
                let place = Place::new(parent, name.clone());
                let node = tx.holder(&place)?;
                let blurred = observation.is_blurred(&Subject::name(&place))
                    || node
                        .as_ref()
                        .is_some_and(|node| observation.is_blurred(&Subject::Node(node.ino)));
                let mut merged = Merged { complete: true, ..Merged::default() };
                if blurred {
                    merged.complete = false;
                } else {
                    merge.child(
                        tx,
                        place.clone(),
                        &entry,
                        node,
                        &mut loading.pending,
                        &mut merged,
                    )?;
                }
                if !merged.complete {
                    loading.unsettled.insert(parent_path);
                }
                if entry.is_dir
                    && let Some(dir) = tx.holder(&place)?.filter(|node| node.is_dir())
                {
                    loading.dirs.insert(entry.path.clone(), dir.ino);
                    let tag = self.tag_of(entry.version.etag);
                    loading.tags.push((dir.ino, entry.path, tag));
                }
            }
            Ok(())
        })?;
        let events = std::mem::take(&mut merge.events);
        self.tell(events);
        Ok(())
    }

    /// Marks every directory that only the load has listed, and adopts the tags where all below was merged.
    fn finish_load(&self, loading: Loading, observation: &Observation) -> Result<(), PullError> {
        let mut unsettled: HashSet<RemotePath> = HashSet::new();
        // What was put off is for the next walk: it lists these directories again.
        let put_off = loading
            .pending
            .arrived
            .iter()
            .chain(loading.pending.replaced.iter().map(|(_, seen)| seen));
        let put_off: Vec<RemotePath> =
            put_off.filter_map(|seen| seen.entry.path.parent()).collect();
        let outdated: Vec<RemotePath> = loading
            .tags
            .iter()
            .filter(|(ino, ..)| observation.is_outdated(*ino))
            .map(|(_, path, _)| path.clone())
            .collect();
        let mut listed_before = Vec::new();
        for (ino, path, new_tag) in &loading.tags {
            let node = self.tree.node(*ino)?;
            if node.is_some_and(|node| node.is_listed() && node.tag() != new_tag.as_ref()) {
                listed_before.push(path.clone());
            }
        }
        let outdated: Vec<RemotePath> = outdated.into_iter().chain(listed_before).collect();
        for path in loading.unsettled.iter().chain(&put_off).chain(&outdated) {
            let mut at = Some(path.clone());
            while let Some(path) = at {
                at = path.parent();
                if !unsettled.insert(path) {
                    break;
                }
            }
        }
        for chunk in loading.tags.chunks(BATCH) {
            self.tree.transact(|tx| {
                for (ino, path, new_tag) in chunk {
                    let Some(node) = tx.node(*ino)? else { continue };
                    let mut node = (*node).clone();
                    // One that was listed on its own meanwhile knows better.
                    if unsettled.contains(path) {
                        // Also one whose own listing said all: the walk has to come by.
                        node.forget_tag();
                    }
                    if let Body::Dir { listed: listed @ false, tag } = &mut node.body {
                        *listed = true;
                        *tag = new_tag.clone().filter(|_| !unsettled.contains(path));
                    }
                    tx.put(node)?;
                }
                Ok::<_, TreeError>(())
            })?;
        }
        Ok(())
    }

    /// One listing for each directory that was never listed, several at once: where `Depth: infinity`
    /// is refused, and for the few that a walk leaves. A program's own listing does not wait for any
    /// of these.
    pub(super) async fn load_by_levels(&self) -> Result<(), PullError> {
        let mut tried = HashSet::new();
        loop {
            let mut progress = false;
            let mut after = Ino::default();
            loop {
                let mut page = self.tree.view(|tx| tx.unlisted(after, BATCH))?;
                let Some(last) = page.last() else { break };
                after = last.ino;
                page.retain(|dir| dir.synced.is_some() || dir.is_root());
                page.retain(|dir| tried.insert(dir.ino));
                progress |= !page.is_empty();
                let list = |dir: Arc<Node>| self.list_now(dir.ino);
                let mut listings = stream::iter(page).map(list).buffer_unordered(PARALLEL);
                while let Some(listed) = listings.next().await {
                    match listed {
                        Err(PullError::Remote(error)) if is_about_one(&error) => {}
                        listed => listed?,
                    }
                }
            }
            if !progress {
                return Ok(());
            }
        }
    }
}
