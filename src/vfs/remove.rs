//! Removing names.
//!
//! The name goes at once. The row stays as a tombstone while the server has the node, and as an
//! orphan while somebody has it open.

use super::lookup::child;
use super::rights::require;
use super::{Result, Stop, Vfs, VfsError, live_dir, take_name, touch_dir};
use crate::fault;
use crate::tree::{Node, Right, Tx};
use crate::types::{Ino, Name};

impl Vfs {
    /// Removes the name of anything but a directory.
    pub async fn unlink(&self, parent: Ino, name: &[u8]) -> Result<()> {
        self.remove(parent, name, |_, node| {
            if node.is_dir() { Err(VfsError::IsADirectory.into()) } else { Ok(()) }
        })
        .await
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<()> {
        self.remove(parent, name, |tx, node| {
            if node.is_dir() { empty(tx, node) } else { Err(VfsError::NotADirectory.into()) }
        })
        .await
    }

    async fn remove(
        &self,
        parent: Ino,
        name: &[u8],
        allowed: impl Fn(&mut Tx<'_>, &Node) -> std::result::Result<(), Stop>,
    ) -> Result<()> {
        self.writable()?;
        if self.done().is_some() {
            return Ok(());
        }
        let name = Name::new(name)?;
        let node = self
            .change(|tx| {
                live_dir(tx, parent)?;
                let node = child(tx, parent, &name)?.ok_or(VfsError::NotFound)?;
                allowed(tx, &node)?;
                require(&node, Right::Delete)?;
                let now = self.clock.now();
                take_name(tx, &node, now)?;
                touch_dir(tx, parent, now)?;
                Ok(node)
            })
            .await?;
        fault::point("committed", name.as_bytes());
        self.let_go(&node)
    }
}

/// Refuses a directory that has children, or may have some.
pub(super) fn empty(tx: &mut Tx<'_>, dir: &Node) -> std::result::Result<(), Stop> {
    if tx.has_children(dir.ino)? {
        Err(VfsError::NotEmpty.into())
    } else if !dir.is_listed() {
        Err(Stop::Unlisted(dir.ino))
    } else {
        Ok(())
    }
}
