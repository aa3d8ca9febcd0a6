//! What the server of the simulation holds, what the other client does to it, and a record of what
//! was destroyed: by whom, and whether a client could have seen it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::faults::Weather;
use super::owners::Owners;
use super::profile::{Profile, Tags};
use super::requests::Change;
use super::upheavals::Upheavals;
use crate::remote::{Entry, PutIf};
use crate::types::{Etag, FileId, RemotePath, Sha1Sum, Time, Version};

#[derive(Clone, Debug)]
pub struct Object {
    pub id: u64,
    /// `None` for a directory.
    pub data: Option<Vec<u8>>,
    pub mtime: i64,
    pub etag: String,
    pub upload_time: i64,
    pub checksum: Option<Sha1Sum>,
    /// What a torn PUT left: listed as before until somebody reads it (FACTS 0.2).
    pub torn: Option<Vec<u8>>,
    /// The root of a received share.
    pub share: bool,
    /// The root of a share in which nothing may be changed.
    pub protected: bool,
}

#[derive(Default)]
pub struct State {
    pub profile: Profile,
    pub objects: BTreeMap<RemotePath, Object>,
    pub next: u64,
    /// Contents that we may destroy: our programs saw them before they overwrote or removed them.
    pub permitted: HashSet<Vec<u8>>,
    /// Contents as they were written, whole.
    pub whole: HashSet<Vec<u8>>,
    /// Contents that the other client destroyed itself.
    pub destroyed_by_other: HashSet<Vec<u8>>,
    /// Contents that the other client wrote, and when.
    pub by_other: HashMap<Vec<u8>, i64>,
    /// Contents that we took away from where they were; allowed only if they are elsewhere in the end.
    pub displaced: Vec<(Vec<u8>, String)>,
    /// Destruction that no client can see: the same second and tag, or within a request.
    pub unseeable: u32,
    pub looked: HashMap<RemotePath, i64>,
    /// When the other client moved something to a name.
    pub arrived: HashMap<RemotePath, i64>,
    /// When the other client wrote or moved something to a name last, by what counts here.
    pub came: HashMap<RemotePath, u64>,
    /// Counts what happens here, to tell what came before what.
    pub tick: u64,
    /// When we last looked at each name.
    pub seen_at: HashMap<RemotePath, u64>,
    /// Contents that the other client stored without the tag changing, and when.
    pub hidden: HashMap<Vec<u8>, u64>,
    /// Contents by file id (where there is none, by name) and tag: more than one where tags are kept
    /// or weak.
    pub held: HashMap<(String, String), Vec<Vec<u8>>>,
    /// Contents that the other client stored between our upload and the look that told its version,
    /// and what we had uploaded.
    pub mistaken: HashMap<Vec<u8>, Vec<u8>>,
    /// Requests so far, by method.
    pub requests: Vec<String>,
    pub weather: Weather,
    /// How often each request was made.
    pub counts: HashMap<String, u32>,
    /// The requests that the weather touched, and those that it must not touch.
    pub faulted: Vec<String>,
    pub spared: BTreeSet<String>,
    /// Requests that a proxy holds, and until when.
    pub late: Vec<(Time, String, Change)>,
    /// The next upload is cut in the middle.
    pub tear: bool,
    /// The next listing leaves this out.
    pub left_out: Option<RemotePath>,
    pub owners: Owners,
    pub upheavals: Upheavals,
    /// What no tag had yet.
    serial: u64,
}

impl State {
    pub fn new(profile: Profile) -> Self {
        Self { profile, next: 10, ..Self::default() }
    }

