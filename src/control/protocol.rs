//! The lines that go over the socket.
//!
//! A client sends one line, such as `{"version":1,"command":"flush","path":"notes/a.txt"}`, and gets
//! lines back: any number of `{"progress":{..}}`, then exactly one with the answer or
//! `{"error":".."}`. Then it may send the next one. `docs/control-socket.md` describes them all.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize};

use super::{Explanation, Problem, Problems};
use crate::types::{BadName, Name, RemotePath};

/// The version of this protocol.
pub(super) const VERSION: u32 = 1;

/// The longest line that is read, bytes. A path of Linux has at most 4 KiB, three times that encoded.
pub(super) const MAX_LINE: u64 = 256 * 1024;

/// While a request runs there is a line at least this often, so that silence means death.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub version: u32,
    #[serde(flatten)]
    pub command: Command,
}

/// What every request begins with, of whichever version and command.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    pub version: u32,
    pub command: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(super) enum Command {
    Status,
    Flush {
        /// See [`encode_path`].
        #[serde(default)]
        path: String,
        #[serde(default)]
        timeout_ms: Option<u64>,
    },
    Shutdown {
        #[serde(default)]
        timeout_ms: Option<u64>,
    },
    Problems,
    Retry {
        #[serde(default)]
        path: String,
        /// 0: do not wait for what comes of it.
        #[serde(default)]
        timeout_ms: Option<u64>,
    },
    Explain {
        #[serde(default)]
        path: String,
        /// Instead of the path.
        #[serde(default)]
        ino: Option<u64>,
    },
    Refresh {
        #[serde(default)]
        path: String,
        #[serde(default)]
        timeout_ms: Option<u64>,
    },
    Upgrade,
}

impl Command {
    /// What a request may ask for.
    pub const NAMES: [&str; 8] =
        ["status", "flush", "shutdown", "problems", "retry", "explain", "refresh", "upgrade"];
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Progress(Progress),
    Status(Box<super::Status>),
    Outcome(FlushOutcome),
    Problems(Problems),
    Retried(RetryOutcome),
    Explanation(Box<Explanation>),
    Refreshed(RefreshOutcome),
    Error(String),
}

/// How far a flush is. Totals may grow while programs go on writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Files and directories that still have to be sent.
    pub files_left: u64,
    /// Bytes of content that still have to be sent.
    pub bytes_left: u64,
    /// What `files_left` was at the beginning.
    pub files_total: u64,
    /// What `bytes_left` was at the beginning.
    pub bytes_total: u64,
}

/// How a flush ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlushOutcome {
    /// Files and directories that are not on the server. They stay in the state directory.
    pub files_left: u64,
    /// Bytes of content of these.
    pub bytes_left: u64,
    /// Why something is left, in a few words ("the server cannot be reached").
    pub reason: Option<String>,
    /// What of it waits for somebody to act.
    pub problems: Vec<Problem>,
}

impl FlushOutcome {
    /// Whether the server has everything.
    pub fn is_complete(&self) -> bool {
        self.files_left == 0
    }
}

/// What came of trying blocked and failing files again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryOutcome {
    /// How many were tried.
    pub tried: u64,
    /// Of these the server has now.
    pub sent: u64,
    /// Failed again in a way that is tried again by itself.
    pub failing: u64,
    /// Had no turn yet.
    pub waiting: u64,
    /// Refused again.
    pub problems: Vec<Problem>,
    /// Why nothing can be sent at all: offline, or the password is refused.
    pub reason: Option<String>,
    /// The password is refused.
    pub password_refused: bool,
}

/// What a look at the server brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefreshOutcome {
    /// Names that appeared, vanished or lead to something else; a rename is two.
    pub names: u64,
    /// Files with another content, size or time under the same name.
    pub files: u64,
    /// Why the server could not be looked at, in a sentence; null when it was.
    pub failed: Option<String>,
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Everything but what needs no thought in a URL, a shell and JSON.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A path as text: its names percent-encoded (they are bytes, JSON is not) with slashes between.
pub(super) fn encode_path(path: &RemotePath) -> String {
    let names: Vec<String> =
        path.0.iter().map(|name| percent_encode(name.as_bytes(), ENCODED).to_string()).collect();
    names.join("/")
}

/// Undoes [`encode_path`]; what would leave the mount is refused.
pub(super) fn decode_path(text: &str) -> Result<RemotePath, BadName> {
    let names = text.split('/').filter(|part| !part.is_empty());
    names
        .map(|part| Name::new(percent_decode_str(part).collect::<Vec<u8>>()))
        .collect::<Result<_, _>>()
        .map(RemotePath)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_object() {
        let request: Request = serde_json::from_str(r#"{"version":1,"command":"status"}"#).unwrap();
        assert_eq!((request.version, request.command), (1, Command::Status));
        let request: Request =
            serde_json::from_str(r#"{"version":1,"command":"flush","timeout_ms":50}"#).unwrap();
        assert_eq!(request.command, Command::Flush { path: String::new(), timeout_ms: Some(50) });
    }

    #[test]
    fn a_path_of_any_bytes_survives_the_way() {
        let odd = Name::new(&b"100% \xff\"\n"[..]).unwrap();
        let path = RemotePath(vec![Name::new(&b"notes"[..]).unwrap(), odd]);
        assert_eq!(decode_path(&encode_path(&path)).unwrap(), path);
        assert_eq!(decode_path("").unwrap(), RemotePath::root());
    }

    #[test]
    fn a_path_cannot_lead_out_of_the_mount() {
        for bad in ["..", "a/../b", "%2e%2e", "a%2Fb", "%00"] {
            assert!(decode_path(bad).is_err(), "{bad}");
        }
    }
}
