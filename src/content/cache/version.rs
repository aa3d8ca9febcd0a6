//! One version of one file as far as it is here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::layout::charge;
use crate::content::Extents;
use crate::types::{ByteRange, ContentId};

/// The counters that all versions of a cache share.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Bytes that the cache's files occupy, by [`charge`].
    pub(super) used: AtomicU64,
    uses: AtomicU64,
}

impl Ledger {
    /// The next moment in the order of uses.
    pub(super) fn stamp(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }
}

/// A version in the cache, complete or with gaps. It is not evicted while a handle to it lives.
///
/// Bytes that are present never change. The file of an incomplete version does not survive a
/// restart; that of a complete one does.
#[derive(Debug)]
pub struct CachedVersion {
    content: ContentId,
    size: u64,
    file: File,
    part: PathBuf,
    path: PathBuf,
    ledger: Arc<Ledger>,
    stamp: AtomicU64,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    present: Extents,
    standing: Standing,
    /// Whether the file has its final name.
    named: bool,
}

/// What the cache still has to do with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Kept,
    /// The cache gave up its name: whoever has a handle can go on with it.
    Forgotten,
    /// Its file went to staging and has a writer: its bytes are no longer those of this version.
    Taken,
}

impl CachedVersion {
    /// `present` is complete if and only if the file has its final name.
    pub(super) fn new(
        content: ContentId,
        size: u64,
        file: File,
        (part, path): (PathBuf, PathBuf),
        ledger: Arc<Ledger>,
        present: Extents,
    ) -> Self {
        let named = present.total() == size;
        let stamp = AtomicU64::new(ledger.stamp());
        let state = RwLock::new(State { present, standing: Standing::Kept, named });
        Self { content, size, file, part, path, ledger, stamp, state }
    }

    pub fn content(&self) -> ContentId {
        self.content
    }

    /// Bytes of the whole version, present or not.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn is_complete(&self) -> bool {
        let state = self.shared();
        state.standing != Standing::Taken && state.present.total() == self.size
    }

    /// The bytes of `range` (clipped to the size) if all of them are present.
    pub fn read(&self, range: ByteRange) -> io::Result<Option<Bytes>> {
        let range = range.intersection(ByteRange::new(0, self.size));
        // Held over the read, so that `take` cannot hand the file to a writer meanwhile.
        let state = self.shared();
        if state.standing == Standing::Taken || !state.present.contains(range) {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(range.len()).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(Some(bytes.into()))
    }

    /// What of `within` (clipped to the size) is not here.
    pub fn missing(&self, within: ByteRange) -> Vec<ByteRange> {
        let within = within.intersection(ByteRange::new(0, self.size));
        let state = self.shared();
        match state.standing {
            Standing::Taken if within.is_empty() => Vec::new(),
            Standing::Taken => vec![within],
            _ => state.present.gaps(within),
        }
    }

    /// What of `within` is here.
    pub fn present(&self, within: ByteRange) -> Vec<ByteRange> {
        let state = self.shared();
        match state.standing {
            Standing::Taken => Vec::new(),
            _ => state.present.covered(within),
        }
    }

    /// Stores bytes of this version; what reaches beyond its size is dropped. With the last gap
    /// the file gets its final name.
    pub fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let range = ByteRange::at(offset, bytes.len() as u64);
        let range = range.intersection(ByteRange::new(0, self.size));
        // Also true of a taken version, for only complete ones are taken: its file is not written.
        if range.is_empty() || self.shared().present.contains(range) {
            return Ok(());
        }
        // Without the lock: the bytes of one range are the same whoever stores them, and nobody
        // reads them before they count as present.
        let len = usize::try_from(range.len()).map_err(io::Error::other)?;
        self.file.write_all_at(bytes.get(..len).unwrap_or(bytes), range.start)?;
        let mut state = self.exclusive();
        let before = charge(state.present.total());
        state.present.insert(range);
        if state.standing != Standing::Kept {
            return Ok(());
        }
        let grown = charge(state.present.total()) - before;
        self.ledger.used.fetch_add(grown, Ordering::Relaxed);
        if state.present.total() == self.size && !state.named {
            std::fs::rename(&self.part, &self.path)?;
            state.named = true;
        }
        Ok(())
    }

    /// Another descriptor of the version's file, which has the size of the whole; gaps read as zeros
    /// in it, so it is of use for a complete version only.
    ///
    /// Once the file is taken for staging what is written there shows through it.
    pub fn try_clone_file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    pub(super) fn touch(&self) {
        self.stamp.store(self.ledger.stamp(), Ordering::Relaxed);
    }

    pub(super) fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::Relaxed)
    }

    /// What the cache's accounts hold for it.
    pub(super) fn charged(&self) -> u64 {
        charge(self.shared().present.total())
    }

    /// Takes it out of the accounts; no name is given to its file any more.
    pub(super) fn let_go(&self) -> u64 {
        let mut state = self.exclusive();
        state.standing = Standing::Forgotten;
        charge(state.present.total())
    }

    /// Runs `link` on the file's present name, with all readers kept out; if that succeeds the
    /// version is taken. `None` if it is not complete.
    pub(super) fn hand_over(
        &self,
        link: impl FnOnce(&PathBuf) -> io::Result<()>,
    ) -> Option<io::Result<()>> {
        let mut state = self.exclusive();
        if state.present.total() != self.size || !state.named {
            return None;
        }
        Some(link(&self.path).inspect(|()| state.standing = Standing::Taken))
    }

    /// What to remember of it when it is closed.
    pub(super) fn into_present(self) -> Extents {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).present
    }

    fn shared(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
