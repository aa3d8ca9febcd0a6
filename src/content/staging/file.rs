//! One dirty file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek};

use super::log::{Log, Record, Replayed};
use super::range::{Allocation, Seek};
use super::{StagingError, lost};
use crate::content::Extents;
use crate::content::local_copy::copy_range;
use crate::types::{ByteRange, StagingId, Time};

/// The largest size of a file (`loff_t`).
const SIZE_MAX: u64 = i64::MAX as u64;

/// A file with changes that the server does not have. All calls but the asynchronous ones block on
/// the local disk only.
#[derive(Debug)]
pub struct StagedFile {
    /// Somebody brings what is missing of the base.
    hydrating: AtomicBool,
    id: StagingId,
    path: PathBuf,
    data: File,
    /// Shared by all staging files.
    changes: Arc<AtomicU64>,
    generation: AtomicU64,
    /// Whether the directory was synced since the file is in it.
    named: AtomicBool,
    /// Held over reads and writes of the data file, so that a read sees a write whole or not at all.
    state: RwLock<State>,
}

/// What is where. `written` is in `present`, both are below `base_len`, that is at most `size`; the
/// data file has no bytes but zeros beyond `size`. Without a log there are no gaps.
#[derive(Debug)]
struct State {
    /// Bytes of the file as programs see it.
    size: u64,
    /// How much of the base shows through where nothing was written; what is behind it is in the
    /// data file.
    base_len: u64,
    /// What of that is in the data file.
    present: Extents,
    /// What of that was written here, and so stands in the log.
    written: Extents,
    log: Option<Log>,
    sealed: bool,
}

/// What became of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// All bytes, fewer than asked for only at the end of the file.
    Data(Bytes),
    /// These ranges of the base are needed first.
    Missing(Vec<ByteRange>),
}

impl StagedFile {
    /// Opens the data file, and the log if the row says that the file is partial.
    pub(super) fn open(
        id: StagingId,
        path: PathBuf,
        log: Option<&Path>,
        changes: Arc<AtomicU64>,
    ) -> Result<Self, StagingError> {
        let lost = |error: io::Error| lost(id, error);
        let data = File::options().read(true).write(true).open(&path).map_err(lost)?;
        let meta = data.metadata()?;
        let mut state = State {
            size: meta.len(),
            base_len: 0,
            present: Extents::default(),
            written: Extents::default(),
            log: None,
            sealed: false,
        };
        if let Some(log) = log {
            let (log, replayed) =
                Log::open(log, id).map_err(lost)?.ok_or(StagingError::Lost(id))?;
            if !replayed.whole {
                let Replayed { size, base_len, written, .. } = replayed;
                // What a crash left between the log and the data file, either way round.
                if size != meta.len() {
                    data.set_len(size)?;
                    data.set_modified(meta.modified()?)?;
                }
                state.present = written.clone();
                state = State { size, base_len, written, log: Some(log), ..state };
            }
        }
        let generation = AtomicU64::new(changes.fetch_add(1, Ordering::SeqCst));
        let (named, state) = (AtomicBool::new(false), RwLock::new(state));
        let hydrating = AtomicBool::new(false);
        Ok(Self { hydrating, id, path, data, changes, generation, named, state })
    }

    /// Claims the task to bring what is missing of the base; `false` when somebody has it.
    pub(in crate::content) fn begin_hydration(&self) -> bool {
        !self.hydrating.swap(true, Ordering::AcqRel)
    }

    /// Gives the task back.
    pub(in crate::content) fn end_hydration(&self) {
        self.hydrating.store(false, Ordering::Release);
    }

    pub fn id(&self) -> StagingId {
        self.id
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.shared().size
    }

    /// How many bytes of the base can still be missing, from its beginning.
    pub fn base_len(&self) -> u64 {
        self.shared().base_len
    }

