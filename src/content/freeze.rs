//! The bytes of nodes as the sync engine needs them: whole, of one moment, and clean after an upload.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use sha1::{Digest, Sha1};
use tokio::task::spawn_blocking;

use super::bodies::Held;
use super::{Bodies, BodyError, CachedVersion, FetchError, StagingError};
use crate::remote::{RemoteError, Source};
use crate::tree::{Content, Node, TreeError};
use crate::types::{ByteRange, ContentId, Ino, Sha1Sum};

/// Bytes of one piece of an upload.
const PIECE: u64 = 512 * 1024;

/// The whole content of a file at one moment, ready to be sent.
#[derive(Clone)]
pub struct Frozen {
    /// Its stream fails as soon as the file has changed, before the last byte was handed out.
    pub source: Arc<dyn Source>,
    pub sum: Sha1Sum,
    /// Which state of the file this is; compared by [`Contents::settle`].
    pub generation: u64,
}

/// Why bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The bytes had to be fetched first, and that failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The version that the file was based on is gone on the server, and what was written here is
    /// only a part of the file.
    #[error("the older content that it was written into is gone on the server")]
    BaseGone,
    /// The staging file is gone or damaged.
    #[error("the content is lost: {0}")]
    Lost(String),
    /// The file changed, or went away, while its bytes were collected.
    #[error("the file changed meanwhile")]
    Changed,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The bytes of nodes, as the sync engine needs them: a seam, so that the simulation can hold them in
/// memory.
#[async_trait]
pub trait Contents: Send + Sync + 'static {
    /// Collects the file's bytes; fetches what is not here.
    async fn freeze(&self, ino: Ino) -> Result<Frozen, ContentsError>;

    /// Runs `commit` while no program can change the bytes; it is told whether they are still the
    /// frozen ones. If they are and it succeeds, they are those of `content` from then on: clean.
    fn settle(
        &self,
        ino: Ino,
        frozen: &Frozen,
        content: ContentId,
        commit: &mut dyn FnMut(bool) -> Result<(), TreeError>,
    ) -> Result<(), TreeError>;

    /// Makes a file independent of its object on the server, which is about to go while programs may
    /// still need the bytes. What is not here is fetched. A file that programs see becomes a dirty
    /// one; one that is only open is kept in the cache until it is closed.
    async fn keep(&self, ino: Ino) -> Result<(), ContentsError>;

    /// Makes the file's bytes, and all rows so far, survive a power cut.
    async fn secure(&self, ino: Ino) -> Result<(), ContentsError>;

    /// Whether all bytes are on this machine.
    /// Asks nothing of the tree, so that it can be called in a transaction.
    fn is_here(&self, node: &Node) -> bool;

    /// Nobody will ask for this content again.
    fn forget(&self, content: ContentId);
}

impl From<BodyError> for ContentsError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Tree(error) => Self::Tree(error),
            BodyError::Io(error) => Self::Io(error),
            BodyError::Offline => Self::Remote(RemoteError::Offline("fetching".into())),
            BodyError::Stale => Self::BaseGone,
            BodyError::NotAFile => Self::Changed,
            BodyError::Lost => Self::Lost("its staging file is gone".into()),
            BodyError::Server(message) => Self::Remote(RemoteError::NoAnswer(message)),
        }
    }
}

impl From<FetchError> for ContentsError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Server(error) => Self::Remote(error),
            error => BodyError::from(error).into(),
        }
    }
}

impl From<StagingError> for ContentsError {
    fn from(error: StagingError) -> Self {
        match error {
            StagingError::Changed | StagingError::NotWhole { .. } | StagingError::Sealed => {
                Self::Changed
            }
            error => BodyError::from(error).into(),
        }
    }
}

/// A file of no bytes.
struct Nothing;

impl Source for Nothing {
    fn size(&self) -> u64 {
        0
    }

    fn read(&self, _: ByteRange) -> BoxStream<'static, std::io::Result<Bytes>> {
        stream::empty().boxed()
    }
}

/// A complete version in the cache.
struct Cached(Arc<CachedVersion>);

impl Source for Cached {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read(&self, range: ByteRange) -> BoxStream<'static, std::io::Result<Bytes>> {
        let version = Arc::clone(&self.0);
        stream::try_unfold(range.start, move |at| {
            let version = Arc::clone(&version);
            async move {
                if at >= range.end {
                    return Ok(None);
                }
                let piece = ByteRange::at(at, PIECE).intersection(range);
                let bytes = spawn_blocking(move || version.read(piece))
                    .await
                    .map_err(std::io::Error::other)??
                    .ok_or_else(|| std::io::Error::other("the cached file is gone"))?;
                Ok(Some((bytes, piece.end)))
            }
        })
        .boxed()
    }
}

