//! What the sync room tells the rooms above: events on a channel, as calls only go down.

use crate::types::{Ino, Name};

/// Something that programs could still see in the kernel's caches is no longer true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A name appeared, vanished or leads to another node.
    Entry { parent: Ino, name: Name },
    /// Size, times or permissions of a node changed.
    Attributes(Ino),
    /// The bytes of a file that nobody has open changed.
    Content(Ino),
}
