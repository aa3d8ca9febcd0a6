//! What can go wrong with a request, sorted by what the caller must do.

use std::time::Duration;

use crate::types::Etag;

/// The outcome of a request that was not carried out as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// The request never reached the server: nothing happened there.
    #[error("the server cannot be reached: {0}")]
    Offline(String),
    /// The request was sent and no complete answer came: it may have been carried out, may be still,
    /// or may never be. Look before repeating. Covers 504 of a proxy, and its 502 to a change.
    #[error("no answer from the server: {0}")]
    NoAnswer(String),
    /// 401. Do not try the same password again (brute-force protection, FACTS 11).
    #[error("the server refused the user name or password")]
    Unauthorized,
    /// 403.
    #[error("the server forbids it: {0}")]
    Forbidden(String),
    /// 404, also for a missing parent of a PUT or DELETE (FACTS 5).
    #[error("not found on the server")]
    NotFound,
    /// A directory was asked for and a file is there.
    #[error("not a directory on the server")]
    NotADirectory,
    /// 405 of MKCOL: the name is taken.
    #[error("already exists on the server")]
    Exists,
    /// 409: the parent is missing, or the target is a folder; also a folder read as a file.
    #[error("conflict on the server: {0}")]
    Conflict(String),
    /// 412: a condition did not hold; nothing was changed.
    #[error("changed on the server since it was last seen")]
    PreconditionFailed {
        /// The tag that the server holds now, where it says so.
        etag: Option<Etag>,
    },
    /// 416.
    #[error("the range lies behind the end of the file")]
    OutOfRange,
    /// 423, or 500 with LockedException: somebody uses the file; nothing was changed. A lock can be
    /// that of our own lost request (FACTS 18), so the outcome of that one stays unknown.
    #[error("locked on the server")]
    Locked,
    /// 429.
    #[error("the server asks to slow down")]
    TooManyRequests { retry_after: Option<Duration> },
    /// 503, maintenance, 502 to a read.
    #[error("the server is not available: {reason}")]
    Unavailable { reason: String, maintenance: bool, retry_after: Option<Duration> },
    /// 507: the quota is used up.
    #[error("no space left on the server: {0}")]
    Full(String),
    /// 400 InvalidPath and other requests that the server will never take.
    #[error("the server refuses it: {0}")]
    Refused(String),
    /// The local source of an upload failed or changed; nothing became visible on the server.
    #[error("the upload was dropped: {0}")]
    Source(String),
    /// The answer is not what the protocol allows: not a WebDAV server, cut or hostile XML.
    #[error("unexpected answer from the server: {0}")]
    Protocol(String),
    /// Any other status.
    #[error("the server answered {status}: {message}")]
    Status { status: u16, message: String },
}

impl RemoteError {
    /// Whether the request may have been carried out all the same.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Whether the same request can succeed later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Offline(_)
            | Self::NoAnswer(_)
            | Self::Locked
            | Self::TooManyRequests { .. }
            | Self::Unavailable { .. }
            | Self::Source(_) => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Whether it says that the server as a whole does not answer, rather than this one request.
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Offline(_) | Self::NoAnswer(_) | Self::Unavailable { .. })
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }
}
