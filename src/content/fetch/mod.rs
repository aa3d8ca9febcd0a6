//! Bringing bytes from the server, into the cache or into a dirty file that lacks parts of its base.
//!
//! Guarantees: a range is on its way once, however many wait for it, and each of them goes on as soon
//! as its own bytes are here. Bytes are stored only if the server says that they are of the version
//! asked for (`If-Match`). What is in memory is bounded by the requests in flight; a request that
//! nobody waits for any more is finished, or dropped if its reader went elsewhere.
//!
//! Assumes a tokio runtime, and an [`Origins`] that knows the present path and version of a content.
//! Holds no lock across `.await`. A crash loses the requests, nothing else.
//!
//! - `window`: how much to ask for at once (pure).
//! - `transfer`: who waits for what.
//! - `flight`: one request with its retries.

mod error;
mod flight;
mod transfer;
mod window;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

pub use error::FetchError;

use crate::content::{Cache, CachedVersion, ReadOutcome, StagedFile};
use crate::remote::{Remote, RemoteError};
use crate::types::{ByteRange, ContentId, Ino, RemotePath, StagingId, Version};
use transfer::{Job, Sink, Transfer};
use window::LARGEST;

/// How long a read of a program waits at most.
const DEADLINE: Duration = Duration::from_secs(60);
/// Requests on their way at once, of all files together.
const REQUESTS: usize = 16;
/// Requests on their way at once for a file that is brought whole.
const PARALLEL: usize = 3;
/// Transfers remembered beyond those with a request on its way; forgetting one restarts its windows.
const REMEMBERED: usize = 1024;
/// Bytes copied at once from the cache into a dirty file.
const COPY: u64 = 1 << 20;

/// Where the bytes of a content can be had at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub path: RemotePath,
    /// The version whose bytes they are; its tag is sent as the condition.
    pub version: Version,
}

/// Who knows that: the tree.
pub trait Origins: Send + Sync + 'static {
    /// `None` when the content is not on the server any more. Called on a runtime thread, so it must
    /// not wait for the network.
    fn origin(&self, ino: Ino, content: ContentId) -> Option<Origin>;
}

/// How reads of clean files were answered, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReads {
    /// At once, from the cache.
    pub hits: u64,
    /// After waiting for the server.
    pub misses: u64,
}

/// Brings bytes from the server into cache and staging. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Fetcher {
    shared: Arc<Shared>,
}

struct Shared {
    remote: Arc<dyn Remote>,
    cache: Arc<Cache>,
    origins: Arc<dyn Origins>,
    runtime: tokio::runtime::Handle,
    permits: Semaphore,
    hits: AtomicU64,
    misses: AtomicU64,
    /// Comes before the lock of a transfer.
    transfers: Mutex<HashMap<Place, Arc<Transfer>>>,
}

/// Where the bytes of a content are needed: in the cache, or in a dirty file.
type Place = (ContentId, Option<StagingId>);

impl Fetcher {
    pub fn new(
        remote: Arc<dyn Remote>,
        cache: Arc<Cache>,
        origins: Arc<dyn Origins>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let (permits, transfers) = (Semaphore::new(REQUESTS), Mutex::default());
        let (hits, misses) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Shared { remote, cache, origins, runtime, permits, hits, misses, transfers };
        Self { shared: Arc::new(shared) }
    }

    /// Reads of clean files so far: those answered from the cache, and those that had to wait for the
    /// server.
    pub fn reads(&self) -> CacheReads {
        let Shared { hits, misses, .. } = &*self.shared;
        CacheReads { hits: hits.load(Relaxed), misses: misses.load(Relaxed) }
    }

    /// Reads `range` (clipped to `size`) if all of it is here; never waits for the network, but
    /// starts to read ahead. `None` means: use [`Fetcher::read`].
    pub fn try_read(
        &self,
        ino: Ino,
        content: ContentId,
        size: u64,
        range: ByteRange,
    ) -> Result<Option<Bytes>, FetchError> {
        let range = range.intersection(ByteRange::new(0, size));
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        let version = self.shared.cache.open_version(content, size)?;
        let bytes = version.read(range)?;
        if bytes.is_some() {
            self.shared.hits.fetch_add(1, Relaxed);
        }
        if bytes.is_some() && !version.is_complete() {
            let job = self.shared.job(ino, (content, None), version);
            self.shared.note_hit(&job, range, size);
        }
        Ok(bytes)
    }

    /// Reads `range` (clipped to `size`), from the server as far as it is not here. Returns within
    /// 60 s. Dropped before, it leaves the request to go on for the next who asks.
    pub async fn read(
        &self,
        ino: Ino,
        content: ContentId,
        size: u64,
        range: ByteRange,
    ) -> Result<Bytes, FetchError> {
        let range = range.intersection(ByteRange::new(0, size));
        if let Some(bytes) = self.try_read(ino, content, size, range)? {
            return Ok(bytes);
        }
        self.shared.misses.fetch_add(1, Relaxed);
        in_time(async {
            loop {
                // Again each time: the version can be taken or evicted between two looks.
                let version = self.shared.cache.open_version(content, size)?;
                // Cold pages are read on this thread: what was just fetched is in the page cache.
                if let Some(bytes) = version.read(range)? {
                    return Ok(bytes);
                }
                let job = self.shared.job(ino, (content, None), version);
                self.shared.note_miss(&job, range, size);
                self.shared.ensure(&job, range).await?;
            }
        })
        .await
    }

