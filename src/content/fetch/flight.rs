//! One request on its way: from the server into the file that lacks the bytes.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use super::transfer::{Job, Sink};
use super::window::ReaderId;
use super::{FetchError, Origin, Shared};
use crate::remote::RemoteError;
use crate::types::ByteRange;

/// How long a server may be silent within a request.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a request is tried without a byte coming.
const PATIENCE: Duration = Duration::from_secs(60);
/// Attempts without a byte coming.
const ATTEMPTS: u32 = 6;
/// The first pause between them, doubled each time.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes collected before they are written, if they are there already.
const BATCH: usize = 512 * 1024;

/// A range on its way. Whoever needs bytes of it waits for it, whoever started it.
pub(super) struct Flight {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) range: ByteRange,
    pub(super) reader: ReaderId,
    /// Up to where the bytes are in the sink.
    cursor: AtomicU64,
    pub(super) waiters: AtomicUsize,
    end: Mutex<End>,
}

/// How a flight ended, or how to end it.
#[derive(Default)]
struct End {
    error: Option<FetchError>,
    task: Option<AbortHandle>,
}

impl Flight {
    pub(super) fn new(sink: Arc<dyn Sink>, range: ByteRange, reader: ReaderId) -> Self {
        let (cursor, waiters) = (AtomicU64::new(range.start), AtomicUsize::new(0));
        Self { sink, range, reader, cursor, waiters, end: Mutex::default() }
    }

    /// What it still has to bring.
    pub(super) fn remaining(&self) -> ByteRange {
        ByteRange::new(self.cursor.load(Ordering::Acquire), self.range.end)
    }

    pub(super) fn error(&self) -> Option<FetchError> {
        self.end().error.clone()
    }

    pub(super) fn run_by(&self, task: AbortHandle) {
        self.end().task = Some(task);
    }

    /// Drops the request, which closes its connection (an unread body locks the file on the server,
    /// FACTS 4).
    pub(super) fn cancel(&self) {
        if let Some(task) = &self.end().task {
            task.abort();
        }
    }

    fn end(&self) -> std::sync::MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the flight out of its transfer however it ends: done, failed, cancelled.
struct Landing {
    job: Job,
    flight: Arc<Flight>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.job.transfer.land(&self.flight);
    }
}

/// Why an attempt did not bring everything.
enum Trouble {
    /// The server does not have that version at that path.
    Moved,
    Local(io::Error),
    Remote(RemoteError),
}

impl From<RemoteError> for Trouble {
    fn from(error: RemoteError) -> Self {
        match error {
            // 404: renamed or deleted. 412 and 416: another content under the name.
            RemoteError::NotFound
            | RemoteError::PreconditionFailed { .. }
            | RemoteError::OutOfRange => Self::Moved,
            other => Self::Remote(other),
        }
    }
}

impl Shared {
    /// Brings the flight's range, with retries, and tells those who wait.
    pub(super) async fn fly(self: Arc<Self>, job: Job, flight: Arc<Flight>) {
        let landing = Landing { job, flight };
        let (job, flight) = (&landing.job, &landing.flight);
        if let Err(error) = self.bring(job, flight).await {
            tracing::debug!(ino = job.ino.0, content = job.content.0, %error, "fetch failed");
            flight.end().error = Some(error);
        }
        drop(landing);
        let shared = self.clone();
        if let Ok(Err(error)) = spawn_blocking(move || shared.cache.evict()).await {
            tracing::warn!(%error, "cannot make room in the cache");
        }
    }

