//! What the server forbids: not even asked where it would say yes all the same, and told in words that
//! name the share.

use super::{Pusher, StepError};
use crate::sync::plan::Step;
use crate::tree::{Node, Right, TreeError, Tx};
use crate::types::{Ino, RemotePath};

impl Pusher {
    /// Refuses to send content or a time of a file that must not be written: with the time the server
    /// would change the owner's file (FACTS 8), and the content would only travel to be refused.
    pub(super) fn check_allowed(&self, step: &Step) -> Result<(), StepError> {
        let (Step::Replace { ino } | Step::SetMtime { ino }) = step else { return Ok(()) };
        match self.tree.node(*ino)? {
            Some(node) if !node.allows(Right::Write) => Err(StepError::NotAllowed),
            _ => Ok(()),
        }
    }

    /// The sentence for a node that the server does not let be changed.
    pub(super) fn forbidden(&self, ino: Ino, error: &dyn std::error::Error) -> String {
        match self.tree.view(|tx| share_of(tx, ino)) {
            Ok(Some(share)) => format!(
                "the share {share} does not allow this change (any more); it stays here only, until \
                 the share's owner allows it: copy it elsewhere to send it"
            ),
            Ok(None) => error.to_string(),
            Err(unreadable) => format!("{error} ({unreadable})"),
        }
    }
}

/// The received share that a node is in or is, by the name that programs see.
fn share_of(tx: &mut Tx<'_>, ino: Ino) -> Result<Option<RemotePath>, TreeError> {
    let mut at = tx.node(ino)?;
    while let Some(node) = at {
        if node.synced.as_ref().is_some_and(|synced| synced.mount_root) {
            return match tx.local_path(node.ino)? {
                Some(path) => Ok(Some(path)),
                None => tx.synced_path(node.ino),
            };
        }
        at = match above(&node) {
            Some(parent) => tx.node(parent)?,
            None => None,
        };
    }
    Ok(None)
}

/// Where the server has it, since that is what it refuses; else where it is to go.
fn above(node: &Node) -> Option<Ino> {
    let synced = node.synced.as_ref().map(|synced| synced.place.parent);
    synced.or_else(|| node.local.as_ref().map(|local| local.parent))
}
