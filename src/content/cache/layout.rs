//! Where the cache's files are, whose they are, and what of them survived.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::CacheError;
use crate::types::ContentId;

/// What a file of so many bytes occupies, nearly: whole blocks of 4 KiB.
pub(super) fn charge(bytes: u64) -> u64 {
    bytes.next_multiple_of(4096)
}

/// The cache's directory: `<2 hex>/<16 hex>` for complete versions, `.part` after it while
/// incomplete; `lock`; `owner`.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    /// Holds the lock while it is open.
    _lock: File,
}

/// A complete version found at the start.
pub(super) struct Survivor {
    pub(super) content: ContentId,
    pub(super) size: u64,
    /// The last use, as the file's modification time.
    pub(super) used: SystemTime,
}

impl Layout {
    /// Creates and locks the directory. Fails with [`CacheError::InUse`] when another process has
    /// it.
    pub(super) fn lock(dir: &Path) -> Result<Self, CacheError> {
        private_dir(dir).map_err(|error| CacheError::io(dir, error))?;
        let path = dir.join("lock");
        let open = File::options().create(true).append(true).open(&path);
        let lock = open.map_err(|error| CacheError::io(&path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(CacheError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(CacheError::io(&path, error)),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the complete version is.
    pub(super) fn path(&self, content: ContentId) -> PathBuf {
        self.dir.join(format!("{:02x}/{:016x}", content.0 & 0xff, content.0))
    }

    /// Where the incomplete version is.
    pub(super) fn part(&self, content: ContentId) -> PathBuf {
        self.path(content).with_extension("part")
    }

    /// Where a file waits to become the complete version.
    pub(super) fn fresh(&self, content: ContentId) -> PathBuf {
        self.path(content).with_extension("new")
    }

    /// Creates the directory in which the version's files are.
    pub(super) fn make_room_for(&self, content: ContentId) -> io::Result<()> {
        private_dir(&self.dir.join(format!("{:02x}", content.0 & 0xff)))
    }

    /// Whether what is here can be used by `owner`: it is the owner's, and the machine has not gone
    /// down since without [`Layout::record`] of an orderly end.
    pub(super) fn is_usable(&self, owner: &str, boot: Option<&str>) -> bool {
        let Ok(record) = fs::read_to_string(self.dir.join("owner")) else { return false };
        let mut lines = record.lines();
        let (whose, since, state) = (lines.next(), lines.next(), lines.next());
        whose == Some(owner) && (state == Some("closed") || (boot.is_some() && since == boot))
    }

    /// Writes down whose it is and whether all of it is on disk (`closed`).
    pub(super) fn record(&self, owner: &str, boot: Option<&str>, closed: bool) -> io::Result<()> {
        let state = if closed { "closed" } else { "open" };
        let (fresh, path) = (self.dir.join("owner.new"), self.dir.join("owner"));
        let mut file = File::create(&fresh)?;
        write!(file, "{owner}\n{}\n{state}\n", boot.unwrap_or("-"))?;
        file.sync_data()?;
        fs::rename(fresh, path)
    }

    /// Deletes all versions.
    pub(super) fn wipe(&self) -> io::Result<()> {
        for shelf in self.shelves()? {
            fs::remove_dir_all(shelf)?;
        }
        Ok(())
    }

    /// Finds the complete versions whose id is below `unused`, and deletes all else.
    pub(super) fn scan(&self, unused: ContentId) -> io::Result<Vec<Survivor>> {
        let mut survivors = Vec::new();
        for shelf in self.shelves()? {
            for entry in fs::read_dir(shelf)? {
                let entry = entry?;
                let content = entry.file_name().to_str().and_then(parse);
                let kept = content.filter(|id| *id < unused && self.path(*id) == entry.path());
                let meta = entry.metadata()?;
                match kept {
                    Some(content) if meta.is_file() => {
                        survivors.push(Survivor {
                            content,
                            size: meta.len(),
                            used: meta.modified()?,
                        });
                    }
                    _ if meta.is_dir() => fs::remove_dir_all(entry.path())?,
                    _ => fs::remove_file(entry.path())?,
                }
            }
        }
        Ok(survivors)
    }

    /// The directories named by two hexadecimal digits; whatever else is here is not ours.
    fn shelves(&self) -> io::Result<Vec<PathBuf>> {
        let mut shelves = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = name.len() == 2 && name.to_str().is_some_and(|n| is_hex(n.as_bytes()));
            if ours && entry.file_type()?.is_dir() {
                shelves.push(entry.path());
            }
        }
        Ok(shelves)
    }
}

/// What the running kernel calls this boot.
pub(super) fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn is_hex(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn parse(name: &str) -> Option<ContentId> {
    let whole = name.len() == 16 && is_hex(name.as_bytes());
    whole.then(|| u64::from_str_radix(name, 16).ok().map(ContentId)).flatten()
}

fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
