//! POSIX: what a system call means for the tree and for the bytes of files. Knows neither FUSE nor
//! the network; the adapter in `fuse/` calls it, tests call it without a mount.
//!
//! # What holds
//!
//! - A change is one transaction of the tree, and the call returns after its commit: what a program
//!   was told survives the death of the process.
//! - Only [`Lister::list`], [`Bodies::read`] and [`Bodies::copy`] wait for the network, so only what is `async` here can
//!   wait for it: looking up, creating, renaming or removing a name in a directory that nobody has
//!   listed yet, and reading or copying bytes that are not here. Everything else is answered from the tree and
//!   the disk. An `async` function that needs neither is ready at its first poll.
//! - An absent name means something only in a listed directory; elsewhere it is listed first. A name
//!   that is in the tree is answered in any case.
//! - Names that the server cannot store are refused when they are made, for every kind of node.
//! - A node that lost its name stays readable and writable through its handles until the last close.
//!   A directory's times are this machine's own and never make it dirty.
//! - Of a node, `synced`, `remote` and `content` are not touched here, except through [`Bodies`].
//!
//! # What is assumed
//!
//! - The kernel checks permissions (`default_permissions`), applies the umask of the caller, clears
//!   set-user-id bits by a `setattr` of its own, serialises changes of one directory and keeps locks.
//! - The bytes of a file that is open here change only through its handles: a change on the server
//!   then gets another number (DESIGN 5).
//!
//! # After a crash
//!
//! A request that was not answered has happened completely or not at all, but for a `setattr` that
//! sets a size together with other attributes: the size may be set alone.
//!
//! Where the mount went on, the next process has the same handles, and the tree has kept the orphans
//! that they are of. The kernel sends once more what was not answered. It is
//!
//! | request | answered once, because |
//! | --- | --- |
//! | create, mknod, mkdir, symlink, unlink, rmdir, rename | its transaction notes its number; of one that is done only the answer is made again |
//! | open, opendir | the handle notes it, and whether O_TRUNC was done |
//! | write, fallocate | the same at the same place; the kernel lets nobody else write the file meanwhile |
//! | copy_file_range | the same; if the source was written meanwhile, what it holds then |
//! | setattr | all values are absolute, and the kernel lets nobody else set any of the node meanwhile; "now" is a later now |
//! | release | its handle is gone, and its number is not given out again |
//! | flush, fsync | doing it again changes nothing |
//! | all others | they change nothing |
//!
//! Which pages the kernel has is not known then, so each open lets go of those of its file.
//!
//! # Locks
//!
//! The table of handles and the record of the kernel's pages are leaves, held for one look-up. The
//! connection of the tree comes before the counts of [`crate::tree::Pins`], which may be changed
//! inside a transaction. Nothing is held across `.await`.
//!
//! A future of this room may be dropped at any `.await`: until then nothing has been changed, but for
//! [`Vfs::copy`], which may have copied a part.

mod attr;
mod create;
mod dir;
mod errno;
mod error;
mod file;
mod handles;
mod lookup;
mod names;
mod pages;
mod range;
mod remove;
mod rename;
mod rights;
mod statfs;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::watch;

pub use attr::{Kind, SetAttr, SetTime, Stat};
pub use create::{Caller, Created};
pub use dir::DirEntry;
pub use error::VfsError;
pub use file::{OpenMode, Opened};
pub use handles::Handles;
pub use lookup::Entry;
pub use range::{Allocation, Seek, allocation_from_flags};
pub use rename::RenameRule;
pub use statfs::StatFs;

pub use crate::sync::Event;

use crate::clock::Clock;
use crate::content::Bodies;
use crate::request::RequestNumber;
use crate::sync::{Lister, NameRules, Quota};
use crate::tree::{Node, Tree, TreeError, Tx};
use crate::types::{Ino, Time};

use pages::Pages;

pub type Result<T> = std::result::Result<T, VfsError>;

/// How often one call lists directories before it gives up: a rename needs three (both parents and
/// the directory that it replaces), and each may be forgotten again meanwhile.
const LISTINGS: usize = 8;

/// What the person who mounts decides.
#[derive(Clone, Copy, Debug)]
pub struct VfsOptions {
    /// Owner of the root of a fresh state directory.
    pub uid: u32,
    pub gid: u32,
    /// Bits that the mode of the root does not have.
    pub umask: u16,
    /// Every change is refused.
    pub read_only: bool,
}

/// What the file system is made of.
pub struct Parts {
    pub tree: Arc<Tree>,
    pub bodies: Arc<Bodies>,
    pub lister: Arc<dyn Lister>,
    /// Which names the server can store.
    pub names: NameRules,
    pub clock: Arc<dyn Clock>,
    /// How full the account is, as the sync engine saw it last; `None` until it was asked.
    pub quota: watch::Receiver<Option<Quota>>,
    pub handles: Handles,
    pub options: VfsOptions,
}

/// The file system of one mount.
pub struct Vfs {
    tree: Arc<Tree>,
    bodies: Arc<Bodies>,
    lister: Arc<dyn Lister>,
    names: NameRules,
    clock: Arc<dyn Clock>,
    quota: watch::Receiver<Option<Quota>>,
    options: VfsOptions,
    handles: Handles,
    pages: Pages,
}

