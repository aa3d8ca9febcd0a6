//! A server in memory with the tag rules of FACTS 0.1, faults, and a record of what was destroyed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha1::{Digest, Sha1};

use super::SimClock;
use crate::clock::Clock;
use crate::remote::{
    Body, Capabilities, Conditions, Depth, Entry, Listing, Look, MoveIf, NameRules, PutIf, Quota,
    Remote, RemoteError, Result, Upload, Vendor, Written,
};
use crate::types::{ByteRange, Etag, FileId, RemotePath, Sha1Sum, Version};

pub fn sum(bytes: &[u8]) -> Sha1Sum {
    Sha1Sum(Sha1::digest(bytes).into())
}

#[derive(Clone, Debug)]
struct Object {
    id: u64,
    /// `None` for a directory.
    data: Option<Vec<u8>>,
    mtime: i64,
    etag: String,
    upload_time: i64,
    checksum: Option<Sha1Sum>,
    /// What a torn PUT left: listed as before until somebody reads it (FACTS 0.2).
    torn: Option<Vec<u8>>,
}

#[derive(Default)]
pub struct State {
    objects: BTreeMap<RemotePath, Object>,
    next: u64,
    /// Contents that we may destroy: our programs saw them before they overwrote or removed them.
    pub permitted: HashSet<Vec<u8>>,
    /// Contents that the other client destroyed itself.
    pub destroyed_by_other: HashSet<Vec<u8>>,
    /// Contents that the other client wrote, and when.
    pub by_other: HashMap<Vec<u8>, i64>,
    /// Contents that we took away from where they were; allowed only if they are elsewhere in the end.
    displaced: Vec<(Vec<u8>, String)>,
    /// Destruction that no client can see: the same second and tag, or within a request.
    pub unseeable: u32,
    looked: HashMap<RemotePath, i64>,
    /// When the other client moved something to a name.
    arrived: HashMap<RemotePath, i64>,
    /// Counts what happens here, to tell what came before what.
    tick: u64,
    /// When we last looked at each name.
    seen_at: HashMap<RemotePath, u64>,
    /// Contents that the other client stored without the tag changing, and when.
    hidden: HashMap<Vec<u8>, u64>,
    /// Contents by file id and tag: more than one where the tag was kept.
    held: HashMap<(String, String), Vec<Vec<u8>>>,
    /// Requests so far, by method.
    pub requests: Vec<String>,
    pub faults: f64,
}

pub struct Server {
    pub state: Mutex<State>,
    rng: Mutex<StdRng>,
    clock: SimClock,
    capabilities: Capabilities,
}

/// What happens to one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// Nothing happens and an error comes.
    Refused(u8),
    /// It is carried out, and no answer comes.
    Unanswered,
}

