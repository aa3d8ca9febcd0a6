//! Reading bytes wherever they are, and bringing what a half-written file lacks.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;

use super::{Bodies, BodyError, Held};
use crate::content::{CacheReads, FetchError, ReadOutcome, StagedFile};
use crate::remote::RemoteError;
use crate::tree::{Body, Content, TreeError};
use crate::types::{ByteRange, ContentId, Ino};

impl Bodies {
    /// Bytes of the file within `range`, clipped at its end. May wait for the network; when all is
    /// here the future is ready at its first poll.
    pub async fn read(&self, ino: Ino, range: ByteRange) -> Result<Bytes, BodyError> {
        loop {
            let (node, content) = self.file_node(ino)?;
            match content {
                Content::Empty => return Ok(Bytes::new()),
                Content::Remote(content) => {
                    let size = node.attr.size;
                    if let Some(bytes) = self.fetcher.try_read(ino, content, size, range)? {
                        return Ok(bytes);
                    }
                    match self.fetcher.read(ino, content, size, range).await {
                        // Written to meanwhile: what is to be read is in staging now.
                        Err(FetchError::Stale | FetchError::Gone)
                            if self.file_node(ino)?.1 != Content::Remote(content) => {}
                        outcome => return Ok(outcome?),
                    }
                }
                Content::Staged { .. } => {
                    let Held {
                        content: Content::Staged { base, .. }, staged: Some(staged), ..
                    } = self.look(ino)?
                    else {
                        // Uploaded or emptied meanwhile.
                        continue;
                    };
                    match (staged.read(range)?, base) {
                        (ReadOutcome::Data(bytes), _) => return Ok(bytes),
                        (ReadOutcome::Missing(_), Some(base)) => {
                            let reading =
                                self.fetcher.read_staged(ino, base.content, &staged, range);
                            match reading.await {
                                Err(FetchError::Stale | FetchError::Gone) => {
                                    self.hydrate(ino, base.content, &staged).await?;
                                }
                                outcome => return Ok(outcome?),
                            }
                        }
                        (ReadOutcome::Missing(_), None) => return Err(BodyError::Lost),
                    }
                }
            }
        }
    }

    /// How reads of clean files were answered so far.
    pub fn reads(&self) -> CacheReads {
        self.fetcher.reads()
    }

    /// Begins to bring what a partial staging file lacks, once for each file.
    pub(super) fn hydrate_in_background(
        self: &Arc<Self>,
        ino: Ino,
        staged: &Arc<StagedFile>,
    ) -> Result<(), BodyError> {
        let Content::Staged { base: Some(base), .. } = self.file_node(ino)?.1 else {
            return Ok(());
        };
        if !staged.begin_hydration() {
            return Ok(());
        }
        let (bodies, staged) = (Arc::clone(self), Arc::clone(staged));
        self.runtime.spawn(async move {
            // The upload needs the rest in any case, and tells of what goes wrong.
            if let Err(error) = bodies.hydrate(ino, base.content, &staged).await {
                tracing::debug!(?ino, "bringing the rest of a changed file: {error}");
            }
            staged.end_hydration();
        });
        Ok(())
    }

    /// Makes a partial staging file whole, and notes that in its row.
    pub(in crate::content) async fn hydrate(
        &self,
        ino: Ino,
        content: ContentId,
        staged: &Arc<StagedFile>,
    ) -> Result<(), FetchError> {
        match self.fetcher.hydrate(ino, content, Arc::clone(staged)).await {
            Err(gone @ (FetchError::Stale | FetchError::Gone)) => {
                self.hydrate_from_former(ino, content, staged, gone).await?;
                self.fetcher.hydrate(ino, content, Arc::clone(staged)).await?;
            }
            hydrated => hydrated?,
        }
        let noted = self.gated(ino, |_| {
            self.tree.transact(|tx| {
                let Some(node) = tx.node(ino)? else { return Ok(()) };
                let mut node = (*node).clone();
                match &mut node.body {
                    Body::File(Content::Staged { id, base }) if *id == staged.id() => *base = None,
                    _ => return Ok(()),
                }
                tx.put(node)
            })
        });
        noted.map_err(|error: TreeError| FetchError::Io(Arc::new(std::io::Error::other(error))))
    }

    /// Brings what a partial staging file lacks from the former contents that the server keeps, after
    /// somebody replaced the content that it was made on.
    async fn hydrate_from_former(
        &self,
        ino: Ino,
        content: ContentId,
        staged: &Arc<StagedFile>,
        gone: FetchError,
    ) -> Result<(), FetchError> {
        let node = self.tree.node(ino).ok().flatten();
        let synced = node.as_ref().and_then(|node| node.synced.as_ref());
        let Some(synced) = synced.filter(|synced| synced.content == content) else {
            return Err(gone);
        };
        let mut body = match self.remote.read_former(&synced.version).await {
            Ok(body) if body.range.len() == synced.version.size => body,
            Ok(_) | Err(RemoteError::NotFound) => return Err(gone),
            Err(error) => return Err(error.into()),
        };
        let mut offset = 0;
        while let Some(bytes) = body.bytes.next().await {
            let bytes = bytes?;
            staged.fill(offset, &bytes)?;
            offset += bytes.len() as u64;
        }
        Ok(())
    }
}
