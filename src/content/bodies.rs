//! The bytes of nodes as programs see them, whatever holds them: nothing, the cache, or a staging
//! file.
//!
//! Guarantees:
//! - [`Bodies::write`] and [`Bodies::truncate`] never wait for the network. A write into a file that
//!   is not here goes to staging, and the rest is brought in the background.
//! - Before a write is answered its bytes are in the staging file and a committed row says that this
//!   is the file's content. Size and mtime of later writes are in the staging file itself, and
//!   taken from there after a crash; [`Bodies::persist`] brings them into the row.
//! - Whatever changes what a file's bytes are (the first write, a truncation, the end of an upload)
//!   does so under the file's gate, one at a time.
//!
//! Locks: the gate of a file comes before the tree's connection; neither is held across `.await`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::staging::Stray;
use super::{
    Basis, Cache, CachedVersion, FetchError, Fetcher, Origin, Origins, ReadOutcome, StagedFile,
    Staging, StagingError,
};
use crate::clock::Clock;
use crate::remote::{Remote, RemoteError};
use crate::tree::{Attr, Base, Body, Content, Node, Tree, TreeError};
use crate::types::{ByteRange, ContentId, Ino, StagingId, Time};

/// Why bytes cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A local disk said so; the errno is passed on (ENOSPC, EIO, ...).
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The bytes are not here and the server cannot be reached.
    #[error("the bytes are not here, and the server cannot be reached")]
    Offline,
    /// The version that the handle reads does not exist any more.
    #[error("the version that was opened does not exist any more")]
    Stale,
    /// No such node, or not a file.
    #[error("not a file")]
    NotAFile,
    /// The staging file of a row is gone or damaged.
    #[error("the content is lost")]
    Lost,
    /// The server's answer.
    #[error("{0}")]
    Server(String),
}

impl From<StagingError> for BodyError {
    fn from(error: StagingError) -> Self {
        match error {
            StagingError::Lost(_) => Self::Lost,
            StagingError::Io(error) => Self::Io(error),
            // The callers here look again instead.
            StagingError::Changed | StagingError::NotWhole { .. } | StagingError::Sealed => {
                Self::Io(std::io::Error::other(error.to_string()))
            }
        }
    }
}

impl From<FetchError> for BodyError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Offline => Self::Offline,
            FetchError::Stale | FetchError::Gone => Self::Stale,
            FetchError::Io(error) => Self::Io(match error.raw_os_error() {
                Some(code) => std::io::Error::from_raw_os_error(code),
                None => std::io::Error::other(error.to_string()),
            }),
            FetchError::Server(error) => Self::Server(error.to_string()),
        }
    }
}

/// What is in use of one file.
#[derive(Default)]
pub(super) struct Live {
    /// The staging file, once it was opened.
    pub staged: Option<Arc<StagedFile>>,
    /// When the staging file was last written, if the row does not say so yet.
    pub written: Option<Time>,
    /// A version that must not be evicted while the file is open, since the server has it no more.
    pub kept: Option<Arc<CachedVersion>>,
}

type Gate = Arc<Mutex<Live>>;

/// The bytes of all nodes of one tree.
pub struct Bodies {
    pub(super) tree: Arc<Tree>,
    pub(super) cache: Arc<Cache>,
    pub(super) staging: Staging,
    pub(super) fetcher: Fetcher,
    remote: Arc<dyn Remote>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    /// Of files that are open, or whose row is behind. A leaf lock.
    live: Mutex<HashMap<Ino, Gate>>,
    /// Staging files whose rows are gone: removed after the next sync of the tree.
    retired: Mutex<Vec<StagingId>>,
}

impl Origins for Tree {
    fn origin(&self, ino: Ino, content: ContentId) -> Option<Origin> {
        let found = self.view(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok(None) };
            let Some(synced) = node.synced.as_ref().filter(|synced| synced.content == content)
            else {
                return Ok(None);
            };
            let path = tx.synced_path(ino)?;
            Ok(path.map(|path| Origin { path, version: synced.version.clone() }))
        });
        found.unwrap_or_else(|error| {
            tracing::error!("the state cannot be read: {error}");
            None
        })
    }
}

impl Bodies {
    pub fn new(
        tree: Arc<Tree>,
        cache: Arc<Cache>,
        staging: Staging,
        remote: Arc<dyn Remote>,
        clock: Arc<dyn Clock>,
        runtime: Handle,
    ) -> Arc<Self> {
        let origins: Arc<dyn Origins> = tree.clone();
        let fetcher =
            Fetcher::new(Arc::clone(&remote), Arc::clone(&cache), origins, runtime.clone());
        Arc::new(Self {
            tree,
            cache,
            staging,
            fetcher,
            remote,
            clock,
            runtime,
            live: Mutex::default(),
            retired: Mutex::default(),
        })
    }