    /// A number that is another one as soon as a change begins. Who reads, and then finds it as it
    /// was before, has read one state. Never the same twice within this process, and never 0.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// When the file was last changed by a write or a cut, or what [`Self::set_mtime`] said since.
    /// For a file that was taken from the cache and not changed yet it says nothing.
    pub fn mtime(&self) -> io::Result<Time> {
        let _state = self.shared();
        Ok(to_time(self.data.metadata()?.modified()?))
    }

    /// Sets the modification time, which is kept with the data.
    pub fn set_mtime(&self, mtime: Time) -> io::Result<()> {
        let _state = self.exclusive();
        self.data.set_modified(to_system(mtime))
    }

    /// Writes the bytes, all or (with an error) any part of them. When it returns they survive the
    /// death of the process.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), StagingError> {
        let range = ByteRange::at(offset, bytes.len() as u64);
        if range.end > SIZE_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
        }
        if range.is_empty() {
            return Ok(());
        }
        let mut state = self.change()?;
        // Data before record: a crash between the two leaves a gap, and the base in it.
        let done = self.data.write_all_at(bytes, offset).and_then(|()| state.log_write(range));
        if done.is_err() && range.end > state.size {
            self.data.set_len(state.size)?;
        }
        done?;
        state.size = state.size.max(range.end);
        Ok(())
    }

    /// Cuts or grows the file to `size`; what is grown reads as zeros, also where the base had bytes
    /// before a cut.
    pub fn truncate(&self, size: u64) -> Result<(), StagingError> {
        if size > SIZE_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
        }
        let mut state = self.change()?;
        if size > state.size {
            self.data.set_len(size)?;
            let done = state.log(Record::Truncate(size));
            if done.is_err() {
                self.data.set_len(state.size)?;
            }
            done?;
            state.size = size;
        } else {
            // Record before data: a crash between the two is mended when the file is opened.
            state.log(Record::Truncate(size))?;
            state.size = size;
            state.base_len = state.base_len.min(size);
            let base_len = state.base_len;
            state.present.truncate(base_len);
            state.written.truncate(base_len);
            self.data.set_len(size)?;
        }
        Ok(())
    }

    /// Reserves, zeroes or punches a range. What then reads as zeros counts as written: no byte of the
    /// base shows through it. With an error the size stays; a part may read as zeros.
    pub fn allocate(&self, range: ByteRange, how: Allocation) -> Result<(), StagingError> {
        if range.end > SIZE_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
        }
        let mut state = self.change()?;
        if !matches!(how, Allocation::Reserve { .. }) {
            let inside = range.intersection(ByteRange::new(0, state.size));
            if !inside.is_empty() {
                let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE;
                self.allocate_data(inside, punch | FallocateFlags::FALLOC_FL_KEEP_SIZE)?;
                // Data before record, as for a write.
                state.log_write(inside)?;
            }
        }
        let (Allocation::Reserve { keep_size } | Allocation::Zero { keep_size }) = how else {
            return Ok(());
        };
        let grows = !keep_size && range.end > state.size;
        let flags = match grows {
            true => FallocateFlags::empty(),
            false => FallocateFlags::FALLOC_FL_KEEP_SIZE,
        };
        let reserved = self.allocate_data(range, flags).and_then(|()| match grows {
            true => state.log(Record::Truncate(range.end)),
            false => Ok(()),
        });
        if reserved.is_err() {
            // What was reserved behind the end before the disk was full is given back.
            self.data.set_len(state.size)?;
        }
        reserved?;
        if grows {
            state.size = range.end;
        }
        Ok(())
    }

    /// Copies `len` bytes of another file (or of this one, if the ranges do not overlap) to `offset`;
    /// less only where that file ends. Tells how many.
    pub fn copy_in(
        &self,
        offset: u64,
        from: &File,
        start: u64,
        len: u64,
    ) -> Result<u64, StagingError> {
        if ByteRange::at(offset, len).end > SIZE_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
        }
        let mut state = self.change()?;
        let done = copy_range(from, start, &self.data, offset, len).and_then(|copied| {
            let range = ByteRange::at(offset, copied);
            if copied > 0 {
                state.log_write(range)?;
                state.size = state.size.max(range.end);
            }
            Ok(copied)
        });
        if done.is_err() {
            self.data.set_len(state.size)?;
        }
        Ok(done?)
    }

    /// The next data or hole from `offset` on; `None` when there is none before the end. While parts
    /// of the base are missing the file counts as one without holes.
    pub fn seek(&self, offset: u64, what: Seek) -> io::Result<Option<u64>> {
        let state = self.shared();
        let (Ok(at), None, true) = (i64::try_from(offset), &state.log, offset < state.size) else {
            return Ok(what.without_holes(offset, state.size));
        };
        let whence = match what {
            Seek::Data => Whence::SeekData,
            Seek::Hole => Whence::SeekHole,
        };
        // Nothing else here goes by the position of the descriptor.
        match lseek(&self.data, at, whence) {
            Ok(found) => Ok(u64::try_from(found).ok()),
            Err(Errno::ENXIO) => Ok(None),
            // The file system knows of no holes.
            Err(Errno::EINVAL) => Ok(what.without_holes(offset, state.size)),
            Err(error) => Err(error.into()),
        }
    }

    /// Another descriptor of the data, if nothing of the base is missing. To be read by offset only.
    pub fn whole_data(&self) -> io::Result<Option<File>> {
        if self.is_whole() { self.data.try_clone().map(Some) } else { Ok(None) }
    }

    /// Reads `range`, clipped to the size.
    pub fn read(&self, range: ByteRange) -> io::Result<ReadOutcome> {
        let state = self.shared();
        let range = range.intersection(ByteRange::new(0, state.size));
        let gaps = state.gaps(range);
        if !gaps.is_empty() {
            return Ok(ReadOutcome::Missing(gaps));
        }
        self.pread(range).map(|bytes| ReadOutcome::Data(bytes.into()))
    }

    /// The ranges of the base that are missing.
    pub fn gaps(&self) -> Vec<ByteRange> {
        self.gaps_in(ByteRange::new(0, SIZE_MAX))
    }

    /// The ranges of the base that are missing in `within`.
    pub fn gaps_in(&self, within: ByteRange) -> Vec<ByteRange> {
        self.shared().gaps(within)
    }

    /// Whether nothing of the base is missing. A file that is whole stays so.
    pub fn is_whole(&self) -> bool {
        self.shared().is_whole()
    }

    /// Puts bytes of the base where they are missing, and nowhere else. It is no change: generation
    /// and modification time stay. It is forgotten by a restart unless [`Self::settle`] follows.
    pub fn fill(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let range = ByteRange::at(offset, bytes.len() as u64);
        let mut state = self.exclusive();
        let gaps = state.gaps(range);
        if gaps.is_empty() {
            return Ok(());
        }
        let mtime = self.data.metadata()?.modified()?;
        for gap in gaps {
            let place = |at: u64| usize::try_from(at - offset).map_err(io::Error::other);
            let piece = bytes.get(place(gap.start)?..place(gap.end)?).unwrap_or_default();
            self.data.write_all_at(piece, gap.start)?;
            state.present.insert(gap);
        }
        self.data.set_modified(mtime)
    }

    /// If the file is whole, brings it to the disk and ends its log, so that it is whole after a
    /// restart too; then true. Afterwards its row may say that it is not partial any more.
    pub fn settle(&self) -> io::Result<bool> {
        if self.shared().log.is_none() {
            return Ok(true);
        }
        if !self.is_whole() {
            return Ok(false);
        }
        // Without the lock. What is written meanwhile is no part of the base.
        self.data.sync_data()?;
        let mut state = self.exclusive();
        if let Some(log) = &mut state.log {
            log.append(Record::Whole)?;
            log.sync()?;
        }
        state.log = None;
        state.base_len = 0;
        state.present = Extents::default();
        state.written = Extents::default();
        Ok(true)
    }

    /// Brings data, log and name to the disk: what was written before survives a power cut.
    pub fn sync(&self) -> io::Result<()> {
        let log = self.shared().log.as_ref().map(Log::try_clone_file).transpose()?;
        self.data.sync_data()?;
        if let Some(log) = log {
            log.sync_data()?;
        }
        if !self.named.load(Ordering::Acquire) {
            if let Some(dir) = self.path.parent() {
                File::open(dir)?.sync_all()?;
            }
            self.named.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Ends all changes, if none was made since `generation` and the file is whole: from then on
    /// they fail with [`StagingError::Sealed`]. To be called before the content is handed to the
    /// cache.
    pub fn seal(&self, generation: u64) -> Result<(), StagingError> {
        let mut state = self.exclusive();
        self.check(&state, generation)?;
        state.sealed = true;
        Ok(())
    }

    /// Allows changes again, when the content was not handed over after all.
    pub fn unseal(&self) {
        self.exclusive().sealed = false;
    }

    /// The whole content and its generation, with no change between; for small files.
    pub fn snapshot(&self) -> Result<(u64, Vec<u8>), StagingError> {
        let state = self.shared();
        let generation = self.generation();
        self.check(&state, generation)?;
        Ok((generation, self.pread(ByteRange::new(0, state.size))?))
    }

    /// The size at `generation`, for a file that is whole.
    pub(super) fn size_at(&self, generation: u64) -> Result<u64, StagingError> {
        let state = self.shared();
        self.check(&state, generation)?;
        Ok(state.size)
    }

    /// Reads from the data file; what comes is of the state whose generation did not move.
    pub(super) fn pread(&self, range: ByteRange) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.len()).map_err(io::Error::other)?];
        self.data.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    fn allocate_data(&self, range: ByteRange, flags: FallocateFlags) -> io::Result<()> {
        let offset = i64::try_from(range.start).map_err(io::Error::other)?;
        let len = i64::try_from(range.len()).map_err(io::Error::other)?;
        Ok(fallocate(&self.data, flags, offset, len)?)
    }

    fn check(&self, state: &State, generation: u64) -> Result<(), StagingError> {
        if !state.is_whole() {
            let gaps = state.gaps(ByteRange::new(0, state.size));
            return Err(StagingError::NotWhole { gaps });
        }
        if self.generation() != generation { Err(StagingError::Changed) } else { Ok(()) }
    }

    /// Begins a change: the generation moves before a byte does.
    fn change(&self) -> Result<RwLockWriteGuard<'_, State>, StagingError> {
        let state = self.exclusive();
        if state.sealed {
            return Err(StagingError::Sealed);
        }
        self.generation.store(self.changes.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        Ok(state)
    }

    fn shared(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_whole(&self) -> bool {
        self.present.contains(ByteRange::new(0, self.base_len))
    }

    fn gaps(&self, within: ByteRange) -> Vec<ByteRange> {
        self.present.gaps(within.intersection(ByteRange::new(0, self.base_len)))
    }

    /// Notes that `range` was written, in the log only if it does not say so already.
    fn log_write(&mut self, range: ByteRange) -> io::Result<()> {
        let in_base = range.intersection(ByteRange::new(0, self.base_len));
        if range.end > self.size || !self.written.contains(in_base) {
            self.log(Record::Write(range))?;
        }
        self.written.insert(in_base);
        self.present.insert(in_base);
        Ok(())
    }

    fn log(&mut self, record: Record) -> io::Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.append(record))
    }
}

fn to_time(time: SystemTime) -> Time {
    let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time(nanos(after)),
        Err(before) => Time(-nanos(before.duration())),
    }
}

fn to_system(time: Time) -> SystemTime {
    let span = Duration::from_nanos(time.0.unsigned_abs());
    if time.0 < 0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span }
}
