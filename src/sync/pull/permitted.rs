//! What follows when the server allows something else than before.

use super::merge::Merge;
use crate::sync::Event;
use crate::tree::{Node, TreeError, Tx};
use crate::types::{Ino, Time};

impl Merge<'_> {
    /// The letters of a node changed from those of `before` to those of `now`, which is written.
    pub(super) fn permitted(
        &mut self,
        tx: &mut Tx<'_>,
        before: &Node,
        now: Node,
    ) -> Result<(), TreeError> {
        if before.shown_mode() != now.shown_mode() {
            self.events.push(Event::Attributes(now.ino));
        }
        if before.synced.as_ref().is_none_or(|synced| synced.permissions.is_none()) {
            // They were not known; what it was made in is as it was.
            return Ok(());
        }
        // What the server refused it may take now.
        for node in tx.blocked(usize::MAX >> 1)? {
            let is_in = |place: &crate::tree::Place| place.parent == now.ino;
            let inside = node.local.as_ref().is_some_and(is_in)
                || node.synced.as_ref().is_some_and(|synced| is_in(&synced.place));
            if inside || node.ino == now.ino {
                let mut node = (*node).clone();
                node.push.blocked = None;
                node.push.attempts = 0;
                node.push.not_before = Time::default();
                tx.put(node)?;
            }
        }
        if now.is_dir() && now.synced.as_ref().is_some_and(|synced| synced.mount_root) {
            // The permissions of a share are those of all that is in it, and changing them changes
            // no tag but those above the share.
            forget_tags(tx, now.ino)?;
        }
        Ok(())
    }
}

/// Makes the walk list a directory and all below it.
fn forget_tags(tx: &mut Tx<'_>, dir: Ino) -> Result<(), TreeError> {
    let mut dirs = vec![dir];
    while let Some(dir) = dirs.pop() {
        let children = tx.synced_children(dir)?;
        dirs.extend(children.iter().filter(|child| child.is_dir()).map(|child| child.ino));
        if let Some(node) = tx.node(dir)?.filter(|node| node.tag().is_some()) {
            let mut node = (*node).clone();
            node.forget_tag();
            tx.put(node)?;
        }
    }
    Ok(())
}
