//! How a request is carried out: at once on the thread that read it, or later in a task.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fuser::Errno;
use tokio::runtime::Handle;
use tracing::{Instrument, Span};

use super::replies::Reply;
use super::requests::{Request, Requests};
use crate::request::RequestNumber;
use crate::types::Ino;
use crate::vfs::{self, VfsError};

/// How long a directory may take to be listed.
pub(super) const LISTING: Duration = Duration::from_secs(20);
/// How long bytes may take to come.
pub(super) const READING: Duration = Duration::from_secs(60);
/// How long our own disk may take.
pub(super) const SYNCING: Duration = Duration::from_secs(120);

/// A request that was there at so many deaths of the process that answers it is taken for their
/// cause, and gets EIO.
const DEADLY: u64 = 2;

/// What a request is about.
pub(super) struct About {
    operation: &'static str,
    ino: Ino,
    number: RequestNumber,
    /// Only where the log is detailed: it costs more than some requests.
    span: Span,
}

/// What a request is about, for logs and counters.
pub(super) fn span(operation: &'static str, request: &fuser::Request, ino: Ino) -> About {
    let number = RequestNumber::from_unique(request.unique().0);
    let RequestNumber { number: shown, again } = number;
    let span = tracing::debug_span!("request", operation, number = shown, again, ino = ino.0);
    About { operation, ino, number, span }
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
        about: About,
        reply: R,
        work: impl FnOnce() -> vfs::Result<T>,
        answer: impl FnOnce(R, T),
    ) {
        let Some((_request, reply)) = self.admit(&about, reply) else { return };
        about.span.in_scope(|| finish(&about, about.number.during(work), reply, answer));
    }

    /// Carries out what may have to wait: here if it is ready at once, else in a task, for at most
    /// `deadline`. Work that is given up has not changed anything.
    pub fn later<T: Send + 'static, R: Reply>(
        &self,
        about: About,
        deadline: Duration,
        reply: R,
        work: impl Future<Output = vfs::Result<T>> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        let Some((request, reply)) = self.admit(&about, reply) else { return };
        let _runtime = self.runtime.enter();
        let work = about.number.throughout(work);
        let mut work: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(work);
        let mut unwoken = Context::from_waker(Waker::noop());
        match about.span.in_scope(|| work.as_mut().poll(&mut unwoken)) {
            Poll::Ready(result) => {
                about.span.in_scope(|| finish(&about, result, reply, answer));
            }
            // The task polls it again at once, with a waker that wakes.
            Poll::Pending => {
                let span = about.span.clone();
                let task = async move {
                    let result = match tokio::time::timeout(deadline, work).await {
                        Ok(result) => result,
                        Err(_) => Err(VfsError::TimedOut),
                    };
                    finish(&about, result, reply, answer);
                    drop(request);
                };
                self.runtime.spawn(task.instrument(span));
            }
        }
    }

    /// Takes a request, unless it has killed before.
    fn admit<R: Reply>(&self, about: &About, reply: R) -> Option<(Request, R)> {
        let deaths = self.requests.deaths(about.number.number);
        let request = self.requests.arrive(about.operation, about.number.number);
        if deaths < DEADLY {
            return Some((request, reply));
        }
        about.span.in_scope(|| {
            tracing::error!(
                operation = about.operation,
                ino = about.ino.0,
                deaths,
                "the process died each time that it worked on this request: the program gets an \
                 I/O error"
            );
        });
        reply.refuse(Errno::EIO);
        None
    }
}

fn finish<T, R: Reply>(about: &About, result: vfs::Result<T>, reply: R, answer: impl FnOnce(R, T)) {
    match result {
        Ok(value) => answer(reply, value),
        Err(error) => {
            let errno = error.errno();
            // Anything else programs ask for all the time, or `ncfs status` tells it.
            if errno == libc::EIO && !error.is_offline() {
                // The error can hold what the server said, and so names.
                let About { operation, ino, .. } = about;
                tracing::warn!(operation, ?ino, "a program got an I/O error");
            }
            tracing::debug!(%error, errno);
            reply.refuse(Errno::from_i32(errno));
        }
    }
}
