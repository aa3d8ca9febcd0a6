//! From a name in a directory to a node.

use std::sync::Arc;

use super::names::has_one_spelling;
use super::{Result, Stat, Stop, Vfs, VfsError, known};
use crate::fault;
use crate::sync::BadRemoteName;
use crate::tree::{Node, Tx};
use crate::types::{Ino, Name};

/// What a name leads to.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// `None`: nothing has this name.
    pub stat: Option<Stat>,
    /// The kernel may remember the name until it is told otherwise.
    pub lasting: bool,
}

impl Vfs {
    /// Looks up a name. Absence is an entry, too; it is never guessed of an unlisted directory.
    pub async fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Entry> {
        let name = Name::new(name)?;
        fault::point("looked-up", name.as_bytes());
        let node = match self.tree.child(parent, &name.key())? {
            Some(node) => Some(node),
            // Whoever probes how long a name can be must not wait for a listing to learn it.
            None if self.names.check(&name) == Err(BadRemoteName::TooLong) => {
                return Err(BadRemoteName::TooLong.into());
            }
            None => self.settle(|| self.look(|tx| child(tx, parent, &name))).await?,
        };
        self.lister.used(parent);
        let stat = node.map(|node| self.stat(&node)).transpose()?;
        Ok(Entry { stat, lasting: has_one_spelling(&name) })
    }
}

/// The child of this name, if there is one for sure or for sure none.
pub(super) fn child(
    tx: &mut Tx<'_>,
    parent: Ino,
    name: &Name,
) -> std::result::Result<Option<Arc<Node>>, Stop> {
    let dir = known(tx, parent)?;
    if !dir.is_dir() {
        return Err(VfsError::NotADirectory.into());
    }
    match tx.child(parent, &name.key())? {
        Some(node) => Ok(Some(node)),
        None if dir.is_listed() => Ok(None),
        None => Err(Stop::Unlisted(parent)),
    }
}
