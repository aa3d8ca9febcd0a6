//! What requests that change something do to what the server holds, and on which conditions.

use super::store::{Object, State};
use crate::remote::{MoveIf, PutIf, RemoteError, Result};
use crate::types::{Etag, FileId, RemotePath, Sha1Sum, Version};

/// A request that changes something.
#[derive(Clone, Debug)]
pub enum Change {
    Put(Put),
    MakeDir { path: RemotePath },
    Move { from: RemotePath, to: RemotePath, source: Option<Etag>, target: MoveIf },
    Copy { from: RemotePath, to: RemotePath, source: Option<Etag> },
    Delete { path: RemotePath, only: Option<Etag> },
    SetMtime { path: RemotePath, mtime: i64, only: Option<Etag> },
}

#[derive(Clone, Debug)]
pub struct Put {
    pub path: RemotePath,
    pub data: Vec<u8>,
    pub condition: PutIf,
    pub mtime: i64,
    pub checksum: Option<Sha1Sum>,
    /// Only half of it arrives.
    pub torn: bool,
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    Stored(Version),
    Made(FileId),
    Nothing,
}

const CHANGED: RemoteError = RemoteError::PreconditionFailed { etag: None };

fn conflict(what: &str) -> RemoteError {
    RemoteError::Conflict(what.into())
}

impl Change {
    /// The method, and the path that it is sent to.
    pub fn request(&self) -> (&'static str, &RemotePath) {
        match self {
            Change::Put(Put { path, .. }) => ("PUT", path),
            Change::MakeDir { path } => ("MKCOL", path),
            Change::Move { from, .. } => ("MOVE", from),
            Change::Copy { from, .. } => ("COPY", from),
            Change::Delete { path, .. } => ("DELETE", path),
            Change::SetMtime { path, .. } => ("PROPPATCH", path),
        }
    }
}

impl State {
    /// Looks whether the conditions hold that the server does not check, as the remote room does
    /// before such a request; tells when that was.
    pub fn look_first(&mut self, change: &Change) -> Result<Option<u64>> {
        let checked = self.profile.conditions;
        let holds = match change {
            Change::Put(put) if !checked.put => self.put_may(&put.path, &put.condition),
            Change::Move { from, to, source, target }
                if !checked.move_source || !checked.move_target =>
            {
                self.holds(from, source.as_ref()) && self.holds(to, replaced(target))
            }
            Change::Delete { path, only: Some(tag) } if !checked.delete => {
                if !self.objects.contains_key(path) {
                    return Err(RemoteError::NotFound);
                }
                self.holds(path, Some(tag))
            }
            _ => return Ok(None),
        };
        if holds { Ok(Some(self.moment())) } else { Err(CHANGED) }
    }

    /// Whether the server checks all that the request depends on, so that it does no harm whenever it
    /// is carried out.
    pub fn is_guarded(&self, change: &Change) -> bool {
        let checked = self.profile.conditions;
        match change {
            Change::Put(_) => checked.put,
            Change::MakeDir { .. } => true,
            Change::Move { source, .. } => {
                source.is_some() && checked.move_source && checked.move_target
            }
            Change::Delete { only, .. } => only.is_some() && checked.delete,
            Change::Copy { .. } | Change::SetMtime { .. } => false,
        }
    }

    /// `since` is when conditions were looked at that the server does not check.
    pub fn carry_out(&mut self, change: &Change, since: Option<u64>, now: i64) -> Result<Done> {
        self.allows(change)?;
        match change {
            Change::Put(put) => self.put(put, since, now),
            Change::MakeDir { path } => {
                if !self.parent_is_there(path) {
                    Err(conflict("no parent"))
                } else if self.objects.contains_key(path) {
                    Err(RemoteError::Exists)
                } else {
                    Ok(Done::Made(FileId(self.make_dir(path, now).to_string().into())))
                }
            }
            Change::Move { from, to, source, target } => {
                self.rename(from, to, source.as_ref(), target, since)
            }
            Change::Copy { from, to, source } => self.copy(from, to, source.as_ref(), now),
            Change::Delete { path, only } => self.delete(path, only.as_ref(), since),
            Change::SetMtime { path, mtime, only } => {
                let Some(object) = self.objects.get(path).cloned() else {
                    return Err(RemoteError::NotFound);
                };
                if !self.holds(path, only.as_ref()) {
                    return Err(CHANGED);
                }
                assert!(self.profile.sets_mtime, "asked to set a time that cannot be set");
                let size = object.data.as_ref().map_or(0, Vec::len);
                let etag = self.tag_for(object.id, *mtime, size);
                self.objects.insert(path.clone(), Object { mtime: *mtime, etag, ..object });
                self.note(path);
                self.propagate(path);
                Ok(Done::Nothing)
            }
        }
    }

