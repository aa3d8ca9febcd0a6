//! The open files and directories.
//!
//! What a handle is of and for stands in the memory of the mount as well ([`HandleSlots`]), so that it
//! stays open when the process dies that serves it. It is taken before the commit of the transaction
//! that makes its node: of a commit that did not happen the next process finds no node, and closes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Result, VfsError};
use crate::mount_memory::{HandleSlots, MountMemory};
use crate::request::RequestNumber;
use crate::tree::{Content, Node, Pin, PinKind, Tree};
use crate::types::{FileHandle, Ino};

/// What a handle was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    ReadWrite,
    Directory,
}

/// Of a slot's purpose: the open has emptied the file, as it was to do.
const EMPTIED: u32 = 16;

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

    /// As it stands in a slot.
    fn purpose(self) -> u32 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::ReadWrite => 3,
            Self::Directory => 4,
        }
    }

    fn from_purpose(purpose: u32) -> Option<Self> {
        match purpose & !EMPTIED {
            1 => Some(Self::Read),
            2 => Some(Self::Write),
            3 => Some(Self::ReadWrite),
            4 => Some(Self::Directory),
            _ => None,
        }
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

/// A handle of a request that is sent again, after it was carried out.
#[derive(Clone, Copy)]
pub(super) struct Reopened {
    pub handle: FileHandle,
    /// The file was emptied by it.
    pub emptied: bool,
}

/// All handles of a mount. A leaf lock.
pub struct Handles {
    slots: HandleSlots,
    open: Mutex<HashMap<FileHandle, Open>>,
    /// What was opened before this process, by the request that did it.
    before: HashMap<u64, Reopened>,
}

impl Handles {
    /// The handles that a mount remembers, with the nodes pinned that they are of. To be called
    /// before a row of the tree is changed, as [`Tree::open_for`] wants it.
    pub fn restore(memory: Arc<MountMemory>, tree: &Tree) -> Result<Handles> {
        let slots = HandleSlots::new(Arc::clone(&memory));
        let (mut open, mut before) = (HashMap::new(), HashMap::new());
        for kept in memory.open_handles() {
            let access = Access::from_purpose(kept.purpose);
            let (Some(access), Some(_)) = (access, tree.node(kept.ino)?) else {
                // The transaction that was to make the node did not happen.
                slots.give_back(kept.handle);
                continue;
            };
            let pin = tree.pins().pin(kept.ino, access.pin_kind());
            open.insert(kept.handle, Open { ino: kept.ino, access, content: None, _pin: pin });
            if let Some(request) = kept.request {
                let emptied = kept.purpose & EMPTIED != 0;
                before.insert(request, Reopened { handle: kept.handle, emptied });
            }
        }
        Ok(Handles { slots, open: Mutex::new(open), before })
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.table().len()
    }

    /// Gives out a handle for a node that is pinned.
    pub(super) fn open(&self, node: &Node, access: Access, pin: Pin) -> Result<FileHandle> {
        let request = RequestNumber::present().map(|request| request.number);
        let slot = self.slots.take(node.ino, access.purpose(), request);
        let handle = slot.ok_or(VfsError::TooManyOpen)?;
        let content = node.content().cloned();
        self.table().insert(handle, Open { ino: node.ino, access, content, _pin: pin });
        Ok(handle)
    }

    /// What the present request has opened before the process died that had taken it.
    pub(super) fn reopened(&self) -> Option<Reopened> {
        let request = RequestNumber::present().filter(|request| request.again)?;
        let found = *self.before.get(&request.number)?;
        self.table().contains_key(&found.handle).then_some(found)
    }

    /// Notes that the open of this handle has emptied the file.
    pub(super) fn note_emptied(&self, handle: FileHandle) {
        let access = self.table().get(&handle).map(|open| open.access);
        if let Some(access) = access {
            self.slots.set_purpose(handle, access.purpose() | EMPTIED);
        }
    }

    /// The file behind a handle.
    pub(super) fn file(&self, handle: FileHandle) -> Result<Use> {
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
    pub(super) fn directory(&self, handle: FileHandle) -> Result<Ino> {
        match self.table().get(&handle) {
            Some(open) if open.access == Access::Directory => Ok(open.ino),
            _ => Err(VfsError::BadHandle),
        }
    }

    /// Takes a handle back.
    pub(super) fn close(&self, handle: FileHandle) -> Option<Open> {
        let open = self.table().remove(&handle);
        if open.is_some() {
            self.slots.give_back(handle);
        }
        open
    }

    fn table(&self) -> MutexGuard<'_, HashMap<FileHandle, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
