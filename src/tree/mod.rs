//! Nodes, names and their states, in SQLite with a memory cache in front; the only user of SQL.
//!
//! Guarantees:
//! - [`Tree::transact`] is one transaction: all rows that one system call or one answer of the
//!   server changes, or none. When it returns, the change survives the death of the process. It
//!   survives a power cut after [`Tree::sync`] (which `fsync` and the 5 s timer call).
//! - A node's number is its row id and never reused. Names are unique by their NFC form, among the
//!   local and among the synced places separately.
//! - A row that is neither here nor on the server and that nobody has open does not exist.
//! - The cache holds what was committed: it is filled and updated only under the lock of the
//!   connection, so a warm [`Tree::node`] or [`Tree::child`] never reaches SQLite.
//!
//! The connection's lock is a leaf: nothing is called while it is held, and it is never held across
//! an `.await`.
//!
//! A crash between two transactions leaves the state of the first. Damage by other causes is
//! reported as [`TreeError::Corrupt`], never guessed over.

mod answered;
mod error;
mod node;
mod pins;
mod rights;
mod schema;
mod snapshot;
mod tx;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tokio::sync::mpsc;

pub use error::TreeError;
pub use node::{Attr, Base, Body, Content, Node, Place, Push, Sent, State, Synced};
pub use pins::{Pin, PinKind, Pins};
pub use rights::Right;
pub use snapshot::{Snapshot, lock_unchanged};
pub use tx::{Pending, Tx};

use answered::Answered;

use crate::types::{Ino, NameKey, RemotePath};

pub type Result<T> = std::result::Result<T, TreeError>;

/// How many nodes and names stay in memory: some 400 bytes each.
const CACHED: u64 = 20_000;

/// To whom a state directory belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Scheme, host and port.
    pub origin: String,
    pub user_id: String,
    pub remote_dir: RemotePath,
}

impl Account {
    fn text(&self) -> String {
        format!("{} at {}, folder {}", self.user_id, self.origin, self.remote_dir)
    }
}

/// The connection to the kernel for which a tree is opened.
#[derive(Clone, Debug, Default)]
pub struct KernelSide {
    /// Names it: random, another for each mount.
    pub connection: u128,
    /// What programs had open when the process died that served the mount before.
    pub open: HashSet<Ino>,
}

#[cfg(test)]
type LivesOn = Box<dyn Fn(bool) -> bool + Send + Sync>;

/// The name space of one mount.
pub struct Tree {
    db: Mutex<Connection>,
    /// For checkpoints, which wait for the disk and must not hold up the writer.
    checkpointer: Mutex<Option<Connection>>,
    /// The write-ahead log, to make it survive a power cut; `None` in memory.
    wal: Option<File>,
    cache: moka::sync::Cache<Ino, Arc<Node>>,
    names: moka::sync::Cache<(Ino, NameKey), Ino>,
    pins: Arc<Pins>,
    /// Commits so far, and the last one known to be on the disk.
    commits: AtomicU64,
    synced_commits: AtomicU64,
    ids: AtomicU64,
    ids_end: AtomicU64,
    changes: Mutex<Option<mpsc::UnboundedSender<Ino>>>,
    mtimes_travel: AtomicBool,
    open_orphans: Vec<Ino>,
    answered: Answered,
    /// Asked before (`false`) and after (`true`) each commit whether the process lives on.
    #[cfg(test)]
    lives_on: Mutex<Option<LivesOn>>,
    /// Identifies this state directory to the cache that goes with it.
    identity: String,
    _lock: Option<nix::fcntl::Flock<File>>,
}

impl Tree {
    /// Opens or creates the state in `dir` for `account`, and a mount that begins.
    pub fn open(dir: &Path, account: &Account) -> Result<Tree> {
        let kernel = KernelSide { connection: rand::random(), open: HashSet::new() };
        Self::open_for(dir, account, &kernel)
    }

    /// Opens or creates the state in `dir` for `account`.
    ///
    /// Refuses a directory that another process uses or that belongs to another account. Orphans are
    /// dropped, but for those that programs have open through the same connection as before: these
    /// have to be pinned before any row is changed.
    pub fn open_for(dir: &Path, account: &Account, kernel: &KernelSide) -> Result<Tree> {
        if !dir.is_dir() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let lock = lock(dir)?;
        let path = dir.join("state.db");
        let mut db = Connection::open(&path)?;
        configure(&db)?;
        schema::migrate(&mut db)?;
        let checkpointer = Connection::open(&path)?;
        configure(&checkpointer)?;
        // The log exists from the first write on; nothing removes it while a connection is open.
        bind(&mut db, account)?;
        let wal = File::open(dir.join("state.db-wal"))?;
        Self::finish(db, Some(checkpointer), Some(wal), Some(lock), kernel)
    }

