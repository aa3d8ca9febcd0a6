//! The daemon's end of the socket.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::protocol::{self, Command, HEARTBEAT, Head, MAX_LINE, Reply, Request};
use super::{ControlError, Daemon, FlushOutcome, Progress, Record, Result, RuntimeDir, Subject};
use crate::types::{Ino, RemotePath};

/// More connections than this wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send a request or to read an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a retry or a look may take when the client does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long [`Server::stop`] waits for answers that are on their way.
const GRACE: Duration = Duration::from_secs(1);

/// A listening control socket. Dropping it without [`Server::stop`] leaves a stale record, which the
/// next command removes.
pub struct Server {
    directory: RuntimeDir,
    record: Record,
    stop: CancellationToken,
    listening: JoinHandle<()>,
    connections: TaskTracker,
}

impl Server {
    /// Begins to answer for a mount. Must be called within a tokio runtime.
    pub fn start(
        directory: RuntimeDir,
        mountpoint: PathBuf,
        state_dir: PathBuf,
        daemon: Arc<dyn Daemon>,
    ) -> Result<Self> {
        let record = Record {
            daemon_pid: std::process::id(),
            supervisor_pid: std::os::unix::process::parent_id(),
            socket: directory.socket(&mountpoint),
            mountpoint,
            state_dir,
        };
        let listener = directory.register(&record)?;
        let failed = |cause| ControlError::Io { path: record.socket.clone(), cause };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;

        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let listening = tokio::spawn(listen(listener, daemon, stop.clone(), connections.clone()));
        Ok(Self { directory, record, stop, listening, connections })
    }

    /// What the commands find.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Ends: no request is taken any more, answers that are on their way go out (for a second at
    /// most), the socket and its record are removed.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.listening.await {
            tracing::warn!(%error, "the control socket ended early");
        }
        self.connections.close();
        if tokio::time::timeout(GRACE, self.connections.wait()).await.is_err() {
            tracing::debug!("a control connection is still open");
        }
        if let Err(error) = self.directory.unregister(&self.record.mountpoint) {
            tracing::warn!(%error, "the control socket could not be removed");
        }
    }
}

async fn listen(
    listener: UnixListener,
    daemon: Arc<dyn Daemon>,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
                listener.accept().await.map(|(stream, _)| (stream, place))
            } => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (daemon, stop) = (Arc::clone(&daemon), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = converse(stream, &*daemon, &stop).await {
                        tracing::debug!(%error, "a control connection broke");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, as a rule; they come back.
                tracing::warn!(%error, "a control connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers one client's requests one after the other until it hangs up.
async fn converse(
    stream: UnixStream,
    daemon: &dyn Daemon,
    stop: &CancellationToken,
) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let (reader, writer) = stream.into_split();
    let mut writer = Writer(writer);
    if peer != 0 && peer != geteuid().as_raw() {
        return writer.send(&Reply::Error("this mount belongs to another user".to_owned())).await;
    }
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut reader).take(MAX_LINE);
        let length = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            read = tokio::time::timeout(PATIENCE, bounded.read_until(b'\n', &mut line)) => read??,
        };
        if length == 0 {
            return Ok(());
        }
        let command = match parse(&line) {
            Ok(command) => command,
            Err(refusal) => {
                writer.send(&Reply::Error(refusal.reason)).await?;
                match refusal.goes_on {
                    true => continue,
                    // What follows an unreadable line is not looked at.
                    false => return Ok(()),
                }
            }
        };
        answer(command, daemon, &mut reader, &mut writer).await?;
    }
}

/// A request that is not answered, with whether the next line can be understood all the same.
struct Refusal {
    reason: String,
    goes_on: bool,
}

fn parse(line: &[u8]) -> std::result::Result<Command, Refusal> {
    let refuse = |reason: String, goes_on| Err(Refusal { reason, goes_on });
    if line.last() != Some(&b'\n') {
        return refuse("the request is too long or was cut short".to_owned(), false);
    }
    let head: Head = match serde_json::from_slice(line) {
        Ok(head) => head,
        Err(error) => return refuse(format!("not a request: {error}"), false),
    };
    if head.version != protocol::VERSION {
        let reason = format!(
            "version {} is not spoken here, only version {}",
            head.version,
            protocol::VERSION
        );
        return refuse(reason, false);
    }
    if !Command::NAMES.contains(&head.command.as_str()) {
        let reason = format!(
            "ncfs {}, which serves this mount and speaks version {} of the control protocol, does \
             not know the command {:?}; if it is of a newer ncfs, unmount and mount again",
            env!("CARGO_PKG_VERSION"),
            protocol::VERSION,
            head.command
        );
        return refuse(reason, true);
    }
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => Ok(request.command),
        Err(error) => refuse(format!("not a request for {:?}: {error}", head.command), true),
    }
}

