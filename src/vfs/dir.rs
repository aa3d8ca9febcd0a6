//! Reading directories.
//!
//! A position in a directory is the number of the node that was told last, and nodes come by
//! ascending number. So an entry is told once however many others come and go meanwhile, a rename
//! within the directory does not move an entry, and no list has to be kept for a handle. What is made
//! while somebody reads comes at the end.

use std::sync::Arc;

use super::handles::Access;
use super::names::has_one_spelling;
use super::{Kind, Result, Stat, Stop, Vfs, known};
use crate::tree::{Node, TreeError, Tx};
use crate::types::{FileHandle, Ino, Name};

/// One entry of a directory.
pub struct DirEntry {
    /// The position after this entry.
    pub position: u64,
    label: Label,
    node: Arc<Node>,
}

enum Label {
    Own,
    Above,
    Name(Name),
}

impl DirEntry {
    pub fn ino(&self) -> Ino {
        self.node.ino
    }

    pub fn kind(&self) -> Kind {
        Kind::from(&self.node.body)
    }

    /// As it was spelled when it was made.
    pub fn name(&self) -> &[u8] {
        match &self.label {
            Label::Own => b".",
            Label::Above => b"..",
            Label::Name(name) => name.as_bytes(),
        }
    }

    /// The kernel may remember the name until it is told otherwise.
    pub fn lasting(&self) -> bool {
        match &self.label {
            Label::Own | Label::Above => false,
            Label::Name(name) => has_one_spelling(name),
        }
    }
}

/// Positions after "." and "..".
const AFTER_OWN: u64 = 1;
const AFTER_ABOVE: u64 = 2;

impl Vfs {
    /// Opens a directory for reading its entries.
    pub fn opendir(&self, ino: Ino) -> Result<FileHandle> {
        Ok(self.open_node(ino, Access::Directory)?.handle)
    }

    /// Up to `limit` entries after a position; none at the end. 0 is the beginning.
    pub async fn readdir(
        &self,
        handle: FileHandle,
        position: u64,
        limit: usize,
    ) -> Result<Vec<DirEntry>> {
        let ino = self.handles.directory(handle)?;
        if position == 0 {
            self.lister.used(ino);
        }
        self.settle(|| self.look(|tx| entries(tx, ino, position, limit))).await
    }

    /// The attributes of an entry, for readdirplus.
    pub fn entry_stat(&self, entry: &DirEntry) -> Result<Stat> {
        self.stat(&entry.node)
    }

    pub fn releasedir(&self, handle: FileHandle) -> Result<()> {
        self.release(handle)
    }

    /// Makes all names survive a power cut.
    pub async fn fsyncdir(&self, handle: FileHandle) -> Result<()> {
        self.handles.directory(handle)?;
        let tree = Arc::clone(&self.tree);
        match tokio::task::spawn_blocking(move || tree.sync()).await {
            Ok(synced) => Ok(synced?),
            Err(error) => Err(TreeError::Io(error.into()).into()),
        }
    }
}

fn entries(
    tx: &mut Tx<'_>,
    ino: Ino,
    position: u64,
    limit: usize,
) -> std::result::Result<Vec<DirEntry>, Stop> {
    let dir = known(tx, ino)?;
    let parent = match &dir.local {
        Some(place) => known(tx, place.parent)?,
        None if dir.is_root() => Arc::clone(&dir),
        // Removed while it is open: it has no entries, not even its own.
        None => return Ok(Vec::new()),
    };
    if !dir.is_listed() {
        return Err(Stop::Unlisted(ino));
    }
    let mut entries = Vec::new();
    if position < AFTER_OWN {
        entries.push(DirEntry { position: AFTER_OWN, label: Label::Own, node: dir });
    }
    if position < AFTER_ABOVE {
        entries.push(DirEntry { position: AFTER_ABOVE, label: Label::Above, node: parent });
    }
    let left = limit.saturating_sub(entries.len());
    for node in tx.children(ino, after(position), left)? {
        if let Some(place) = &node.local {
            let label = Label::Name(place.name.clone());
            entries.push(DirEntry { position: position_of(node.ino), label, node });
        }
    }
    Ok(entries)
}

/// The position after a child. No child is the root, so the numbers up to [`AFTER_ABOVE`] are free.
fn position_of(ino: Ino) -> u64 {
    ino.0 + 1
}

/// The child that was told last at a position.
fn after(position: u64) -> Ino {
    Ino(position.saturating_sub(1))
}
