//! The commands' end of the socket. Blocking: a command does one thing at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::protocol::{self, Command, HEARTBEAT, MAX_LINE, Reply, Request};
use super::{
    ControlError, Explanation, FlushOutcome, Problems, Progress, Record, RefreshOutcome, Result,
    RetryOutcome, Status, Subject,
};
use crate::types::RemotePath;

/// Silence for longer than this means that the daemon hangs.
const PATIENCE: Duration = Duration::from_secs(10);
const _: () = assert!(PATIENCE.as_secs() > 3 * HEARTBEAT.as_secs());

/// How often a daemon that is being replaced is looked for.
const RESTART: Duration = Duration::from_millis(20);

/// A connection to a daemon.
pub struct Client {
    stream: BufReader<UnixStream>,
    record: Record,
}

impl Client {
    /// Connects to the daemon of a mount. If it has died, and its supervisor has not, waits for the
    /// next one.
    pub fn connect(record: &Record) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            let cause = match UnixStream::connect(&record.socket) {
                Ok(stream) => break stream,
                Err(cause) => cause,
            };
            match cause.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {}
                _ => return Err(ControlError::Io { path: record.socket.clone(), cause }),
            }
            if !record.is_supervised() || Instant::now() >= deadline {
                return Err(ControlError::Gone(record.mountpoint.clone()));
            }
            std::thread::sleep(RESTART);
        };
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(|cause| ControlError::Io { path: record.socket.clone(), cause })?;
        Ok(Self { stream: BufReader::new(stream), record: record.clone() })
    }

    /// Asks how the mount stands. If the daemon dies meanwhile, the next one is asked.
    pub fn status(&mut self) -> Result<Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.send(Command::Status).and_then(|()| self.receive()) {
                Ok(Reply::Status(status)) => return Ok(*status),
                Ok(other) => return Err(unexpected(other)),
                Err(ControlError::CutOff) if Instant::now() < deadline => {
                    *self = Self::connect(&self.record)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the server has everything at and below the path.
    pub fn flush(
        &mut self,
        below: &RemotePath,
        timeout: Option<Duration>,
        on_progress: impl FnMut(Progress),
    ) -> Result<FlushOutcome> {
        self.send(Command::Flush {
            path: protocol::encode_path(below),
            timeout_ms: timeout.map(protocol::millis),
        })?;
        self.outcome(on_progress)
    }

    /// Makes the daemon send what is pending, for `timeout` at most, and end.
    pub fn shutdown(
        &mut self,
        timeout: Option<Duration>,
        on_progress: impl FnMut(Progress),
    ) -> Result<FlushOutcome> {
        self.send(Command::Shutdown { timeout_ms: timeout.map(protocol::millis) })?;
        self.outcome(on_progress)
    }

    /// Asks what needs attention.
    pub fn problems(&mut self) -> Result<Problems> {
        self.send(Command::Problems)?;
        match self.receive()? {
            Reply::Problems(problems) => Ok(problems),
            other => Err(unexpected(other)),
        }
    }

    /// Has what is blocked at and below the path tried at once.
    pub fn retry(
        &mut self,
        below: &RemotePath,
        timeout: Duration,
        on_progress: impl FnMut(Progress),
    ) -> Result<RetryOutcome> {
        let timeout_ms = Some(protocol::millis(timeout));
        self.send(Command::Retry { path: protocol::encode_path(below), timeout_ms })?;
        match self.follow(on_progress)? {
            Reply::Retried(outcome) => Ok(outcome),
            other => Err(unexpected(other)),
        }
    }

    /// Asks why a node is as it is.
    pub fn explain(&mut self, subject: &Subject) -> Result<Explanation> {
        self.send(match subject {
            Subject::Path(path) => {
                Command::Explain { path: protocol::encode_path(path), ino: None }
            }
            Subject::Ino(ino) => Command::Explain { path: String::new(), ino: Some(ino.0) },
        })?;
        match self.receive()? {
            Reply::Explanation(explanation) => Ok(*explanation),
            other => Err(unexpected(other)),
        }
    }

    /// Has the server looked at now.
    pub fn refresh(&mut self, path: &RemotePath, timeout: Duration) -> Result<RefreshOutcome> {
        let timeout_ms = Some(protocol::millis(timeout));
        self.send(Command::Refresh { path: protocol::encode_path(path), timeout_ms })?;
        match self.follow(|_| {})? {
            Reply::Refreshed(outcome) => Ok(outcome),
            other => Err(unexpected(other)),
        }
    }

    /// Has the program that is installed by now take the mount over. Returns when that begins.
    pub fn upgrade(&mut self) -> Result<()> {
        self.send(Command::Upgrade)?;
        self.outcome(|_| ()).map(drop)
    }

    /// The answer, after the progress before it.
    fn follow(&mut self, mut on_progress: impl FnMut(Progress)) -> Result<Reply> {
        loop {
            match self.receive()? {
                Reply::Progress(progress) => on_progress(progress),
                answer => return Ok(answer),
            }
        }
    }

    fn outcome(&mut self, on_progress: impl FnMut(Progress)) -> Result<FlushOutcome> {
        match self.follow(on_progress)? {
            Reply::Outcome(outcome) => Ok(outcome),
            other => Err(unexpected(other)),
        }
    }

    fn send(&mut self, command: Command) -> Result<()> {
        let request = Request { version: protocol::VERSION, command };
        let mut line =
            serde_json::to_vec(&request).map_err(|e| ControlError::Protocol(e.to_string()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(broken)
    }

    fn receive(&mut self) -> Result<Reply> {
        let mut line = Vec::new();
        // A status lists problems, of which there may be many.
        let limit = 64 * MAX_LINE;
        (&mut self.stream).take(limit).read_until(b'\n', &mut line).map_err(broken)?;
        if line.last() != Some(&b'\n') {
            return Err(ControlError::CutOff);
        }
        serde_json::from_slice(&line).map_err(|error| ControlError::Protocol(error.to_string()))
    }
}

fn broken(cause: io::Error) -> ControlError {
    match cause.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ControlError::Silent,
        _ => ControlError::CutOff,
    }
}

fn unexpected(reply: Reply) -> ControlError {
    match reply {
        Reply::Error(reason) => ControlError::Refused(reason),
        _ => ControlError::Protocol("an answer to another question".to_owned()),
    }
}