    /// Brings rows and staging files together after a start: before anything else is done here.
    /// Tells which files had no row and were put into `lost+found`.
    pub fn recover(&self) -> Result<Vec<Stray>, BodyError> {
        for id in self.tree.orphaned_staging() {
            // Removed by programs, and open until they ended.
            self.staging.remove(*id)?;
        }
        let staged = self.tree.view(|tx| tx.staged())?;
        let mut known = HashSet::new();
        for node in staged {
            let Some(Content::Staged { id, base }) = node.content() else { continue };
            known.insert(*id);
            let mut now = (*node).clone();
            // Another start is another chance.
            now.push.not_before = Time::default();
            match self.staging.reopen(*id, base.is_some()) {
                Ok(file) => {
                    // What was written after the row says so in the file itself.
                    let written = file.mtime()?;
                    now.attr.size = file.size();
                    if written > node.attr.ctime {
                        now.attr.mtime = written;
                        now.attr.ctime = written;
                        now.push.changed = now.push.changed.max(written);
                    }
                }
                Err(StagingError::Lost(_)) => {
                    now.push.blocked = Some("its unsent content was lost on this machine".into());
                }
                Err(error) => return Err(error.into()),
            }
            if now != *node {
                self.tree.transact(|tx| tx.put(now))?;
            }
        }
        Ok(self.staging.strays(&known)?)
    }

    pub(super) fn gate(&self, ino: Ino) -> Gate {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(live.entry(ino).or_default())
    }

    /// Runs `act` under the file's gate, and forgets what is in use of a file that nobody uses.
    pub(super) fn gated<T>(&self, ino: Ino, act: impl FnOnce(&mut Live) -> T) -> T {
        let gate = self.gate(ino);
        let mut guard = lock(&gate);
        let value = act(&mut guard);
        let idle = guard.written.is_none() && !self.tree.pins().is_open(ino);
        drop(guard);
        if idle {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            // Ours and the map's: nobody else is at the gate.
            if live.get(&ino).is_some_and(|gate| Arc::strong_count(gate) <= 2) {
                live.remove(&ino);
            }
        }
        value
    }

    pub(super) fn file_node(&self, ino: Ino) -> Result<(Arc<Node>, Content), BodyError> {
        let node = self.tree.node(ino)?.ok_or(BodyError::NotAFile)?;
        let content = node.content().cloned().ok_or(BodyError::NotAFile)?;
        Ok((node, content))
    }

