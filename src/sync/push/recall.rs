//! What was sent without an answer: looked for before anything else is done about the node.
//!
//! A request that got no answer may have been carried out, wholly, in part (a torn PUT, FACTS 0.2) or
//! not at all. The row says what was sent and under which name, so this can be told after a crash,
//! too, and even when programs have renamed or removed the node since.

use futures_util::StreamExt;
use sha1::{Digest, Sha1};

use super::resolve::is_renamed;
use super::{Pusher, StepError};
use crate::content::Frozen;
use crate::remote::{Entry, PLAIN_OVERWRITE_MAX, RemoteError, Vendor};
use crate::sync::{arrive, settle};
use crate::tree::{Content, Node, Place, Sent};
use crate::types::{ByteRange, ContentId, Ino, RemotePath, Sha1Sum};

impl Pusher {
    pub(super) async fn recall(&self, ino: Ino) -> Result<(), StepError> {
        let (node, path) = self.tree.view(|tx| {
            let node = tx.node(ino)?;
            let Some(sent) = node.as_ref().and_then(|node| node.push.sent.clone()) else {
                return Ok((node, None));
            };
            let renamed = node.as_ref().is_some_and(|node| node.is_file()) && sent.is_name();
            let taken = !renamed && tx.holder(&sent.place)?.is_some_and(|holder| holder.ino != ino);
            Ok((node, if taken { None } else { tx.remote_path(&sent.place)? }))
        })?;
        let Some(node) = node else { return Ok(()) };
        let (Some(sent), Some(path)) = (&node.push.sent, path) else {
            // The directory that it went into is gone with all that was in it, or another node has been
            // found to hold the name.
            return Ok(self.forget_sent(ino)?);
        };
        let entry = match self.remote.look(&path).await {
            Ok(look) => look.entry,
            Err(RemoteError::NotFound) => {
                self.health.answered();
                return Ok(self.forget_sent(ino)?);
            }
            Err(error) => return Err(error.into()),
        };
        self.health.answered();
        match node.is_dir() {
            true => self.recall_dir(&node, sent, entry),
            false if sent.is_name() => self.recall_rename(&node, &sent.place, entry).await,
            false => self.recall_file(&node, sent, &path, entry).await,
        }
    }

    fn recall_dir(&self, node: &Node, sent: &Sent, entry: Entry) -> Result<(), StepError> {
        if !entry.is_dir || node.synced.is_some() {
            return Ok(self.forget_sent(node.ino)?);
        }
        // Ours, or one that somebody made at the same time: one directory in either case.
        let synced = arrive::synced(sent.place.clone(), &entry, ContentId(0), None);
        self.tree.transact(|tx| settle::adopted(tx, node.ino, synced))?;
        self.look.notify_one();
        Ok(())
    }

    /// A file was to get this name, maybe in place of another one.
    async fn recall_rename(&self, node: &Node, to: &Place, there: Entry) -> Result<(), StepError> {
        let from = self.tree.view(|tx| tx.synced_path(node.ino))?;
        let source = match from {
            Some(from) => self.rename_target(&from).await?,
            None => None,
        };
        if !is_renamed(node, source.as_ref(), &there) {
            return Ok(self.forget_sent(node.ino)?);
        }
        self.tree.transact(|tx| {
            let replaced = tx.holder(to)?.map(|holder| holder.ino).filter(|ino| *ino != node.ino);
            settle::moved(tx, node.ino, to, replaced)
        })?;
        Ok(())
    }

    async fn recall_file(
        &self,
        node: &Node,
        sent: &Sent,
        path: &RemotePath,
        entry: Entry,
    ) -> Result<(), StepError> {
        let staged = matches!(node.content(), Some(Content::Staged { .. }));
        let alive = node.local.is_some() && staged;
        if self.is_sent(sent, path, &entry).await? {
            if alive {
                let frozen = self.contents.freeze(node.ino).await?;
                if frozen.sum == sent.sum {
                    return self.settle_upload(node, &sent.place, entry.version, &frozen, false);
                }
            }
            // Changed again since, or removed: what was sent is the base of that.
            return self.settle_older(node, &sent.place, entry.version);
        }
        let before = node.synced.as_ref().map(|synced| &synced.version);
        if !entry.is_dir && before.is_some_and(|before| before.agrees(&entry.version)) {
            return Ok(self.forget_sent(node.ino)?);
        }
        let short = !entry.is_dir
            && entry.version.size < sent.size
            && self.can_tear(sent.size, node.synced.is_some());
        if short && alive {
            let frozen = self.contents.freeze(node.ino).await?;
            if frozen.sum == sent.sum && self.is_prefix(path, &entry, &frozen).await? {
                // Our own torn write: replaced, on condition of its present tag.
                return self.settle_torn(node, sent, entry);
            }
        }
        if node.synced.is_none() {
            return Ok(self.forget_sent(node.ino)?);
        }
        self.mark_changed(node.ino, entry.version)?;
        Ok(self.forget_sent(node.ino)?)
    }

    /// Whether a PUT that was cut may have left a part of itself.
    pub(super) fn can_tear(&self, size: u64, over_existing: bool) -> bool {
        match self.remote.capabilities().vendor {
            // It puts new files together aside, and larger overwrites are chunked uploads.
            Vendor::Nextcloud => over_existing && size <= PLAIN_OVERWRITE_MAX,
            Vendor::Owncloud | Vendor::Webdav => true,
        }
    }

    /// What a torn write left is the base of the next attempt.
    fn settle_torn(&self, node: &Node, sent: &Sent, entry: Entry) -> Result<(), StepError> {
        let content = ContentId(self.tree.allocate_id()?);
        self.tree.transact(|tx| {
            let Some(now) = tx.node(node.ino)? else { return Ok(()) };
            let mut now = (*now).clone();
            match &mut now.synced {
                Some(synced) => {
                    synced.version = entry.version.clone();
                    synced.racy = false;
                }
                None => {
                    let place = sent.place.clone();
                    now.synced = Some(arrive::synced(place, &entry, content, None));
                }
            }
            now.remote = None;
            now.push.sent = None;
            tx.put(now)
        })?;
        Ok(())
    }

    /// Whether what the server holds is how the frozen bytes begin.
    async fn is_prefix(
        &self,
        path: &RemotePath,
        entry: &Entry,
        frozen: &Frozen,
    ) -> Result<bool, StepError> {
        let theirs = self.fetch_sum(path, entry).await?;
        let range = ByteRange::new(0, entry.version.size);
        let mut ours = frozen.source.read(range);
        let mut hash = Sha1::new();
        while let Some(bytes) = ours.next().await {
            hash.update(&bytes.map_err(|error| RemoteError::Source(error.to_string()))?);
        }
        Ok(Sha1Sum(hash.finalize().into()) == theirs)
    }
}
