//! Where the bytes are: a directory laid out as Nextcloud's data directory.
//!
//! - `<user>/files/...`: the user's files under their own names, with their mtimes; what is there at
//!   start is imported;
//! - `<user>/uploads/<id>/<part>`: open chunked uploads;
//! - `<user>/versions/<file id>/<mtime>`: former contents;
//! - `tmp/`: bodies being received and trees being deleted.
//!
//! Metadata is in memory only: after a restart of the process file ids, tags, checksums, versions,
//! dead properties and uploads begin anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::path::FilePath;

pub(crate) struct Store {
    root: PathBuf,
    next_temp: AtomicU64,
    /// Removed with the store when no directory was asked for.
    _own: Option<TempDir>,
}

impl Store {
    /// Opens `dir`, or a temporary directory.
    pub(crate) fn open(dir: Option<PathBuf>) -> io::Result<Self> {
        let (root, own) = match dir {
            Some(dir) => (dir, None),
            None => {
                let own = tempfile::Builder::new().prefix("testcloud-").tempdir()?;
                (own.path().to_path_buf(), Some(own))
            }
        };
        let store = Self { root, next_temp: AtomicU64::new(0), _own: own };
        let temp = store.root.join("tmp");
        if temp.exists() {
            fs::remove_dir_all(&temp)?;
        }
        fs::create_dir_all(temp)?;
        Ok(store)
    }

    pub(crate) fn add_user(&self, user: &str) -> io::Result<()> {
        let home = self.root.join(user);
        fs::create_dir_all(home.join("files"))?;
        for volatile in ["uploads", "versions"] {
            let dir = home.join(volatile);
            if dir.exists() {
                fs::remove_dir_all(&dir)?;
            }
            fs::create_dir(dir)?;
        }
        Ok(())
    }

    pub(crate) fn file(&self, user: &str, path: &FilePath) -> PathBuf {
        let mut file = self.root.join(user).join("files");
        file.extend(path.names());
        file
    }

    pub(crate) fn version(&self, user: &str, file: u64, mtime: i64) -> PathBuf {
        self.versions(user, file).join(mtime.to_string())
    }

    pub(crate) fn versions(&self, user: &str, file: u64) -> PathBuf {
        self.root.join(user).join("versions").join(file.to_string())
    }

    pub(crate) fn upload(&self, user: &str, id: &str) -> PathBuf {
        self.root.join(user).join("uploads").join(id)
    }

    /// A name nobody uses, for something that is moved into its place or deleted.
    pub(crate) fn temp(&self) -> TempPath {
        let n = self.next_temp.fetch_add(1, Ordering::Relaxed);
        TempPath(self.root.join("tmp").join(n.to_string()))
    }
}

/// What is at this path when it is dropped is deleted, file or tree.
pub(crate) struct TempPath(PathBuf);

impl TempPath {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        if let Err(error) = remove_all(&self.0) {
            tracing::warn!(%error, "a temporary file stays behind");
        }
    }
}

/// Deletes a file or a tree; nothing there is fine.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) fn set_mtime(path: &Path, second: i64) -> io::Result<()> {
    let time = u64::try_from(second).map_or(UNIX_EPOCH, |s| UNIX_EPOCH + Duration::from_secs(s));
    fs::File::open(path)?.set_modified(time)
}

pub(crate) fn mtime(meta: &fs::Metadata) -> i64 {
    meta.modified()
        .unwrap_or(UNIX_EPOCH)
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed())
}

/// Copies a file or a tree with its mtimes.
pub(crate) fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::metadata(from)?;
    if meta.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_all(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        fs::copy(from, to)?;
    }
    set_mtime(to, mtime(&meta))
}
