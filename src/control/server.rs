//! The daemon's end of the socket.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::protocol::{self, Command, HEARTBEAT, MAX_LINE, Reply, Request};
use super::{ControlError, Daemon, FlushOutcome, Progress, Record, Result, RuntimeDir};

/// More connections than this wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send a request or to read an answer.
const PATIENCE: Duration = Duration::from_secs(30);
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
            // What follows an unreadable line is not looked at.
            Err(reason) => return writer.send(&Reply::Error(reason)).await,
        };
        answer(command, daemon, &mut reader, &mut writer).await?;
    }
}

fn parse(line: &[u8]) -> std::result::Result<Command, String> {
    if line.last() != Some(&b'\n') {
        return Err("the request is too long or was cut short".to_owned());
    }
    let request: Request =
        serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))?;
    if request.version != protocol::VERSION {
        return Err(format!(
            "version {} is not spoken here, only version {}",
            request.version,
            protocol::VERSION
        ));
    }
    Ok(request.command)
}

async fn answer(
    command: Command,
    daemon: &dyn Daemon,
    reader: &mut (impl AsyncBufReadExt + Unpin),
    writer: &mut Writer,
) -> io::Result<()> {
    let (sender, receiver) = watch::channel(Progress::default());
    let outcome: std::pin::Pin<Box<dyn Future<Output = FlushOutcome> + Send>> = match command {
        Command::Status => {
            let status = daemon.status();
            return writer.send(&Reply::Status(Box::new(status))).await;
        }
        Command::Flush { path, timeout_ms } => match protocol::decode_path(&path) {
            Ok(path) => Box::pin(daemon.flush(path, timeout_ms.map(Duration::from_millis), sender)),
            Err(error) => return writer.send(&Reply::Error(error.to_string())).await,
        },
        Command::Shutdown { timeout_ms } => {
            Box::pin(daemon.shutdown(timeout_ms.map(Duration::from_millis), sender))
        }
    };
    follow(outcome, receiver, reader, writer).await
}

/// Sends progress until the outcome is there. A client that hangs up ends the request.
async fn follow(
    mut outcome: impl Future<Output = FlushOutcome> + Unpin,
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
            outcome = &mut outcome => return writer.send(&Reply::Outcome(outcome)).await,
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
