//! Dirty content: what programs wrote and the server does not have.
//!
//! A [`StagedFile`] is one full-size sparse data file, and while parts of the version that it changes
//! (its base) are not here, a log of what was written. Nothing in this room deletes one but
//! [`Staging::remove`].
//!
//! # Files and rows
//!
//! Files below the directory, for the staging id N:
//!
//! - `N.new`: made, and maybe its row is not yet: without a row it never was, and is deleted.
//! - `N`: its row is committed.
//! - `N.old`: its row is about to go: without a row it is done with, and is deleted.
//! - `N.log`: beside the other while the file is partial.
//!
//! A row finds its file under any of the three names. An `N` without a row is what must not happen;
//! it is moved to `lost+found` beside the staging directory and reported. Right after the start, before
//! the first new file, [`Staging::strays`] has to be called: it frees the names of ids that a power
//! cut made the database forget.
//!
//! # After a crash
//!
//! Of the process: every write and cut that was answered is there. Of the machine: what was synced is
//! there; of what was not, any part. A partial file whose log is gone is [`StagingError::Lost`]: zeros
//! are not taken for content.

mod file;
mod log;
mod range;
mod salvage;
mod source;
mod strays;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::types::{ByteRange, StagingId};

use log::Log;

pub use file::{ReadOutcome, StagedFile};
pub use range::{Allocation, Seek};
pub use salvage::{Nameless, Salvage, Salvaged};
pub use source::StagedSource;
pub use strays::Stray;

/// Why a staging file cannot be had or used as asked.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// Its file or log is gone or unreadable: what was written to it is lost.
    #[error("the content of staging file {} is lost", .0.0)]
    Lost(StagingId),
    /// It is not at the generation asked for any more.
    #[error("the file changed meanwhile")]
    Changed,
    /// Parts of the base are not here yet.
    #[error("the file is not whole yet")]
    NotWhole {
        /// What is missing.
        gaps: Vec<ByteRange>,
    },
    /// It was sealed: its content belongs to the cache now, and changes need a new staging file.
    #[error("the staging file is sealed")]
    Sealed,
    #[error("staging: {0}")]
    Io(#[from] io::Error),
}

/// What a staging file begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A file of no bytes.
    Empty,
    /// The complete file that was put at [`Staging::landing`].
    Taken,
    /// `size` bytes of which the first `base_len` are those of the base, and not here.
    Partial { size: u64, base_len: u64 },
}

/// The dirty content of one state directory.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    lost_and_found: PathBuf,
    /// Numbers all changes of all files, so that no generation comes twice in this process.
    changes: Arc<AtomicU64>,
    /// The files that somebody uses: two [`StagedFile`]s of one id would not see each other's
    /// generations. A leaf lock, held while a file is opened.
    open: Mutex<HashMap<StagingId, Weak<StagedFile>>>,
}

/// A staging file without a row. Dropped, it leaves its file behind for [`Staging::strays`], for its
/// row may have been committed.
#[derive(Debug)]
#[must_use = "commit the row, then activate it; or Staging::remove it"]
pub struct Prepared<'a> {
    staging: &'a Staging,
    id: StagingId,
    partial: bool,
}

impl Prepared<'_> {
    pub fn id(&self) -> StagingId {
        self.id
    }

    /// To be called after the commit of the row. If it fails the file is still there, and
    /// [`Staging::reopen`] finds it.
    pub fn activate(self) -> Result<Arc<StagedFile>, StagingError> {
        self.staging.reopen(self.id, self.partial)
    }
}

impl Staging {
    /// Opens `staging/` in the state directory, which the caller has locked; `lost+found` is beside
    /// it.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let dir = state_dir.join("staging");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let lost_and_found = state_dir.join("lost+found");
        // 0 is left for callers who mean "none yet".
        let changes = Arc::new(AtomicU64::new(1));
        Ok(Self { dir, lost_and_found, changes, open: Mutex::default() })
    }

    /// Where a file has to be put before it is prepared as [`Basis::Taken`].
    pub fn landing(&self, id: StagingId) -> PathBuf {
        self.dir.join(format!("{}.new", id.0))
    }

    /// Makes the file, without a row; to be followed by the commit of the row and
    /// [`Prepared::activate`]. A crash before the commit leaves nothing that counts.
    pub fn prepare(&self, id: StagingId, basis: Basis) -> io::Result<Prepared<'_>> {
        let path = self.landing(id);
        let mut options = File::options();
        options.write(true);
        match basis {
            Basis::Empty => {
                options.create_new(true).open(path)?;
            }
            Basis::Taken => {
                options.open(path)?;
            }
            Basis::Partial { size, base_len } => {
                options.create_new(true).open(path)?.set_len(size)?;
                Log::create(&self.log(id), id, base_len.min(size), size)?;
            }
        }
        Ok(Prepared { staging: self, id, partial: matches!(basis, Basis::Partial { .. }) })
    }

    /// The file of a committed row, which says whether it was made as [`Basis::Partial`] and never
    /// noted as whole. There is one [`StagedFile`] for an id however often it is reopened.
    ///
    /// [`StagingError::Lost`] when there is no such file.
    pub fn reopen(&self, id: StagingId, partial: bool) -> Result<Arc<StagedFile>, StagingError> {
        let mut open = self.lock();
        if let Some(file) = open.get(&id).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let path = self.data(id);
        for other in [self.landing(id), self.retired(id)] {
            if !path.try_exists()? && other.try_exists()? {
                fs::rename(other, &path)?;
            }
        }
        let log = if partial { Some(self.log(id)) } else { None };
        let file = Arc::new(StagedFile::open(id, path, log.as_deref(), self.changes.clone())?);
        if !partial {
            remove_if_there(&self.log(id))?;
        }
        open.retain(|_, file| file.strong_count() > 0);
        open.insert(id, Arc::downgrade(&file));
        Ok(file)
    }

    /// Says that the next commit drops the row: without a row the file is then deleted at the next
    /// start. With one it is found again.
    pub fn retire(&self, id: StagingId) -> io::Result<()> {
        fs::rename(self.data(id), self.retired(id))
    }

    /// Where the file's data are at present, for [`Cache::adopt`](crate::content::Cache::adopt).
    pub fn locate(&self, id: StagingId) -> io::Result<Option<PathBuf>> {
        for path in [self.data(id), self.retired(id), self.landing(id)] {
            if path.try_exists()? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Deletes the file. To be called when the commit that dropped its row is on the disk: else a
    /// power cut brings back a row without a file.
    pub fn remove(&self, id: StagingId) -> io::Result<()> {
        self.lock().remove(&id);
        for path in [self.data(id), self.retired(id), self.landing(id), self.log(id)] {
            remove_if_there(&path)?;
        }
        Ok(())
    }

    /// Brings all files to the disk at once. To be called before rows are synced, so that a power
    /// cut does not leave a row whose file is shorter than it was.
    pub fn sync_all(&self) -> io::Result<()> {
        Ok(nix::unistd::syncfs(File::open(&self.dir)?)?)
    }

    fn data(&self, id: StagingId) -> PathBuf {
        self.dir.join(id.0.to_string())
    }

    fn retired(&self, id: StagingId) -> PathBuf {
        self.dir.join(format!("{}.old", id.0))
    }

    fn log(&self, id: StagingId) -> PathBuf {
        self.dir.join(format!("{}.log", id.0))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StagingId, Weak<StagedFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of a row that is not there is lost.
fn lost(id: StagingId, error: io::Error) -> StagingError {
    match error.kind() {
        io::ErrorKind::NotFound => StagingError::Lost(id),
        _ => StagingError::Io(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
