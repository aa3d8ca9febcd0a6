//! Received shares: a folder or file of somebody's that another user finds among their own files.
//!
//! A share leads from a path of the receiver's to a node of the owner's; what is done at or below it
//! is done to the owner's files, as far as its permissions go (FACTS 8). The tags of the receiver's
//! folders above it follow from their own and from what is shared, as on the real server.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::cloud::State;
use crate::error::DavError;
use crate::path::FilePath;
use crate::tree::{Node, NodeId};

/// Bits of a share's permissions, as the share API counts them.
pub(crate) const UPDATE: u8 = 2;
pub(crate) const CREATE: u8 = 4;
pub(crate) const DELETE: u8 = 8;
const RESHARE: u8 = 16;

#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub owner: String,
    pub node: NodeId,
    pub receiver: String,
    /// Where the receiver has it.
    pub at: FilePath,
    pub permissions: u8,
}

impl Share {
    /// `oc:permissions` of a node in it. That its root can be renamed is only told in the listing of
    /// the folder around it.
    pub(crate) fn letters(&self, node: &Node, around: bool) -> String {
        let has = |bit: u8| self.permissions & bit != 0;
        let root = node.id == self.node;
        let letters = [
            ('S', true),
            ('R', has(RESHARE)),
            ('G', true),
            ('D', has(DELETE) || root),
            ('N', has(UPDATE) || root && around),
            ('V', has(UPDATE) || root && around),
            ('W', has(UPDATE) && !node.is_folder()),
            ('C', has(CREATE) && node.is_folder()),
            ('K', has(CREATE) && node.is_folder()),
        ];
        letters.into_iter().filter(|(_, has)| *has).map(|(letter, _)| letter).collect()
    }
}

/// What a path of a user's stands for.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Whose file it is.
    pub user: String,
    /// Where that user has it.
    pub path: FilePath,
    /// The path that was asked for.
    pub asked: FilePath,
    /// The received share that it is or is in.
    pub share: Option<Share>,
}

impl Place {
    /// Whether it is a share itself, not something in one.
    pub(crate) fn is_share(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.at == self.asked)
    }

    pub(crate) fn allows(&self, bit: u8) -> bool {
        self.share.as_ref().is_none_or(|share| share.permissions & bit != 0)
    }

    pub(crate) fn require(&self, bit: u8) -> Result<(), DavError> {
        if self.allows(bit) { Ok(()) } else { Err(DavError::forbidden("")) }
    }
}

impl State {
    /// What a path of `user`'s stands for, whether or not anything is there.
    pub(crate) fn place(&self, user: &str, asked: &FilePath) -> Place {
        let own = || Place {
            user: user.to_owned(),
            path: asked.clone(),
            asked: asked.clone(),
            share: None,
        };
        let Some(share) = self.share_around(user, asked) else { return own() };
        let root = self.accounts.get(&share.owner).and_then(|o| o.tree.path_of(share.node));
        let Some(root) = root else { return own() };
        Place {
            user: share.owner.clone(),
            path: asked.moved(&share.at, &root),
            asked: asked.clone(),
            share: Some(share.clone()),
        }
    }

    pub(crate) fn share_around(&self, user: &str, path: &FilePath) -> Option<&Share> {
        self.received(user).find(|share| share.at == *path || path.is_below(&share.at))
    }

    /// Shares whose files are still there.
    pub(crate) fn received(&self, user: &str) -> impl Iterator<Item = &Share> {
        self.shares.iter().filter(move |share| share.receiver == user && self.node(share).is_some())
    }

    /// The root of a share.
    pub(crate) fn node(&self, share: &Share) -> Option<&Node> {
        self.accounts.get(&share.owner)?.tree.node(share.node)
    }

    /// The tag of a user's own folder: another one when anything in a share below it changes.
    pub(crate) fn folder_tag(&self, user: &str, path: &FilePath, own: &str) -> String {
        let mut hasher = DefaultHasher::new();
        let mut any = false;
        for share in self.received(user).filter(|share| share.at.is_below(path)) {
            let tag = self.node(share).map(|node| &node.etag);
            (share.at.to_string(), tag, share.permissions).hash(&mut hasher);
            any = true;
        }
        if !any {
            return own.to_owned();
        }
        own.hash(&mut hasher);
        let half = hasher.finish();
        format!("{half:016x}{:016x}", half.rotate_left(32))
    }

    /// Shares at or below a path that is deleted are left.
    pub(crate) fn leave(&mut self, user: &str, path: &FilePath) {
        let goes = |at: &FilePath| at == path || at.is_below(path);
        self.shares.retain(|share| share.receiver != user || !goes(&share.at));
    }

    /// Shares at or below a path that is moved go along.
    pub(crate) fn move_shares(&mut self, user: &str, from: &FilePath, to: &FilePath) {
        for share in self.shares.iter_mut().filter(|share| share.receiver == user) {
            if share.at == *from || share.at.is_below(from) {
                share.at = share.at.moved(from, to);
            }
        }
    }

    /// Shares a node of `owner`'s, or gives the share that is there other permissions. The receiver
    /// finds it below their root, under its own name if that is free.
    pub(crate) fn share(
        &mut self,
        owner: &str,
        path: &FilePath,
        receiver: &str,
        permissions: u8,
    ) -> Result<(), DavError> {
        let node = self.account(owner)?.tree.find(path)?.id;
        let receives = self.account(receiver)?;
        let free = |at: &FilePath| {
            receives.tree.get(at).is_none() && self.received(receiver).all(|share| share.at != *at)
        };
        let root = FilePath::default();
        let mut at = root.join(path.name());
        let mut number = 2;
        while !free(&at) {
            at = root.join(&format!("{} ({number})", path.name()));
            number += 1;
        }
        let same = |share: &&mut Share| share.node == node && share.receiver == receiver;
        match self.shares.iter_mut().find(same) {
            Some(share) => share.permissions = permissions,
            None => self.shares.push(Share {
                owner: owner.to_owned(),
                node,
                receiver: receiver.to_owned(),
                at,
                permissions,
            }),
        }
        Ok(())
    }
}
