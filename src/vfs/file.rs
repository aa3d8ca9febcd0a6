//! Open files: their bytes, and what happens at the last close.

use bytes::Bytes;

use super::attr::MAX_SIZE;
use super::handles::Access;
use super::rights::require;
use super::{Result, Vfs, VfsError};
use crate::tree::{Body, Right, TreeError};
use crate::types::{ByteRange, FileHandle, Ino};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenMode {
    access: Access,
    truncate: bool,
}

impl OpenMode {
    /// From the flags of open(2). Others than access mode and O_TRUNC are the kernel's business:
    /// it sends the offset of an append, for one.
    pub fn from_flags(flags: i32) -> Self {
        let access = match flags & libc::O_ACCMODE {
            libc::O_WRONLY => Access::Write,
            libc::O_RDWR => Access::ReadWrite,
            _ => Access::Read,
        };
        Self { access, truncate: flags & libc::O_TRUNC != 0 }
    }

    pub(super) fn access(self) -> Access {
        self.access
    }
}

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    pub handle: FileHandle,
    /// The pages that the kernel has of the file are true.
    pub keep_pages: bool,
}

impl Vfs {
    /// Opens a file; with O_TRUNC it is empty from then on. Never waits for the network.
    pub fn open(&self, ino: Ino, mode: OpenMode) -> Result<Opened> {
        if mode.access.writes() || mode.truncate {
            self.writable()?;
            let node = self.tree.node(ino)?.ok_or(VfsError::Stale)?;
            if node.is_file() {
                require(&node, Right::Write)?;
            }
        }
        let is_emptied = self.handles.reopened().is_some_and(|before| before.emptied);
        let opened = self.open_node(ino, mode.access)?;
        if mode.truncate && !is_emptied {
            if let Err(error) = self.bodies.truncate(ino, 0) {
                self.release(opened.handle)?;
                return Err(error.into());
            }
            self.handles.note_emptied(opened.handle);
        }
        Ok(opened)
    }

    /// Opens a node that must be of the kind that `access` is for.
    pub(super) fn open_node(&self, ino: Ino, access: Access) -> Result<Opened> {
        if let Some(before) = self.handles.reopened() {
            return Ok(Opened { handle: before.handle, keep_pages: false });
        }
        let pin = self.tree.pins().pin(ino, access.pin_kind());
        // Pinned first and then read behind the transaction that may be removing it: either that
        // one sees the pin and leaves an orphan, or the node is gone here.
        let node = self.tree.view(|tx| tx.node(ino))?.ok_or(VfsError::Stale)?;
        match (&node.body, access) {
            (Body::File(_), Access::Read | Access::Write | Access::ReadWrite)
            | (Body::Dir { .. }, Access::Directory) => {}
            (_, Access::Directory) => return Err(VfsError::NotADirectory),
            (Body::Dir { .. }, _) => return Err(VfsError::IsADirectory),
            (Body::Symlink(_), _) => return Err(VfsError::IsASymlink),
            // Their other end is in the kernel.
            (Body::Fifo | Body::Socket, _) => return Err(VfsError::Invalid("open of this kind")),
        }
        let keep_pages = node.content().is_some_and(|content| self.pages.are(ino, content));
        Ok(Opened { handle: self.handles.open(&node, access, pin)?, keep_pages })
    }

    /// Up to `len` bytes from `offset`, less at the end of the file. Waits for the network when they
    /// are not here.
    pub async fn read(&self, handle: FileHandle, offset: u64, len: u32) -> Result<Bytes> {
        let file = self.handles.file(handle)?;
        if let Some(content) = file.first {
            let node = self.tree.node(file.ino)?;
            // Else it was written or emptied since, and the close notes what it is then.
            if node.is_some_and(|node| node.content() == Some(&content)) {
                self.pages.note(file.ino, content);
            }
        }
        if !file.access.reads() {
            return Err(VfsError::BadHandle);
        }
        Ok(self.bodies.read(file.ino, ByteRange::at(offset, u64::from(len))).await?)
    }

    /// Writes all of `data`. Never waits for the network.
    pub fn write(&self, handle: FileHandle, offset: u64, data: &[u8]) -> Result<()> {
        let file = self.handles.file(handle)?;
        if !file.access.writes() {
            return Err(VfsError::BadHandle);
        }
        match offset.checked_add(data.len() as u64) {
            Some(end) if end <= MAX_SIZE => Ok(self.bodies.write(file.ino, offset, data)?),
            _ => Err(VfsError::TooBig),
        }
    }

    /// One close(2) of a handle that may have others (dup, fork): what was written is in the row.
    pub fn flush(&self, handle: FileHandle) -> Result<()> {
        let file = self.handles.file(handle)?;
        if file.access.writes() {
            self.bodies.persist(file.ino)?;
        }
        Ok(())
    }

    /// Makes the bytes and attributes of a file survive a power cut.
    pub async fn fsync(&self, handle: FileHandle) -> Result<()> {
        let file = self.handles.file(handle)?;
        Ok(self.bodies.sync(file.ino).await?)
    }

    /// The last close of a handle. The handle is gone even if this fails; programs do not see it.
    pub fn release(&self, handle: FileHandle) -> Result<()> {
        let open = self.handles.close(handle).ok_or(VfsError::BadHandle)?;
        let (ino, wrote) = (open.ino, open.access.writes());
        let persisted = if wrote { self.bodies.persist(ino) } else { Ok(()) };
        if let Ok(Some(node)) = self.tree.node(ino)
            && let Some(content) = node.content()
        {
            self.pages.note(ino, content.clone());
        }
        drop(open);
        self.bodies.rest(ino);
        self.after_close(ino, wrote)?;
        Ok(persisted?)
    }

    /// Removes an orphan that nobody has open any more. A file that is to be sent is put once more,
    /// so that whoever waits for its last writer hears of it.
    fn after_close(&self, ino: Ino, wrote: bool) -> Result<()> {
        // Behind a transaction that takes the name away and still sees the pin.
        let Some(node) = self.tree.view(|tx| tx.node(ino))? else { return Ok(()) };
        if wrote && node.is_dirty() && !self.tree.pins().has_writer(ino) {
            self.tree.transact(|tx| match tx.node(ino)? {
                Some(node) => tx.put((*node).clone()),
                None => Ok::<_, TreeError>(()),
            })?;
        }
        if node.local.is_none() {
            self.tree.transact(|tx| tx.reap(ino))?;
            self.let_go(&node)?;
        }
        Ok(())
    }
}
