//! Copying ranges from file to file without a trip through the program, and finding holes.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{Bodies, BodyError, Held};
use crate::content::{CachedVersion, Seek};
use crate::tree::Content;
use crate::types::{ByteRange, Ino};

/// Bytes copied at a time. Whoever looks at the target meanwhile waits for one piece.
const PIECE: u64 = 4 << 20;

/// For how long a call begins another piece: a program that copies cannot be killed before the
/// answer, and asks again for the rest.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Where the bytes of a piece are.
enum Supply {
    /// In a local file, from the same offset on.
    File(File, Option<Arc<CachedVersion>>),
    Memory(Bytes),
}

impl Bodies {
    /// Copies a range of one file (clipped at its end) to `offset` of another, or of the same if the
    /// two do not overlap. Tells how many bytes: less than asked for where the source ends, where
    /// it takes long, or where the rest fails. Waits for the network where the source is not here,
    /// as [`Bodies::read`] does.
    ///
    /// As with a write, a call that fails or is given up may have changed any part of the target.
    pub async fn copy(
        self: &Arc<Self>,
        from: Ino,
        range: ByteRange,
        to: Ino,
        offset: u64,
    ) -> Result<u64, BodyError> {
        let began = Instant::now();
        let mut done = 0;
        while done < range.len() && (done == 0 || began.elapsed() < AT_ONCE) {
            let piece = ByteRange::at(range.start + done, PIECE).intersection(range);
            match self.copy_piece(from, piece, to, offset + done).await {
                Ok(0) => break,
                Ok(copied) => done += copied,
                // It is told when the program asks for the rest.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    async fn copy_piece(
        self: &Arc<Self>,
        from: Ino,
        piece: ByteRange,
        to: Ino,
        offset: u64,
    ) -> Result<u64, BodyError> {
        let supply = match self.local_supply(from)? {
            Some(supply) => supply,
            None => Supply::Memory(self.read(from, piece).await?),
        };
        let bodies = Arc::clone(self);
        let copied = spawn_blocking(move || bodies.put(supply, piece, to, offset));
        copied.await.map_err(std::io::Error::other)?
    }

    /// A local file with all bytes, if there is one.
    fn local_supply(&self, ino: Ino) -> Result<Option<Supply>, BodyError> {
        let Ok(Held { node, content, staged }) = self.look(ino) else {
            // The read tells why.
            return Ok(None);
        };
        match content {
            Content::Empty => Ok(Some(Supply::Memory(Bytes::new()))),
            Content::Remote(content) => {
                let version = self.cache.peek(content).filter(|version| version.is_complete());
                let Some(version) = version.filter(|version| version.size() == node.attr.size)
                else {
                    return Ok(None);
                };
                Ok(Some(Supply::File(version.try_clone_file()?, Some(version))))
            }
            Content::Staged { .. } => {
                let file = staged.map_or(Ok(None), |staged| staged.whole_data())?;
                Ok(file.map(|file| Supply::File(file, None)))
            }
        }
    }

    /// Blocks on the local disk.
    fn put(
        self: &Arc<Self>,
        supply: Supply,
        piece: ByteRange,
        to: Ino,
        offset: u64,
    ) -> Result<u64, BodyError> {
        match supply {
            Supply::Memory(bytes) if bytes.is_empty() => Ok(0),
            Supply::Memory(bytes) => {
                self.write(to, offset, &bytes)?;
                Ok(bytes.len() as u64)
            }
            Supply::File(file, _held) => {
                self.change(to, |staged| staged.copy_in(offset, &file, piece.start, piece.len()))
            }
        }
    }

    /// The next data or hole of a file from `offset` on; `None` when there is none before its end.
    /// Never waits for the network: holes are known only of a file whose bytes were all written
    /// here.
    pub fn seek(&self, ino: Ino, offset: u64, what: Seek) -> Result<Option<u64>, BodyError> {
        let held = self.look(ino)?;
        match held.staged {
            Some(staged) => Ok(staged.seek(offset, what)?),
            None => Ok(what.without_holes(offset, held.node.attr.size)),
        }
    }
}
