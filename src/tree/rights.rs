//! What the server lets this account do with an object: the letters of `oc:permissions` (FACTS 8).
//!
//! Where a server tells no letters, or none yet (an object that was just made), everything counts as
//! allowed: the server's own answer is the last word.

use super::node::{Body, Node, Synced};

/// Something that the server can forbid for one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Replacing a file's content, and setting its time: the server would take a new time from
    /// somebody who may not write (FACTS 8), so that is asked here.
    Write,
    /// Deleting it.
    Delete,
    /// Another name in the same directory.
    Rename,
    /// A place in another directory.
    Move,
    /// New files in a directory.
    AddFile,
    /// New directories in a directory.
    AddDir,
}

impl Right {
    fn letter(self) -> char {
        match self {
            Self::Write => 'W',
            Self::Delete => 'D',
            Self::Rename => 'N',
            Self::Move => 'V',
            Self::AddFile => 'C',
            Self::AddDir => 'K',
        }
    }
}

impl Synced {
    /// Whether the server allows this. The root of a share may always be renamed, which concerns the
    /// share and not what is in it: a Nextcloud says so (NV) in the listing of the directory around
    /// it only. The letter D, to leave it by, is always there, and missing where a mount of another
    /// kind (a group folder) cannot be left.
    ///
    /// Inside a share a name is changed only of what may be deleted: without D a Nextcloud says NV,
    /// and answers 403 to the MOVE.
    pub fn allows(&self, right: Right) -> bool {
        let name = matches!(right, Right::Rename | Right::Move);
        match self.permissions.as_deref() {
            None | Some("") => true,
            Some(_) if self.mount_root && name => true,
            Some(letters) if name && !letters.contains(Right::Delete.letter()) => false,
            Some(letters) => letters.contains(right.letter()),
        }
    }
}

impl Node {
    /// Whether the server allows this with what it holds of the node.
    pub fn allows(&self, right: Right) -> bool {
        self.synced.as_ref().is_none_or(|synced| synced.allows(right))
    }

    /// The permission bits that programs see: those of the node without the ones that promise what
    /// the server forbids.
    pub fn shown_mode(&self) -> u16 {
        let writable = match self.body {
            Body::File(_) => self.allows(Right::Write),
            // Where names can be removed the directory stays writable; what is forbidden of the
            // rest is answered call by call. A share's root has the letter D to be left by.
            Body::Dir { .. } => {
                let deletes = |synced: &Synced| !synced.mount_root && synced.allows(Right::Delete);
                self.allows(Right::AddFile)
                    || self.allows(Right::AddDir)
                    || self.synced.as_ref().is_some_and(deletes)
            }
            _ => true,
        };
        if writable { self.attr.mode } else { self.attr.mode & !0o222 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Place};
    use crate::types::{ContentId, Ino, Name, Version};

    fn node(letters: Option<&str>, mount_root: bool, body: Body) -> Node {
        let version = Version {
            file_id: None,
            etag: None,
            mtime: 0,
            size: 0,
            upload_time: None,
            checksum: None,
        };
        let mut node = Node { body, ..Node::fresh_root() };
        node.attr.mode = 0o777;
        node.synced = Some(Synced {
            place: Place::new(Ino::ROOT, Name::new(*b"a").unwrap()),
            version,
            content: ContentId(1),
            permissions: letters.map(Into::into),
            mount_root,
            racy: false,
            bumped: false,
        });
        node
    }

    const DIR: Body = Body::Dir { listed: true, tag: None };
    const FILE: Body = Body::File(Content::Empty);

    #[test]
    fn a_server_without_letters_allows_everything() {
        for letters in [None, Some("")] {
            let node = node(letters, false, FILE);
            assert!(node.allows(Right::Write) && node.shown_mode() == 0o777);
        }
    }

    /// The letters are those of a real server, by the permissions of the share.
    #[test]
    fn modes_show_what_the_letters_of_a_share_allow() {
        let mode = |letters, root, body| node(Some(letters), root, body).shown_mode();
        // Read-only.
        assert_eq!(mode("SGD", true, DIR), 0o555);
        assert_eq!(mode("SG", false, DIR), 0o555);
        assert_eq!(mode("SG", false, FILE), 0o555);
        // Editable.
        assert_eq!(mode("SRGDNVCK", true, DIR), 0o777);
        assert_eq!(mode("SRGDNVW", false, FILE), 0o777);
        // Files may be added and not changed; deleted and not added; changed and not added.
        assert_eq!(mode("SGCK", false, DIR), 0o777);
        assert_eq!(mode("SGD", false, DIR), 0o777);
        assert_eq!(mode("SGNV", false, DIR), 0o555);
        assert_eq!(mode("SGNVW", false, FILE), 0o777);
    }

    #[test]
    fn the_root_of_a_read_only_share_may_be_renamed_and_left() {
        let root = node(Some("SGD"), true, DIR);
        assert!([Right::Rename, Right::Move, Right::Delete].map(|r| root.allows(r)) == [true; 3]);
        assert!(!node(Some("RGNVCK"), true, DIR).allows(Right::Delete));
        let inside = node(Some("SG"), false, DIR);
        assert!(
            [Right::Rename, Right::Move, Right::Delete].map(|r| inside.allows(r)) == [false; 3]
        );
    }
}
