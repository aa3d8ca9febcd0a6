//! Deletions: conditional for files; for directories only after a look at all that is in them.
//!
//! The server has no condition for a directory (FACTS 0.10), so between the look and the DELETE
//! somebody may still add a file; the server's trash bin is the net below that.
//!
//! The root of a received share is deleted without a look at what is in it: that leaves the share,
//! and its owner keeps everything.

use std::collections::HashMap;

use super::{Pusher, StepError};
use crate::remote::{Entry, Look, RemoteError};
use crate::sync::{Event, settle};
use crate::tree::{Node, TreeError, Tx};
use crate::types::{Ino, RemotePath};

impl Pusher {
    pub(super) async fn delete(&self, ino: Ino) -> Result<(), StepError> {
        let (node, path) = self.tree.view(|tx| Ok((tx.node(ino)?, tx.synced_path(ino)?)))?;
        let (Some(node), Some(path)) = (node, path) else { return Err(StepError::Outdated) };
        if node.is_dir() {
            // Programs may have files of the tree open.
            for open in self.tree.view(|tx| files_below(tx, node.ino))? {
                self.keep(open).await?;
            }
            if self.is_share(&node, &path).await? {
                return match self.remote.delete(&path, None).await {
                    Ok(()) | Err(RemoteError::NotFound) => self.settle_gone(node.ino),
                    Err(error) => Err(error.into()),
                };
            }
            self.delete_dir(&node, &path).await
        } else {
            self.delete_file(&node, &path).await
        }
    }

