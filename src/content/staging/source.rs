//! A dirty file as the source of an upload.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use sha1::{Digest, Sha1};
use tokio::task::spawn_blocking;

use super::{StagedFile, StagingError};
use crate::remote::Source;
use crate::types::{ByteRange, Sha1Sum};

/// Bytes read and handed on at once.
const PIECE: u64 = 512 * 1024;

/// A whole file at one generation.
///
/// Each piece is handed out only if the generation had not moved after it was read; so whoever got
/// all pieces got one state, and a file that changes ends the stream with an error.
#[derive(Clone, Debug)]
pub struct StagedSource {
    file: Arc<StagedFile>,
    generation: u64,
    size: u64,
}

impl StagedSource {
    /// Reads the pieces of `range` in order, on this thread.
    fn pieces(&self, range: ByteRange) -> impl Iterator<Item = ByteRange> + use<> {
        let range = range.intersection(ByteRange::new(0, self.size));
        let mut at = Some(range.start);
        std::iter::from_fn(move || {
            // One piece at least: that an empty file did not change is looked at too.
            let start = at?;
            let end = range.end.min(start.saturating_add(PIECE));
            at = (end < range.end).then_some(end);
            Some(ByteRange::new(start, end))
        })
    }

    fn piece(&self, range: ByteRange) -> Result<Vec<u8>, StagingError> {
        let bytes = self.file.pread(range);
        // Before an error counts, too: a cut file has fewer bytes than this one had.
        if self.file.generation() != self.generation {
            return Err(StagingError::Changed);
        }
        Ok(bytes?)
    }
}

impl Source for StagedSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, range: ByteRange) -> BoxStream<'static, io::Result<Bytes>> {
        let pieces = self.pieces(range);
        let source = self.clone();
        stream::unfold(Some((source, pieces)), |state| async move {
            let (source, mut pieces) = state?;
            let range = pieces.next()?;
            let reader = source.clone();
            let read = spawn_blocking(move || reader.piece(range)).await;
            match read.map_err(io::Error::other).and_then(|bytes| bytes.map_err(into_io)) {
                Ok(bytes) => Some((Ok(Bytes::from(bytes)), Some((source, pieces)))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .filter(|piece| {
            let empty = piece.as_ref().is_ok_and(Bytes::is_empty);
            async move { !empty }
        })
        .boxed()
    }
}

impl StagedFile {
    /// The content at `generation` for an upload. Fails if the file is not whole or has changed.
    pub fn source(self: &Arc<Self>, generation: u64) -> Result<StagedSource, StagingError> {
        let size = self.size_at(generation)?;
        Ok(StagedSource { file: self.clone(), generation, size })
    }

    /// The checksum of the content at `generation`, read on the blocking pool.
    pub async fn sha1(self: &Arc<Self>, generation: u64) -> Result<Sha1Sum, StagingError> {
        let source = self.source(generation)?;
        let sum = spawn_blocking(move || {
            let mut digest = Sha1::new();
            for range in source.pieces(ByteRange::new(0, source.size)) {
                digest.update(source.piece(range)?);
            }
            Ok(Sha1Sum(digest.finalize().into()))
        });
        sum.await.map_err(io::Error::other)?
    }
}

fn into_io(error: StagingError) -> io::Error {
    match error {
        StagingError::Io(error) => error,
        other => io::Error::other(other),
    }
}
