//! Both sides changed: equal content is no conflict; else the server's content keeps the name and
//! ours goes to a conflict copy, which is uploaded too. A delete never wins against a change.

use futures_util::StreamExt;
use sha1::{Digest, Sha1};

use super::{Pusher, StepError};
use crate::content::Frozen;
use crate::remote::{Entry, RemoteError};
use crate::sync::{Event, arrive, conflict, settle};
use crate::tree::{Node, Place, Sent, TreeError};
use crate::types::{ContentId, Ino, RemotePath, Sha1Sum};

/// Files up to this size are fetched to find out whether both sides wrote the same. Bytes.
const COMPARED: u64 = 64 * 1024 * 1024;

impl Pusher {
    /// A directory was to be created and the name is taken.
    pub(super) async fn name_taken(
        &self,
        node: &Node,
        place: &Place,
        path: &RemotePath,
    ) -> Result<(), StepError> {
        let entry = match self.remote.look(path).await {
            Ok(look) => look.entry,
            Err(RemoteError::NotFound) => return Err(StepError::Outdated),
            Err(error) => return Err(error.into()),
        };
        self.health.answered();
        if !entry.is_dir {
            return self.yield_name(node.ino, place, entry);
        }
        // Both made a directory: one directory. Its children are not known.
        let synced = arrive::synced(place.clone(), &entry, ContentId(0), None);
        self.tree.transact(|tx| settle::adopted(tx, node.ino, synced.clone()))?;
        self.look.notify_one();
        Ok(())
    }

    /// A file was to be stored and its condition did not hold.
    pub(super) async fn put_refused(
        &self,
        node: &Node,
        place: &Place,
        path: &RemotePath,
        frozen: &Frozen,
        sent: &Sent,
    ) -> Result<(), StepError> {
        let entry = match self.remote.look(path).await {
            Ok(look) => look.entry,
            Err(RemoteError::NotFound) => {
                // Deleted there, changed here: it is created again.
                self.tree.transact(|tx| settle::gone(tx, node.ino))?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.health.answered();
        if self.is_sent(sent, path, &entry).await? {
            return self.settle_upload(node, place, entry.version, frozen, false);
        }
        self.resolve_content(node, place, path, entry, frozen).await
    }

    /// The server was seen to hold another content than the one that the changes here are based on.
    pub(super) async fn resolve_changed(&self, ino: Ino) -> Result<(), StepError> {
        let (node, place, path) = self.target(ino)?;
        let entry = match self.remote.look(&path).await {
            Ok(look) => look.entry,
            Err(RemoteError::NotFound) => {
                self.tree.transact(|tx| settle::gone(tx, ino))?;
                self.look.notify_one();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.health.answered();
        let back = node.synced.as_ref().is_some_and(|synced| {
            !entry.is_dir && node.is_file() && synced.version.agrees(&entry.version)
        });
        if back {
            self.tree.transact(|tx| match tx.node(ino)? {
                Some(node) => tx.put(Node { remote: None, ..(*node).clone() }),
                None => Ok(()),
            })?;
            return Ok(());
        }
        if node.local.is_none() || !node.content_differs() {
            return self.take_theirs(ino, &place, entry);
        }
        // Written into a content that is gone on the server: then this fails, the node is blocked,
        // and the server is left alone.
        let frozen = self.contents.freeze(ino).await?;
        if entry.is_dir {
            return self.yield_name(ino, &place, entry);
        }
        self.resolve_content(&node, &place, &path, entry, &frozen).await
    }

    /// Nothing of the file's content here is wanted: what the server holds is shown again.
    fn take_theirs(&self, ino: Ino, place: &Place, entry: Entry) -> Result<(), StepError> {
        let content = ContentId(self.tree.allocate_id()?);
        let events = self.tree.transact(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok(Some(Vec::new())) };
            let mut node = (*node).clone();
            if node.local.is_some()
                && (node.content_differs() || self.tree.pins().has_writer(node.ino))
            {
                // Written, or about to be, since the server was asked: that makes it a conflict.
                return Ok(None);
            }
            let open = self.tree.pins().is_open(ino);
            let mut events = Vec::new();
            let same_kind = entry.is_dir == node.is_dir();
            if open || !same_kind {
                // Those who have it open keep their bytes; the name leads to another node.
                settle::gone(tx, ino)?;
                if node.local.as_ref().is_some_and(|local| local.same(place))
                    && let Some(now) = tx.node(ino)?
                {
                    tx.put(Node { local: None, ..(*now).clone() })?;
                }
                events.extend(self.show(tx, place, &entry, content)?);
                return Ok(Some(events));
            }
            let removed = node.local.is_none();
            if removed && tx.node(place.parent)?.is_some_and(|dir| dir.is_tombstone()) {
                // Its directory was removed meanwhile, whose turn settles the rest.
                return Ok(Some(events));
            }
            if removed && tx.child(place.parent, &place.name.key())?.is_some() {
                // The name has another owner here, whose turn settles the rest.
                settle::gone(tx, ino)?;
                return Ok(Some(events));
            }
            if removed {
                node.local = Some(place.clone());
                events.push(Event::Entry { parent: place.parent, name: place.name.clone() });
            }
            arrive::take(&mut node, place, &entry, content, None, self.clock.now());
            node.remote = None;
            node.mtime_set = false;
            tx.put(node)?;
            events.push(Event::Content(ino));
            Ok::<_, TreeError>(Some(events))
        })?;
        for event in events.ok_or(StepError::Outdated)? {
            self.tell(event);
        }
        self.look.notify_one();
        Ok(())
    }

    /// Decides between two contents of one name.
    async fn resolve_content(
        &self,
        node: &Node,
        place: &Place,
        path: &RemotePath,
        entry: Entry,
        frozen: &Frozen,
    ) -> Result<(), StepError> {
        let ours = frozen.source.size();
        let theirs = entry.version.size;
        if !entry.is_dir && theirs == ours && theirs <= COMPARED {
            let same = match entry.version.checksum.flatten() {
                Some(sum) if sum == frozen.sum => true,
                _ => self.fetch_sum(path, &entry).await? == frozen.sum,
            };
            if same {
                return self.settle_upload(node, place, entry.version, frozen, false);
            }
        }
        self.contents.keep(node.ino).await?;
        self.yield_name(node.ino, place, entry)
    }

    /// The server's object keeps the name; the node moves to the name of a conflict copy.
    fn yield_name(&self, ino: Ino, place: &Place, entry: Entry) -> Result<(), StepError> {
        let content = ContentId(self.tree.allocate_id()?);
        let now = self.clock.now();
        let rules = &self.remote.capabilities().names;
        let events = self.tree.transact(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok(Vec::new()) };
            let mut node = (*node).clone();
            let mut events = Vec::new();
            // An object that was renamed here is still ours under its old name.
            let ours = node.synced.as_ref().is_some_and(|synced| !synced.place.same(place));
            if !ours {
                node.synced = None;
                node.push.sent = None;
            }
            node.remote = None;
            if node.local.as_ref().is_some_and(|local| local.same(place)) {
                let copy = conflict::copy_place(tx, place, now, rules)?;
                events.push(Event::Entry { parent: copy.parent, name: copy.name.clone() });
                node.local = Some(copy);
            }
            node.push.changed = now;
            tx.put(node)?;
            if let Some(holder) = tx.holder(place)? {
                settle::gone(tx, holder.ino)?;
            }
            events.extend(self.show(tx, place, &entry, content)?);
            Ok::<_, TreeError>(events)
        })?;
        tracing::warn!(?ino, "both sides changed a file: both contents are kept, under two names");
        for event in events {
            self.tell(event);
        }
        self.look.notify_one();
        Ok(())
    }

