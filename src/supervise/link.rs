//! What goes up from `serve` to the supervisor, and from there to the launcher: lines of JSON on a
//! pipe, `{"ready":true}`, `{"error":"..","exit_code":5}`, `{"unmount":true}` or `{"upgrade":true}`.

use std::fs::File;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::failure::{ExitCode, Failure};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Message {
    /// The start did not succeed. The sender ends.
    Failed { error: String, exit_code: u8 },
    /// The root is listed and the mount answers.
    Ready { ready: bool },
    /// Start the program that is at the path of this one by now, in place of the sender.
    Upgrade { upgrade: bool },
    /// All is sent that will be; unmount while the file system can still answer.
    Unmount { unmount: bool },
}

impl Message {
    pub fn ready() -> Self {
        Self::Ready { ready: true }
    }

    pub fn failed(failure: &Failure) -> Self {
        Self::Failed { error: failure.sentence.clone(), exit_code: failure.exit_code.number() }
    }

    pub(super) fn failure(error: &str, exit_code: u8) -> Failure {
        Failure::new(ExitCode::from_number(exit_code.into()), error)
    }

    pub(super) fn send(&self, pipe: &mut File) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        pipe.write_all(&line)
    }
}

/// The daemon's end of the link to its supervisor.
///
/// Errors of the pipe are not reported: they mean that the supervisor is gone, which the daemon
/// learns as SIGTERM.
#[derive(Debug)]
pub struct ReadySender(File);

impl ReadySender {
    pub fn new(pipe: File) -> Self {
        Self(pipe)
    }

    /// The root is listed and the file system answers the kernel. From here on the daemon ends by
    /// draining, not by an error.
    pub fn ready(&mut self) {
        self.send(&Message::ready());
    }

    /// Asks the supervisor to unmount, lazily if programs use the mount; the kernel then ends the
    /// FUSE session (ENODEV) as soon as nobody uses it.
    ///
    /// A daemon that just ends is unmounted too. Asking first lets the kernel write back the pages of
    /// shared mappings while somebody can still take them.
    pub fn request_unmount(&mut self) {
        self.send(&Message::Unmount { unmount: true });
    }

    /// Asks to be replaced by the program that is at the path of this one by now. The supervisor kills
    /// the caller for that, at whatever it is.
    pub fn request_upgrade(&mut self) {
        self.send(&Message::Upgrade { upgrade: true });
    }

    /// The start did not succeed; to be followed by the end of the process.
    pub fn fail(&mut self, failure: &Failure) {
        self.send(&Message::failed(failure));
    }

    fn send(&mut self, message: &Message) {
        if let Err(error) = message.send(&mut self.0) {
            tracing::debug!(%error, "the supervisor does not listen");
        }
    }
}

/// The reading end: collects bytes until there are lines.
#[derive(Debug)]
pub(super) struct Receiver {
    pub pipe: File,
    pending: Vec<u8>,
}

/// More than this without a line end is not ours.
const MAX_LINE: usize = 64 * 1024;

impl Receiver {
    pub fn new(pipe: File) -> Self {
        Self { pipe, pending: Vec::new() }
    }

    /// Waits for bytes once and gives the lines that are complete; `None` at the end of the stream.
    pub fn receive(&mut self) -> io::Result<Option<Vec<Message>>> {
        let mut buffer = [0; 4096];
        let length = match self.pipe.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Some(vec![])),
            other => other?,
        };
        if length == 0 {
            return Ok(None);
        }
        self.pending.extend_from_slice(&buffer[..length]);
        let mut messages = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            messages.push(serde_json::from_slice(&line)?);
        }
        if self.pending.len() > MAX_LINE {
            return Err(io::Error::other("a line without an end"));
        }
        Ok(Some(messages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (Receiver, File) {
        let (reader, writer) = std::io::pipe().unwrap();
        let file = |end: std::os::fd::OwnedFd| File::from(end);
        (Receiver::new(file(reader.into())), file(writer.into()))
    }

    #[test]
    fn messages_arrive_in_order_however_they_are_cut() {
        let (mut receiver, mut writer) = pipe();
        writer.write_all(b"{\"ready\":true}\n{\"unm").unwrap();
        assert_eq!(receiver.receive().unwrap(), Some(vec![Message::ready()]));
        writer.write_all(b"ount\":true}\n").unwrap();
        drop(writer);
        assert_eq!(receiver.receive().unwrap(), Some(vec![Message::Unmount { unmount: true }]));
        assert_eq!(receiver.receive().unwrap(), None);
    }

    #[test]
    fn a_failure_keeps_its_sentence_and_code() {
        let (mut receiver, writer) = pipe();
        let failure = Failure::new(ExitCode::Credentials, "the password was refused");
        ReadySender::new(writer).fail(&failure);
        let received = receiver.receive().unwrap();
        let Some([Message::Failed { error, exit_code }]) = received.as_deref() else {
            panic!("no failure")
        };
        assert_eq!(Message::failure(error, *exit_code), failure);
    }
}
