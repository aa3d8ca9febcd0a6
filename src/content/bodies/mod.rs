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

mod copy;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::staging::Stray;
use super::{
    Cache, CachedVersion, FetchError, Fetcher, Origin, Origins, StagedFile, Staging, StagingError,
};
use crate::clock::Clock;
use crate::remote::Remote;
use crate::tree::{Attr, Body, Content, Node, Tree, TreeError};
use crate::types::{ContentId, Ino, StagingId, Time};

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
pub(in crate::content) struct Live {
    /// The staging file, once it was opened.
    pub staged: Option<Arc<StagedFile>>,
    /// When the staging file was last written, if the row does not say so yet.
    pub written: Option<Time>,
    /// A version that must not be evicted while the file is open, since the server has it no more.
    pub kept: Option<Arc<CachedVersion>>,
}

type Gate = Arc<Mutex<Live>>;

/// What holds a file's bytes at one moment.
pub(in crate::content) struct Held {
    pub node: Arc<Node>,
    pub content: Content,
    /// If the content says so.
    pub staged: Option<Arc<StagedFile>>,
}

/// The bytes of all nodes of one tree.
pub struct Bodies {
    pub(in crate::content) tree: Arc<Tree>,
    pub(in crate::content) cache: Arc<Cache>,
    pub(in crate::content) staging: Staging,
    pub(in crate::content) fetcher: Fetcher,
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
        for ino in self.tree.open_orphans() {
            // Programs read what only the cache has any more.
            if let Ok((_, Content::Remote(content))) = self.file_node(*ino) {
                let kept = self.cache.peek(content);
                self.gated(*ino, |live| live.kept = kept);
            }
        }
        let staged = self.tree.view(|tx| tx.staged())?;
        let mut known = HashSet::new();
        for node in staged {
            let Some(Content::Staged { id, base }) = node.content() else { continue };
            known.insert(*id);
            if node.local.is_none() && !self.tree.pins().is_open(node.ino) {
                // Removed by programs, a moment before they ended or while they had it open.
                self.let_go(node.ino);
                continue;
            }
            let mut now = (*node).clone();
            if let (None, Some(synced)) = (base, &node.synced) {
                // The staging file may have been that of the cache, of which a crash left the name.
                self.cache.forget(synced.content).map_err(BodyError::Io)?;
            }
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

    pub(in crate::content) fn gate(&self, ino: Ino) -> Gate {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(live.entry(ino).or_default())
    }

    /// Runs `act` under the file's gate, and forgets what is in use of a file that nobody uses.
    pub(in crate::content) fn gated<T>(&self, ino: Ino, act: impl FnOnce(&mut Live) -> T) -> T {
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

    pub(in crate::content) fn file_node(
        &self,
        ino: Ino,
    ) -> Result<(Arc<Node>, Content), BodyError> {
        let node = self.tree.node(ino)?.ok_or(BodyError::NotAFile)?;
        let content = node.content().cloned().ok_or(BodyError::NotAFile)?;
        Ok((node, content))
    }

    /// A file's row, and its staging file if the row names one: of one moment.
    ///
    /// Both are read under the gate. Who looked at the row before could open a file that the next
    /// change has just put away, and bring it back as one without a row.
    pub(in crate::content) fn look(&self, ino: Ino) -> Result<Held, BodyError> {
        self.gated(ino, |live| {
            let (node, content) = self.file_node(ino)?;
            let staged = match &content {
                Content::Staged { id, base } => Some(self.staged(live, *id, base.is_some())?),
                Content::Empty | Content::Remote(_) => None,
            };
            Ok(Held { node, content, staged })
        })
    }

    /// The open staging file of a node whose row names it. The row was read under this gate.
    pub(in crate::content) fn staged(
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

    pub(in crate::content) fn persist_live(
        &self,
        ino: Ino,
        live: &mut Live,
    ) -> Result<(), BodyError> {
        let Some(written) = live.written else { return Ok(()) };
        let staged = live.staged.as_ref();
        self.tree.transact(|tx| {
            let Some(node) = tx.node(ino)? else { return Ok(()) };
            let mut node = (*node).clone();
            if let (Body::File(Content::Staged { id, .. }), Some(staged)) = (&node.body, staged)
                && staged.id() == *id
            {
                node.attr.size = staged.size();
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
        let staged = if node.is_file() { self.look(ino)?.staged } else { None };
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

    /// Frees what belongs to a node whose row was removed: it had no staging file.
    pub fn discard(&self, node: &Node) {
        self.gated(node.ino, |live| {
            (live.staged, live.written, live.kept) = (None, None, None);
        });
        if let Some(Content::Remote(content)) = node.content() {
            self.forget_content(*content);
        }
    }

    pub(in crate::content) fn forget_content(&self, content: ContentId) {
        if let Err(error) = self.cache.forget(content) {
            tracing::debug!("a cached file stays for now: {error}");
        }
    }

    pub(in crate::content) fn retire(&self, id: StagingId) -> std::io::Result<()> {
        match self.staging.retire(id) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            retired => retired,
        }
    }

    pub(in crate::content) fn retired(&self, id: Option<StagingId>) {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).extend(id);
    }
}

pub(in crate::content) fn lock(gate: &Mutex<Live>) -> MutexGuard<'_, Live> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}