    /// Makes the version complete in the cache. Takes as long as bytes keep coming.
    pub async fn whole(
        &self,
        ino: Ino,
        content: ContentId,
        size: u64,
    ) -> Result<Arc<CachedVersion>, FetchError> {
        let version = self.shared.cache.open_version(content, size)?;
        let job = self.shared.job(ino, (content, None), version.clone());
        self.shared.ensure_all(&job, ByteRange::new(0, size)).await?;
        Ok(version)
    }

    /// Reads `range` of a dirty file; what is missing of its base `content` is brought first. Returns
    /// within 60 s.
    pub async fn read_staged(
        &self,
        ino: Ino,
        content: ContentId,
        staged: &Arc<StagedFile>,
        range: ByteRange,
    ) -> Result<Bytes, FetchError> {
        in_time(async {
            let mut from_cache = true;
            loop {
                let gaps = match staged.read(range)? {
                    ReadOutcome::Data(bytes) => return Ok(bytes),
                    ReadOutcome::Missing(gaps) => gaps,
                };
                if std::mem::take(&mut from_cache) {
                    self.fill_from_cache(content, staged, gaps).await?;
                    continue;
                }
                let place = (content, Some(staged.id()));
                let job = self.shared.job(ino, place, staged.clone());
                for gap in gaps {
                    // The file can be cut meanwhile; then nothing is missing any more.
                    let base_len = staged.base_len();
                    if gap.end <= base_len {
                        self.shared.note_miss(&job, gap, base_len);
                    }
                    self.shared.ensure(&job, gap).await?;
                }
            }
        })
        .await
    }

    /// Brings all that is missing of the base `content` of a dirty file, and settles it
    /// ([`StagedFile::settle`]). Takes as long as bytes keep coming.
    pub async fn hydrate(
        &self,
        ino: Ino,
        content: ContentId,
        staged: Arc<StagedFile>,
    ) -> Result<(), FetchError> {
        self.fill_from_cache(content, &staged, staged.gaps()).await?;
        let job = self.shared.job(ino, (content, Some(staged.id())), staged.clone());
        self.shared.ensure_all(&job, ByteRange::new(0, staged.base_len())).await?;
        let settled = spawn_blocking(move || staged.settle()).await;
        settled.map_err(std::io::Error::other)??;
        Ok(())
    }

    /// Copies what the cache has of these ranges.
    async fn fill_from_cache(
        &self,
        content: ContentId,
        staged: &Arc<StagedFile>,
        gaps: Vec<ByteRange>,
    ) -> Result<(), FetchError> {
        if gaps.is_empty() {
            return Ok(());
        }
        let Some(version) = self.shared.cache.peek(content) else { return Ok(()) };
        let staged = staged.clone();
        let copied = spawn_blocking(move || {
            for range in gaps.into_iter().flat_map(|gap| version.present(gap)) {
                for piece in pieces(range, COPY) {
                    if let Some(bytes) = version.read(piece)? {
                        staged.fill(piece.start, &bytes)?;
                    }
                }
            }
            Ok::<_, std::io::Error>(())
        });
        Ok(copied.await.map_err(std::io::Error::other)??)
    }
}

impl Shared {
    /// The job of bringing bytes to a place, with the transfer that all who want that share.
    fn job(&self, ino: Ino, place: Place, sink: Arc<dyn Sink>) -> Job {
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        if transfers.len() >= REMEMBERED && !transfers.contains_key(&place) {
            // A job has a clone of its transfer: what nobody has is made anew when it is needed.
            transfers.retain(|_, transfer| Arc::strong_count(transfer) > 1 || !transfer.is_idle());
        }
        let transfer = transfers.entry(place).or_default().clone();
        Job { ino, content: place.0, sink, transfer }
    }

    /// Like [`Shared::ensure`] for a range of any size: in large requests, some at once.
    async fn ensure_all(self: &Arc<Self>, job: &Job, range: ByteRange) -> Result<(), FetchError> {
        stream::iter(pieces(range, LARGEST))
            .map(|piece| self.ensure(job, piece))
            .buffered(PARALLEL)
            .try_collect::<()>()
            .await
    }
}

/// Cuts a range into pieces of at most `len` bytes.
fn pieces(range: ByteRange, len: u64) -> impl Iterator<Item = ByteRange> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let piece = ByteRange::at(at, len).intersection(ByteRange::new(at, range.end));
        at = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Bounds a read of a program.
async fn in_time<T>(read: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
    timeout(DEADLINE, read).await.unwrap_or_else(|_| {
        let message = format!("the read was not served within {} s", DEADLINE.as_secs());
        Err(RemoteError::NoAnswer(message).into())
    })
}

#[cfg(test)]
pub(super) mod fake;
#[cfg(test)]
mod tests;
