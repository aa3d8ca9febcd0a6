//! Changing bytes: into a staging file, whatever held them before.

use std::sync::Arc;

use super::{Bodies, BodyError, Live};
use crate::content::{Allocation, Basis, StagedFile, StagingError};
use crate::tree::{Base, Body, Content};
use crate::types::{ByteRange, Ino, StagingId, Time};

impl Bodies {
    /// Writes; never waits for the network. The first write into a clean file commits one row
    /// (staged, dirty), later ones none: size and mtime are live until [`Bodies::persist`].
    pub fn write(self: &Arc<Self>, ino: Ino, offset: u64, data: &[u8]) -> Result<(), BodyError> {
        self.change(ino, |staged| staged.write(offset, data))
    }

    /// Reserves, zeroes or punches a range; counts as a write. Never waits for the network.
    pub fn allocate(
        self: &Arc<Self>,
        ino: Ino,
        range: ByteRange,
        how: Allocation,
    ) -> Result<(), BodyError> {
        self.change(ino, |staged| staged.allocate(range, how))
    }

    /// What all changes but those of the size share.
    pub(super) fn change<T>(
        self: &Arc<Self>,
        ino: Ino,
        change: impl FnOnce(&StagedFile) -> Result<T, StagingError>,
    ) -> Result<T, BodyError> {
        self.gated(ino, |live| {
            let now = self.clock.now();
            let staged = self.stage(ino, live, Some(now))?;
            let value = change(&staged)?;
            live.written = Some(now);
            self.hydrate_in_background(ino, &staged)?;
            Ok(value)
        })
    }

    /// Sets the size (0 drops all bytes), mtime and ctime; one committed row.
    pub fn truncate(self: &Arc<Self>, ino: Ino, size: u64) -> Result<(), BodyError> {
        self.gated(ino, |live| {
            let now = self.clock.now();
            if size == 0 {
                return self.empty(ino, live, now);
            }
            let staged = self.stage(ino, live, Some(now))?;
            staged.truncate(size)?;
            live.written = Some(now);
            self.persist_live(ino, live)?;
            self.hydrate_in_background(ino, &staged)
        })
    }

    pub(super) fn empty(&self, ino: Ino, live: &mut Live, now: Time) -> Result<(), BodyError> {
        let (_, content) = self.file_node(ino)?;
        let dropped = match content {
            Content::Staged { id, .. } => Some(id),
            _ => None,
        };
        if let Some(id) = dropped {
            self.retire(id)?;
        }
        self.tree.transact(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok(()) };
            let mut node = (*node).clone();
            node.body = Body::File(Content::Empty);
            node.attr.size = 0;
            node.attr.mtime = now;
            node.attr.ctime = now;
            node.push.changed = now;
            tx.put(node)
        })?;
        live.staged = None;
        live.written = None;
        self.retired(dropped);
        Ok(())
    }

    /// Makes sure that the file's bytes are in a staging file; `changed` is the time of a change that
    /// follows, `None` when there is none.
    pub(in crate::content) fn stage(
        &self,
        ino: Ino,
        live: &mut Live,
        changed: Option<Time>,
    ) -> Result<Arc<StagedFile>, BodyError> {
        let (node, content) = self.file_node(ino)?;
        let base = match content {
            Content::Staged { id, base } => return self.staged(live, id, base.is_some()),
            Content::Empty => None,
            Content::Remote(content) => Some(content).filter(|_| node.attr.size > 0),
        };
        let id = StagingId(self.tree.allocate_id()?);
        let len = node.attr.size;
        let basis = match base {
            None => Basis::Empty,
            Some(content) if self.cache.take(content, &self.staging.landing(id))? => Basis::Taken,
            Some(_) => Basis::Partial { size: len, base_len: len },
        };
        let partial = match (basis, base) {
            (Basis::Partial { .. }, Some(content)) => Some(Base { content, len }),
            _ => None,
        };
        let taken = base.filter(|_| basis == Basis::Taken);
        let begun = self.staging.prepare(id, basis).map_err(BodyError::from).and_then(|prepared| {
            let committed = self.tree.transact(|tx| {
                let node = tx.node(ino)?.ok_or(BodyError::NotAFile)?;
                let mut node = (*node).clone();
                node.body = Body::File(Content::Staged { id, base: partial });
                if let Some(changed) = changed {
                    node.attr.mtime = changed;
                    node.attr.ctime = changed;
                    node.push.changed = changed;
                }
                tx.put(node)?;
                Ok::<_, BodyError>(())
            });
            committed.map(|()| prepared)
        });
        let prepared = match begun {
            Ok(prepared) => prepared,
            Err(error) => {
                if let Some(content) = taken {
                    // The row still names the cached file, and it may be the only copy.
                    self.cache.adopt(content, &self.staging.landing(id))?;
                }
                self.staging.remove(id)?;
                return Err(error);
            }
        };
        if let Some(content) = taken {
            // No row names it any more; its file has another name. If this fails it is evicted.
            let _ = self.cache.forget(content);
        }
        let staged = prepared.activate()?;
        // Not later than the row's, which counts until something is written.
        staged.set_mtime(changed.unwrap_or(node.attr.mtime.min(node.attr.ctime)))?;
        live.staged = Some(Arc::clone(&staged));
        live.kept = None;
        Ok(staged)
    }
}
