//! Merging what a listing says into the tree, inside one transaction for each listing.
//!
//! What can be said from one listing alone is merged at once. What cannot is put off to the end of
//! the walk ([`Pending`]): a name that is missing may have been renamed into a directory that is
//! listed later, and a file id that we know elsewhere may be a rename or a second way to a share.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::content::Contents;
use crate::remote::{Entry, NameRules};
use crate::sync::overlap::{Observation, Subject};
use crate::sync::{Event, arrive, conflict, plan, settle};
use crate::tree::{Body, Content, Node, Place, Sent, Synced, Tree, TreeError, Tx};
use crate::types::{ContentId, Ino, NameKey, Time, Version};

/// What merging needs besides the transaction.
pub struct Merge<'a> {
    pub tree: &'a Tree,
    pub contents: &'a dyn Contents,
    pub rules: &'a NameRules,
    pub now: Time,
    /// The server's clock at the listing.
    pub server_time: Option<i64>,
    /// What programs may still see and is no longer true.
    pub events: Vec<Event>,
    /// Files whose only copy is here now, in the cache: to be kept after the transaction.
    pub orphaned: Vec<Ino>,
}

/// An entry that was seen under a name.
#[derive(Clone, Debug)]
pub struct Seen {
    pub place: Place,
    pub entry: Entry,
    pub server_time: Option<i64>,
}

/// What only the whole walk can decide.
#[derive(Default)]
pub struct Pending {
    /// Nodes that were not under their name any more.
    pub absent: Vec<Ino>,
    /// Entries with a file id of a node that was elsewhere when we last agreed.
    pub arrived: Vec<Seen>,
    /// Entries with another file id or kind than the node under that name.
    pub replaced: Vec<(Ino, Seen)>,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        self.absent.len() + self.arrived.len() + self.replaced.len()
    }
}

/// A node that left its name and turned up under another.
struct Moved {
    ino: Ino,
    /// As it was when it left.
    synced: Option<Synced>,
    seen: Seen,
    /// A step put it aside, and we did not hear of it.
    by_us: bool,
}

/// What came of the listing of one directory.
#[derive(Default)]
pub struct Merged {
    /// Every child was merged, or its remote version was stored: the tag may be adopted.
    pub complete: bool,
    /// Directories among the children that the walk has to list: those whose tag is not the adopted
    /// one, and those that are new.
    pub changed_dirs: Vec<Ino>,
}