    /// A tree that lives only in memory: for the simulation and tests.
    pub fn in_memory() -> Result<Tree> {
        let mut db = Connection::open_in_memory()?;
        schema::migrate(&mut db)?;
        Self::finish(db, None, None, None, &KernelSide::default())
    }

    /// What a crash leaves: the same committed rows, and nothing else of this one. For the
    /// simulation, with a tree in memory.
    pub fn reborn(self) -> Result<Tree> {
        self.reborn_for(&KernelSide::default())
    }

    /// The same, taken over from the one that crashed if it was opened for the same connection.
    pub fn reborn_for(self, kernel: &KernelSide) -> Result<Tree> {
        let db = self.db.into_inner().unwrap_or_else(PoisonError::into_inner);
        Self::finish(db, None, None, None, kernel)
    }

    fn finish(
        db: Connection,
        checkpointer: Option<Connection>,
        wal: Option<File>,
        lock: Option<nix::fcntl::Flock<File>>,
        kernel: &KernelSide,
    ) -> Result<Tree> {
        db.set_prepared_statement_cache_capacity(64);
        let (answered, is_same) = Answered::open(&db, kernel.connection)?;
        let open_orphans = sort_orphans(&db, |ino| is_same && kernel.open.contains(&ino))?;
        let identity: Option<String> = db
            .query_row("SELECT value FROM meta WHERE key = 'identity'", [], |row| row.get(0))
            .optional()?;
        let identity = match identity {
            Some(identity) => identity,
            None => {
                let fresh = format!("{:032x}", rand::random::<u128>());
                set_meta(&db, "identity", &fresh)?;
                fresh
            }
        };
        let ids = meta_number(&db, "ids")?.max(1);
        let rooted = db
            .query_row("SELECT 1 FROM node WHERE ino = ?1", [Ino::ROOT.0 as i64], |_| Ok(()))
            .optional()?;
        if rooted.is_none() {
            schema::write_node(&db, Some(Ino::ROOT), &Node::fresh_root())?;
        }
        Ok(Tree {
            db: Mutex::new(db),
            checkpointer: Mutex::new(checkpointer),
            wal,
            cache: moka::sync::Cache::new(CACHED),
            names: moka::sync::Cache::new(CACHED),
            pins: Arc::new(Pins::default()),
            commits: AtomicU64::new(1),
            synced_commits: AtomicU64::new(0),
            ids: AtomicU64::new(ids),
            ids_end: AtomicU64::new(ids),
            changes: Mutex::new(None),
            mtimes_travel: AtomicBool::new(true),
            open_orphans,
            answered,
            #[cfg(test)]
            lives_on: Mutex::default(),
            identity,
            _lock: lock,
        })
    }

    /// A random name of this state directory, the same for its whole life.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Nodes that are neither here nor on the server, and that are open still.
    pub fn open_orphans(&self) -> &[Ino] {
        &self.open_orphans
    }

    /// Whether a process before this one carried out a request of the kernel, on the same connection,
    /// and which node it made then.
    pub fn answered(&self, request: u64) -> Option<Option<Ino>> {
        self.answered.get(request)
    }

    /// Which nodes are in use by open handles.
    pub fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    /// The server does not let modification times be set: from now on those that programs set stay
    /// here and make nothing dirty.
    pub fn keep_mtimes_here(&self) {
        self.mtimes_travel.store(false, Ordering::Release);
    }

    /// Sends the number of every node that a commit left dirty, or made clean, to `changes`.
    pub fn notify(&self, changes: mpsc::UnboundedSender<Ino>) {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = Some(changes);
    }

    /// A number for a content or a staging file, never given before. Inside a transaction use
    /// [`Tx::allocate_id`].
    pub fn allocate_id(&self) -> Result<u64> {
        let db = self.db();
        self.reserve_ids(&db)?;
        self.next_id()
    }

