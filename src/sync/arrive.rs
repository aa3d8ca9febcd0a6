//! What an entry of the server looks like as a node.

use crate::remote::Entry;
use crate::tree::{Attr, Body, Content, Node, Place, Push, Synced, TreeError, Tx};
use crate::types::{ContentId, Ino, Time, Version};

/// Who owns what others put on the server, and with which permissions it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    /// Bits that are taken from 0666 and 0777.
    pub umask: u16,
}

impl Owner {
    /// The owner of the root; the umask is what its mode leaves out.
    pub fn of(tx: &mut Tx<'_>) -> Result<Owner, TreeError> {
        let root = tx.node(Ino::ROOT)?;
        let attr = root.map(|root| root.attr);
        Ok(Owner {
            uid: attr.map_or(0, |attr| attr.uid),
            gid: attr.map_or(0, |attr| attr.gid),
            umask: attr.map_or(0o022, |attr| !attr.mode & 0o777),
        })
    }
}

/// A version whose last change is less than this much older than the server's clock when it is seen
/// may be followed by another content under the same tag (FACTS 0.1). Seconds.
const RACY: i64 = 2;

/// Whether a version is that young. Without a clock of the server everything is.
pub fn is_racy(version: &Version, server_time: Option<i64>) -> bool {
    let changed = version.mtime.max(version.upload_time.unwrap_or(i64::MIN));
    server_time.is_none_or(|now| now - changed < RACY && now >= changed - RACY)
}

/// An entry as the synced state of the node that it belongs to.
pub fn synced(place: Place, entry: &Entry, content: ContentId, server_time: Option<i64>) -> Synced {
    Synced {
        place,
        version: entry.version.clone(),
        content,
        permissions: entry.permissions.clone(),
        mount_root: entry.mount_root,
        racy: !entry.is_dir && is_racy(&entry.version, server_time),
        bumped: false,
    }
}

/// A node for an entry that nobody here has seen before.
pub fn node(
    place: &Place,
    entry: &Entry,
    content: ContentId,
    server_time: Option<i64>,
    owner: &Owner,
    now: Time,
) -> Node {
    let mtime = Time::from_secs(entry.version.mtime);
    let (body, bits, size) = match entry.is_dir {
        true => (Body::Dir { listed: false, tag: None }, 0o777, 0),
        false => (Body::File(Content::Remote(content)), 0o666, entry.version.size),
    };
    Node {
        ino: Ino(0),
        body,
        local: Some(place.clone()),
        attr: Attr {
            mode: bits & !owner.umask,
            uid: owner.uid,
            gid: owner.gid,
            atime: mtime,
            mtime,
            ctime: now,
            size,
        },
        synced: Some(synced(place.clone(), entry, content, server_time)),
        remote: None,
        mtime_set: false,
        push: Push::default(),
    }
}

/// Gives a file that is clean here, or whose content here is given up, the server's content.
pub fn take(
    node: &mut Node,
    place: &Place,
    entry: &Entry,
    content: ContentId,
    server_time: Option<i64>,
    now: Time,
) {
    node.synced = Some(synced(place.clone(), entry, content, server_time));
    if let Body::File(bytes) = &mut node.body {
        *bytes = Content::Remote(content);
        node.attr.size = entry.version.size;
        node.attr.mtime = Time::from_secs(entry.version.mtime);
    }
    node.attr.ctime = now;
}

/// Whether a directory has to be listed for what its entry says: its tag is not the adopted one, or,
/// where the entry has none, something was left open in it.
pub fn is_stale(dir: &Node, entry: &Entry) -> bool {
    match &entry.version.etag {
        Some(tag) => dir.tag() != Some(tag),
        None => dir.tag().is_none(),
    }
}
