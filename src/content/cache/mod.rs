//! Clean content: versions that the server holds, each in one sparse file.
//!
//! Guarantees: a version that is read was stored under its content id by this process, or was
//! complete when an earlier one of the same owner left it in the same boot of the machine or after
//! [`Cache::close`]. A pinned version (a handle to it lives) is not evicted, whatever the limits.
//!
//! Assumes that content ids are never reused, but for those that were given and forgotten in a power
//! cut: entries from the first unused id on are deleted at the start.
//!
//! After a crash: incomplete versions are deleted, since what of them was present stood in memory.
//! Nothing in here is missed when it is gone.

mod evict;
mod layout;
mod version;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use layout::{Layout, boot_id, charge};
use version::Ledger;

pub use version::CachedVersion;

use crate::content::Extents;
use crate::content::local_copy::copy_range;
use crate::types::{ByteRange, ContentId};

/// Versions kept open beyond those in use, before the idle ones are closed.
const IDLE_OPEN: usize = 256;

/// Why the cache cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("the cache directory {0} is in use by another ncfs: give each its own --cache-dir")]
    InUse(PathBuf),
    #[error("the cache directory cannot be used: {path}: {error}; name another with --cache-dir")]
    Io { path: PathBuf, error: io::Error },
}

impl CacheError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// The clean content of one state directory.
#[derive(Debug)]
pub struct Cache {
    layout: Layout,
    owner: String,
    boot: Option<String>,
    limit: u64,
    /// Bytes of the file system that are left free.
    floor: u64,
    ledger: Arc<Ledger>,
    evicting: AtomicBool,
    /// Held over calls on single files (open, rename, unlink), never over reads and writes. Comes
    /// before the lock of a version.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<ContentId, Entry>,
    /// Every handle that somebody holds is a clone of one in here, made under the lock: what has
    /// the only reference is unpinned and stays so while the lock is held.
    open: HashMap<ContentId, Arc<CachedVersion>>,
    /// How many open versions cause the idle ones among them to be closed.
    crowd: usize,
}

#[derive(Debug)]
struct Entry {
    size: u64,
    /// The last use while it was not open.
    stamp: u64,
    /// While it is open the version itself knows better.
    presence: Presence,
}

#[derive(Debug)]
enum Presence {
    Complete,
    Partial(Extents),
}

impl Entry {
    fn charged(&self) -> u64 {
        match &self.presence {
            Presence::Complete => charge(self.size),
            Presence::Partial(present) => charge(present.total()),
        }
    }
}

impl Cache {
    /// Opens the directory and finds what is complete in it.
    ///
    /// `owner` names the state directory whose content ids these are: what is here of another is
    /// deleted. `unused` is the first content id not given out there. `limit` in bytes is kept by
    /// eviction, as are 5 % of the file system but at most 1 GiB.
    pub fn open(
        dir: &Path,
        owner: &str,
        unused: ContentId,
        limit: u64,
    ) -> Result<Self, CacheError> {
        Self::open_in_boot(dir, owner, unused, limit, boot_id())
    }

    fn open_in_boot(
        dir: &Path,
        owner: &str,
        unused: ContentId,
        limit: u64,
        boot: Option<String>,
    ) -> Result<Self, CacheError> {
        let layout = Layout::lock(dir)?;
        let failed = |error| CacheError::io(dir, error);
        if !layout.is_usable(owner, boot.as_deref()) {
            layout.wipe().map_err(failed)?;
        }
        layout.record(owner, boot.as_deref(), false).map_err(failed)?;
        let mut survivors = layout.scan(unused).map_err(failed)?;
        survivors.sort_by_key(|survivor| survivor.used);
        let ledger = Arc::new(Ledger::default());
        let mut state = State { crowd: IDLE_OPEN, ..State::default() };
        for found in survivors {
            ledger.used.fetch_add(charge(found.size), Ordering::Relaxed);
            let stamp = ledger.stamp();
            let entry = Entry { size: found.size, stamp, presence: Presence::Complete };
            state.entries.insert(found.content, entry);
        }
        let floor = evict::default_floor(dir).map_err(failed)?;
        let evicting = AtomicBool::new(false);
        let (owner, state) = (owner.to_owned(), Mutex::new(state));
        Ok(Self { layout, owner, boot, limit, floor, ledger, evicting, state })
    }

    /// Brings all to the disk and says so, so that it is still good after a reboot. To be called
    /// once, at an orderly end; without it a reboot empties the cache.
    pub fn close(&self) -> io::Result<()> {
        nix::unistd::syncfs(File::open(self.layout.dir())?)?;
        self.layout.record(&self.owner, self.boot.as_deref(), true)
    }

    /// Bytes on disk, in whole blocks.
    pub fn used(&self) -> u64 {
        self.ledger.used.load(Ordering::Relaxed)
    }

    /// Bytes that eviction aims to stay below.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// A handle to the version, created without any bytes if it is not here. An entry of another
    /// size is damaged and replaced.
    pub fn open_version(&self, content: ContentId, size: u64) -> io::Result<Arc<CachedVersion>> {
        let mut state = self.lock();
        if let Some(version) = state.open.get(&content)
            && version.size() == size
        {
            version.touch();
            return Ok(version.clone());
        }
        let opened = match state.entries.get(&content) {
            Some(entry) if entry.size == size && !state.open.contains_key(&content) => {
                self.open_entry(content, entry)
            }
            _ => None,
        };
        let version = match opened {
            Some(version) => version,
            None => {
                self.drop_entry(&mut state, content)?;
                self.create(content, size)?
            }
        };
        let version = Arc::new(version);
        let presence = Presence::Partial(Extents::default());
        state.entries.entry(content).or_insert(Entry { size, stamp: 0, presence });
        state.close_idle();
        state.open.insert(content, version.clone());
        Ok(version)
    }

