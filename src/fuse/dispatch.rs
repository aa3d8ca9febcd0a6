//! How a request is carried out: at once on the thread that read it, or later in a task.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fuser::Errno;
use tokio::runtime::Handle;
use tracing::{Instrument, Span};

use super::replies::Reply;
use super::requests::Requests;
use crate::types::Ino;
use crate::vfs::{self, VfsError};

/// How long a directory may take to be listed.
pub(super) const LISTING: Duration = Duration::from_secs(20);
/// How long bytes may take to come.
pub(super) const READING: Duration = Duration::from_secs(60);
/// How long our own disk may take.
pub(super) const SYNCING: Duration = Duration::from_secs(120);

/// What a request is about, for logs.
pub(super) fn span(operation: &'static str, request: &fuser::Request, ino: Ino) -> Span {
    tracing::debug_span!("request", operation, number = request.unique().0, ino = ino.0)
}

/// Carries out requests.
pub(super) struct Dispatch {
    runtime: Handle,
    requests: Arc<Requests>,
}

impl Dispatch {
    pub fn new(runtime: Handle, requests: Arc<Requests>) -> Self {
        Self { runtime, requests }
    }

    /// Carries out what never waits for the network.
    pub fn now<T, R: Reply>(
        &self,
        span: Span,
        reply: R,
        work: impl FnOnce() -> vfs::Result<T>,
        answer: impl FnOnce(R, T),
    ) {
        let _request = self.requests.arrive();
        span.in_scope(|| finish(work(), reply, answer));
    }

    /// Carries out what may have to wait: here if it is ready at once, else in a task, for at most
    /// `deadline`. Work that is given up has not changed anything.
    pub fn later<T: Send + 'static, R: Reply>(
        &self,
        span: Span,
        deadline: Duration,
        reply: R,
        work: impl Future<Output = vfs::Result<T>> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        let request = self.requests.arrive();
        let _runtime = self.runtime.enter();
        let mut work: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(work);
        let mut unwoken = Context::from_waker(Waker::noop());
        match span.in_scope(|| work.as_mut().poll(&mut unwoken)) {
            Poll::Ready(result) => span.in_scope(|| finish(result, reply, answer)),
            // The task polls it again at once, with a waker that wakes.
            Poll::Pending => {
                let task = async move {
                    let result = match tokio::time::timeout(deadline, work).await {
                        Ok(result) => result,
                        Err(_) => Err(VfsError::TimedOut),
                    };
                    finish(result, reply, answer);
                    drop(request);
                };
                self.runtime.spawn(task.instrument(span));
            }
        }
    }
}

fn finish<T, R: Reply>(result: vfs::Result<T>, reply: R, answer: impl FnOnce(R, T)) {
    match result {
        Ok(value) => answer(reply, value),
        Err(error) => {
            let errno = error.errno();
            // Anything else programs ask for all the time, or `ncfs status` tells it.
            if errno == libc::EIO && !error.is_offline() {
                tracing::warn!(%error, "a program got an I/O error");
            } else {
                tracing::debug!(%error, errno);
            }
            reply.refuse(Errno::from_i32(errno));
        }
    }
}
