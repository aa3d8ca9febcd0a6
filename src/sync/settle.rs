//! What an answer of the server changes in the tree: the only place, besides the merging of
//! listings, where _synced_ changes. Each function runs inside the transaction of one answer.

use crate::tree::{Body, Content, Node, Place, Synced, TreeError, Tx};
use crate::types::{ContentId, FileId, Ino, Version};

/// An upload as it was sent and answered.
#[derive(Clone, Debug)]
pub struct Uploaded {
    pub version: Version,
    /// The number under which the uploaded bytes are cached from now on.
    pub content: ContentId,
    /// The file has not changed since the upload began: it is clean now.
    pub unchanged: bool,
    pub bumped: bool,
}

/// Stands for the tag of a directory of which the server tells none that speaks for all below it:
/// all that its last listing said was merged.
pub const MERGED: &str = "merged";

/// Makes the next walk come to a directory: its tag and those above it count as unknown.
pub fn stale_parent(tx: &mut Tx<'_>, parent: Ino) -> Result<(), TreeError> {
    let mut at = Some(parent);
    while let Some(dir) = at {
        let Some(node) = tx.node(dir)? else { return Ok(()) };
        at = node.synced.as_ref().map(|synced| synced.place.parent);
        if let Some(tag) = node.tag() {
            // Directories above it stand for themselves then.
            if &*tag.0 == MERGED {
                at = None;
            }
            let mut node = (*node).clone();
            node.forget_tag();
            tx.put(node)?;
        }
    }
    Ok(())
}

fn fresh(place: Place, version: Version, content: ContentId) -> Synced {
    Synced {
        place,
        version,
        content,
        permissions: None,
        mount_root: false,
        racy: true,
        bumped: false,
    }
}

/// A file was stored: under its own object's name, or under a name that was free.
pub fn uploaded(
    tx: &mut Tx<'_>,
    ino: Ino,
    place: &Place,
    answer: Uploaded,
) -> Result<(), TreeError> {
    let Some(node) = tx.node(ino)? else { return Ok(()) };
    let mut node = (*node).clone();
    let before = node.synced.take();
    let mut synced = fresh(place.clone(), answer.version, answer.content);
    synced.bumped = answer.bumped;
    if let Some(before) = before {
        synced.permissions = before.permissions;
        synced.mount_root = before.mount_root;
        if synced.version.file_id.is_none() {
            synced.version.file_id = before.version.file_id;
        }
    }
    if answer.unchanged {
        node.body = Body::File(Content::Remote(answer.content));
        node.mtime_set = false;
    }
    node.synced = Some(synced);
    succeed(&mut node);
    stale_parent(tx, place.parent)?;
    tx.put(node)
}

/// The object under `place` turned out to hold the node's bytes already, or to be its directory.
pub fn adopted(tx: &mut Tx<'_>, ino: Ino, synced: Synced) -> Result<(), TreeError> {
    let Some(node) = tx.node(ino)? else { return Ok(()) };
    let mut node = (*node).clone();
    if node.is_file() {
        node.body = Body::File(Content::Remote(synced.content));
        node.mtime_set = false;
    } else if let Body::Dir { listed, tag } = &mut node.body {
        (*listed, *tag) = (false, None);
    }
    stale_parent(tx, synced.place.parent)?;
    node.synced = Some(synced);
    succeed(&mut node);
    tx.put(node)
}

/// A directory was created.
pub fn made_dir(
    tx: &mut Tx<'_>,
    ino: Ino,
    place: &Place,
    file_id: Option<FileId>,
) -> Result<(), TreeError> {
    let Some(node) = tx.node(ino)? else { return Ok(()) };
    let mut node = (*node).clone();
    let version =
        Version { file_id, etag: None, mtime: 0, size: 0, upload_time: None, checksum: None };
    node.synced = Some(fresh(place.clone(), version, ContentId(0)));
    succeed(&mut node);
    stale_parent(tx, place.parent)?;
    tx.put(node)
}