/// The generation of contents that do not change: distinct from those of staging files, which count
/// up from 1.
fn generation_of(content: &Content) -> Option<u64> {
    match content {
        Content::Empty => Some(0),
        Content::Remote(content) => Some(u64::MAX - content.0),
        Content::Staged { .. } => None,
    }
}

#[async_trait]
impl Contents for Bodies {
    async fn freeze(&self, ino: Ino) -> Result<Frozen, ContentsError> {
        let Held { node, content, staged } = self.look(ino)?;
        let generation = generation_of(&content).unwrap_or_default();
        match content {
            Content::Empty => {
                let sum = Sha1Sum(Sha1::new().finalize().into());
                Ok(Frozen { source: Arc::new(Nothing), sum, generation })
            }
            Content::Remote(content) => {
                let version = self.fetcher.whole(ino, content, node.attr.size).await?;
                let source = Cached(version);
                let mut pieces = source.read(ByteRange::new(0, source.size()));
                let mut digest = Sha1::new();
                while let Some(piece) = pieces.next().await {
                    digest.update(&piece?);
                }
                let sum = Sha1Sum(digest.finalize().into());
                Ok(Frozen { source: Arc::new(source), sum, generation })
            }
            Content::Staged { base, .. } => {
                let staged = staged.ok_or(ContentsError::Changed)?;
                if let Some(base) = base {
                    self.hydrate(ino, base.content, &staged).await?;
                }
                let generation = staged.generation();
                let sum = staged.sha1(generation).await?;
                let source = staged.source(generation)?;
                Ok(Frozen { source: Arc::new(source), sum, generation })
            }
        }
    }

    fn settle(
        &self,
        ino: Ino,
        frozen: &Frozen,
        content: ContentId,
        commit: &mut dyn FnMut(bool) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        self.gated(ino, |live| {
            let Some(node) = self.tree.node(ino)? else { return commit(false) };
            match node.content() {
                Some(Content::Staged { id, base: None }) => {
                    let sealed = self
                        .staged(live, *id, false)
                        .ok()
                        .filter(|staged| staged.seal(frozen.generation).is_ok());
                    let Some(staged) = sealed else { return commit(false) };
                    let settled = self.adopt_staged(ino, live, *id, content, commit);
                    if settled.is_err() {
                        staged.unseal();
                    }
                    settled
                }
                Some(Content::Staged { .. }) | None => commit(false),
                Some(fixed) => commit(generation_of(fixed) == Some(frozen.generation)),
            }
        })
    }

    async fn keep(&self, ino: Ino) -> Result<(), ContentsError> {
        let Ok((node, content)) = self.file_node(ino) else { return Ok(()) };
        match content {
            Content::Empty | Content::Staged { base: None, .. } => {}
            Content::Remote(content) => {
                let version = self.fetcher.whole(ino, content, node.attr.size).await?;
                self.gated(ino, |live| -> Result<(), BodyError> {
                    let (node, now) = self.file_node(ino)?;
                    if now != Content::Remote(content) {
                        return Ok(());
                    }
                    match node.local {
                        Some(_) => self.stage(ino, live, None).map(drop),
                        None => {
                            live.kept = Some(version);
                            Ok(())
                        }
                    }
                })?;
            }
            Content::Staged { base: Some(_), .. } => {
                if let Held {
                    content: Content::Staged { base: Some(base), .. },
                    staged: Some(staged),
                    ..
                } = self.look(ino)?
                {
                    self.hydrate(ino, base.content, &staged).await?;
                }
            }
        }
        Ok(())
    }

    async fn secure(&self, ino: Ino) -> Result<(), ContentsError> {
        Ok(self.sync(ino).await?)
    }

    fn is_here(&self, node: &Node) -> bool {
        match node.content() {
            Some(Content::Remote(content)) => {
                node.attr.size == 0
                    || self.cache.peek(*content).is_some_and(|version| version.is_complete())
            }
            Some(Content::Empty | Content::Staged { base: None, .. }) => true,
            Some(Content::Staged { .. }) | None => false,
        }
    }

    fn forget(&self, content: ContentId) {
        self.forget_content(content);
    }
}

impl Bodies {
    /// A sealed staging file becomes the cached file of what was uploaded.
    fn adopt_staged(
        &self,
        ino: Ino,
        live: &mut super::bodies::Live,
        id: crate::types::StagingId,
        content: ContentId,
        commit: &mut dyn FnMut(bool) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        self.persist_live(ino, live).map_err(|error| match error {
            BodyError::Tree(error) => error,
            error => TreeError::Io(std::io::Error::other(error.to_string())),
        })?;
        // Only a copy in the cache is lost when this fails: the server has the bytes.
        if let Some(path) = self.staging.locate(id)?
            && let Err(error) = self.cache.adopt(content, &path)
        {
            tracing::debug!("an uploaded file is not kept in the cache: {error}");
        }
        self.retire(id)?;
        commit(true)?;
        live.staged = None;
        self.retired(Some(id));
        Ok(())
    }
}