    /// Shows what the server holds under a name, if the name is free here. In a directory that was
    /// removed here it is left to the step that deletes that, which finds it and gives the directory
    /// back: shown in there it would keep that step waiting for ever.
    fn show(
        &self,
        tx: &mut crate::tree::Tx<'_>,
        place: &Place,
        entry: &Entry,
        content: ContentId,
    ) -> Result<Vec<Event>, TreeError> {
        let dir = tx.node(place.parent)?;
        let removed = dir.is_none_or(|dir| !dir.is_root() && dir.local.is_none());
        if removed || tx.child(place.parent, &place.name.key())?.is_some() {
            // Nobody here knows of it until the walk comes by again.
            settle::stale_parent(tx, place.parent)?;
            return Ok(Vec::new());
        }
        let owner = arrive::Owner::of(tx)?;
        tx.insert(arrive::node(place, entry, content, None, &owner, self.clock.now()))?;
        Ok(vec![Event::Entry { parent: place.parent, name: place.name.clone() }])
    }

    pub(super) async fn rename_target(
        &self,
        path: &RemotePath,
    ) -> Result<Option<Entry>, StepError> {
        match self.remote.look(path).await {
            Ok(look) => Ok(Some(look.entry)),
            Err(RemoteError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A rename did not go through: because an earlier attempt did, because the target is taken, or
    /// because the source is not what it was.
    pub(super) async fn rename_failed(
        &self,
        ino: Ino,
        to: &Place,
        from: &RemotePath,
        target: &RemotePath,
        over: Option<Ino>,
    ) -> Result<(), StepError> {
        let Some(node) = self.tree.node(ino)? else { return Ok(()) };
        let source = self.rename_target(from).await?;
        let Some(taken) = self.rename_target(target).await? else {
            return Err(StepError::Outdated);
        };
        self.health.answered();
        if is_renamed(&node, source.as_ref(), &taken) {
            self.tree.transact(|tx| settle::moved(tx, ino, to, over))?;
            return Ok(());
        }
        let replaced = match over {
            Some(over) => self.tree.node(over)?,
            None => None,
        };
        let as_known = replaced.as_ref().is_some_and(|replaced| {
            replaced.synced.as_ref().is_some_and(|synced| synced.version.agrees(&taken.version))
        });
        if source.is_none() || as_known {
            // The target is as it was: it is the source that changed or went.
            return Err(StepError::Outdated);
        }
        if node.local.as_ref().is_some_and(|local| !local.same(to)) {
            // Put aside under a name that somebody took: another turn, another look.
            return Err(StepError::Outdated);
        }
        self.yield_name(ino, to, taken)
    }

    /// The checksum of what the server holds, by fetching it.
    pub(super) async fn fetch_sum(
        &self,
        path: &RemotePath,
        entry: &Entry,
    ) -> Result<Sha1Sum, StepError> {
        let mut body = self.remote.read(path, None, entry.version.etag.as_ref()).await?;
        let mut hash = Sha1::new();
        while let Some(bytes) = body.bytes.next().await {
            hash.update(&bytes?);
        }
        Ok(Sha1Sum(hash.finalize().into()))
    }
}

/// Whether a node's object is what was found under its new name; `source` is what has the old one.
pub(super) fn is_renamed(node: &Node, source: Option<&Entry>, there: &Entry) -> bool {
    let Some(synced) = &node.synced else { return false };
    match (&synced.version.file_id, &there.version.file_id) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => source.is_none() && (node.is_dir() || synced.version.agrees(&there.version)),
    }
}
