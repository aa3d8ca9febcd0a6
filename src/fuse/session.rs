//! One session: the threads that read requests of a mount, and the one that notifies the kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::adapter::Adapter;
use super::dispatch::Dispatch;
use super::handshake::{self, Promised};
use super::notifier::Notifier;
use super::prime::Primer;
use super::refusal::refuse_all;
use super::requests::Requests;
use crate::mount_memory::MountMemory;
use crate::vfs::{Event, Vfs};

/// A mount that is being served.
pub struct Serving {
    ended: oneshot::Receiver<io::Result<()>>,
    notifier: Option<Notifier>,
    requests: Arc<Requests>,
}

/// Serves the mount behind `fd`: agrees with the kernel, or takes over from a process that died, if
/// `memory` says that it had agreed. Returns while `threads` threads answer the kernel. Each thread may
/// come to use a MiB of memory. Work that waits goes to `runtime`; `events` are what the kernel is to
/// be told.
///
/// Blocks until the kernel has sent its first request, which it does at the mount.
pub fn serve(
    fd: OwnedFd,
    memory: &Arc<MountMemory>,
    vfs: Arc<Vfs>,
    events: mpsc::UnboundedReceiver<Event>,
    runtime: Handle,
    threads: usize,
) -> io::Result<Serving> {
    let requests = Arc::new(Requests::new(Arc::clone(memory)));
    let dispatch = Dispatch::new(runtime, Arc::clone(&requests));
    let (threads, promised) = (threads.max(1), Promised::in_memory(memory));
    let primer = Arc::new(Primer::new(threads));
    let adapter = Adapter::new(Arc::clone(&vfs), dispatch, promised, Arc::clone(&primer));
    let (session, waiting) = handshake::session(adapter, fd, memory, threads)?;
    let kernel = session.notifier();
    let ended = in_thread(move || session.run())?;
    let device = waiting.begin(&primer, threads)?;
    let notifier = Some(Notifier::start(kernel, device, vfs, events)?);
    Ok(Serving { ended, notifier, requests })
}

/// Serves a mount by refusing all: every request gets EIO at once. For a mount whose processes die as
/// fast as they are started.
pub fn refuse(fd: OwnedFd, memory: &Arc<MountMemory>) -> io::Result<Serving> {
    let promised = Promised::in_memory(memory)
        .ok_or_else(|| io::Error::other("a mount that has not begun cannot be refused"))?;
    let requests = Arc::new(Requests::new(Arc::clone(memory)));
    let mut device = File::from(fd);
    handshake::take_over(&mut device)?;
    let ended = in_thread(move || refuse_all(device, promised.max_write))?;
    Ok(Serving { ended, notifier: None, requests })
}

fn in_thread(
    session: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new().name("ncfs-fuse".into()).spawn(move || {
        // Nobody may be waiting any more: then the end of the session is no news.
        let _ = end.send(session());
    })?;
    Ok(ended)
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
        if let Some(notifier) = &self.notifier {
            notifier.disarm();
        }
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