impl Server {
    pub fn new(seed: u64, clock: SimClock) -> Self {
        let mut state = State { next: 10, ..State::default() };
        let root = Object {
            id: 1,
            data: None,
            mtime: 0,
            etag: "\"root0\"".into(),
            upload_time: 0,
            checksum: None,
            torn: None,
        };
        state.objects.insert(RemotePath::root(), root);
        Self {
            state: Mutex::new(state),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            clock,
            capabilities: Capabilities {
                vendor: Vendor::Nextcloud,
                tags_propagate: true,
                depth_infinity: true,
                file_ids: true,
                sets_mtime: true,
                conditions: Conditions::ALL,
                names: NameRules::nextcloud(),
            },
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn secs(&self) -> i64 {
        self.clock.now().secs()
    }

    /// The time on the way there, and what becomes of the request.
    async fn travel(&self, method: &str, path: &RemotePath) -> Result<Fate> {
        let (wait, fate) = {
            let mut rng = self.rng.lock().unwrap();
            let faults = self.state().faults;
            let fate = match rng.random_bool(faults) {
                false => Fate::Answered,
                true if rng.random_bool(0.4) => Fate::Unanswered,
                true => Fate::Refused(rng.random_range(0..5)),
            };
            (rng.random_range(1..150), fate)
        };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        self.state().requests.push(format!("{method} {path}"));
        match fate {
            Fate::Refused(0) => Err(RemoteError::NoAnswer("cut before".into())),
            Fate::Refused(1) => Err(RemoteError::Locked),
            Fate::Refused(2) => Err(RemoteError::Status { status: 500, message: "oops".into() }),
            Fate::Refused(3) => Err(RemoteError::TooManyRequests { retry_after: None }),
            Fate::Refused(_) => Err(RemoteError::Unavailable {
                reason: "maintenance".into(),
                maintenance: true,
                retry_after: None,
            }),
            fate => Ok(fate),
        }
    }

    /// The time on the way back.
    async fn answer<T>(&self, fate: Fate, value: Result<T>) -> Result<T> {
        let wait = self.rng.lock().unwrap().random_range(1..150);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        match fate {
            Fate::Unanswered => Err(RemoteError::NoAnswer("cut after".into())),
            _ => value,
        }
    }
}

impl State {
    fn saw(&mut self, path: &RemotePath) {
        self.tick += 1;
        let tick = self.tick;
        self.seen_at.insert(path.clone(), tick);
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A change sets the same new tag on every ancestor (FACTS 6).
    fn propagate(&mut self, path: &RemotePath) {
        let tag = format!("\"d{}\"", self.fresh());
        let mut at = path.parent();
        while let Some(dir) = at {
            if let Some(object) = self.objects.get_mut(&dir) {
                object.etag.clone_from(&tag);
            }
            at = dir.parent();
        }
    }

    fn version(object: &Object) -> Version {
        Version {
            file_id: Some(FileId(object.id.to_string().into())),
            etag: Some(Etag(object.etag.as_str().into())),
            mtime: object.mtime,
            size: object.data.as_ref().map_or(0, |data| data.len() as u64),
            upload_time: Some(object.upload_time),
            checksum: Some(object.checksum),
        }
    }

    fn entry(path: &RemotePath, object: &Object) -> Entry {
        Entry {
            path: path.clone(),
            is_dir: object.data.is_none(),
            version: Self::version(object),
            permissions: None,
            mount_root: false,
        }
    }

    /// Our own request is about to destroy this content: was it ours to destroy?
    fn we_destroy(&mut self, path: &RemotePath, data: &[u8], by: &str) {
        let looked = path.0.iter().enumerate().filter_map(|(depth, _)| {
            self.looked.get(&RemotePath(path.0[..depth].to_vec())).copied()
        });
        let looked = looked.max();
        let after_look = |time: i64| looked.is_none_or(|looked| time >= looked - 1);
        let arrived = self.arrived.get(path).copied();
        if by == "DELETE of a directory" && arrived.is_some_and(after_look) {
            // Whoever wrote it: it came between our look and our request.
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
        let is_there =
            |data: &Vec<u8>| self.objects.values().any(|object| object.data.as_ref() == Some(data));
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
    fn store(
        &mut self,
        path: &RemotePath,
        data: Vec<u8>,
        mtime: i64,
        checksum: Option<Sha1Sum>,
        now: i64,
    ) -> Version {
        let kept = self.objects.get(path).filter(|object| object.mtime == mtime);
        let etag = kept.map(|object| object.etag.clone());
        let id = match self.objects.get(path) {
            Some(object) => object.id,
            None => self.fresh(),
        };
        let etag = etag.unwrap_or_else(|| format!("\"f{mtime}-{id}-{}\"", data.len()));
        let object =
            Object { id, data: Some(data), mtime, etag, upload_time: now, checksum, torn: None };
        let version = Self::version(&object);
        self.objects.insert(path.clone(), object);
        self.note(path);
        self.propagate(path);
        version
    }

    fn parent_is_there(&self, path: &RemotePath) -> bool {
        path.parent()
            .and_then(|parent| self.objects.get(&parent))
            .is_some_and(|parent| parent.data.is_none())
    }

    fn below(&self, path: &RemotePath) -> Vec<RemotePath> {
        self.objects.keys().filter(|key| key.0.starts_with(&path.0)).cloned().collect()
    }

    fn move_tree(&mut self, from: &RemotePath, to: &RemotePath) {
        for path in self.below(from) {
            if let Some(object) = self.objects.remove(&path) {
                let mut names = to.0.clone();
                names.extend_from_slice(&path.0[from.0.len()..]);
                self.objects.insert(RemotePath(names), object);
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
    pub fn permit(&mut self, version: &Version) {
        if let (Some(id), Some(etag)) = (&version.file_id, &version.etag) {
            let seen = self.held.get(&(id.0.to_string(), etag.0.to_string()));
            self.permitted.extend(seen.into_iter().flatten().cloned());
        }
    }

    /// Notes which content an object has under its present tag.
    fn note(&mut self, path: &RemotePath) {
        if let Some(object) = self.objects.get(path)
            && let Some(data) = object.data.clone()
        {
            let version = (object.id.to_string(), object.etag.clone());
            self.held.entry(version).or_default().push(data);
        }
    }

    // What the other client does; its changes are atomic, as those of a web interface are.

    pub fn other_writes(&mut self, path: &RemotePath, data: Vec<u8>, now: i64) -> bool {
        let target = self.objects.get(path);
        if !self.parent_is_there(path) || target.is_some_and(|target| target.data.is_none()) {
            return false;
        }
        tracing::debug!("other: write {path} {:?}", String::from_utf8_lossy(&data));
        if let Some(old) = target.and_then(|target| target.data.clone()) {
            self.destroyed_by_other.insert(old);
        }
        self.by_other.insert(data.clone(), now);
        self.tick += 1;
        if self.objects.get(path).is_some_and(|object| object.mtime == now) {
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

    fn make_dir(&mut self, path: &RemotePath, now: i64) -> u64 {
        let id = self.fresh();
        let etag = format!("\"d{id}\"");
        let object =
            Object { id, data: None, mtime: now, etag, upload_time: 0, checksum: None, torn: None };
        self.objects.insert(path.clone(), object);
        self.propagate(path);
        id
    }

    pub fn other_deletes(&mut self, path: &RemotePath) {
        tracing::debug!("other: delete {path}");
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
            && !to.0.starts_with(&from.0);
        if possible {
            tracing::debug!("other: rename {from} to {to}");
            self.move_tree(from, to);
            for path in self.below(to) {
                self.arrived.insert(path, now);
            }
        }
        possible
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

#[async_trait]
impl Remote for Server {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, path: &RemotePath, depth: Depth) -> Result<Listing> {
        let fate = self.travel("PROPFIND", path).await?;
        let now = self.secs();
        let entries = {
            let mut state = self.state();
            match state.objects.get(path) {
                None => Err(RemoteError::NotFound),
                Some(object) if object.data.is_some() => Err(RemoteError::NotADirectory),
                Some(_) => {
                    if depth == Depth::Everything {
                        state.looked.insert(path.clone(), now);
                    }
                    Ok(state
                        .objects
                        .iter()
                        .filter(|(other, _)| {
                            let own = *other == path;
                            let child = other.parent().as_ref() == Some(path);
                            let below = other.0.starts_with(&path.0);
                            own || child || (depth == Depth::Everything && below)
                        })
                        .map(|(path, object)| Ok(State::entry(path, object)))
                        .collect::<Vec<_>>())
                }
            }
        };
        let entries = self.answer(fate, entries).await?;
        Ok(Listing { server_time: Some(now), entries: stream::iter(entries).boxed() })
    }

    async fn look(&self, path: &RemotePath) -> Result<Look> {
        let fate = self.travel("PROPFIND0", path).await?;
        let now = self.secs();
        let found = {
            let mut state = self.state();
            state.saw(path);
            let object = state.objects.get(path);
            object
                .map(|object| Look { server_time: Some(now), entry: State::entry(path, object) })
                .ok_or(RemoteError::NotFound)
        };
        self.answer(fate, found).await
    }

    async fn read(
        &self,
        path: &RemotePath,
        range: Option<ByteRange>,
        only: Option<&Etag>,
    ) -> Result<Body> {
        let fate = self.travel("GET", path).await?;
        let now = self.secs();
        let found = {
            let mut state = self.state();
            // Somebody reads what a torn PUT left: now it shows (FACTS 18).
            if let Some(torn) = state.objects.get_mut(path).and_then(|object| object.torn.take()) {
                state.store(path, torn, now, None, now);
            }
            match state.objects.get(path) {
                None => Err(RemoteError::NotFound),
                Some(object) => match (&object.data, only) {
                    (None, _) => Err(RemoteError::NotFound),
                    (Some(_), Some(only)) if *only.0 != object.etag => {
                        Err(RemoteError::PreconditionFailed { etag: None })
                    }
                    (Some(data), _) => Ok((data.clone(), object.etag.clone())),
                },
            }
        };
        let (data, etag) = self.answer(fate, found).await?;
        let whole = ByteRange::new(0, data.len() as u64);
        let range = range.map_or(whole, |range| range.intersection(whole));
        let part = Bytes::copy_from_slice(&data[range.start as usize..range.end as usize]);
        let bytes = stream::iter([Ok(part)]).boxed();
        Ok(Body { range, etag: Some(Etag(etag.into())), bytes })
    }

    async fn put(&self, path: &RemotePath, upload: Upload) -> Result<Written> {
        let fate = self.travel("PUT", path).await?;
        let mut data = Vec::new();
        let mut stream = upload.source.read(ByteRange::new(0, upload.source.size()));
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| RemoteError::Source(error.to_string()))?;
            data.extend_from_slice(&bytes);
        }
        let torn = fate == Fate::Unanswered && self.rng.lock().unwrap().random_bool(0.3);
        let now = self.secs();
        let stored = {
            let mut state = self.state();
            let target = state
                .objects
                .get(path)
                .map(|object| (object.data.clone(), object.etag.clone(), object.torn.is_some()));
            match (&upload.condition, &target) {
                _ if !state.parent_is_there(path) => Err(RemoteError::NotFound),
                (_, Some((None, ..))) => Err(RemoteError::Conflict("a folder".into())),
                (PutIf::Free, Some(_)) => Err(RemoteError::PreconditionFailed { etag: None }),
                (PutIf::Holds(_), None) => Err(RemoteError::PreconditionFailed { etag: None }),
                (PutIf::Holds(tag), Some((_, etag, _))) if *tag.0 != **etag => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                (_, target) => {
                    if let Some((Some(old), _, was_torn)) = target
                        && *old != data
                        && !was_torn
                    {
                        state.we_destroy(path, old, "PUT");
                    }
                    if torn && target.is_some() {
                        let prefix = data[..data.len() / 2].to_vec();
                        if let Some(object) = state.objects.get_mut(path) {
                            object.torn = Some(prefix);
                        }
                        Err(RemoteError::NoAnswer("torn".into()))
                    } else {
                        Ok(state.store(path, data, upload.mtime, upload.checksum, now))
                    }
                }
            }
        };
        let version = self.answer(fate, stored).await?;
        Ok(Version { upload_time: None, ..version })
    }

    async fn make_dir(&self, path: &RemotePath) -> Result<Option<FileId>> {
        let fate = self.travel("MKCOL", path).await?;
        let now = self.secs();
        let made = {
            let mut state = self.state();
            if !state.parent_is_there(path) {
                Err(RemoteError::Conflict("no parent".into()))
            } else if state.objects.contains_key(path) {
                Err(RemoteError::Exists)
            } else {
                Ok(Some(FileId(state.make_dir(path, now).to_string().into())))
            }
        };
        self.answer(fate, made).await
    }

    async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        source: Option<&Etag>,
        target: MoveIf,
    ) -> Result<()> {
        let fate = self.travel("MOVE", from).await?;
        let moved = {
            let mut state = self.state();
            let held =
                state.objects.get(to).map(|object| (object.data.clone(), object.etag.clone()));
            let stale = |tag: &Etag, etag: &str| *tag.0 != *etag;
            match (state.objects.get(from), &target, held) {
                (None, ..) => Err(RemoteError::NotFound),
                (Some(object), ..) if source.is_some_and(|tag| stale(tag, &object.etag)) => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                _ if !state.parent_is_there(to) => Err(RemoteError::Conflict("no parent".into())),
                _ if to.0.starts_with(&from.0) => Err(RemoteError::Conflict("into itself".into())),
                (Some(_), MoveIf::Free, Some(_)) | (Some(_), MoveIf::Holds(_), None) => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                (Some(_), MoveIf::Holds(tag), Some((_, etag))) if stale(tag, &etag) => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                (Some(_), _, held) => {
                    if let Some((Some(old), _)) = held {
                        state.we_destroy(to, &old, "MOVE");
                        state.objects.remove(to);
                    }
                    state.move_tree(from, to);
                    Ok(())
                }
            }
        };
        self.answer(fate, moved).await
    }

    async fn copy(&self, from: &RemotePath, to: &RemotePath, source: Option<&Etag>) -> Result<()> {
        let fate = self.travel("COPY", from).await?;
        let copied = {
            let mut state = self.state();
            match state.objects.get(from).cloned() {
                None => Err(RemoteError::NotFound),
                Some(object) if source.is_some_and(|tag| *tag.0 != *object.etag) => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                Some(_) if state.objects.contains_key(to) => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                Some(_) if !state.parent_is_there(to) => {
                    Err(RemoteError::Conflict("no parent".into()))
                }
                Some(object) => {
                    let id = state.fresh();
                    state.objects.insert(to.clone(), Object { id, checksum: None, ..object });
                    state.note(to);
                    state.propagate(to);
                    Ok(())
                }
            }
        };
        self.answer(fate, copied).await
    }

    async fn delete(&self, path: &RemotePath, only: Option<&Etag>) -> Result<()> {
        let fate = self.travel("DELETE", path).await?;
        let deleted = {
            let mut state = self.state();
            match state.objects.get(path) {
                None => Err(RemoteError::NotFound),
                Some(object) if only.is_some_and(|tag| *tag.0 != *object.etag) => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                Some(object) => {
                    let by = if object.data.is_none() { "DELETE of a directory" } else { "DELETE" };
                    for path in state.below(path) {
                        let data = state.objects.get(&path).and_then(|object| object.data.clone());
                        if let Some(data) = data {
                            state.we_destroy(&path, &data, by);
                        }
                        state.objects.remove(&path);
                    }
                    state.propagate(path);
                    Ok(())
                }
            }
        };
        self.answer(fate, deleted).await
    }

    async fn set_mtime(&self, path: &RemotePath, mtime: i64, only: Option<&Etag>) -> Result<()> {
        let fate = self.travel("PROPPATCH", path).await?;
        let done = {
            let mut state = self.state();
            match state.objects.get(path).cloned() {
                None => Err(RemoteError::NotFound),
                Some(object) if only.is_some_and(|tag| *tag.0 != *object.etag) => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                Some(object) => {
                    let size = object.data.as_ref().map_or(0, Vec::len);
                    let etag = format!("\"f{mtime}-{}-{size}\"", object.id);
                    state.objects.insert(path.clone(), Object { mtime, etag, ..object });
                    state.note(path);
                    state.propagate(path);
                    Ok(())
                }
            }
        };
        self.answer(fate, done).await
    }

    async fn quota(&self) -> Result<Quota> {
        Ok(Quota { used: 0, available: None })
    }
}