    /// The open staging file of a node whose row names one.
    pub(super) fn staged(
        &self,
        live: &mut Live,
        id: StagingId,
        partial: bool,
    ) -> Result<Arc<StagedFile>, BodyError> {
        match &live.staged {
            Some(staged) if staged.id() == id => Ok(Arc::clone(staged)),
            _ => {
                let staged = self.staging.reopen(id, partial)?;
                live.staged = Some(Arc::clone(&staged));
                Ok(staged)
            }
        }
    }

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
                Content::Staged { id, base } => {
                    let staged = self.gated(ino, |live| self.staged(live, id, base.is_some()));
                    let staged = match staged {
                        // Uploaded meanwhile: what is to be read is in the cache now.
                        Err(_) if self.file_node(ino)?.1 != (Content::Staged { id, base }) => {
                            continue;
                        }
                        staged => staged?,
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

    /// Writes; never waits for the network. The first write into a clean file commits one row
    /// (staged, dirty), later ones none: size and mtime are live until [`Bodies::persist`].
    pub fn write(self: &Arc<Self>, ino: Ino, offset: u64, data: &[u8]) -> Result<(), BodyError> {
        self.gated(ino, |live| {
            let now = self.clock.now();
            let staged = self.stage(ino, live, Some(now))?;
            staged.write(offset, data)?;
            live.written = Some(now);
            self.hydrate_in_background(ino, &staged)
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

    fn empty(&self, ino: Ino, live: &mut Live, now: Time) -> Result<(), BodyError> {
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
    pub(super) fn stage(
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
        let prepared = self.staging.prepare(id, basis)?;
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
        if let Err(error) = committed {
            if let (Basis::Taken, Some(content)) = (basis, base) {
                // The row still names the cached file, and it may be the only copy.
                self.cache.adopt(content, &self.staging.landing(id))?;
            }
            prepared.discard()?;
            return Err(error);
        }
        let staged = prepared.activate()?;
        // Not later than the row's, which counts until something is written.
        staged.set_mtime(changed.unwrap_or(node.attr.mtime.min(node.attr.ctime)))?;
        live.staged = Some(Arc::clone(&staged));
        live.kept = None;
        Ok(staged)
    }

    /// Begins to bring what a partial staging file lacks, once for each file.
    fn hydrate_in_background(
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
    pub(super) async fn hydrate(
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

    /// The node's attributes with the live size and mtime of its staging file.
    pub fn attr(&self, node: &Node) -> Attr {
        let mut attr = node.attr;
        let gate = {
            let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            live.get(&node.ino).cloned()
        };
        if let (Some(gate), Some(Content::Staged { id, .. })) = (gate, node.content()) {
            let live = lock(&gate);
            if let Some(staged) = live.staged.as_ref().filter(|staged| staged.id() == *id) {
                attr.size = staged.size();
            }
            if let Some(written) = live.written {
                attr.mtime = written;
                attr.ctime = attr.ctime.max(written);
            }
        }
        attr
    }

    /// Commits live size and mtime to the row if they differ: at flush, release and before other
    /// attributes of the row are changed.
    pub fn persist(&self, ino: Ino) -> Result<(), BodyError> {
        self.gated(ino, |live| self.persist_live(ino, live))
    }

    pub(super) fn persist_live(&self, ino: Ino, live: &mut Live) -> Result<(), BodyError> {
        let Some(written) = live.written else { return Ok(()) };
        let size = live.staged.as_ref().map(|staged| staged.size());
        self.tree.transact(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok(()) };
            let mut node = (*node).clone();
            if let (Body::File(Content::Staged { .. }), Some(size)) = (&node.body, size) {
                node.attr.size = size;
            }
            node.attr.mtime = written;
            node.attr.ctime = node.attr.ctime.max(written);
            node.push.changed = written;
            tx.put(node)
        })?;
        live.written = None;
        Ok(())
    }

    /// fsync, of a file or a directory: data and row survive a power cut.
    pub async fn sync(&self, ino: Ino) -> Result<(), BodyError> {
        self.persist(ino)?;
        let node = self.tree.node(ino)?.ok_or(BodyError::NotAFile)?;
        let staged = match node.content() {
            Some(Content::Staged { id, base }) => {
                Some(self.gated(ino, |live| self.staged(live, *id, base.is_some()))?)
            }
            _ => None,
        };
        let tree = Arc::clone(&self.tree);
        let synced = spawn_blocking(move || {
            // The data first: a row must not outlive its bytes.
            staged.map_or(Ok(()), |staged| staged.sync())?;
            tree.sync()?;
            Ok::<_, BodyError>(())
        });
        synced.await.map_err(std::io::Error::other)?
    }

    /// Makes everything survive a power cut, and removes staging files that are done with.
    pub fn sync_all(&self) -> Result<(), BodyError> {
        let done =
            std::mem::take(&mut *self.retired.lock().unwrap_or_else(PoisonError::into_inner));
        let open: Vec<Ino> = {
            let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            live.keys().copied().collect()
        };
        for ino in open {
            self.persist(ino)?;
        }
        if self.tree.has_unsynced() {
            self.staging.sync_all()?;
        }
        self.tree.checkpoint()?;
        for id in done {
            self.staging.remove(id)?;
        }
        Ok(())
    }

    /// To be called when a handle was closed: forgets what is in use of a file that nobody uses.
    pub fn rest(&self, ino: Ino) {
        self.gated(ino, |_| ());
    }

    /// To be called when a name of the file was removed, or a handle closed: frees what nobody can
    /// ask for any more.
    pub fn let_go(&self, ino: Ino) {
        let freed = self.gated(ino, |live| {
            let Some(node) = self.tree.node(ino)? else { return Ok(()) };
            if node.local.is_some() || self.tree.pins().is_open(ino) {
                return Ok(());
            }
            let Some(Content::Staged { id, .. }) = node.content().cloned() else { return Ok(()) };
            // Removed before it was sent. The tombstone needs no bytes.
            self.retire(id)?;
            self.tree.transact(|tx| {
                let Some(node) = tx.node(ino)? else { return Ok(()) };
                let mut node = (*node).clone();
                node.body = Body::File(match &node.synced {
                    Some(synced) => Content::Remote(synced.content),
                    None => Content::Empty,
                });
                tx.put(node)
            })?;
            (live.staged, live.written) = (None, None);
            self.retired(Some(id));
            Ok::<_, BodyError>(())
        });
        if let Err(error) = freed {
            tracing::warn!(?ino, "a removed file's bytes stay for now: {error}");
        }
    }

    /// Frees what belongs to a node whose row was removed.
    pub fn discard(&self, node: &Node) {
        self.gated(node.ino, |live| {
            (live.staged, live.written, live.kept) = (None, None, None);
        });
        match node.content() {
            Some(Content::Staged { id, .. }) => {
                // Without its row the file would look like a lost one after a crash.
                if let Err(error) = self.retire(*id) {
                    tracing::warn!("a removed file's bytes stay for now: {error}");
                }
                self.retired(Some(*id));
            }
            Some(Content::Remote(content)) => self.forget_content(*content),
            _ => {}
        }
    }

    pub(super) fn forget_content(&self, content: ContentId) {
        if let Err(error) = self.cache.forget(content) {
            tracing::debug!("a cached file stays for now: {error}");
        }
    }

    pub(super) fn retire(&self, id: StagingId) -> std::io::Result<()> {
        match self.staging.retire(id) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            retired => retired,
        }
    }

    pub(super) fn retired(&self, id: Option<StagingId>) {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).extend(id);
    }
}

pub(super) fn lock(gate: &Mutex<Live>) -> MutexGuard<'_, Live> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}