impl Merge<'_> {
    /// Merges a directory's children. `dir` must exist and be on the server.
    pub fn listing(
        &mut self,
        tx: &mut Tx<'_>,
        dir: Ino,
        entries: &[Entry],
        observation: &Observation,
        pending: &mut Pending,
    ) -> Result<Merged, TreeError> {
        let mut merged = Merged { complete: true, ..Merged::default() };
        let mut known: BTreeMap<NameKey, Arc<Node>> = BTreeMap::new();
        for child in tx.synced_children(dir)? {
            if let Some(synced) = &child.synced {
                known.insert(synced.place.name.key(), child.clone());
            }
        }
        for entry in entries {
            let Some(name) = entry.path.0.last() else { continue };
            let place = Place::new(dir, name.clone());
            let node = known.remove(&name.key());
            let blurred = observation.is_blurred(&Subject::name(&place))
                || node
                    .as_ref()
                    .is_some_and(|node| observation.is_blurred(&Subject::Node(node.ino)));
            if blurred {
                merged.complete = false;
                continue;
            }
            self.child(tx, place, entry, node, pending, &mut merged)?;
        }
        for (_, node) in known {
            let gone = node.synced.as_ref().map(|synced| Subject::name(&synced.place));
            let blurred = observation.is_blurred(&Subject::Node(node.ino))
                || gone.is_some_and(|name| observation.is_blurred(&name));
            if blurred || is_being_renamed(&node) {
                merged.complete = false;
            } else {
                pending.absent.push(node.ino);
            }
        }
        Ok(merged)
    }

    /// Merges one entry; `node` is the one that held its name when we last agreed.
    pub fn child(
        &mut self,
        tx: &mut Tx<'_>,
        place: Place,
        entry: &Entry,
        node: Option<Arc<Node>>,
        pending: &mut Pending,
        merged: &mut Merged,
    ) -> Result<(), TreeError> {
        let seen =
            || Seen { place: place.clone(), entry: entry.clone(), server_time: self.server_time };
        match node {
            Some(node) if is_same_object(&node, entry) => {
                merged.complete &= self.same(tx, &node, &place, entry)?;
                let now = tx.node(node.ino)?;
                let now = now.as_ref().unwrap_or(&node);
                // Where no tag says so, one that was removed here is for the step that deletes it.
                let removed = node.local.is_none() && entry.version.etag.is_none();
                if node.is_listed() && arrive::is_stale(now, entry) && !removed {
                    merged.changed_dirs.push(node.ino);
                }
                // Removed here: until the server agrees the directory is looked into again.
                merged.complete &= !(node.is_dir() && node.local.is_none());
            }
            // Maybe by a rename of ours: its own step finds out.
            Some(_) if tx.sender(&place)?.is_some_and(|sender| is_being_renamed(&sender)) => {
                merged.complete = false;
            }
            Some(node) => pending.replaced.push((node.ino, seen())),
            // The step that deletes the directory finds it, and gives the directory back.
            None if is_removed(tx, place.parent)? => merged.complete = false,
            None => {
                let elsewhere = match &entry.version.file_id {
                    Some(id) => !tx.by_file_id(id)?.is_empty(),
                    None => plan::put_aside(tx, &place)?.is_some(),
                };
                if elsewhere {
                    pending.arrived.push(seen());
                } else {
                    merged.complete &= self.fresh(tx, &place, entry)?;
                    if entry.is_dir
                        && let Some(dir) = tx.holder(&place)?
                    {
                        merged.changed_dirs.push(dir.ino);
                    }
                }
            }
        }
        Ok(())
    }

    /// Decides what the walk had to put off, now that every changed directory was listed and the
    /// root's tag is the same as at the start. Returns whether everything was merged.
    pub fn settle(&mut self, tx: &mut Tx<'_>, pending: Pending) -> Result<bool, TreeError> {
        let mut complete = true;
        let leaving: Vec<Ino> = pending
            .absent
            .iter()
            .copied()
            .chain(pending.replaced.iter().map(|(ino, _)| *ino))
            .collect();
        // Renames first: what left one name and turned up under another. All are taken out of their
        // names before any is put into its new one.
        let mut moved = Vec::new();
        let mut held = Vec::new();
        let mut arrived = Vec::new();
        for seen in pending.arrived {
            let put_aside = plan::put_aside(tx, &seen.place)?;
            let candidates = match &seen.entry.version.file_id {
                Some(id) => tx.by_file_id(id)?,
                None => {
                    put_aside.iter().filter(|node| is_same(node, &seen.entry)).cloned().collect()
                }
            };
            let mover = candidates.into_iter().find(|node| {
                leaving.contains(&node.ino)
                    && node.is_dir() == seen.entry.is_dir
                    && !moved.iter().any(|moved: &Moved| moved.ino == node.ino)
            });
            match mover {
                Some(node) if is_removed(tx, seen.place.parent)? => {
                    // Moved into what was removed here: it stays where it was for now.
                    held.push(node.ino);
                    complete = false;
                }
                Some(node) => {
                    let synced = node.synced.clone();
                    tx.put_detached(Node { synced: None, ..(*node).clone() })?;
                    let by_us = put_aside.is_some_and(|aside| aside.ino == node.ino);
                    moved.push(Moved { ino: node.ino, synced, seen, by_us });
                }
                None => arrived.push(seen),
            }
        }
        let has_moved =
            |ino: &Ino| held.contains(ino) || moved.iter().any(|moved| moved.ino == *ino);
        for ino in pending.absent.iter().filter(|ino| !has_moved(ino)) {
            self.vanished(tx, *ino)?;
        }
        let mut fresh = Vec::new();
        for (ino, seen) in pending.replaced {
            if held.contains(&ino) {
                continue;
            }
            match tx.node(ino)?.filter(|_| !has_moved(&ino)) {
                Some(node) if node.is_dir() == seen.entry.is_dir => {
                    self.server_time = seen.server_time;
                    complete &= self.same(tx, &node, &seen.place, &seen.entry)?;
                    if let Some(dir) = tx.node(ino)?.filter(|node| node.is_dir()) {
                        // Another directory: what is in it is not known to be the same.
                        let mut dir = (*dir).clone();
                        dir.forget_tag();
                        tx.put(dir)?;
                        complete = false;
                    }
                }
                Some(_) => {
                    self.vanished(tx, ino)?;
                    fresh.push(seen);
                }
                None => fresh.push(seen),
            }
        }
        for moved in moved {
            complete &= self.relocate(tx, moved)?;
        }
        for seen in arrived.into_iter().chain(fresh) {
            self.server_time = seen.server_time;
            complete &= self.fresh(tx, &seen.place, &seen.entry)?;
        }
        Ok(complete)
    }

    /// The same object as when we last agreed, maybe with another content.
    fn same(
        &mut self,
        tx: &mut Tx<'_>,
        node: &Node,
        place: &Place,
        entry: &Entry,
    ) -> Result<bool, TreeError> {
        let Some(synced) = &node.synced else { return Ok(false) };
        let racy = !entry.is_dir && arrive::is_racy(&entry.version, self.server_time);
        if node.is_dir() || synced.version.agrees(&entry.version) {
            let now = arrive::synced(place.clone(), entry, synced.content, self.server_time);
            let now = Synced { bumped: synced.bumped, ..now };
            if now != *synced || node.remote.is_some() {
                let permitted = now.permissions != synced.permissions;
                let now = Node { synced: Some(now), remote: None, ..node.clone() };
                tx.put(now.clone())?;
                if permitted {
                    self.permitted(tx, node, now)?;
                }
            }
            return Ok(!racy);
        }
        if node.content_differs() || node.local.is_none() {
            tx.put(Node { remote: Some(entry.version.clone()), ..node.clone() })?;
            return Ok(!racy);
        }
        if is_same_content(&synced.version, &entry.version) {
            let mut node = node.clone();
            arrive::take(&mut node, place, entry, synced.content, self.server_time, self.now);
            node.mtime_set = false;
            self.events.push(Event::Attributes(node.ino));
            tx.put(node)?;
            return Ok(!racy);
        }
        if self.tree.pins().has_writer(node.ino) {
            // What the writer writes next is based on what it opened: that makes it a conflict, and
            // both are kept. If it writes nothing, the walk after its last close takes this.
            return Ok(false);
        }
        let content = ContentId(tx.allocate_id()?);
        if self.tree.pins().is_open(node.ino) {
            // Open handles keep their version, and the name gets a new node.
            let local = node.local.clone();
            tx.put(Node { local: None, synced: None, remote: None, ..node.clone() })?;
            let owner = arrive::Owner::of(tx)?;
            let mut new = arrive::node(place, entry, content, self.server_time, &owner, self.now);
            new.attr.mode = node.attr.mode;
            new.attr.uid = node.attr.uid;
            new.attr.gid = node.attr.gid;
            new.local = local.clone();
            tx.insert(new)?;
            let local = local.unwrap_or_else(|| place.clone());
            self.events.push(Event::Entry { parent: local.parent, name: local.name });
            return Ok(!racy);
        }
        let mut node = node.clone();
        let before = synced.content;
        arrive::take(&mut node, place, entry, content, self.server_time, self.now);
        node.mtime_set = false;
        self.events.push(Event::Content(node.ino));
        tx.put(node)?;
        self.contents.forget(before);
        Ok(!racy)
    }

    /// An object that nobody here has seen before.
    fn fresh(&mut self, tx: &mut Tx<'_>, place: &Place, entry: &Entry) -> Result<bool, TreeError> {
        if is_removed(tx, place.parent)? || tx.sender(place)?.is_some() {
            // Their own steps find it: one that looks whether a lost request made it.
            return Ok(false);
        }
        let racy = !entry.is_dir && arrive::is_racy(&entry.version, self.server_time);
        if let Some(other) = tx.child(place.parent, &place.name.key())? {
            if other.is_dir() && entry.is_dir && other.synced.is_none() {
                let synced = arrive::synced(place.clone(), entry, ContentId(0), self.server_time);
                settle::adopted(tx, other.ino, synced)?;
                return Ok(true);
            }
            if other.is_syncable() {
                // Its own push meets the object and resolves the conflict, with its bytes at hand.
                return Ok(false);
            }
            self.step_aside(tx, &other)?;
        }
        let content = ContentId(tx.allocate_id()?);
        let owner = arrive::Owner::of(tx)?;
        tx.insert(arrive::node(place, entry, content, self.server_time, &owner, self.now))?;
        self.events.push(Event::Entry { parent: place.parent, name: place.name.clone() });
        Ok(!racy)
    }

    /// Gives up a name here for what the server holds under it.
    fn step_aside(&mut self, tx: &mut Tx<'_>, node: &Node) -> Result<(), TreeError> {
        let Some(place) = &node.local else { return Ok(()) };
        let copy = conflict::copy_place(tx, place, self.now, self.rules)?;
        for place in [place, &copy] {
            self.events.push(Event::Entry { parent: place.parent, name: place.name.clone() });
        }
        let mut node = node.clone();
        node.local = Some(copy);
        node.push.changed = self.now;
        tx.put(node)
    }

    /// Takes directories that were moved here into `ino` back to where the server has them, as far as
    /// `ino` is to go below them: else each would be inside the other.
    fn untangle(&mut self, tx: &mut Tx<'_>, ino: Ino, parent: Ino) -> Result<(), TreeError> {
        loop {
            let mut moved_in = None;
            let mut at = parent;
            while at != ino {
                let Some(node) = tx.node(at)? else { return Ok(()) };
                let Some(local) = node.local.clone() else { return Ok(()) };
                at = local.parent;
                if node.synced.is_some() && node.place_differs() {
                    moved_in = Some(node);
                }
            }
            let Some(node) = moved_in else { return Ok(()) };
            let (Some(before), Some(synced)) = (node.local.clone(), node.synced.clone()) else {
                return Ok(());
            };
            if let Some(other) = tx.child(synced.place.parent, &synced.place.name.key())? {
                self.step_aside(tx, &other)?;
            }
            for place in [&before, &synced.place] {
                self.events.push(Event::Entry { parent: place.parent, name: place.name.clone() });
            }
            tx.put(Node { local: Some(synced.place), ..(*node).clone() })?;
        }
    }

    /// Renamed on the server: programs see it under the new name, whatever they renamed it to; but not
    /// what a step of ours put aside there.
    fn relocate(&mut self, tx: &mut Tx<'_>, moved: Moved) -> Result<bool, TreeError> {
        let Moved { ino, synced, seen, by_us } = moved;
        let Some(node) = tx.node(ino)? else { return Ok(false) };
        let mut node = (*node).clone();
        let Some(mut synced) = synced else { return Ok(false) };
        synced.place = seen.place.clone();
        node.synced = Some(synced);
        if let Some(before) = node.local.clone().filter(|_| !by_us) {
            self.untangle(tx, ino, seen.place.parent)?;
            if let Some(other) = tx.child(seen.place.parent, &seen.place.name.key())?
                && other.ino != ino
            {
                self.step_aside(tx, &other)?;
            }
            node.local = Some(seen.place.clone());
            for place in [&before, &seen.place] {
                self.events.push(Event::Entry { parent: place.parent, name: place.name.clone() });
            }
        }
        tx.put(node)?;
        self.server_time = seen.server_time;
        let Some(node) = tx.node(ino)? else { return Ok(false) };
        // A directory that was changed, too, is listed by the next walk.
        let as_before = !node.is_dir() || !arrive::is_stale(&node, &seen.entry);
        Ok(self.same(tx, &node, &seen.place, &seen.entry)? && as_before)
    }

    /// Deleted on the server. What was changed here stays, and goes there again.
    fn vanished(&mut self, tx: &mut Tx<'_>, ino: Ino) -> Result<(), TreeError> {
        let Some(node) = tx.node(ino)? else { return Ok(()) };
        if node.is_dir() {
            for child in tx.synced_children(ino)? {
                self.vanished(tx, child.ino)?;
            }
        }
        let mut node = (*node).clone();
        let content = node.synced.as_ref().map(|synced| synced.content);
        let renamed = node.place_differs() && node.local.is_some();
        let wanted = match &node.body {
            Body::Dir { .. } => node.local.is_some() && tx.has_children(ino)?,
            // Renamed here, deleted there: kept if the bytes are here.
            Body::File(Content::Remote(_)) => renamed && self.contents.is_here(&node),
            Body::File(_) => node.local.is_some(),
            _ => true,
        };
        node.synced = None;
        node.remote = None;
        node.push.sent = None;
        if wanted {
            if matches!(node.content(), Some(Content::Remote(_))) {
                self.orphaned.push(ino);
            }
            node.push.changed = self.now;
            if let Body::Dir { listed, .. } = &mut node.body {
                *listed = true;
            }
        } else if let Some(place) = node.local.take() {
            self.events.push(Event::Entry { parent: place.parent, name: place.name });
        }
        let open = self.tree.pins().is_open(ino);
        tx.put(node)?;
        if let Some(content) = content.filter(|_| !wanted && !open) {
            self.contents.forget(content);
        }
        Ok(())
    }
}

