//! What stat(2) tells and what chmod, chown, truncate and utimensat change.

use super::rights::require;
use super::{Result, Vfs, VfsError, known, mark};
use crate::tree::{Attr, Body, Node, Right, Tx};
use crate::types::{Ino, Time};

/// The kind of a node, as in the type bits of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
}

impl From<&Body> for Kind {
    fn from(body: &Body) -> Self {
        match body {
            Body::File(_) => Self::File,
            Body::Dir { .. } => Self::Directory,
            Body::Symlink(_) => Self::Symlink,
            Body::Fifo => Self::Fifo,
            Body::Socket => Self::Socket,
        }
    }
}

/// The answer to stat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub ino: Ino,
    pub kind: Kind,
    /// With the live size and times of a file that is being written, and the length of a symbolic
    /// link's target as its size.
    pub attr: Attr,
    /// Names of a file: 1, or 0 once it is unlinked. Of a directory the subdirectories and two; 1
    /// while they are not known, which programs take as "do not count on it", as on btrfs.
    pub nlink: u32,
}

/// A time to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    Now,
    At(Time),
}

/// Which attributes are to change; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits; others are not looked at.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
}

impl SetAttr {
    /// Whether anything but the size is to change.
    fn has_more_than_size(&self) -> bool {
        let Self { mode, uid, gid, size: _, atime, mtime } = self;
        mode.is_some() || uid.is_some() || gid.is_some() || atime.is_some() || mtime.is_some()
    }
}

/// The largest size of a file, as the kernel's offsets are signed.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;

impl Vfs {
    pub fn getattr(&self, ino: Ino) -> Result<Stat> {
        let node = self.tree.node(ino)?.ok_or(VfsError::Stale)?;
        self.stat(&node)
    }

    /// Changes attributes and tells what they are then. Never waits for the network.
    pub fn setattr(&self, ino: Ino, set: SetAttr) -> Result<Stat> {
        self.writable()?;
        let node = self.tree.node(ino)?.ok_or(VfsError::Stale)?;
        // Who has it open for writing was allowed to when it was opened.
        let resized = set.size.is_some() && !self.tree.pins().has_writer(ino);
        if node.is_file() && (resized || set.mtime.is_some()) {
            require(&node, Right::Write)?;
        }
        // The size first, since it sets the mtime that utimensat may set otherwise.
        if let Some(size) = set.size {
            match node.body {
                Body::File(_) if size > MAX_SIZE => return Err(VfsError::TooBig),
                Body::File(_) => self.bodies.truncate(ino, size)?,
                Body::Dir { .. } => return Err(VfsError::IsADirectory),
                _ => return Err(VfsError::Invalid("only a file has a size")),
            }
        }
        if set.has_more_than_size() {
            if node.is_file() {
                self.bodies.persist(ino)?;
            }
            self.tree.transact(|tx| self.apply(tx, ino, &set))?;
        }
        self.getattr(ino)
    }

    fn apply(&self, tx: &mut Tx<'_>, ino: Ino, set: &SetAttr) -> Result<()> {
        let mut node = (*known(tx, ino)?).clone();
        let now = self.clock.now();
        let time = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::At(time) => time,
        };
        mark(&mut node, now);
        if let Some(mode) = set.mode {
            node.attr.mode = (mode & 0o7777) as u16;
        }
        node.attr.uid = set.uid.unwrap_or(node.attr.uid);
        node.attr.gid = set.gid.unwrap_or(node.attr.gid);
        node.attr.atime = set.atime.map_or(node.attr.atime, time);
        if let Some(mtime) = set.mtime {
            node.attr.mtime = time(mtime);
            // What a directory was changed at stays here: the server does not let it be set.
            node.mtime_set = node.is_file();
        }
        Ok(tx.put(node)?)
    }

    /// The target of a symbolic link.
    pub fn readlink(&self, ino: Ino) -> Result<Box<[u8]>> {
        match &self.tree.node(ino)?.ok_or(VfsError::Stale)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(VfsError::Invalid("not a symbolic link")),
        }
    }

    pub(super) fn stat(&self, node: &Node) -> Result<Stat> {
        let mut attr = node.attr;
        let named = u32::from(node.local.is_some() || node.is_root());
        let mut nlink = named;
        match &node.body {
            Body::File(_) => attr = self.bodies.attr(node),
            Body::Dir { listed: true, .. } if named == 1 => {
                let children = self.tree.view(|tx| tx.count_subdirectories(node.ino))?;
                nlink = children.saturating_add(2);
            }
            Body::Symlink(target) => attr.size = target.len() as u64,
            Body::Dir { .. } | Body::Fifo | Body::Socket => {}
        }
        attr.mode = node.shown_mode();
        // What exists only here is one's own: it can be taken out of where the server forbids the rest.
        if node.is_dir()
            && attr.mode != node.attr.mode
            && self.tree.view(|tx| tx.has_own_children(node.ino))?
        {
            attr.mode = node.attr.mode;
        }
        Ok(Stat { ino: node.ino, kind: Kind::from(&node.body), attr, nlink })
    }
}
