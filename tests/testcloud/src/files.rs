//! What can be done to a user's files besides writing them: folders, deletion, moves, copies.
//!
//! Requests and the handle of a test go through the same functions, so that what a test does looks
//! like another client's change: tags propagate, locks are respected.

use std::fs;
use std::sync::Arc;

use crate::cloud::{Account, Cloud};
use crate::error::DavError;
use crate::locks::LockGuard;
use crate::path::FilePath;
use crate::stamps::file_tag;
use crate::store::{self, TempPath, copy_all, remove_all};
use crate::tree::{Kind, Missing, NodeId};

/// Whether a name was free before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Replaced,
}

/// Asked again once the locks are held, because what was allowed before may not be any more: with it
/// conditions hold at the moment of the change (FACTS 5: of eight PUTs at once exactly one succeeds).
pub(crate) type Still<'a> = &'a (dyn Fn() -> Result<(), DavError> + Sync);

/// For those who set no conditions.
pub(crate) fn always() -> Result<(), DavError> {
    Ok(())
}

impl Cloud {
    /// Makes a folder and returns its id.
    pub(crate) fn make_folder(&self, user: &str, path: &FilePath) -> Result<NodeId, DavError> {
        let mut state = self.state();
        let tree = &mut state.account_mut(user)?.tree;
        let parent = match tree.find(&path.parent()) {
            Ok(parent) if parent.is_folder() => parent.id,
            Ok(_) | Err(Missing::BelowFile(_)) => {
                return Err(DavError::conflict("Parent node is not a collection"));
            }
            Err(Missing::At(_)) => return Err(DavError::conflict("Parent node does not exist")),
        };
        // `x.part` is taken for a part file of an upload, which exists as far as MKCOL can see.
        if tree.get(path).is_some() || path.forbidden_extension().is_some() {
            return Err(DavError::exists_already());
        }
        path.refuse().map_err(DavError::invalid_path)?;
        fs::create_dir(self.store.file(user, path))?;
        let id = tree.add_folder(parent, path.name(), &self.stamps);
        tree.propagate(id, &self.stamps);
        Ok(id)
    }

    /// Makes what is missing of a folder and those above it.
    pub(crate) fn make_folders(&self, user: &str, path: &FilePath) -> Result<(), DavError> {
        for depth in 1..=path.names().len() {
            let folder = path.prefix(depth);
            let exists = self.state().account(user)?.tree.get(&folder).is_some();
            if !exists {
                self.make_folder(user, &folder)?;
            }
        }
        Ok(())
    }

    /// Deletes a file or a folder with all in it, for good: there is no trash.
    pub(crate) fn delete(
        &self,
        user: &str,
        path: &FilePath,
        still: Still<'_>,
    ) -> Result<(), DavError> {
        let _lock = self.locks.exclusive(user, path)?;
        still()?;
        let temp = self.store.temp();
        let mut state = self.state();
        let account = state.account_mut(user)?;
        let id = account.tree.find(path)?.id;
        if path.is_root() {
            return Err(DavError::forbidden(""));
        }
        self.discard(user, account, path, id, &temp)?;
        state.leave(user, path);
        drop(state);
        Ok(())
    }

    /// Takes a node out of the tree and what it had on disk to `temp`.
    fn discard(
        &self,
        user: &str,
        account: &mut Account,
        path: &FilePath,
        id: NodeId,
        temp: &TempPath,
    ) -> Result<(), DavError> {
        fs::rename(self.store.file(user, path), temp.path())?;
        let parent = account.tree.node(id).and_then(|node| node.parent);
        for gone in account.tree.remove(id) {
            remove_all(&self.store.versions(user, gone))?;
        }
        if let Some(parent) = parent {
            account.tree.touch_up(parent, &self.stamps);
        }
        Ok(())
    }

