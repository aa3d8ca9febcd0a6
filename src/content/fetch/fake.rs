//! A server with one file, for the tests of this room: it counts, fails and stalls when told to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::{Origin, Origins};
use crate::remote::{
    Body, Capabilities, Depth, Listing, Look, MoveIf, Quota, Remote, RemoteError, Result, Upload,
    Written,
};
use crate::types::{ByteRange, ContentId, Etag, FileId, Ino, Name, RemotePath, Version};

/// How the next request fails.
pub(super) enum Fault {
    Error(RemoteError),
    /// The body ends with an error after so many bytes.
    Cut(u64),
    /// No answer ever.
    Silence,
}

pub(super) struct Request {
    pub(super) path: RemotePath,
    pub(super) range: ByteRange,
    pub(super) only: Option<Etag>,
}

pub(in crate::content) struct FakeServer {
    pub(super) path: Mutex<RemotePath>,
    pub(super) etag: Mutex<Etag>,
    pub(super) ignores_conditions: AtomicBool,
    size: u64,
    pub(super) requests: Mutex<Vec<Request>>,
    /// Bytes handed out.
    pub(super) sent: AtomicU64,
    pub(super) faults: Mutex<VecDeque<Fault>>,
    /// A piece of a body is handed out for a permit.
    pub(super) gate: Semaphore,
    /// Bodies neither read to their end nor dropped.
    pub(super) open: Arc<AtomicUsize>,
}

/// What a piece of a body has at most.
pub(super) const PIECE: u64 = 64 << 10;

pub(super) fn path(name: &str) -> RemotePath {
    RemotePath(vec![Name::new(name.as_bytes()).unwrap()])
}

pub(super) fn etag(text: &str) -> Etag {
    Etag(text.into())
}

/// The bytes of the file at these offsets.
pub(super) fn content(range: ByteRange) -> Vec<u8> {
    (range.start..range.end).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

impl FakeServer {
    /// A server whose file is at `/a` with the tag `"1"`.
    pub(in crate::content) fn new(size: u64) -> Arc<Self> {
        Arc::new(Self {
            path: Mutex::new(path("a")),
            etag: Mutex::new(etag("\"1\"")),
            ignores_conditions: AtomicBool::new(false),
            size,
            requests: Mutex::default(),
            sent: AtomicU64::new(0),
            faults: Mutex::default(),
            gate: Semaphore::new(1 << 20),
            open: Arc::default(),
        })
    }

    /// Like [`Self::new`], and no body moves before `gate` has permits.
    pub(super) fn gated(size: u64) -> Arc<Self> {
        let server = Self::new(size);
        server.gate.forget_permits(usize::MAX);
        server
    }

    pub(super) fn ranges(&self) -> Vec<ByteRange> {
        self.requests.lock().unwrap().iter().map(|request| request.range).collect()
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }
}

/// Counts a body while it is open.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The shared server as a [`Remote`]: bodies outlive the call and need it.
pub(in crate::content) struct FakeRemote(pub(in crate::content) Arc<FakeServer>);

#[async_trait]
impl Remote for FakeRemote {
    async fn read(
        &self,
        path: &RemotePath,
        range: Option<ByteRange>,
        only: Option<&Etag>,
    ) -> Result<Body> {
        let server = self.0.clone();
        let range = range.unwrap_or(ByteRange::new(0, server.size));
        let request = Request { path: path.clone(), range, only: only.cloned() };
        server.requests.lock().unwrap().push(request);
        let fault = server.faults.lock().unwrap().pop_front();
        let mut cut = None;
        match fault {
            Some(Fault::Error(error)) => return Err(error),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Cut(after)) => cut = Some(range.start + after),
            None => {}
        }
        let etag = server.etag.lock().unwrap().clone();
        if *path != *server.path.lock().unwrap() {
            return Err(RemoteError::NotFound);
        }
        let ignored = server.ignores_conditions.load(Ordering::SeqCst);
        if !ignored && only.is_some_and(|only| *only != etag) {
            return Err(RemoteError::PreconditionFailed { etag: None });
        }
        if range.start >= server.size {
            return Err(RemoteError::OutOfRange);
        }
        let range = range.intersection(ByteRange::new(0, server.size));
        let open = Open::new(&server.open);
        let bytes = stream::unfold(Some((range.start, open)), move |state| {
            let server = server.clone();
            async move {
                let (at, open) = state?;
                let end = cut.unwrap_or(range.end).min(at + PIECE).min(range.end);
                if at == range.end {
                    return None;
                }
                if at == end {
                    return Some((Err(RemoteError::NoAnswer("cut".into())), None));
                }
                server.gate.acquire().await.unwrap().forget();
                server.sent.fetch_add(end - at, Ordering::SeqCst);
                let piece = Bytes::from(content(ByteRange::new(at, end)));
                Some((Ok(piece), Some((end, open))))
            }
        });
        Ok(Body { range, etag: Some(etag), bytes: bytes.boxed() })
    }

    fn capabilities(&self) -> &Capabilities {
        unimplemented!()
    }
    async fn list(&self, _: &RemotePath, _: Depth) -> Result<Listing> {
        unimplemented!()
    }
    async fn look(&self, _: &RemotePath) -> Result<Look> {
        unimplemented!()
    }
    async fn put(&self, _: &RemotePath, _: Upload) -> Result<Written> {
        unimplemented!()
    }
    async fn make_dir(&self, _: &RemotePath) -> Result<Option<FileId>> {
        unimplemented!()
    }
    async fn rename(
        &self,
        _: &RemotePath,
        _: &RemotePath,
        _: Option<&Etag>,
        _: MoveIf,
    ) -> Result<()> {
        unimplemented!()
    }
    async fn copy(&self, _: &RemotePath, _: &RemotePath, _: Option<&Etag>) -> Result<()> {
        unimplemented!()
    }
    async fn delete(&self, _: &RemotePath, _: Option<&Etag>) -> Result<()> {
        unimplemented!()
    }
    async fn set_mtime(&self, _: &RemotePath, _: i64, _: Option<&Etag>) -> Result<()> {
        unimplemented!()
    }
    async fn quota(&self) -> Result<Quota> {
        unimplemented!()
    }
}

/// The one place where the tree thinks the content is.
pub(super) struct FakeTree(pub(super) Mutex<Option<Origin>>);

impl FakeTree {
    pub(super) fn knowing(path: RemotePath, size: u64) -> Self {
        let (etag, mtime) = (Some(etag("\"1\"")), 1);
        let version =
            Version { file_id: None, etag, mtime, size, upload_time: None, checksum: None };
        Self(Mutex::new(Some(Origin { path, version })))
    }
}

impl Origins for FakeTree {
    fn origin(&self, _: Ino, _: ContentId) -> Option<Origin> {
        self.0.lock().unwrap().clone()
    }
}
