//! The open files and directories.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Result, VfsError};
use crate::tree::{Content, Node, Pin, PinKind};
use crate::types::{FileHandle, Ino};

/// What a handle was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    ReadWrite,
    Directory,
}

impl Access {
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }

    pub fn pin_kind(self) -> PinKind {
        if self.writes() { PinKind::Writer } else { PinKind::Reader }
    }
}

/// One open file or directory. The node stays while this is there.
pub(super) struct Open {
    pub ino: Ino,
    pub access: Access,
    /// What the file held when it was opened, until the handle is used: only then is it sure that
    /// the kernel has seen the answer to the open.
    content: Option<Content>,
    _pin: Pin,
}

/// What a handle is good for; a copy, so that nothing but the table keeps a node alive.
pub(super) struct Use {
    pub ino: Ino,
    pub access: Access,
    /// At the first use: what the file held when it was opened.
    pub first: Option<Content>,
}

/// All handles of a mount. A leaf lock.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    open: Mutex<HashMap<FileHandle, Open>>,
}

impl Handles {
    /// Gives out a handle for a node that is pinned.
    pub fn open(&self, node: &Node, access: Access, pin: Pin) -> FileHandle {
        let handle = FileHandle(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let content = node.content().cloned();
        self.table().insert(handle, Open { ino: node.ino, access, content, _pin: pin });
        handle
    }

    /// The file behind a handle.
    pub fn file(&self, handle: FileHandle) -> Result<Use> {
        let mut table = self.table();
        match table.get_mut(&handle) {
            Some(open) if open.access != Access::Directory => {
                Ok(Use { ino: open.ino, access: open.access, first: open.content.take() })
            }
            _ => Err(VfsError::BadHandle),
        }
    }

    /// Whether somebody has the file open for reading and writing, without which nobody can store
    /// to a mapping of it; a mapping keeps its handle open.
    pub fn may_be_mapped(&self, ino: Ino) -> bool {
        self.table().values().any(|open| open.ino == ino && open.access == Access::ReadWrite)
    }

    /// The directory behind a handle.
    pub fn directory(&self, handle: FileHandle) -> Result<Ino> {
        match self.table().get(&handle) {
            Some(open) if open.access == Access::Directory => Ok(open.ino),
            _ => Err(VfsError::BadHandle),
        }
    }

    /// Takes a handle back.
    pub fn close(&self, handle: FileHandle) -> Option<Open> {
        self.table().remove(&handle)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<FileHandle, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