    /// Moves, also from one user's files to another's; what is at `to` is deleted first. `still` has
    /// checked both paths.
    pub(crate) fn relocate(
        &self,
        (user, from): (&str, &FilePath),
        (taker, to): (&str, &FilePath),
        still: Still<'_>,
    ) -> Result<(NodeId, Outcome), DavError> {
        let _from = self.lock_for_move(user, from)?;
        let _to = self.lock_for_move(taker, to)?;
        still()?;
        let temp = self.store.temp();
        let mut state = self.state();
        let tree = &state.account(user)?.tree;
        let id = tree.find(from)?.id;
        let old_parent = tree.node(id).and_then(|node| node.parent);
        let mut outcome = Outcome::Created;
        let account = state.account_mut(taker)?;
        if let Some(target) = account.tree.get(to).map(|node| node.id) {
            self.discard(taker, account, to, target, &temp)?;
            outcome = Outcome::Replaced;
        }
        let parent = account.tree.find(&to.parent())?.id;
        fs::rename(self.store.file(user, from), self.store.file(taker, to))?;
        if user == taker {
            account.tree.relocate(id, parent, to.name());
            state.move_shares(user, from, to);
        } else {
            let nodes = state.account_mut(user)?.tree.take(id);
            state.account_mut(taker)?.tree.give(nodes, parent, to.name());
        }
        if let Some(old_parent) = old_parent {
            state.account_mut(user)?.tree.touch_up(old_parent, &self.stamps);
        }
        state.account_mut(taker)?.tree.propagate(id, &self.stamps);
        drop(state);
        Ok((id, outcome))
    }

    fn lock_for_move(&self, user: &str, path: &FilePath) -> Result<LockGuard, DavError> {
        self.locks.exclusive(user, path).map_err(|locked| DavError::locked_exception(&locked))
    }

    /// Copies a file or a folder with all in it; what is at `to` is deleted first. `still` has
    /// checked both paths.
    pub(crate) async fn duplicate(
        self: &Arc<Self>,
        (user, from): (&str, &FilePath),
        (taker, to): (&str, &FilePath),
        still: Still<'_>,
    ) -> Result<(NodeId, Outcome), DavError> {
        let _from = self.locks.shared(user, from)?;
        let _to = self.locks.exclusive(taker, to)?;
        still()?;
        {
            let state = self.state();
            let size = state.account(user)?.tree.find(from)?.size();
            state.account(taker)?.require(&to.parent(), size)?;
        }
        let (copy, replaced) = (self.store.temp(), self.store.temp());
        let source = self.store.file(user, from);
        let copy = blocking(move || copy_all(&source, copy.path()).map(|()| copy)).await?;

        let mut state = self.state();
        let tree = &state.account(user)?.tree;
        let nodes = tree.copy_of(tree.find(from)?.id, &self.stamps);
        let account = state.account_mut(taker)?;
        let mut outcome = Outcome::Created;
        if let Some(target) = account.tree.get(to).map(|node| node.id) {
            self.discard(taker, account, to, target, &replaced)?;
            outcome = Outcome::Replaced;
        }
        let parent = account.tree.find(&to.parent())?.id;
        fs::rename(copy.path(), self.store.file(taker, to))?;
        let id = nodes.first().map(|node| node.id).ok_or_else(|| DavError::not_found(""))?;
        account.tree.give(nodes, parent, to.name());
        account.tree.propagate(id, &self.stamps);
        drop(state);
        Ok((id, outcome))
    }

    /// What a GET does first: a size on disk other than the known one is taken over (FACTS 0.2). Other
    /// damage goes unseen.
    pub(crate) fn repair(&self, user: &str, path: &FilePath) -> Result<(), DavError> {
        let mut state = self.state();
        let tree = &mut state.account_mut(user)?.tree;
        let node = tree.find(path)?;
        let (id, Some(file)) = (node.id, node.file()) else {
            return Ok(());
        };
        let Some(torn) = file.torn.filter(|torn| torn.size != file.size) else {
            return Ok(());
        };
        tree.resize(id, torn.size);
        if let Some(node) = tree.node_mut(id) {
            node.mtime = torn.mtime;
            node.etag = file_tag(torn.mtime, id, torn.size);
            if let Kind::File(file) = &mut node.kind {
                file.torn = None;
                file.checksums = None;
            }
        }
        tree.propagate(id, &self.stamps);
        Ok(())
    }

    /// Sets the time of a file or a folder; unlike a write it always makes a fresh tag.
    pub(crate) fn set_mtime(
        &self,
        user: &str,
        path: &FilePath,
        mtime: i64,
    ) -> Result<(), DavError> {
        let mut state = self.state();
        let tree = &mut state.account_mut(user)?.tree;
        let id = tree.find(path)?.id;
        store::set_mtime(&self.store.file(user, path), mtime)?;
        let folder_tag = self.stamps.folder_tag();
        if let Some(node) = tree.node_mut(id) {
            node.mtime = mtime;
            node.etag = match &node.kind {
                Kind::Folder { .. } => folder_tag,
                Kind::File(file) => file_tag(mtime, id, file.size),
            };
        }
        tree.propagate(id, &self.stamps);
        Ok(())
    }
}

/// Runs something slow on the disk away from the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, DavError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(DavError::internal("Error", error.to_string())),
    }
}
