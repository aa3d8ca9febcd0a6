//! What administrators and those who share do to what the server holds: a backup that is restored, a
//! quota, shares that are withdrawn, given back, and made read-only.

use std::collections::BTreeMap;

use super::chance::pick;
use super::requests::{Change, Put};
use super::store::{Object, State};
use crate::remote::{RemoteError, Result};
use crate::types::RemotePath;

#[derive(Default)]
pub struct Upheavals {
    /// What the server held at the last backup, and its last file id.
    backup: Option<(BTreeMap<RemotePath, Object>, u64)>,
    /// A backup was restored: ids and tags may have come twice.
    pub restored: bool,
    /// Bytes that all files together may have.
    pub quota: Option<usize>,
    withdrawn: Vec<Withdrawn>,
}

/// A share that was withdrawn: where it was, and what was in it.
struct Withdrawn {
    root: RemotePath,
    objects: Vec<(RemotePath, Object)>,
}

impl State {
    pub fn back_up(&mut self) {
        self.upheavals.backup = Some((self.objects.clone(), self.next));
    }

    /// Everything is as it was at the last backup, and what follows gets the ids that were given
    /// since once more. What is not in it is lost for all clients: no one can tell this from another
    /// client that undoes everything.
    pub fn restore(&mut self, now: i64) -> bool {
        let Some((objects, next)) = self.upheavals.backup.clone() else { return false };
        let kept: Vec<&Vec<u8>> = objects.values().flat_map(|object| &object.data).collect();
        for data in self.objects.values().flat_map(|object| &object.data) {
            if !kept.contains(&data) {
                self.destroyed_by_other.insert(data.clone());
            }
        }
        self.upheavals.restored = true;
        self.upheavals.withdrawn.clear();
        self.owners.restored();
        (self.objects, self.next) = (objects, next);
        self.have_come(&RemotePath::root(), now);
        self.put_up_with_parts(&RemotePath::root());
        true
    }

    /// All below a path has come to be there now.
    fn have_come(&mut self, path: &RemotePath, now: i64) {
        self.tick += 1;
        for path in self.below(path) {
            self.came.insert(path.clone(), self.tick);
            self.arrived.insert(path.clone(), now);
            self.note(&path);
        }
    }

    fn shares(&self) -> Vec<String> {
        let shares = self.objects.iter().filter(|(_, object)| object.share);
        shares.map(|(path, _)| path.to_string()).collect()
    }

    fn share(&self, number: u32) -> Option<RemotePath> {
        let path = pick(number, self.shares())?;
        self.objects.keys().find(|other| other.to_string() == path).cloned()
    }

    /// The owner takes one of the shares away, with all that anybody put into it.
    pub fn withdraw(&mut self, number: u32) -> Option<RemotePath> {
        let root = self.share(number)?;
        let mut objects = Vec::new();
        for path in self.below(&root) {
            if let Some(object) = self.objects.remove(&path) {
                self.owners.keep(object.data.as_ref());
                objects.push((path, object));
            }
        }
        self.propagate(&root);
        self.upheavals.withdrawn.push(Withdrawn { root: root.clone(), objects });
        Some(root)
    }

    /// The owner shares again what was withdrawn last: under its name, if that is free.
    pub fn give_back(&mut self, now: i64) -> Option<RemotePath> {
        let Withdrawn { root, .. } = self.upheavals.withdrawn.last()?;
        let second = format!("{} (2)", root.0.last()?);
        let free =
            |path: &RemotePath| !self.objects.contains_key(path) && self.parent_is_there(path);
        let names = [root.clone(), RemotePath::root().join(&super::program::name(&second))];
        let to = names.into_iter().find(free)?;
        let Withdrawn { root, objects } = self.upheavals.withdrawn.pop()?;
        for (path, object) in objects {
            self.owners.share_again(object.data.as_ref());
            let rest = path.0[root.0.len()..].iter().cloned();
            self.objects.insert(RemotePath(to.0.iter().cloned().chain(rest).collect()), object);
        }
        self.propagate(&to);
        self.have_come(&to, now);
        Some(to)
    }

    /// The owner allows changes in one of the shares, or forbids them.
    pub fn protect(&mut self, number: u32, protected: bool) -> Option<RemotePath> {
        let root = self.share(number)?;
        self.set_protected(&root, protected);
        Some(root)
    }

    /// All that stood in the way of changes is gone.
    pub fn allow_everything(&mut self) {
        self.upheavals.quota = None;
        let shares: Vec<RemotePath> = self.objects.keys().cloned().collect();
        for path in shares {
            self.set_protected(&path, false);
        }
    }

    fn set_protected(&mut self, root: &RemotePath, protected: bool) {
        let Some(object) = self.objects.get_mut(root) else { return };
        if object.protected != protected {
            object.protected = protected;
            // Tags change above the share only.
            self.propagate(root);
        }
    }

    /// Whether nothing in the share around a path may be changed, its root aside.
    pub fn is_protected(&self, path: &RemotePath) -> bool {
        (1..path.0.len()).any(|depth| {
            let above = RemotePath(path.0[..depth].to_vec());
            self.objects.get(&above).is_some_and(|object| object.protected)
        })
    }

    /// The letters of `oc:permissions` (FACTS 8).
    pub fn letters(&self, path: &RemotePath, object: &Object) -> Option<Box<str>> {
        if !self.profile.is_nextcloud() {
            return None;
        }
        let shared = self.share_of(path).is_some();
        let mut letters = String::from(if shared { "SRG" } else { "RG" });
        if object.share {
            letters += "M";
        }
        if object.protected {
            letters += "D";
        } else if !self.is_protected(path) {
            letters += if object.data.is_none() { "DNVCK" } else { "DNVW" };
        }
        Some(letters.into())
    }

    /// Whether the server refuses a change, whatever its conditions are.
    pub fn allows(&self, change: &Change) -> Result<()> {
        let touched = match change {
            Change::Put(Put { path, .. })
            | Change::MakeDir { path }
            | Change::Delete { path, .. }
            | Change::SetMtime { path, .. } => [Some(path), None],
            Change::Move { from, to, .. } => [Some(from), Some(to)],
            Change::Copy { to, .. } => [Some(to), None],
        };
        if touched.into_iter().flatten().any(|path| self.is_protected(path)) {
            return Err(RemoteError::Forbidden("the share is read-only".into()));
        }
        let size = |path: &RemotePath| {
            self.objects.get(path).and_then(|object| object.data.as_ref()).map_or(0, Vec::len)
        };
        // The size of what is replaced counts, too (FACTS 12).
        let more = match change {
            Change::Put(put) => put.data.len(),
            Change::Copy { from, .. } => size(from),
            _ => 0,
        };
        let used: usize = self.objects.keys().map(size).sum();
        match self.upheavals.quota {
            Some(quota) if more > 0 && used + more > quota => {
                Err(RemoteError::Full(format!("{more} required")))
            }
            _ => Ok(()),
        }
    }
}
