//! What of this machine survives a power cut.
//!
//! Rows are in a log, so a beginning of them survives, and all that were synced do. The bytes of a
//! file survive if they were synced; else they are gone, and the content room says so (it is not here
//! to be tested: what it must never do is to take something else for them).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::program::{Acknowledged, Disk};
use crate::tree::{Content, Node, Tree};
use crate::types::{Ino, StagingId};

/// What is on the disk for good.
pub struct Durable {
    tree: Tree,
    staged: HashMap<StagingId, Vec<u8>>,
    acknowledged: HashMap<Ino, Vec<Vec<u8>>>,
}

/// The disk as a power cut finds it; `None` where none will come.
pub type Power = Arc<Mutex<Option<Durable>>>;

/// What gets to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// Rows and all bytes: the timer, and the end of a mount.
    Everything,
    /// Rows, and the bytes of one file: fsync.
    File(Ino),
    /// Rows only: the kernel wrote the log back by itself.
    Rows,
}

/// Brings rows, and bytes as told, to the disk.
pub fn sync(power: &Power, tree: &Tree, disk: &Mutex<Disk>, acked: &Acknowledged, what: Synced) {
    let mut durable = power.lock().unwrap();
    if what == Synced::Everything {
        if !tree.has_unsynced() {
            return;
        }
        tree.sync().unwrap();
    }
    let Some(before) = durable.take() else { return };
    let disk = disk.lock().unwrap();
    let mut staged = HashMap::new();
    for node in tree.view(|tx| tx.staged()).unwrap() {
        let Some(Content::Staged { id, .. }) = node.content() else { continue };
        let now = what == Synced::Everything || what == Synced::File(node.ino);
        let bytes = if now { disk.staged.get(id) } else { before.staged.get(id) };
        staged.extend(bytes.map(|bytes| (*id, bytes.clone())));
    }
    let is_durable = |ino: &Ino| match tree.node(*ino).unwrap().as_deref().map(Node::content) {
        Some(Some(Content::Staged { id, .. })) => staged.contains_key(id),
        node => node.is_some(),
    };
    let mut acknowledged = acked.lock().unwrap().clone();
    acknowledged.retain(|ino, _| is_durable(ino));
    *durable = Some(Durable { tree: tree.copy().unwrap(), staged, acknowledged });
}

/// A machine whose power may be cut.
pub fn on() -> Power {
    let (staged, acknowledged) = Default::default();
    let tree = Tree::in_memory().unwrap();
    Arc::new(Mutex::new(Some(Durable { tree, staged, acknowledged })))
}

/// What is there when the power is back.
pub fn cut(power: &Power, disk: &Mutex<Disk>, acked: &Acknowledged) -> Option<Tree> {
    let mut durable = power.lock().unwrap();
    let tree = durable.as_ref()?.tree.copy().unwrap();
    let Durable { staged, acknowledged, .. } = durable.as_mut()?;
    *acked.lock().unwrap() = acknowledged.clone();
    // Which blocks of the cache had reached the disk nobody knows: all of it is dropped.
    *disk.lock().unwrap() = Disk { staged: staged.clone(), ..Disk::default() };
    Some(tree)
}