    async fn delete_file(&self, node: &Node, path: &RemotePath) -> Result<(), StepError> {
        let Some(synced) = &node.synced else { return Err(StepError::Outdated) };
        self.keep(node.ino).await?;
        if synced.racy || synced.version.etag.is_none() {
            // Its tag may hide a later content.
            match self.remote.look(path).await {
                Ok(look) if !synced.version.agrees(&look.entry.version) => {
                    return self.mark_changed(node.ino, look.entry.version);
                }
                Ok(_) => {}
                Err(RemoteError::NotFound) => return self.settle_gone(node.ino),
                Err(error) => return Err(error.into()),
            }
        }
        match self.remote.delete(path, synced.version.etag.as_ref()).await {
            Ok(()) | Err(RemoteError::NotFound) => self.settle_gone(node.ino),
            Err(RemoteError::PreconditionFailed { .. }) => match self.remote.look(path).await {
                Ok(look) => self.mark_changed(node.ino, look.entry.version),
                Err(RemoteError::NotFound) => self.settle_gone(node.ino),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn settle_gone(&self, ino: Ino) -> Result<(), StepError> {
        self.health.answered();
        self.tree.transact(|tx| settle::gone(tx, ino))?;
        Ok(())
    }

    /// Whether the directory is the root of a received share, and still the one that was removed:
    /// its DELETE then takes nothing from anybody (FACTS 0.12), whatever others have put in since.
    async fn is_share(&self, node: &Node, path: &RemotePath) -> Result<bool, StepError> {
        let Some(synced) = node.synced.as_ref().filter(|synced| synced.mount_root) else {
            return Ok(false);
        };
        match self.remote.look(path).await {
            Ok(Look { entry, .. }) => {
                let same = entry.version.file_id == synced.version.file_id;
                Ok(entry.is_dir && entry.mount_root && same)
            }
            // If it is gone, the walk sees that. If this was one moment only, what is in it must not
            // be taken for somebody's additions to a directory of ours: that would be deleted for
            // its owner, file by file.
            Err(RemoteError::NotFound) => Err(StepError::Outdated),
            Err(error) => Err(error.into()),
        }
    }

    async fn delete_dir(&self, node: &Node, path: &RemotePath) -> Result<(), StepError> {
        let entries = match self.list_below(path).await {
            Ok(entries) => entries,
            Err(RemoteError::NotFound) => return self.settle_gone(node.ino),
            Err(RemoteError::NotADirectory) => {
                // Somebody removed it and put a file in its place, which is not ours to delete.
                self.look.notify_one();
                return self.settle_gone(node.ino);
            }
            Err(error) => return Err(error.into()),
        };
        let mut known = self.tree.view(|tx| {
            let mut known = HashMap::new();
            collect(tx, node.ino, path, &mut known)?;
            Ok(known)
        })?;
        let mut foreign = Vec::new();
        for entry in entries {
            match known.remove(&key(&entry.path)) {
                // A share that was put in since is not ours to leave.
                Some((_, is_dir)) if is_dir && entry.is_dir && !entry.mount_root => {}
                Some((known, _))
                    if known.synced.as_ref().is_some_and(|synced| {
                        !entry.is_dir && synced.version.agrees(&entry.version)
                    }) => {}
                _ => foreign.push(entry),
            }
        }
        if foreign.is_empty() {
            return match self.remote.delete(path, None).await {
                Ok(()) | Err(RemoteError::NotFound) => self.settle_gone(node.ino),
                Err(error) => Err(error.into()),
            };
        }
        // Somebody put something in or changed something: that stays, and so the directories above
        // it; what was removed besides is deleted one by one, by the steps that follow.
        tracing::info!("a removed directory was changed on the server: what changed stays");
        let foreign: Vec<Entry> = foreign;
        let revived = self.tree.transact(|tx| revive(tx, node.ino, path, &foreign))?;
        for event in revived {
            self.tell(event);
        }
        self.look.notify_one();
        Ok(())
    }
}

/// Paths as the server compares them: NFC.
fn key(path: &RemotePath) -> Vec<crate::types::NameKey> {
    path.0.iter().map(crate::types::Name::key).collect()
}

type Known = HashMap<Vec<crate::types::NameKey>, (std::sync::Arc<Node>, bool)>;

fn collect(
    tx: &mut Tx<'_>,
    dir: Ino,
    path: &RemotePath,
    known: &mut Known,
) -> Result<(), TreeError> {
    for child in tx.synced_children(dir)? {
        let Some(synced) = &child.synced else { continue };
        let child_path = path.join(&synced.place.name);
        if child.is_dir() {
            collect(tx, child.ino, &child_path, known)?;
        }
        known.insert(key(&child_path), (child.clone(), child.is_dir()));
    }
    Ok(())
}

fn files_below(tx: &mut Tx<'_>, dir: Ino) -> Result<Vec<Ino>, TreeError> {
    let mut files = Vec::new();
    for child in tx.synced_children(dir)? {
        if child.is_dir() {
            files.extend(files_below(tx, child.ino)?);
        } else {
            files.push(child.ino);
        }
    }
    Ok(files)
}

/// Brings the removed directories back that lead to what is not ours to delete.
///
/// Their place may have been taken here meanwhile: then the plan's ordinary conflict rules hold once
/// the directory is listed again.
fn revive(
    tx: &mut Tx<'_>,
    top: Ino,
    top_path: &RemotePath,
    foreign: &[Entry],
) -> Result<Vec<Event>, TreeError> {
    let mut events = Vec::new();
    // A share is left before the removed directory around it goes: where it stays, so does that.
    let mut around = Vec::new();
    let mut above = tx.node(top)?;
    while let Some(synced) = above.as_ref().and_then(|node| node.synced.as_ref()) {
        let dir = synced.place.parent;
        above = tx.node(dir)?.filter(|dir| dir.is_tombstone());
        around.extend(above.as_ref().map(|_| dir));
    }
    for dir in around.into_iter().rev() {
        revive_one(tx, dir, &mut events)?;
    }
    for entry in foreign {
        let mut at = top;
        let below = &entry.path.0[top_path.0.len().min(entry.path.0.len())..];
        revive_one(tx, at, &mut events)?;
        for name in below.iter().take(below.len().saturating_sub(1)) {
            let place = crate::tree::Place::new(at, name.clone());
            let Some(child) = tx.holder(&place)?.filter(|child| child.is_dir()) else { break };
            at = child.ino;
            revive_one(tx, at, &mut events)?;
        }
    }
    Ok(events)
}

fn revive_one(tx: &mut Tx<'_>, ino: Ino, events: &mut Vec<Event>) -> Result<(), TreeError> {
    let Some(node) = tx.node(ino)? else { return Ok(()) };
    let Some(synced) = node.synced.as_ref() else { return Ok(()) };
    let place = synced.place.clone();
    if node.local.is_some() {
        return Ok(());
    }
    let mut node = (*node).clone();
    node.forget_tag();
    if tx.child(place.parent, &place.name.key())?.is_none() {
        node.local = Some(place.clone());
        events.push(Event::Entry { parent: place.parent, name: place.name });
    } else {
        // Something else has the name here: this one is let go, and found again by the next walk.
        node.synced = None;
        for child in tx.synced_children(ino)? {
            settle::gone(tx, child.ino)?;
        }
    }
    tx.put(node)
}
