//! The tree of a state directory that is only looked at: for `ncfs rescue`.
//!
//! SQLite cannot read a write-ahead log without writing beside it, so both files are copied and the
//! copy is opened. The directory itself is locked against a daemon meanwhile, and never changed.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use rusqlite::Connection;

use super::{KernelSide, Result, Tree, TreeError, configure, schema};

/// The tree of a state directory as it was when it was opened, and the lock on that directory.
pub struct Snapshot {
    pub tree: Tree,
    _lock: Option<Flock<File>>,
}

/// Keeps daemons away from a state directory while it lives; `None` when the directory has no lock,
/// as a copy may have none.
pub fn lock_unchanged(dir: &Path) -> Result<Option<Flock<File>>> {
    let file = match File::open(dir.join("state.lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(TreeError::InUse(dir.to_path_buf())),
        Err((_, errno)) => Err(TreeError::Io(errno.into())),
    }
}

impl Snapshot {
    /// Copies the database of the state directory `dir` into the empty directory `room`, and opens
    /// the copy. An older schema is brought up to date there; a newer one is refused.
    pub fn open(dir: &Path, room: &Path) -> Result<Self> {
        let lock = lock_unchanged(dir)?;
        let copy = room.join("state.db");
        fs::copy(dir.join("state.db"), &copy)?;
        match fs::copy(dir.join("state.db-wal"), room.join("state.db-wal")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut db = Connection::open(&copy)?;
        configure(&db)?;
        schema::migrate(&mut db)?;
        Ok(Self { tree: Tree::finish(db, None, None, None, &KernelSide::default())?, _lock: lock })
    }
}