/// Why an attempt at a call ended without a change.
enum Stop {
    /// The answer depends on the children of a directory that nobody has listed.
    Unlisted(Ino),
    Failed(VfsError),
}

impl<E: Into<VfsError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Vfs {
    /// The file system over a tree. The root of a fresh tree gets its owner and mode.
    pub fn new(parts: Parts) -> Result<Vfs> {
        let Parts { tree, bodies, lister, names, clock, quota, handles, options } = parts;
        let pages = Pages::default();
        let vfs = Vfs { tree, bodies, lister, names, clock, quota, options, handles, pages };
        vfs.adopt_root()?;
        Ok(vfs)
    }

    fn adopt_root(&self) -> Result<()> {
        self.tree.transact(|tx| {
            let Some(root) = tx.node(Ino::ROOT)? else {
                return Err(TreeError::Corrupt("there is no root".into()).into());
            };
            if root.attr.ctime != Time::default() {
                return Ok(());
            }
            let (now, mut root) = (self.clock.now(), (*root).clone());
            root.attr.uid = self.options.uid;
            root.attr.gid = self.options.gid;
            root.attr.mode = 0o777 & !self.options.umask;
            root.attr.atime = now;
            root.attr.mtime = now;
            root.attr.ctime = now;
            Ok(tx.put(root)?)
        })
    }

    /// Whether any handle on the node is open.
    pub fn is_open(&self, ino: Ino) -> bool {
        self.tree.pins().is_open(ino)
    }

    /// Refuses a change of a read-only mount.
    fn writable(&self) -> Result<()> {
        if self.options.read_only { Err(VfsError::ReadOnly) } else { Ok(()) }
    }

    /// Tries until every directory that the answer depends on is listed.
    async fn settle<T>(
        &self,
        mut attempt: impl FnMut() -> std::result::Result<T, Stop>,
    ) -> Result<T> {
        for _ in 0..LISTINGS {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Unlisted(dir)) => self.lister.list(dir).await?,
            }
        }
        Err(VfsError::StaysUnlisted)
    }

    /// Like [`Vfs::settle`], with a transaction for each attempt. The one that succeeds carries out
    /// the present request.
    async fn change<T>(
        &self,
        mut attempt: impl FnMut(&mut Tx<'_>) -> std::result::Result<T, Stop>,
    ) -> Result<T> {
        let request = RequestNumber::present();
        let mut carry_out = |tx: &mut Tx<'_>| {
            let value = attempt(tx)?;
            if let Some(request) = request {
                tx.carries_out(request.number)?;
            }
            Ok(value)
        };
        self.settle(|| self.tree.transact(&mut carry_out)).await
    }

    /// Whether the present request was carried out before the process died that had taken it, and
    /// which node it made.
    fn done(&self) -> Option<Option<Ino>> {
        let request = RequestNumber::present().filter(|request| request.again)?;
        self.tree.answered(request.number)
    }

    /// Reads several things of one moment.
    fn look<T>(
        &self,
        read: impl FnOnce(&mut Tx<'_>) -> std::result::Result<T, Stop>,
    ) -> std::result::Result<T, Stop> {
        self.tree.view(|tx| Ok(read(tx)))?
    }

    /// Frees what nobody can ask for any more of a node that lost its name or its last handle.
    fn let_go(&self, node: &Node) -> Result<()> {
        match self.tree.node(node.ino)? {
            Some(_) => self.bodies.let_go(node.ino),
            None => self.bodies.discard(node),
        }
        Ok(())
    }
}

/// A node that must be there: the kernel names it by a number that we gave it.
fn known(tx: &mut Tx<'_>, ino: Ino) -> Result<Arc<Node>> {
    tx.node(ino)?.ok_or(VfsError::Stale)
}

/// A directory in which names can be made and removed.
fn live_dir(tx: &mut Tx<'_>, ino: Ino) -> Result<Arc<Node>> {
    let dir = known(tx, ino)?;
    match (dir.is_dir(), &dir.local) {
        (false, _) => Err(VfsError::NotADirectory),
        (true, None) if !dir.is_root() => Err(VfsError::NotFound),
        (true, _) => Ok(dir),
    }
}

/// Notes on a node that a program changed it.
fn mark(node: &mut Node, now: Time) {
    node.attr.ctime = now;
    node.push.changed = now;
}

/// Notes on a node that its name changed. What blocked it may have been the name, so it is tried
/// again.
fn mark_moved(node: &mut Node, now: Time) {
    mark(node, now);
    node.push.blocked = None;
    node.push.attempts = 0;
    node.push.not_before = Time::default();
}

/// Notes on a directory that its names changed.
fn touch_dir(tx: &mut Tx<'_>, ino: Ino, now: Time) -> Result<()> {
    let mut dir = (*known(tx, ino)?).clone();
    dir.attr.mtime = now;
    dir.attr.ctime = now;
    Ok(tx.put(dir)?)
}

/// Takes a node's name away, and its row, when nobody has it open and the server has nothing of it.
fn take_name(tx: &mut Tx<'_>, node: &Node, now: Time) -> Result<()> {
    let mut node = Node { local: None, ..node.clone() };
    mark_moved(&mut node, now);
    Ok(tx.put(node)?)
}