    fn put(&mut self, put: &Put, since: Option<u64>, now: i64) -> Result<Done> {
        let Put { path, data, condition, .. } = put;
        let target = self.objects.get(path).map(|object| object.data.clone());
        if !self.parent_is_there(path) {
            return Err(RemoteError::NotFound);
        }
        if target == Some(None) {
            return Err(conflict("a folder"));
        }
        if since.is_none() && !self.put_may(path, condition) {
            return Err(CHANGED);
        }
        let was_torn = self.objects.get(path).is_some_and(|object| object.torn.is_some());
        let target = target.flatten();
        if let Some(old) = target.as_ref().filter(|old| *old != data && !was_torn) {
            self.we_destroy(path, old, "PUT", since);
        }
        if !put.torn {
            let (mtime, checksum) = (put.mtime, put.checksum);
            return Ok(Done::Stored(self.store(path, data.clone(), mtime, checksum, now)));
        }
        let prefix = data[..data.len() / 2].to_vec();
        if !self.profile.is_nextcloud() {
            self.store(path, prefix, now, None, now);
        } else if let Some(object) = self.objects.get_mut(path) {
            object.torn = Some(prefix);
        }
        // A new file on a Nextcloud: what arrived of it is thrown away.
        Err(RemoteError::NoAnswer("torn".into()))
    }

    fn rename(
        &mut self,
        from: &RemotePath,
        to: &RemotePath,
        source: Option<&Etag>,
        target: &MoveIf,
        since: Option<u64>,
    ) -> Result<Done> {
        let checked = self.profile.conditions;
        let source = source.filter(|_| checked.move_source);
        let replaced = replaced(target).filter(|_| checked.move_target);
        let held = self.objects.get(to).map(|object| object.data.clone());
        if !self.objects.contains_key(from) {
            return Err(RemoteError::NotFound);
        }
        if !self.holds(from, source) {
            return Err(CHANGED);
        }
        if !self.parent_is_there(to) {
            return Err(conflict("no parent"));
        }
        if to.0.starts_with(&from.0) {
            return Err(conflict("into itself"));
        }
        if held.is_some() == (*target == MoveIf::Free) || !self.holds(to, replaced) {
            return Err(CHANGED);
        }
        if held == Some(None) {
            return Err(conflict("a folder"));
        }
        if let Some(old) = held.flatten() {
            self.we_destroy(to, &old, "MOVE", since.filter(|_| !checked.move_target));
            self.objects.remove(to);
        }
        self.move_tree(from, to, true);
        Ok(Done::Nothing)
    }

    fn copy(
        &mut self,
        from: &RemotePath,
        to: &RemotePath,
        source: Option<&Etag>,
        now: i64,
    ) -> Result<Done> {
        let Some(object) = self.objects.get(from).cloned() else {
            return Err(RemoteError::NotFound);
        };
        if !self.holds(from, source) || self.objects.contains_key(to) {
            return Err(CHANGED);
        }
        if !self.parent_is_there(to) {
            return Err(conflict("no parent"));
        }
        let id = self.fresh();
        let mut copy = Object { id, checksum: None, ..object };
        if !self.profile.is_nextcloud() {
            copy.mtime = now;
            let size = copy.data.as_ref().map_or(0, Vec::len);
            copy.etag = self.tag_for(id, copy.mtime, size);
        }
        self.objects.insert(to.clone(), copy);
        self.note(to);
        self.propagate(to);
        Ok(Done::Nothing)
    }

    fn delete(
        &mut self,
        path: &RemotePath,
        only: Option<&Etag>,
        since: Option<u64>,
    ) -> Result<Done> {
        let Some(object) = self.objects.get(path) else { return Err(RemoteError::NotFound) };
        if since.is_none() && !self.holds(path, only) {
            return Err(CHANGED);
        }
        let by = if object.data.is_none() { "DELETE of a directory" } else { "DELETE" };
        // From the bottom up, as long as the share's root is there to be seen.
        for below in self.below(path).into_iter().rev() {
            let object = self.objects.get(&below);
            if let Some(data) = object.and_then(|object| object.data.clone())
                && !self.is_left(&below, path, &data)
            {
                self.we_destroy(&below, &data, by, since);
            }
            self.objects.remove(&below);
        }
        self.propagate(path);
        Ok(Done::Nothing)
    }
}

fn replaced(target: &MoveIf) -> Option<&Etag> {
    match target {
        MoveIf::Holds(tag) => Some(tag),
        MoveIf::Free => None,
    }
}