/// Whether a directory was removed here.
fn is_removed(tx: &mut Tx<'_>, dir: Ino) -> Result<bool, TreeError> {
    Ok(tx.node(dir)?.is_some_and(|dir| dir.is_tombstone()))
}

/// Whether an entry is the object that a node held when we last agreed: by file id where there is
/// one, else by its name.
fn is_same_object(node: &Node, entry: &Entry) -> bool {
    let id = node.synced.as_ref().and_then(|synced| synced.version.file_id.as_ref());
    let same_id = match (id, &entry.version.file_id) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => true,
    };
    node.is_dir() == entry.is_dir && same_id
}

/// Whether a rename was sent for the file and no answer came: under which of the two names its object
/// is, is for the step that looks for it.
fn is_being_renamed(node: &Node) -> bool {
    node.is_file() && node.push.sent.as_ref().is_some_and(Sent::is_name)
}

/// Whether an entry can be the object that a node held, under another name: where there are no ids.
fn is_same(node: &Node, entry: &Entry) -> bool {
    node.synced.as_ref().is_some_and(|synced| entry.is_dir || synced.version.agrees(&entry.version))
}

/// Whether a version that is another one surely holds the same bytes.
fn is_same_content(before: &Version, now: &Version) -> bool {
    before.size == now.size
        && matches!((before.checksum, now.checksum), (Some(Some(a)), Some(Some(b))) if a == b)
}
