//! Received shares: directories of somebody else, who keeps what is in them when the share is left
//! (FACTS 0.12), and loses what is deleted in them.

use std::collections::HashSet;

use super::store::State;
use crate::types::{RemotePath, Version};

/// A content in the share with this file id.
type Shared = (u64, Vec<u8>);

/// What became of the files of those who share.
#[derive(Default)]
pub struct Owners {
    /// In shares that were left.
    kept: HashSet<Vec<u8>>,
    /// Deleted one by one.
    lost: Vec<Shared>,
    /// Removed by our programs together with the whole share.
    to_keep: HashSet<Shared>,
}

impl Owners {
    /// The owner has what nobody else sees any more.
    pub fn keep(&mut self, data: Option<&Vec<u8>>) {
        self.kept.extend(data.cloned());
    }

    /// A backup was restored: what was lost is back, or lost for another reason.
    pub fn restored(&mut self) {
        self.lost.clear();
        self.to_keep.clear();
    }

    pub fn share_again(&mut self, data: Option<&Vec<u8>>) {
        if let Some(data) = data {
            self.kept.remove(data);
        }
    }
}

impl State {
    /// Somebody shares a directory with a file and a directory in it. No share is in another: a
    /// Nextcloud does not mount one there, nor let one be moved there.
    pub fn other_shares(&mut self, path: &RemotePath, token: &[u8], now: i64) -> bool {
        let nested = self.share_of(path).is_some();
        if !self.profile.is_nextcloud() || nested || !self.other_makes_dir(path, now) {
            return false;
        }
        if let Some(root) = self.objects.get_mut(path) {
            root.share = true;
        }
        let dir = path.join(&super::program::name("a"));
        self.other_makes_dir(&dir, now);
        for (number, name) in ["b", "c"].into_iter().enumerate() {
            let data = [token, &[b' ', b'0' + number as u8]].concat();
            let at = if number == 0 { path } else { &dir };
            self.other_writes(&at.join(&super::program::name(name)), data, now);
        }
        true
    }

    /// Whether a share would come to be in another one.
    pub fn would_nest(&self, from: &RemotePath, to: &RemotePath) -> bool {
        let share = |path: &RemotePath| self.objects.get(path).is_some_and(|object| object.share);
        self.share_of(to).is_some() && self.below(from).iter().any(share)
    }

    /// The nearest share that a path is in, the root itself included.
    pub fn share_of(&self, path: &RemotePath) -> Option<(RemotePath, u64)> {
        (1..=path.0.len()).rev().map(|depth| RemotePath(path.0[..depth].to_vec())).find_map(|at| {
            let object = self.objects.get(&at).filter(|object| object.share)?;
            Some((at, object.id))
        })
    }

    /// What a request of ours deletes at `path` when it deletes `top`: whether that is nobody's loss.
    pub fn is_left(&mut self, path: &RemotePath, top: &RemotePath, data: &[u8]) -> bool {
        let Some((root, id)) = self.share_of(path) else { return false };
        if root.0.starts_with(&top.0) {
            self.owners.kept.insert(data.to_vec());
            return true;
        }
        self.owners.lost.push((id, data.to_vec()));
        false
    }

    /// Whether somebody has this content of a share that was left.
    pub fn owner_has(&self, data: &[u8]) -> bool {
        self.owners.kept.contains(data)
    }

    /// Every content that a version ever had.
    pub fn contents(&self, version: &Version) -> Vec<Vec<u8>> {
        let (Some(id), Some(etag)) = (&version.file_id, &version.etag) else { return Vec::new() };
        let held = self.held.get(&(id.0.to_string(), etag.0.to_string()));
        held.cloned().unwrap_or_default()
    }

    /// Contents that were in a share, by its file id, when our programs removed it as a whole.
    pub fn removed_with_share(&mut self, share: u64, contents: Vec<Vec<u8>>) {
        self.owners.to_keep.extend(contents.into_iter().map(|data| (share, data)));
    }

    /// A power cut undid the removal of a share's root: what was removed in it before was removed by
    /// itself.
    pub fn removals_undone(&mut self, is_back: impl Fn(u64) -> bool) {
        self.owners.to_keep.retain(|(share, _)| !is_back(*share));
    }

    /// Our programs remove a file by itself, though it was once removed with its share: somebody
    /// renamed that meanwhile, so it was still there.
    pub fn removed_alone(&mut self, version: &Version) {
        for data in self.contents(version) {
            self.owners.to_keep.retain(|(_, kept)| *kept != data);
        }
    }

    /// What somebody lost although our programs only removed the share.
    pub fn owners_loss(&self) -> Option<String> {
        let lost = self.owners.lost.iter().find(|lost| self.owners.to_keep.contains(*lost))?;
        Some(format!("the owner lost {:?}", String::from_utf8_lossy(&lost.1)))
    }
}