/// An object was renamed; it keeps its id, tag and times (FACTS 6). What `over` held is gone.
pub fn moved(tx: &mut Tx<'_>, ino: Ino, to: &Place, over: Option<Ino>) -> Result<(), TreeError> {
    if let Some(over) = over {
        gone(tx, over)?;
    }
    let Some(node) = tx.node(ino)? else { return Ok(()) };
    let mut node = (*node).clone();
    let Some(synced) = &mut node.synced else { return Ok(()) };
    let from = std::mem::replace(&mut synced.place, to.clone());
    succeed(&mut node);
    stale_parent(tx, from.parent)?;
    stale_parent(tx, to.parent)?;
    tx.put(node)
}

/// A copy of `ino`'s object was made under its new name; the object stays with the old one, as that
/// of `heir`.
pub fn copied_aside(
    tx: &mut Tx<'_>,
    ino: Ino,
    to: &Place,
    copy: Version,
    heir: Ino,
) -> Result<(), TreeError> {
    let (Some(node), Some(_)) = (tx.node(ino)?, tx.node(heir)?) else { return Ok(()) };
    let mut node = (*node).clone();
    let Some(object) = node.synced.clone() else { return Ok(()) };
    // A copy of a shared file is one's own.
    node.synced = Some(Synced {
        place: to.clone(),
        version: copy,
        permissions: None,
        mount_root: false,
        racy: true,
        ..object.clone()
    });
    succeed(&mut node);
    tx.put(node)?;
    stale_parent(tx, to.parent)?;
    inherit(tx, heir, object)
}

/// The object of `from` goes to `to`.
pub fn handed_over(tx: &mut Tx<'_>, from: Ino, to: Ino) -> Result<(), TreeError> {
    let wants =
        |heir: &Node| heir.local.is_some() && heir.synced.is_none() && heir.push.sent.is_none();
    if !tx.node(to)?.is_some_and(|heir| wants(&heir)) {
        // Removed since that was planned.
        return Ok(());
    }
    let Some(node) = tx.node(from)? else { return Ok(()) };
    let mut node = (*node).clone();
    let Some(object) = node.synced.take() else { return Ok(()) };
    // An upload whose outcome is not known went to the object, not to the node.
    let sent = node.push.sent.take();
    node.mtime_set = false;
    tx.put(node)?;
    inherit(tx, to, object)?;
    if let (Some(sent), Some(heir)) = (sent, tx.node(to)?) {
        let mut heir = (*heir).clone();
        heir.push.sent = Some(sent);
        tx.put(heir)?;
    }
    Ok(())
}

fn inherit(tx: &mut Tx<'_>, heir: Ino, object: Synced) -> Result<(), TreeError> {
    let Some(node) = tx.node(heir)? else { return Ok(()) };
    let mut node = (*node).clone();
    // The cached bytes belong to the node that leaves.
    let content = ContentId(tx.allocate_id()?);
    node.synced = Some(Synced { content, ..object });
    tx.put(node)
}

/// The server holds nothing of the node any more: it was deleted, or replaced by another's object.
/// Everything that it held below goes with it.
pub fn gone(tx: &mut Tx<'_>, ino: Ino) -> Result<(), TreeError> {
    let Some(node) = tx.node(ino)? else { return Ok(()) };
    for child in tx.synced_children(ino)? {
        gone(tx, child.ino)?;
    }
    let mut node = (*node).clone();
    if let Some(synced) = node.synced.take() {
        stale_parent(tx, synced.place.parent)?;
    }
    node.remote = None;
    node.push.sent = None;
    succeed(&mut node);
    tx.put(node)
}

/// The modification time was set, and this is what the server holds since.
pub fn mtime_set(tx: &mut Tx<'_>, ino: Ino, version: Version) -> Result<(), TreeError> {
    let Some(node) = tx.node(ino)? else { return Ok(()) };
    let mut node = (*node).clone();
    let Some(synced) = &mut node.synced else { return Ok(()) };
    synced.version = version;
    synced.bumped = false;
    let place = synced.place.clone();
    node.mtime_set = false;
    succeed(&mut node);
    stale_parent(tx, place.parent)?;
    tx.put(node)
}

/// An attempt succeeded: what earlier failures left is forgotten.
fn succeed(node: &mut Node) {
    node.push.attempts = 0;
    node.push.not_before = Default::default();
    node.push.blocked = None;
    node.push.sent = None;
}
