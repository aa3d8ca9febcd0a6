//! Uploads: whole files, conditional, recognisable when the answer is lost.

use super::{Pusher, StepError};
use crate::content::{ContentsError, Frozen};
use crate::remote::{Entry, PutIf, RemoteError, Upload, Vendor, sendable_mtime};
use crate::sync::arrive;
use crate::sync::settle::{self, Uploaded};
use crate::tree::{Node, Place, Sent, Synced, TreeError};
use crate::types::{ContentId, Ino, RemotePath, Version};

/// A true mtime this little before the one that was bumped is taken for an edit, not for a time that
/// was set on purpose. Seconds.
const BUMP_WINDOW: i64 = 3600;

impl Pusher {
    pub(super) async fn upload(&self, ino: Ino) -> Result<(), StepError> {
        let unsynced = self.tree.node(ino)?.is_some_and(|node| node.synced.is_none());
        if unsynced {
            // The only copy must not be one that may be evicted.
            self.contents.keep(ino).await?;
        }
        let frozen = self.contents.freeze(ino).await?;
        let (node, _, path) = self.target(ino)?;
        if let Some(synced) = node.synced.as_ref().filter(|synced| synced.racy)
            && !self.is_still(&node, synced, &path).await?
        {
            return Ok(());
        }
        let (node, place, path) = self.target(ino)?;
        let synced = node.synced.as_ref();
        let mtime = sendable_mtime(node.attr.mtime.secs());
        let (mtime, bumped) = match self.remote.capabilities().sets_mtime {
            true => mtime_to_send(mtime, synced),
            false => (mtime, false),
        };
        let condition = match synced {
            None => PutIf::Free,
            Some(synced) => match synced.version.etag.clone() {
                Some(etag) => PutIf::Holds(etag),
                // Without a tag nothing can be made sure of: look for one.
                None => return self.learn_tag(&node, synced, &path).await,
            },
        };
        let size = frozen.source.size();
        let sent = Sent { place: place.clone(), size, mtime, sum: frozen.sum };
        self.note_sent(&node, sent.clone())?;
        if self.can_tear(size, synced.is_some()) {
            // A power cut may cut the upload, too, and leave a part of it on the server: only this
            // note and these bytes can mend that.
            self.contents.secure(ino).await?;
        }
        let upload =
            Upload { source: frozen.source.clone(), condition, mtime, checksum: Some(frozen.sum) };
        match self.remote.put(&path, upload).await {
            Ok(version) => {
                self.health.answered();
                self.settle_upload(&node, &place, version, &frozen, bumped)
            }
            Err(RemoteError::PreconditionFailed { .. } | RemoteError::Exists) => {
                self.put_refused(&node, &place, &path, &frozen, &sent).await
            }
            Err(RemoteError::Conflict(_)) if self.is_there(&path).await? => {
                // A folder has the name.
                self.put_refused(&node, &place, &path, &frozen, &sent).await
            }
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

    /// The server has the frozen bytes under `place` as `version`.
    pub(super) fn settle_upload(
        &self,
        node: &Node,
        place: &Place,
        version: Version,
        frozen: &Frozen,
        bumped: bool,
    ) -> Result<(), StepError> {
        let content = ContentId(self.tree.allocate_id()?);
        let before = node.synced.as_ref().map(|synced| synced.content);
        self.contents.settle(node.ino, frozen, content, &mut |unchanged| {
            let answer = Uploaded { version: version.clone(), content, unchanged, bumped };
            self.tree.transact(|tx| settle::uploaded(tx, node.ino, place, answer))
        })?;
        if let Some(before) = before {
            self.contents.forget(before);
        }
        Ok(())
    }

    /// The server has an upload of ours, but the bytes here may be others by now: they stay dirty, on
    /// the base that was sent.
    pub(super) fn settle_older(
        &self,
        node: &Node,
        place: &Place,
        version: Version,
    ) -> Result<(), StepError> {
        let content = ContentId(self.tree.allocate_id()?);
        self.tree.transact(|tx| {
            let answer = Uploaded { version, content, unchanged: false, bumped: false };
            settle::uploaded(tx, node.ino, place, answer)
        })?;
        Ok(())
    }

    /// Whether what the server holds is what was sent there. Where neither a checksum nor the
    /// modification time tells, its content does.
    pub(super) async fn is_sent(
        &self,
        sent: &Sent,
        path: &RemotePath,
        entry: &Entry,
    ) -> Result<bool, StepError> {
        let told = match entry.version.checksum {
            Some(Some(_)) => true,
            // A listing without one means something only where every client's is kept.
            Some(None) => self.remote.capabilities().vendor == Vendor::Nextcloud,
            None => false,
        };
        if entry.is_dir || entry.version.size != sent.size || (told && !sent.is(&entry.version)) {
            return Ok(false);
        }
        Ok(told || self.fetch_sum(path, entry).await? == sent.sum)
    }

    async fn is_there(&self, path: &RemotePath) -> Result<bool, StepError> {
        match self.remote.look(path).await {
            Ok(_) => Ok(true),
            Err(RemoteError::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down what is about to be sent, so that it is recognised whatever happens next.
    /// Fails when the node is not what the step was planned for any more.
    pub(super) fn note_sent(&self, planned: &Node, sent: Sent) -> Result<(), StepError> {
        self.tree.transact(|tx| {
            let node = tx.node(planned.ino)?.ok_or(ContentsError::Changed)?;
            if node.local != planned.local || node.synced != planned.synced {
                return Err(ContentsError::Changed.into());
            }
            let mut node = (*node).clone();
            node.push.sent = Some(sent);
            tx.put(node)?;
            Ok(())
        })
    }

    /// Forgets what was sent, if the error says that nothing came of it.
    pub(super) fn unless_unknown(&self, ino: Ino, error: &RemoteError) -> Result<(), TreeError> {
        // A lock may be that of our own lost request (FACTS 18).
        let unknown = error.outcome_unknown() || matches!(error, RemoteError::Locked);
        if unknown { Ok(()) } else { self.forget_sent(ino) }
    }

    pub(super) fn forget_sent(&self, ino: Ino) -> Result<(), TreeError> {
        self.tree.transact(|tx| {
            let Some(node) = tx.node(ino)?.filter(|node| node.push.sent.is_some()) else {
                return Ok(());
            };
            let mut node = (*node).clone();
            node.push.sent = None;
            tx.put(node)
        })
    }

    /// The base was seen so soon after it was written that its tag may also be that of a later
    /// content (FACTS 0.1): looks whether it is still what we know. If not, that is written down,
    /// and the node's turn has ended.
    pub(super) async fn is_still(
        &self,
        node: &Node,
        synced: &Synced,
        path: &RemotePath,
    ) -> Result<bool, StepError> {
        let look = match self.remote.look(path).await {
            Ok(look) => look,
            // Deleted, or renamed and maybe back in a moment, changed: not to be relied upon.
            Err(RemoteError::NotFound) => return Err(StepError::Outdated),
            Err(error) => return Err(error.into()),
        };
        if look.entry.is_dir || !synced.version.agrees(&look.entry.version) {
            self.look.notify_one();
            self.mark_changed(node.ino, look.entry.version)?;
            return Ok(false);
        }
        let racy = arrive::is_racy(&look.entry.version, look.server_time);
        self.tree.transact(|tx| {
            let Some(now) = tx.node(node.ino)? else { return Ok(()) };
            let mut now = (*now).clone();
            if let Some(synced) = &mut now.synced {
                synced.version = look.entry.version.clone();
                synced.racy = racy;
            }
            tx.put(now)
        })?;
        Ok(true)
    }

    /// Learns the tag of an object of which no answer told it.
    async fn learn_tag(
        &self,
        node: &Node,
        synced: &Synced,
        path: &RemotePath,
    ) -> Result<(), StepError> {
        let look = self.remote.look(path).await?;
        if !synced.version.agrees(&look.entry.version) || look.entry.version.etag.is_none() {
            return self.mark_changed(node.ino, look.entry.version);
        }
        self.tree.transact(|tx| {
            let Some(now) = tx.node(node.ino)? else { return Ok(()) };
            let mut now = (*now).clone();
            if let Some(synced) = &mut now.synced {
                synced.version = look.entry.version.clone();
            }
            tx.put(now)
        })?;
        Ok(())
    }

    /// The server holds another content than our base: the next step resolves that.
    pub(super) fn mark_changed(&self, ino: Ino, version: Version) -> Result<(), StepError> {
        self.tree.transact(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok(()) };
            tx.put(Node { remote: Some(version.clone()), ..(*node).clone() })
        })?;
        Ok(())
    }
}

/// The mtime to send, and whether it is not the true one: a second equal to the synced one would
/// leave the tag as it was (FACTS 0.1), so the next free second is sent.
fn mtime_to_send(true_mtime: i64, synced: Option<&Synced>) -> (i64, bool) {
    let Some(synced) = synced else { return (true_mtime, false) };
    let last = synced.version.mtime;
    let reused = true_mtime == last
        || (synced.bumped && true_mtime < last && last - true_mtime < BUMP_WINDOW);
    if reused { (last + 1, true) } else { (true_mtime, false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Name;

    fn synced(mtime: i64, bumped: bool) -> Synced {
        Synced {
            place: Place::new(Ino::ROOT, Name::new(*b"a").unwrap()),
            version: Version {
                file_id: None,
                etag: None,
                mtime,
                size: 4,
                upload_time: None,
                checksum: None,
            },
            content: ContentId(1),
            permissions: None,
            mount_root: false,
            racy: false,
            bumped,
        }
    }

    #[test]
    fn saves_within_one_second_are_sent_with_different_seconds() {
        assert_eq!(mtime_to_send(100, None), (100, false));
        assert_eq!(mtime_to_send(100, Some(&synced(100, false))), (101, true));
        assert_eq!(mtime_to_send(100, Some(&synced(101, true))), (102, true));
        assert_eq!(mtime_to_send(103, Some(&synced(102, true))), (103, false));
    }

    #[test]
    fn a_time_that_was_set_back_on_purpose_is_sent_as_it_is() {
        assert_eq!(mtime_to_send(100, Some(&synced(500, false))), (100, false));
    }
}