    /// A moment for a condition that is looked at before the change.
    pub fn moment(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    pub fn saw(&mut self, path: &RemotePath) {
        self.tick += 1;
        let tick = self.tick;
        self.seen_at.insert(path.clone(), tick);
    }

    /// A file id.
    pub fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What makes a tag unlike all others.
    pub fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A change sets the same new tag on every ancestor (FACTS 6).
    pub fn propagate(&mut self, path: &RemotePath) {
        let tag = format!("\"d{}\"", self.serial());
        let mut at = path.parent();
        while let Some(dir) = at {
            if let Some(object) = self.objects.get_mut(&dir) {
                object.etag.clone_from(&tag);
            }
            at = dir.parent();
        }
    }

    pub fn version(&self, object: &Object) -> Version {
        let (profile, is_file) = (self.profile, object.data.is_some());
        let told = is_file || profile.tags_propagate;
        Version {
            file_id: profile.file_ids.then(|| FileId(object.id.to_string().into())),
            etag: told.then(|| Etag(object.etag.as_str().into())),
            mtime: object.mtime,
            size: object.data.as_ref().map_or(0, |data| data.len() as u64),
            upload_time: profile.is_nextcloud().then_some(object.upload_time),
            checksum: profile.is_nextcloud().then_some(object.checksum),
        }
    }

    pub fn entry(&self, path: &RemotePath, object: &Object) -> Entry {
        Entry {
            path: path.clone(),
            is_dir: object.data.is_none(),
            version: self.version(object),
            permissions: self.letters(path, object),
            mount_root: object.share,
        }
    }

    /// Whether a condition on a file's tag holds.
    pub fn holds(&self, path: &RemotePath, tag: Option<&Etag>) -> bool {
        let now = self.objects.get(path).map(|object| object.etag.as_str());
        tag.is_none_or(|tag| now == Some(&*tag.0))
    }

    /// Whether the condition of an upload holds.
    pub fn put_may(&self, path: &RemotePath, condition: &PutIf) -> bool {
        match condition {
            PutIf::Free => !self.objects.contains_key(path),
            PutIf::Holds(tag) => self.holds(path, Some(tag)),
        }
    }

    /// By what `held` knows an object.
    pub fn held_as(&self, path: &RemotePath, object: &Object) -> (String, String) {
        let what = match self.profile.file_ids {
            true => object.id.to_string(),
            false => path.to_string(),
        };
        (what, object.etag.clone())
    }

    /// Whether the content under a name is shown exactly as another one, which was ours or which our
    /// programs saw, was shown there before.
    pub fn looks_like_permitted(&self, path: &RemotePath, data: &[u8]) -> bool {
        let ambiguous = !self.profile.file_ids || self.upheavals.restored;
        let Some(object) = self.objects.get(path).filter(|_| ambiguous) else {
            return false;
        };
        let shown = self.held.get(&self.held_as(path, object));
        shown.into_iter().flatten().any(|other| {
            other != data && (self.permitted.contains(other) || !self.by_other.contains_key(other))
        })
    }

    /// Whether we can take what a file holds for these bytes, whatever we ask.
    pub fn is_taken_for(&self, path: &RemotePath, bytes: &[u8]) -> bool {
        let ambiguous = !self.profile.file_ids || self.upheavals.restored;
        let Some(object) = self.objects.get(path).filter(|_| ambiguous) else {
            return false;
        };
        let held = self.held.get(&self.held_as(path, object));
        let mistaken = object.data.as_ref().and_then(|data| self.mistaken.get(data));
        held.is_some_and(|held| held.iter().any(|other| other == bytes))
            || mistaken.is_some_and(|ours| ours == bytes)
    }

    /// Our own request is about to destroy this content: was it ours to destroy? `since` is when its
    /// condition was looked at, if the server does not check it.
    pub fn we_destroy(&mut self, path: &RemotePath, data: &[u8], by: &str, since: Option<u64>) {
        let above = |depth: usize| RemotePath(path.0[..depth].to_vec());
        let looked = match self.profile.depth_infinity {
            true => (0..path.0.len()).filter_map(|at| self.looked.get(&above(at)).copied()).max(),
            // Each directory was looked at on its own.
            false => self.looked.get(&above(path.0.len().saturating_sub(1))).copied(),
        };
        let after_look = |time: i64| looked.is_none_or(|looked| time >= looked - 1);
        let arrived = self.arrived.get(path).copied();
        let came = self.came.get(path).copied().unwrap_or_default();
        let between = since.is_some_and(|since| came > since);
        let taken_for_another = arrived.is_some() && self.looks_like_permitted(path, data);
        if (by == "DELETE of a directory" && arrived.is_some_and(after_look))
            || between
            || taken_for_another
        {
            // Whoever wrote it: it came between our look and our request, or cannot be told from what
            // was there.
            self.unseeable += 1;
            self.permitted.insert(data.to_vec());
            return;
        }
        let Some(written) = self.by_other.get(data).copied() else { return };
        let elsewhere = self
            .objects
            .iter()
            .any(|(other, object)| other != path && object.data.as_deref() == Some(data));
        if elsewhere || self.permitted.contains(data) {
            return;
        }
        let seen_at = self.seen_at.get(path).copied().unwrap_or_default();
        let unseeable = (by == "DELETE of a directory" && after_look(written))
            || self.looks_like_permitted(path, data)
            || self.mistaken.contains_key(data)
            || self.hidden.get(data).is_some_and(|hidden| *hidden > seen_at);
        if unseeable {
            self.unseeable += 1;
        } else {
            let what = String::from_utf8_lossy(data).into_owned();
            let told = format!("{by} destroyed {what:?} at {path}, which no program had seen");
            self.displaced.push((data.to_vec(), told));
        }
    }

    /// Violations of "no destruction", once both sides are equal.
    pub fn violations(&self) -> Vec<&str> {
        let is_there = |data: &Vec<u8>| {
            self.objects.values().any(|object| object.data.as_ref() == Some(data))
                || self.owner_has(data)
        };
        self.displaced
            .iter()
            .filter(|(data, _)| {
                !is_there(data)
                    && !self.destroyed_by_other.contains(data)
                    && !self.permitted.contains(data)
            })
            .map(|(_, told)| told.as_str())
            .collect()
    }

    /// FACTS 0.1: the tag of a file follows from mtime, inode and size, and is kept when the second
    /// did not change.
    pub fn store(
        &mut self,
        path: &RemotePath,
        data: Vec<u8>,
        mtime: i64,
        checksum: Option<Sha1Sum>,
        now: i64,
    ) -> Version {
        let mtime = if self.profile.sets_mtime { mtime } else { now };
        let kept = self.objects.get(path).filter(|object| object.mtime == mtime);
        let kept = kept.map(|object| object.etag.clone());
        let id = match self.objects.get(path) {
            Some(object) => object.id,
            None => self.fresh(),
        };
        let etag = match (self.profile.tags, kept) {
            (Tags::Nextcloud, Some(kept)) => kept,
            _ => self.tag_for(id, mtime, data.len()),
        };
        let object = Object {
            id,
            data: Some(data),
            mtime,
            etag,
            upload_time: now,
            checksum,
            torn: None,
            share: false,
            protected: false,
        };
        let version = self.version(&object);
        self.objects.insert(path.clone(), object);
        self.note(path);
        self.propagate(path);
        version
    }

    pub fn tag_for(&mut self, id: u64, mtime: i64, size: usize) -> String {
        match self.profile.tags {
            Tags::Nextcloud => format!("\"f{mtime}-{id}-{size}\""),
            Tags::Unique => format!("\"u{}\"", self.serial()),
            Tags::Weak => format!("\"{mtime}-{size}\""),
        }
    }

    pub fn parent_is_there(&self, path: &RemotePath) -> bool {
        path.parent()
            .and_then(|parent| self.objects.get(&parent))
            .is_some_and(|parent| parent.data.is_none())
    }

    pub fn below(&self, path: &RemotePath) -> Vec<RemotePath> {
        self.objects.keys().filter(|key| key.0.starts_with(&path.0)).cloned().collect()
    }

    /// `ours`: we moved it, and know it under its new name as what it was.
    pub fn move_tree(&mut self, from: &RemotePath, to: &RemotePath, ours: bool) {
        for path in self.below(from) {
            if let Some(object) = self.objects.remove(&path) {
                let mut names = to.0.clone();
                names.extend_from_slice(&path.0[from.0.len()..]);
                let to = RemotePath(names);
                let before = self.held.get(&self.held_as(&path, &object)).cloned();
                let now = self.held_as(&to, &object);
                if ours && !self.profile.file_ids {
                    self.held.entry(now).or_default().extend(before.into_iter().flatten());
                }
                self.objects.insert(to.clone(), object);
                self.note(&to);
            }
        }
        self.propagate(from);
        self.propagate(to);
    }

    /// All files with their bytes, and all directories.
    pub fn files(&self) -> BTreeMap<RemotePath, Option<Vec<u8>>> {
        self.objects
            .iter()
            .filter(|(path, _)| !path.0.is_empty())
            .map(|(path, object)| (path.clone(), object.data.clone()))
            .collect()
    }

    /// Every content that a version ever had: what somebody who knows the version has seen.
    pub fn permit(&mut self, path: &RemotePath, version: &Version) {
        let what = version.file_id.as_ref().map_or_else(|| path.to_string(), |id| id.0.to_string());
        if let Some(etag) = &version.etag {
            let seen = self.held.get(&(what, etag.0.to_string()));
            self.permitted.extend(seen.into_iter().flatten().cloned());
        }
    }

    /// Notes which content an object has under its present tag.
    pub fn note(&mut self, path: &RemotePath) {
        if let Some(object) = self.objects.get(path)
            && let Some(data) = object.data.clone()
        {
            let version = self.held_as(path, object);
            self.held.entry(version).or_default().push(data);
        }
    }

    // What the other client does; its changes are atomic, as those of a web interface are.

    pub fn other_writes(&mut self, path: &RemotePath, data: Vec<u8>, now: i64) -> bool {
        let target = self.objects.get(path);
        if !self.parent_is_there(path) || target.is_some_and(|target| target.data.is_none()) {
            return false;
        }
        if let Some(old) = target.and_then(|target| target.data.clone()) {
            self.destroyed_by_other.insert(old);
        }
        self.whole.insert(data.clone());
        self.by_other.insert(data.clone(), now);
        self.tick += 1;
        self.came.insert(path.clone(), self.tick);
        let kept = self.profile.tags == Tags::Nextcloud;
        if self.objects.get(path).is_some_and(|object| kept && object.mtime == now) {
            self.hidden.insert(data.clone(), self.tick);
        }
        self.store(path, data, now, None, now);
        true
    }

    pub fn other_makes_dir(&mut self, path: &RemotePath, now: i64) -> bool {
        if !self.parent_is_there(path) || self.objects.contains_key(path) {
            return false;
        }
        self.make_dir(path, now);
        true
    }

    pub fn make_dir(&mut self, path: &RemotePath, now: i64) -> u64 {
        let id = self.fresh();
        let etag = format!("\"d{}\"", self.serial());
        let object = Object {
            id,
            data: None,
            mtime: now,
            etag,
            upload_time: 0,
            checksum: None,
            torn: None,
            share: false,
            protected: false,
        };
        self.objects.insert(path.clone(), object);
        self.propagate(path);
        id
    }

    pub fn other_deletes(&mut self, path: &RemotePath) {
        for path in self.below(path) {
            if let Some(object) = self.objects.remove(&path) {
                self.destroyed_by_other.extend(object.data);
            }
        }
        self.propagate(path);
    }

    pub fn other_renames(&mut self, from: &RemotePath, to: &RemotePath, now: i64) -> bool {
        let possible = self.objects.contains_key(from)
            && !self.objects.contains_key(to)
            && self.parent_is_there(to)
            && !to.0.starts_with(&from.0)
            && !self.would_nest(from, to);
        if possible {
            self.move_tree(from, to, false);
            self.put_up_with_parts(to);
            self.tick += 1;
            for path in self.below(to) {
                self.came.insert(path.clone(), self.tick);
                self.arrived.insert(path, now);
            }
        }
        possible
    }

    /// What a cut upload left is somebody else's from now on, under another name or in a backup: no
    /// client can tell what it was to become.
    pub fn put_up_with_parts(&mut self, path: &RemotePath) {
        for path in self.below(path) {
            let Some(object) = self.objects.get_mut(&path) else { continue };
            self.unseeable += u32::from(object.torn.take().is_some());
            let data = object.data.clone();
            if let Some(part) = data.filter(|data| !self.whole.contains(data)) {
                self.unseeable += 1;
                self.whole.insert(part);
            }
        }
    }

    /// Whether this is a part of something that a program has replaced or removed.
    pub fn is_part_of_replaced(&self, part: &[u8]) -> bool {
        let mut replaced = self.whole.iter().filter(|whole| self.permitted.contains(*whole));
        replaced.any(|whole| whole[..whole.len() / 2] == *part)
    }

    pub fn tag(&self, path: &RemotePath) -> Option<String> {
        self.objects.get(path).map(|object| object.etag.clone())
    }

    pub fn paths(&self, dirs: bool) -> Vec<RemotePath> {
        self.objects
            .iter()
            .filter(|(path, object)| !path.0.is_empty() && object.data.is_none() == dirs)
            .map(|(path, _)| path.clone())
            .collect()
    }
}
