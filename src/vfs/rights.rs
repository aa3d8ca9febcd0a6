//! What the server will refuse is refused at once, before a byte of it is accepted.
//!
//! The kernel checks the modes that `stat` shows ([`Node::shown_mode`]), but lets root through, and a
//! mode cannot say everything (a writable directory with a file that must not be deleted). So each
//! call asks here, too, and everybody gets the same errno: EACCES, which is what a directory or file
//! without write permission answers. Not EROFS: programs take that as "the whole mount", which it is
//! not.

use super::{Result, VfsError};
use crate::tree::{Body, Node, Place, Right};

/// Refuses what the server forbids for the node.
pub(super) fn require(node: &Node, right: Right) -> Result<()> {
    if node.allows(right) { Ok(()) } else { Err(VfsError::Forbidden) }
}

/// Refuses a new name in a directory that the server does not let grow. What is only kept here needs
/// a directory that takes anything at all, as on a local disk.
pub(super) fn require_room(dir: &Node, body: &Body) -> Result<()> {
    match body {
        Body::File(_) => require(dir, Right::AddFile),
        Body::Dir { .. } => require(dir, Right::AddDir),
        Body::Symlink(_) | Body::Fifo | Body::Socket => {
            require(dir, Right::AddFile).or_else(|_| require(dir, Right::AddDir))
        }
    }
}

/// Refuses a rename that the server would refuse: `dir` is where `to` is, `target` what is replaced.
pub(super) fn require_rename(
    moved: &Node,
    dir: &Node,
    to: &Place,
    target: Option<&Node>,
) -> Result<()> {
    let stays = match &moved.synced {
        Some(synced) if synced.place.parent == to.parent => {
            require(moved, Right::Rename)?;
            true
        }
        Some(_) => {
            require(moved, Right::Move)?;
            false
        }
        None => false,
    };
    match target {
        // The object of a file stays with the name and gets the content of a new one. What the server
        // has under another name is moved there, and what is replaced is deleted before; where it
        // then refuses the rest, that is gone.
        Some(target) if target.is_file() && moved.is_file() && moved.synced.is_none() => {
            return require(target, Right::Write);
        }
        Some(target) => require(target, Right::Delete)?,
        None => {}
    }
    if stays { Ok(()) } else { require_room(dir, &moved.body) }
}

/// Refuses an exchange that the server would refuse: each node with the directory that it is in and
/// the place that the other gets there.
pub(super) fn require_exchange(
    (one, one_dir, first): (&Node, &Node, &Place),
    (other, other_dir, second): (&Node, &Node, &Place),
) -> Result<()> {
    // As in a rename over it, a new file becomes the content of the object, which stays; what that
    // held is copied to the other name.
    let takes_content = |object: &Node, new_dir: &Node| {
        require(object, Right::Write)?;
        require_room(new_dir, &object.body)
    };
    match (&one.synced, &other.synced) {
        (None, Some(_)) if one.is_file() && other.is_file() => takes_content(other, one_dir),
        (Some(_), None) if one.is_file() && other.is_file() => takes_content(one, other_dir),
        _ => {
            require_rename(one, other_dir, second, None)?;
            require_rename(other, one_dir, first, None)
        }
    }
}