    /// A handle to the version if anything of it is here.
    pub fn peek(&self, content: ContentId) -> Option<Arc<CachedVersion>> {
        let size = self.lock().entries.get(&content)?.size;
        self.open_version(content, size).ok()
    }

    /// Gives the file of a complete version to `into`, on whichever file system that is; false if the
    /// version is not complete here. Nobody sees the version here any more, but its file stays on the
    /// disk until [`Cache::forget`]: after a crash before that it is a version again, so the caller
    /// forgets it when nothing names it any more.
    pub fn take(&self, content: ContentId, into: &Path) -> io::Result<bool> {
        let Some(version) = self.peek(content) else { return Ok(false) };
        {
            let mut state = self.lock();
            if !state.open.get(&content).is_some_and(|open| Arc::ptr_eq(open, &version)) {
                return Ok(false);
            }
            match version.hand_over(|path| fs::hard_link(path, into)) {
                None => return Ok(false),
                Some(Ok(())) => {
                    let charged = version.charged();
                    state.open.remove(&content);
                    state.entries.remove(&content);
                    self.ledger.used.fetch_sub(charged, Ordering::Relaxed);
                    return Ok(true);
                }
                // Another file system, or one that knows one name for a file only.
                Some(Err(_)) => {}
            }
        }
        copy(&version.try_clone_file()?, into)?;
        Ok(true)
    }

    /// Makes the file `from` the complete content of a version, by a second name or by a copy; `from`
    /// stays and must not be written any more. May block for as long as a copy takes.
    pub fn adopt(&self, content: ContentId, from: &Path) -> io::Result<()> {
        let (fresh, path) = (self.layout.fresh(content), self.layout.path(content));
        self.layout.make_room_for(content)?;
        remove_if_there(&fresh)?;
        if fs::hard_link(from, &fresh).is_err() {
            copy(&File::open(from)?, &fresh)?;
        }
        let size = fs::metadata(&fresh)?.len();
        let mut state = self.lock();
        self.drop_entry(&mut state, content)?;
        fs::rename(&fresh, &path)?;
        let entry = Entry { size, stamp: self.ledger.stamp(), presence: Presence::Complete };
        self.ledger.used.fetch_add(entry.charged(), Ordering::Relaxed);
        state.entries.insert(content, entry);
        drop(state);
        if self.is_crowded() {
            self.evict()?;
        }
        Ok(())
    }

    /// Drops the version; handles to it stay good.
    pub fn forget(&self, content: ContentId) -> io::Result<()> {
        self.drop_entry(&mut self.lock(), content)
    }

    fn open_entry(&self, content: ContentId, entry: &Entry) -> Option<CachedVersion> {
        let (part, path) = (self.layout.part(content), self.layout.path(content));
        let (file, present) = match &entry.presence {
            Presence::Complete => {
                (File::open(&path).ok()?, Extents::of(ByteRange::new(0, entry.size)))
            }
            Presence::Partial(present) => {
                (File::options().read(true).write(true).open(&part).ok()?, present.clone())
            }
        };
        if file.metadata().ok()?.len() != entry.size {
            return None;
        }
        // The order of uses after a restart; a use that is not written down is not worth an error.
        let _ = file.set_modified(SystemTime::now());
        let ledger = self.ledger.clone();
        Some(CachedVersion::new(content, entry.size, file, (part, path), ledger, present))
    }

    fn create(&self, content: ContentId, size: u64) -> io::Result<CachedVersion> {
        let (part, path) = (self.layout.part(content), self.layout.path(content));
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        let file = match options.open(&part) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.layout.make_room_for(content)?;
                options.open(&part)?
            }
            opened => opened?,
        };
        file.set_len(size)?;
        if size == 0 {
            fs::rename(&part, &path)?;
        }
        let (ledger, present) = (self.ledger.clone(), Extents::default());
        Ok(CachedVersion::new(content, size, file, (part, path), ledger, present))
    }

    /// Drops what is known of the version, and its files.
    fn drop_entry(&self, state: &mut State, content: ContentId) -> io::Result<()> {
        let entry = state.entries.remove(&content);
        let charged = match state.open.remove(&content) {
            Some(version) => version.let_go(),
            None => entry.map_or(0, |entry| entry.charged()),
        };
        self.ledger.used.fetch_sub(charged, Ordering::Relaxed);
        remove_if_there(&self.layout.path(content))?;
        remove_if_there(&self.layout.part(content))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Closes the files of versions that nobody uses, if many are open.
    fn close_idle(&mut self) {
        if self.open.len() < self.crowd {
            return;
        }
        let (used, idle) = std::mem::take(&mut self.open)
            .into_iter()
            .partition::<HashMap<_, _>, _>(|(_, version)| Arc::strong_count(version) > 1);
        self.open = used;
        self.crowd = IDLE_OPEN.max(2 * self.open.len());
        for (content, version) in idle {
            let (complete, stamp) = (version.is_complete(), version.stamp());
            if let (Some(entry), Some(version)) =
                (self.entries.get_mut(&content), Arc::into_inner(version))
            {
                entry.stamp = stamp;
                entry.presence = match complete {
                    true => Presence::Complete,
                    false => Presence::Partial(version.into_present()),
                };
            }
        }
    }
}

fn copy(from: &File, into: &Path) -> io::Result<()> {
    copy_range(from, 0, &File::create(into)?, 0, from.metadata()?.len())?;
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