    async fn bring(&self, job: &Job, flight: &Flight) -> Result<(), FetchError> {
        let find = || self.origins.origin(job.ino, job.content).ok_or(FetchError::Gone);
        let mut origin = find()?;
        let mut last_byte = Instant::now();
        let mut attempt = 0;
        loop {
            let before = flight.remaining();
            let Err(trouble) = self.attempt(job, flight, &origin).await else { return Ok(()) };
            if flight.remaining() != before {
                (attempt, last_byte) = (0, Instant::now());
            }
            attempt += 1;
            let found = find()?;
            let pause = match trouble {
                Trouble::Local(error) => return Err(error.into()),
                // After a rename the tree knows the new place.
                Trouble::Moved if found != origin && attempt < ATTEMPTS => Duration::ZERO,
                Trouble::Moved => return Err(FetchError::Stale),
                Trouble::Remote(RemoteError::Offline(_)) => return Err(FetchError::Offline),
                Trouble::Remote(error) => {
                    let doubled = PAUSE * 2_u32.pow(attempt - 1);
                    let pause = error.retry_after().map_or(doubled, |asked| asked.max(doubled));
                    let late = last_byte.elapsed() + pause >= PATIENCE;
                    if !error.is_transient() || attempt >= ATTEMPTS || late {
                        return Err(error.into());
                    }
                    pause
                }
            };
            origin = found;
            sleep(pause).await;
        }
    }

    /// One request for what the flight still lacks.
    async fn attempt(&self, job: &Job, flight: &Flight, origin: &Origin) -> Result<(), Trouble> {
        let wanted = flight.remaining();
        if wanted.is_empty() {
            return Ok(());
        }
        let silent = |_| RemoteError::NoAnswer(format!("silent for {} s", SILENCE.as_secs()));
        let _permit = self.permits.acquire().await;
        let tag = origin.version.etag.as_ref();
        let request = self.remote.read(&origin.path, Some(wanted), tag);
        let body = timeout(SILENCE, request).await.map_err(silent)??;
        if tag.is_some() && body.etag.is_some() && tag != body.etag.as_ref() {
            return Err(Trouble::Moved);
        }
        if body.range.start > wanted.start {
            let range = (body.range.start, wanted.start);
            let message = format!("bytes from {} instead of {}", range.0, range.1);
            return Err(RemoteError::Protocol(message).into());
        }
        // A file that ends before the range does is a shorter one than this version.
        if body.range.end < wanted.end {
            return Err(Trouble::Moved);
        }
        let mut at = body.range.start;
        let mut bytes = pin!(body.bytes);
        // To the end of the body, so that the connection can be used again; unless far more comes
        // than was asked for.
        while at < wanted.end || (at == wanted.end && body.range.end == at) {
            let Some(piece) = timeout(SILENCE, bytes.next()).await.map_err(silent)? else { break };
            let mut batch = vec![piece?];
            let mut error = None;
            while batch.iter().map(Bytes::len).sum::<usize>() < BATCH {
                match bytes.next().now_or_never() {
                    Some(Some(Ok(piece))) => batch.push(piece),
                    Some(Some(Err(failed))) => {
                        error = Some(failed);
                        break;
                    }
                    Some(None) | None => break,
                }
            }
            at = self.store(flight, at, batch).await.map_err(Trouble::Local)?;
            flight.cursor.fetch_max(at.min(wanted.end), Ordering::AcqRel);
            job.transfer.wake();
            if let Some(error) = error {
                return Err(error.into());
            }
        }
        if at >= wanted.end {
            return Ok(());
        }
        Err(RemoteError::NoAnswer("the answer was cut short".to_owned()).into())
    }

    /// Stores the pieces from `at` on the blocking pool and returns where they end. If the disk is
    /// full the cache makes room once.
    async fn store(&self, flight: &Flight, at: u64, batch: Vec<Bytes>) -> io::Result<u64> {
        let (sink, cache) = (flight.sink.clone(), self.cache.clone());
        let stored = spawn_blocking(move || {
            let mut at = at;
            for piece in &batch {
                match sink.store(at, piece) {
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                        cache.evict()?;
                        sink.store(at, piece)?;
                    }
                    stored => stored?,
                }
                at += piece.len() as u64;
            }
            Ok(at)
        });
        stored.await.map_err(io::Error::other)?
    }
}
