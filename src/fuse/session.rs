//! One session: the threads that read requests of a mount, and the one that notifies the kernel.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::adapter::Adapter;
use super::dispatch::Dispatch;
use super::notifier::Notifier;
use super::requests::Requests;
use crate::vfs::{Event, Vfs};

/// A mount that is being served.
pub struct Serving {
    ended: oneshot::Receiver<io::Result<()>>,
    notifier: Notifier,
    requests: Arc<Requests>,
}

/// Serves the mount behind `fd`, which has been mounted and not served before: agrees with the kernel
/// and returns while `threads` threads answer it. Each thread may come to use a MiB of memory. Work
/// that waits goes to `runtime`; `events` are what the kernel is to be told.
///
/// Blocks until the kernel has sent its first request, which it does at the mount.
pub fn serve(
    fd: OwnedFd,
    vfs: Arc<Vfs>,
    events: mpsc::UnboundedReceiver<Event>,
    runtime: Handle,
    threads: usize,
) -> io::Result<Serving> {
    let requests = Arc::new(Requests::default());
    let adapter = Adapter::new(Arc::clone(&vfs), Dispatch::new(runtime, Arc::clone(&requests)));
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(threads.max(1));
    // A mount that another daemon has served before answers no FUSE_INIT: taking it over differs
    // from this line on (ANCHORS 0.1).
    let session = Session::from_fd(adapter, fd, SessionACL::All, config)?;
    let notifier = Notifier::start(session.notifier(), vfs, events)?;
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new().name("ncfs-fuse".into()).spawn(move || {
        // Nobody may be waiting any more: then the end of the session is no news.
        let _ = end.send(session.run());
    })?;
    Ok(Serving { ended, notifier, requests })
}

impl Serving {
    /// Waits until the mount is gone. Requests that are still being worked on are answered to nobody.
    pub async fn ended(&mut self) -> io::Result<()> {
        match (&mut self.ended).await {
            Ok(ended) => ended,
            Err(_) => Err(io::Error::other("the session thread is gone")),
        }
    }

    /// Begins the end: no notification is sent any more. Requests are answered until the mount is
    /// gone, since only that ends the threads, which wait in the kernel.
    pub fn stop(&self) {
        self.notifier.disarm();
    }

    /// A look at the requests that programs are waiting for.
    pub fn watch_requests(&self) -> RequestWatch {
        RequestWatch(Arc::clone(&self.requests))
    }
}

/// A look at the requests that programs are waiting for.
pub struct RequestWatch(Arc<Requests>);

impl RequestWatch {
    /// How long the oldest request of a program has been waiting for its answer; `None` when none is.
    pub fn oldest(&self) -> Option<Duration> {
        self.0.oldest()
    }

    /// How many requests came so far, by operation.
    pub fn operations(&self) -> BTreeMap<&'static str, u64> {
        self.0.operations()
    }
}