    fn next_id(&self) -> Result<u64> {
        let id = self.ids.fetch_add(1, Ordering::AcqRel);
        if id < self.ids_end.load(Ordering::Acquire) {
            Ok(id)
        } else {
            Err(TreeError::Corrupt("a transaction that needs millions of numbers".into()))
        }
    }

    /// Makes sure, outside of any transaction, that enough numbers are set aside on the disk for one
    /// transaction: what it takes stays taken even when it is rolled back.
    fn reserve_ids(&self, db: &Connection) -> Result<()> {
        const RESERVED: u64 = 4_000_000;
        let next = self.ids.load(Ordering::Acquire);
        if next + RESERVED / 2 > self.ids_end.load(Ordering::Acquire) {
            set_meta(db, "ids", &(next + RESERVED).to_string())?;
            self.ids_end.store(next + RESERVED, Ordering::Release);
        }
        Ok(())
    }

    /// The first number for a content or staging file that no committed row can have.
    pub fn unused_id(&self) -> u64 {
        self.ids.load(Ordering::Acquire)
    }

    /// A node by its number.
    pub fn node(&self, ino: Ino) -> Result<Option<Arc<Node>>> {
        match self.cache.get(&ino) {
            Some(node) => Ok(Some(node)),
            None => self.view(|tx| tx.node(ino)),
        }
    }

    /// What programs see under a name of a directory; absence means something only when the
    /// directory is listed.
    pub fn child(&self, parent: Ino, key: &NameKey) -> Result<Option<Arc<Node>>> {
        let id = (parent, key.clone());
        let known = self.names.get(&id).and_then(|ino| self.cache.get(&ino));
        match known {
            // A rename may have been committed between the two look-ups.
            Some(node) if node.local.as_ref().is_some_and(|place| place.key() == id) => {
                Ok(Some(node))
            }
            _ => self.view(|tx| tx.child(parent, key)),
        }
    }

    /// Reads several things of one moment.
    pub fn view<T>(&self, read: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let db = self.db();
        read(&mut Tx::new(&db, self))
    }

    /// Runs `change` as one transaction. When it returns an error, nothing has happened.
    pub fn transact<T, E: From<TreeError>>(
        &self,
        change: impl FnOnce(&mut Tx<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let db = self.db();
        self.reserve_ids(&db)?;
        let begun = db.unchecked_transaction().map_err(TreeError::from)?;
        let mut tx = Tx::new(&db, self);
        let value = change(&mut tx)?;
        let touched = tx.finish()?;
        #[cfg(test)]
        self.live_on(false)?;
        begun.commit().map_err(TreeError::from)?;
        #[cfg(test)]
        self.live_on(true)?;
        self.commits.fetch_add(1, Ordering::AcqRel);
        let mut dirt = Vec::new();
        for touch in touched {
            for key in touch.old_keys {
                self.names.invalidate(&key);
            }
            match touch.node {
                Some(node) => {
                    if let Some(place) = &node.local {
                        self.names.insert(place.key(), node.ino);
                    }
                    if touch.dirt {
                        dirt.push(node.ino);
                    }
                    self.cache.insert(node.ino, node);
                }
                None => self.cache.invalidate(&touch.ino),
            }
        }
        // Who is told looks at once, and must not find in the cache what was before.
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = changes.as_ref() {
            for ino in dirt {
                // A receiver that is gone has no more use for changes.
                let _ = changes.send(ino);
            }
        }
        Ok(value)
    }

    /// From now on `lives_on` is asked around each commit; when it says no, the commit fails, or has
    /// been made and nobody learns of it: a process that dies there. For the simulation.
    #[cfg(test)]
    pub fn ask_around_commits(&self, lives_on: LivesOn) {
        *self.lives_on.lock().unwrap_or_else(PoisonError::into_inner) = Some(lives_on);
    }

    #[cfg(test)]
    fn live_on(&self, committed: bool) -> Result<()> {
        let asked = self.lives_on.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.as_ref().is_none_or(|lives_on| lives_on(committed)) {
            true => Ok(()),
            false => Err(std::io::Error::other("the process has died").into()),
        }
    }

    /// Another tree in memory with the rows of this one. For the simulation.
    #[cfg(test)]
    pub fn copy(&self) -> Result<Tree> {
        let copy = Tree::in_memory()?;
        {
            let (from, to) = (self.db(), copy.db());
            let mut query = from.prepare(&format!("SELECT {} FROM node", schema::COLUMNS))?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let node = schema::read_node(row)?;
                schema::write_node(&to, Some(node.ino), &node)?;
            }
            let mut query = from.prepare("SELECT key, value FROM meta")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                set_meta(&to, &row.get::<_, String>(0)?, &row.get::<_, String>(1)?)?;
            }
        }
        copy.reborn()
    }

    /// Whether anything was committed since the last [`Tree::sync`].
    pub fn has_unsynced(&self) -> bool {
        self.synced_commits.load(Ordering::Acquire) < self.commits.load(Ordering::Acquire)
    }

    /// Makes everything committed so far survive a power cut.
    pub fn sync(&self) -> Result<()> {
        let commits = self.commits.load(Ordering::Acquire);
        if self.synced_commits.load(Ordering::Acquire) >= commits {
            return Ok(());
        }
        if let Some(wal) = &self.wal {
            wal.sync_data()?;
        }
        self.synced_commits.fetch_max(commits, Ordering::AcqRel);
        Ok(())
    }

    /// Moves the write-ahead log into the database, beside the writer. Waits for the disk.
    pub fn checkpoint(&self) -> Result<()> {
        self.sync()?;
        let checkpointer = self.checkpointer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(db) = checkpointer.as_ref() {
            db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// A free-form value of the state in `dir`, which nobody has to have opened; `None` if there is no
    /// state or no such value.
    pub fn peek_meta(dir: &Path, key: &str) -> Result<Option<String>> {
        let path = dir.join("state.db");
        if !path.try_exists()? {
            return Ok(None);
        }
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        meta_text(&db, key)
    }

    /// A free-form value that belongs to the state as a whole.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        meta_text(&self.db(), key)
    }

    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        set_meta(&self.db(), key, value)
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back (its guard was dropped): the connection is
        // as good as before.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn configure(db: &Connection) -> Result<()> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    // Checkpoints wait for the disk: the 5 s timer does them on its own connection.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "cache_size", -4096)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(())
}

