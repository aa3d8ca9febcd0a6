//! Why bytes could not be brought here.

use std::io;
use std::sync::Arc;

use crate::remote::RemoteError;

/// The outcome of a read that could not be served. Shared by all who waited for the same request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The server cannot be reached, and the bytes are not here.
    #[error("not in the cache, and the server cannot be reached")]
    Offline,
    /// The server has another version by now.
    #[error("the file was replaced on the server")]
    Stale,
    /// The content is nowhere on the server any more.
    #[error("the content is not on the server any more")]
    Gone,
    /// The local disk failed.
    #[error("local disk: {0}")]
    Io(Arc<io::Error>),
    /// The server refused, or gave no answer for as long as was tried.
    #[error("{0}")]
    Server(#[from] RemoteError),
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