async fn answer(
    command: Command,
    daemon: &dyn Daemon,
    reader: &mut (impl AsyncBufReadExt + Unpin),
    writer: &mut Writer,
) -> io::Result<()> {
    let (sender, receiver) = watch::channel(Progress::default());
    let path = match &command {
        Command::Flush { path, .. }
        | Command::Retry { path, .. }
        | Command::Explain { path, .. }
        | Command::Refresh { path, .. } => protocol::decode_path(path),
        Command::Status | Command::Problems | Command::Upgrade | Command::Shutdown { .. } => {
            Ok(RemotePath::root())
        }
    };
    let path = match path {
        Ok(path) => path,
        Err(error) => return writer.send(&Reply::Error(error.to_string())).await,
    };
    let bound = |timeout_ms: Option<u64>| timeout_ms.map(Duration::from_millis);
    let outcome: Pin<Box<dyn Future<Output = Reply> + Send>> =
        match command {
            Command::Status => return writer.send(&Reply::Status(Box::new(daemon.status()))).await,
            Command::Problems => return writer.send(&Reply::Problems(daemon.problems())).await,
            Command::Upgrade => {
                // The answer first: there may be nobody left to give it.
                writer.send(&Reply::Outcome(FlushOutcome::default())).await?;
                daemon.upgrade();
                return Ok(());
            }
            Command::Explain { ino, .. } => {
                let subject = match ino {
                    Some(ino) => Subject::Ino(Ino(ino)),
                    None => Subject::Path(path),
                };
                let explained = daemon.explain(subject).map(Box::new);
                return writer.send(&or_error(explained, Reply::Explanation)).await;
            }
            Command::Flush { timeout_ms, .. } => Box::pin(async move {
                Reply::Outcome(daemon.flush(path, bound(timeout_ms), sender).await)
            }),
            Command::Shutdown { timeout_ms } => {
                Box::pin(
                    async move { Reply::Outcome(daemon.shutdown(bound(timeout_ms), sender).await) },
                )
            }
            Command::Retry { timeout_ms, .. } => Box::pin(async move {
                let timeout = bound(timeout_ms).unwrap_or(DEFAULT_TIMEOUT);
                or_error(daemon.retry(path, timeout, sender).await, Reply::Retried)
            }),
            Command::Refresh { timeout_ms, .. } => Box::pin(async move {
                let timeout = bound(timeout_ms).unwrap_or(DEFAULT_TIMEOUT);
                or_error(daemon.refresh(path, timeout).await, Reply::Refreshed)
            }),
        };
    follow(outcome, receiver, reader, writer).await
}

fn or_error<T>(outcome: std::result::Result<T, String>, reply: impl FnOnce(T) -> Reply) -> Reply {
    outcome.map_or_else(Reply::Error, reply)
}

/// Sends progress until the answer is there. A client that hangs up ends the request.
async fn follow(
    mut outcome: impl Future<Output = Reply> + Unpin,
    progress: watch::Receiver<Progress>,
    reader: &mut (impl AsyncBufReadExt + Unpin),
    writer: &mut Writer,
) -> io::Result<()> {
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut sent: Option<(Progress, tokio::time::Instant)> = None;
    let mut next_is_here = false;
    loop {
        tokio::select! {
            biased;
            answer = &mut outcome => return writer.send(&answer).await,
            filled = reader.fill_buf(), if !next_is_here => {
                if filled?.is_empty() {
                    return Ok(());
                }
                // The next request came early; it waits in the buffer.
                next_is_here = true;
            }
            now = beat.tick() => {
                let latest = *progress.borrow();
                let due = sent.is_none_or(|(last, at)| last != latest || now - at >= HEARTBEAT);
                if due {
                    writer.send(&Reply::Progress(latest)).await?;
                    sent = Some((latest, now));
                }
            }
        }
    }
}

struct Writer(tokio::net::unix::OwnedWriteHalf);

impl Writer {
    async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        tokio::time::timeout(PATIENCE, self.0.write_all(&line)).await?
    }
}