fn lock(dir: &Path) -> Result<nix::fcntl::Flock<File>> {
    let path: PathBuf = dir.join("state.lock");
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).map_err(
        |(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => TreeError::InUse(dir.to_path_buf()),
            errno => TreeError::Io(errno.into()),
        },
    )
}

fn set_meta(db: &Connection, key: &str, value: &str) -> Result<()> {
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [key, value])?;
    Ok(())
}

/// Tells which nodes are neither here nor on the server but open, and removes the others of that
/// kind; those with a staging file go when that is put away.
fn sort_orphans(db: &Connection, is_open: impl Fn(Ino) -> bool) -> Result<Vec<Ino>> {
    let mut found = db.prepare(
        "SELECT ino, b_kind FROM node \
         WHERE parent IS NULL AND s_parent IS NULL AND sent_parent IS NULL AND ino != 1",
    )?;
    let mut rows = found.query([])?;
    let (mut open, mut gone) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let ino: i64 = row.get(0)?;
        if is_open(Ino(ino as u64)) {
            open.push(Ino(ino as u64));
        } else if row.get::<_, Option<i64>>(1)? != Some(schema::CONTENT_STAGED) {
            gone.push(ino);
        }
    }
    let begun = db.unchecked_transaction()?;
    for ino in gone {
        db.prepare_cached("DELETE FROM node WHERE ino = ?1")?.execute([ino])?;
    }
    begun.commit()?;
    Ok(open)
}

fn meta_text(db: &Connection, key: &str) -> Result<Option<String>> {
    Ok(db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?)
}

fn meta_number(db: &Connection, key: &str) -> Result<u64> {
    let value: Option<String> = db
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()?;
    value.map_or(Ok(0), |text| text.parse().map_err(|_| TreeError::Corrupt(key.to_owned())))
}

/// Writes the account into a fresh state, compares it in one that was used before.
fn bind(db: &mut Connection, account: &Account) -> Result<()> {
    let wanted = account.text();
    let found: Option<String> = db
        .query_row("SELECT value FROM meta WHERE key = 'account'", [], |row| row.get(0))
        .optional()?;
    match found {
        Some(found) if found != wanted => Err(TreeError::OtherAccount { found, wanted }),
        // Written again, so that the write-ahead log exists in any case.
        _ => set_meta(db, "account", &wanted),
    }
}

#[cfg(test)]
mod tests;
