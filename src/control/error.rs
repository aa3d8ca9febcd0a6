//! Why a daemon could not be asked, or could not be made ready to be asked.

use std::io;
use std::path::PathBuf;

/// The outcome of a call of this room that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A daemon that answers is registered for this mount point.
    #[error("a daemon already serves {}", .0.display())]
    AlreadyServed(PathBuf),
    /// No private directory for sockets could be found or made.
    #[error(
        "{} cannot hold the control socket: {reason}; name a directory of your own with NCFS_RUNTIME_DIR",
        path.display()
    )]
    RuntimeDir { path: PathBuf, reason: String },
    /// A file or socket of this room could not be used.
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    /// The daemon does not listen any more.
    #[error(
        "the daemon of {path} has ended; if its mount stays behind, dead, remove it with: ncfs unmount {path}",
        path = .0.display()
    )]
    Gone(PathBuf),
    /// The daemon took the request and gives no sign of life.
    #[error("the daemon does not answer; try again later, or end the mount with ncfs unmount")]
    Silent,
    /// The connection broke before the answer was complete.
    #[error("the daemon ended before it answered")]
    CutOff,
    /// The other side speaks another language.
    #[error("the daemon's answer is not understood ({0}); is it of another version of ncfs?")]
    Protocol(String),
    /// The daemon refused the request.
    #[error("{0}")]
    Refused(String),
}
