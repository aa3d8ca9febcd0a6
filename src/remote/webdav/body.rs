//! Bodies on their way, in both directions.
//!
//! Guarantees: an upload hands over exactly the announced bytes, and its last piece only once the
//! source has ended well, so that an error of the source, however late, leaves no complete body on
//! the server. A download that stands still for [`STALL`] ends with an error.

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};

use super::metrics::Metrics;
use super::refusal::chain;
use crate::remote::{RemoteError, Result, Source};
use crate::types::ByteRange;

/// How long a body may stand still.
pub const STALL: Duration = Duration::from_secs(30);

/// Largest piece handed to the connection at once: on a line that moves less than this in
/// [`STALL`] an upload counts as stalled.
const PIECE: usize = 64 * 1024;

/// How far an upload is, shared with the deadline that watches it.
#[derive(Debug)]
pub struct Progress {
    total: u64,
    handed: AtomicU64,
    failure: OnceLock<String>,
}

impl Progress {
    pub fn new(total: u64) -> Self {
        Self { total, handed: AtomicU64::new(0), failure: OnceLock::new() }
    }

    /// Bytes that the connection took.
    pub fn handed(&self) -> u64 {
        self.handed.load(Relaxed)
    }

    /// Whether the connection took all.
    pub fn is_complete(&self) -> bool {
        self.handed() >= self.total
    }

    /// Why the source ended the upload, if it did.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    fn fail(&self, error: io::Error) -> io::Error {
        let _ = self.failure.set(error.to_string());
        error
    }
}

/// The bytes of `range` in small pieces, for one attempt of an upload.
pub fn outgoing(
    source: &Arc<dyn Source>,
    range: ByteRange,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, io::Result<Bytes>> {
    let state = Outgoing {
        input: source.read(range),
        next: Bytes::new(),
        read: 0,
        ended: false,
        progress,
        metrics,
    };
    stream::unfold(Some(state), |state| async {
        let mut state = state?;
        match state.piece().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(state))),
            Ok(None) => None,
            Err(error) => Some((Err(state.progress.fail(error)), None)),
        }
    })
    .boxed()
}

struct Outgoing {
    input: BoxStream<'static, io::Result<Bytes>>,
    /// Read from the source and not handed over.
    next: Bytes,
    read: u64,
    ended: bool,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
}

impl Outgoing {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.next.len() > PIECE {
                let piece = self.next.split_to(PIECE);
                return Ok(Some(self.hand_over(piece)));
            }
            let following = self.read_on().await?;
            let ended = following.is_empty();
            let piece = std::mem::replace(&mut self.next, following);
            if !piece.is_empty() {
                return Ok(Some(self.hand_over(piece)));
            }
            if ended {
                return Ok(None);
            }
        }
    }

    /// The next bytes of the source; none at its end, which must come where it was announced.
    async fn read_on(&mut self) -> io::Result<Bytes> {
        let total = self.progress.total;
        while !self.ended {
            match self.input.next().await.transpose()? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    self.read += bytes.len() as u64;
                    if self.read > total {
                        return Err(io::Error::other(format!("it is longer than {total} bytes")));
                    }
                    return Ok(bytes);
                }
                None => self.ended = true,
            }
        }
        if self.read < total {
            let read = self.read;
            return Err(io::Error::other(format!("it ended after {read} of {total} bytes")));
        }
        Ok(Bytes::new())
    }

    fn hand_over(&self, piece: Bytes) -> Bytes {
        self.progress.handed.fetch_add(piece.len() as u64, Relaxed);
        self.metrics.sent(piece.len());
        piece
    }
}

/// The body of an answer; ends after its first error.
pub fn incoming(
    input: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, Result<Bytes>> {
    stream::unfold(Some((input.boxed(), metrics)), |state| async {
        let (mut input, metrics) = state?;
        match tokio::time::timeout(STALL, input.next()).await {
            Ok(Some(Ok(bytes))) => {
                metrics.received(bytes.len());
                Some((Ok(bytes), Some((input, metrics))))
            }
            Ok(Some(Err(error))) => Some((Err(RemoteError::NoAnswer(chain(&error))), None)),
            Ok(None) => None,
            Err(_) => {
                let why = format!("the answer stood still for {} s", STALL.as_secs());
                Some((Err(RemoteError::NoAnswer(why)), None))
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scripted(Vec<std::result::Result<Bytes, &'static str>>, u64);

    impl Source for Scripted {
        fn size(&self) -> u64 {
            self.1
        }

        fn read(&self, _: ByteRange) -> BoxStream<'static, io::Result<Bytes>> {
            let items = self.0.clone().into_iter().map(|item| item.map_err(io::Error::other));
            stream::iter(items).boxed()
        }
    }

    async fn send(
        items: Vec<std::result::Result<Bytes, &'static str>>,
        size: u64,
    ) -> (u64, std::result::Result<(), String>) {
        let source: Arc<dyn Source> = Arc::new(Scripted(items, size));
        let progress = Arc::new(Progress::new(size));
        let range = ByteRange::new(0, size);
        let mut pieces = outgoing(&source, range, progress.clone(), Arc::default());
        let mut handed = 0;
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => {
                    assert!(piece.len() <= PIECE && !piece.is_empty());
                    handed += piece.len() as u64;
                }
                Err(error) => {
                    assert_eq!(progress.failure(), Some(error.to_string().as_str()));
                    return (handed, Err(error.to_string()));
                }
            }
        }
        assert!(progress.is_complete());
        (handed, Ok(()))
    }

    #[tokio::test]
    async fn a_source_is_handed_over_whole_and_in_small_pieces() {
        let items = vec![Ok(Bytes::from(vec![1; 200_000])), Ok(Bytes::new()), Ok("end".into())];
        assert_eq!(send(items, 200_003).await, (200_003, Ok(())));
        assert_eq!(send(vec![], 0).await, (0, Ok(())));
    }

    #[tokio::test]
    async fn the_last_piece_is_kept_back_until_the_source_has_ended_well() {
        let (handed, end) = send(vec![Ok("abc".into()), Err("changed")], 3).await;
        assert_eq!((handed, end), (0, Err("changed".into())));
        let (handed, end) = send(vec![Ok("abc".into()), Ok("d".into())], 3).await;
        assert!(handed < 3 && end.is_err());
        let (handed, end) = send(vec![Ok("ab".into())], 3).await;
        assert!(handed < 3 && end.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_stands_still_ends_with_an_error() {
        let input = stream::iter([Ok(Bytes::from("a"))]).chain(stream::pending());
        let pieces: Vec<_> = incoming(input, Arc::default()).collect().await;
        assert!(matches!(pieces[..], [Ok(_), Err(RemoteError::NoAnswer(_))]));
    }
}
