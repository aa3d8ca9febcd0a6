//! A server in memory that can do what its profile says, and faults on the way to it.
//!
//! Conditions that it does not check itself are looked at before the change, as the remote room does
//! on such a server, with time in between.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rand::RngExt;
use sha1::{Digest, Sha1};

use super::SimClock;
use super::chance::dice;
use super::faults::Fault;
use super::profile::Profile;
use super::store::{Object, State};
use super::story::Story;
use crate::clock::Clock;
use crate::remote::{
    Body, Capabilities, Depth, Listing, Look, MoveIf, Quota, Remote, RemoteError, Result, Upload,
    Written,
};
use crate::types::{ByteRange, Etag, FileId, Ino, RemotePath, Sha1Sum, Version};

pub fn sum(bytes: &[u8]) -> Sha1Sum {
    Sha1Sum(Sha1::digest(bytes).into())
}

pub struct Server {
    state: Mutex<State>,
    seed: u64,
    clock: SimClock,
    story: Story,
    capabilities: Capabilities,
}

/// A request on its way.
struct Passage {
    name: String,
    fault: Option<Fault>,
    back: Duration,
}

impl Server {
    pub fn new(seed: u64, clock: SimClock, story: Story, profile: Profile) -> Self {
        let mut state = State::new(profile);
        let root = Object {
            id: 1,
            data: None,
            mtime: 0,
            etag: "\"root0\"".into(),
            upload_time: 0,
            checksum: None,
            torn: None,
            share: false,
        };
        state.objects.insert(RemotePath::root(), root);
        Self { state: Mutex::new(state), seed, clock, story, capabilities: profile.capabilities() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn secs(&self) -> i64 {
        self.clock.now().secs()
    }

    /// Time between two requests that together are one.
    async fn gap(&self, passage: &Passage) {
        tokio::time::sleep(passage.back).await;
    }

    /// The time that it takes to collect the bytes of a file.
    pub async fn collect(&self, ino: Ino) {
        let wait = dice(self.seed, ("collect", ino.0)).random_range(1..150);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// The time on the way there, and what becomes of the request.
    async fn travel(&self, method: &str, path: &RemotePath) -> Result<Passage> {
        let (name, fault, there, back) = {
            let mut state = self.state();
            let request = format!("{method} {path}");
            let count = state.counts.entry(request.clone()).or_default();
            *count += 1;
            let name = format!("{request} ({count})");
            let mut dice = dice(self.seed, &name);
            let mut wait = || Duration::from_millis(dice.random_range(1..150));
            let (there, back) = (wait(), wait());
            let fault = state.weather.meets(method, &mut dice);
            let fault = fault.filter(|_| !state.spared.contains(&name));
            if fault.is_some() {
                state.faulted.push(name.clone());
            }
            (name, fault, there, back)
        };
        tokio::time::sleep(there).await;
        self.state().requests.push(format!("{method} {path}"));
        match fault {
            Some(fault) => self.story.tell(format_args!("  {name}: {}", fault.words())),
            None if method.starts_with("PROPFIND") => {}
            None => self.story.tell(format_args!("  {name}")),
        }
        match fault.and_then(Fault::refusal) {
            Some(refusal) => Err(refusal),
            None => Ok(Passage { name, fault, back }),
        }
    }

    /// The time on the way back.
    async fn answer<T>(&self, passage: Passage, value: Result<T>) -> Result<T> {
        tokio::time::sleep(passage.back).await;
        match passage.fault {
            Some(Fault::CutAfter) => Err(RemoteError::NoAnswer("cut after".into())),
            _ => {
                if let Err(error) = &value {
                    self.story.tell(format_args!("  {}: {error}", passage.name));
                }
                value
            }
        }
    }
}

#[async_trait]
impl Remote for Server {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, path: &RemotePath, depth: Depth) -> Result<Listing> {
        let passage = self.travel("PROPFIND", path).await?;
        let now = self.secs();
        let entries = {
            let mut state = self.state();
            match state.objects.get(path) {
                None => Err(RemoteError::NotFound),
                Some(object) if object.data.is_some() => Err(RemoteError::NotADirectory),
                Some(_) => {
                    if (depth == Depth::Everything) == state.profile.depth_infinity {
                        state.looked.insert(path.clone(), now);
                    }
                    let left_out = state.left_out.take();
                    Ok(state
                        .objects
                        .iter()
                        .filter(|(other, _)| left_out.as_ref() != Some(*other))
                        .filter(|(other, _)| {
                            let own = *other == path;
                            let child = other.parent().as_ref() == Some(path);
                            let below = other.0.starts_with(&path.0);
                            own || child || (depth == Depth::Everything && below)
                        })
                        .map(|(path, object)| Ok(state.entry(path, object)))
                        .collect::<Vec<_>>())
                }
            }
        };
        let entries = self.answer(passage, entries).await?;
        Ok(Listing { server_time: Some(now), entries: stream::iter(entries).boxed() })
    }

    async fn look(&self, path: &RemotePath) -> Result<Look> {
        let passage = self.travel("PROPFIND0", path).await?;
        let now = self.secs();
        let found = {
            let mut state = self.state();
            state.saw(path);
            let object = state.objects.get(path);
            object
                .map(|object| Look { server_time: Some(now), entry: state.entry(path, object) })
                .ok_or(RemoteError::NotFound)
        };
        self.answer(passage, found).await
    }

    async fn read(
        &self,
        path: &RemotePath,
        range: Option<ByteRange>,
        only: Option<&Etag>,
    ) -> Result<Body> {
        let passage = self.travel("GET", path).await?;
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
        let (data, etag) = self.answer(passage, found).await?;
        let whole = ByteRange::new(0, data.len() as u64);
        let range = range.map_or(whole, |range| range.intersection(whole));
        let part = Bytes::copy_from_slice(&data[range.start as usize..range.end as usize]);
        let bytes = stream::iter([Ok(part)]).boxed();
        Ok(Body { range, etag: Some(Etag(etag.into())), bytes })
    }

    async fn put(&self, path: &RemotePath, upload: Upload) -> Result<Written> {
        let passage = self.travel("PUT", path).await?;
        let mut data = Vec::new();
        let mut stream = upload.source.read(ByteRange::new(0, upload.source.size()));
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| RemoteError::Source(error.to_string()))?;
            data.extend_from_slice(&bytes);
        }
        let torn = passage.fault == Some(Fault::Torn);
        let torn = std::mem::take(&mut self.state().tear) || torn;
        let profile = self.state().profile;
        let mut since = None;
        if !profile.conditions.put {
            since = {
                let mut state = self.state();
                if !state.put_may(path, &upload.condition) {
                    return Err(RemoteError::PreconditionFailed { etag: None });
                }
                Some(state.moment())
            };
            self.gap(&passage).await;
        }
        let now = self.secs();
        let stored = {
            let mut state = self.state();
            let target = state.objects.get(path).map(|object| object.data.clone());
            if !state.parent_is_there(path) {
                Err(RemoteError::NotFound)
            } else if target == Some(None) {
                Err(RemoteError::Conflict("a folder".into()))
            } else if since.is_none() && !state.put_may(path, &upload.condition) {
                Err(RemoteError::PreconditionFailed { etag: None })
            } else {
                let was_torn = state.objects.get(path).is_some_and(|object| object.torn.is_some());
                let target = target.flatten();
                if let Some(old) = target.as_ref().filter(|old| **old != data && !was_torn) {
                    state.we_destroy(path, old, "PUT", since);
                }
                let prefix = data[..data.len() / 2].to_vec();
                if torn && !profile.is_nextcloud() {
                    state.store(path, prefix, now, None, now);
                    Err(RemoteError::NoAnswer("torn".into()))
                } else if torn && target.is_some() {
                    if let Some(object) = state.objects.get_mut(path) {
                        object.torn = Some(prefix);
                    }
                    Err(RemoteError::NoAnswer("torn".into()))
                } else {
                    Ok(state.store(path, data.clone(), upload.mtime, upload.checksum, now))
                }
            }
        };
        if profile.is_nextcloud() || stored.is_err() || passage.fault.is_some() {
            let version = self.answer(passage, stored).await?;
            return Ok(Version { upload_time: None, ..version });
        }
        // The answer tells nothing of what the server made of it: a look does.
        self.gap(&passage).await;
        let shown = {
            let mut state = self.state();
            let there = state.objects.get(path);
            match there.map(|object| (object.data.clone(), state.version(object))) {
                Some((Some(there), version)) if there.len() == data.len() => {
                    if there != data {
                        state.mistaken.insert(there, data);
                    }
                    Ok(version)
                }
                _ => Err(RemoteError::NoAnswer("somebody else wrote it, too".into())),
            }
        };
        self.answer(passage, shown).await
    }

    async fn make_dir(&self, path: &RemotePath) -> Result<Option<FileId>> {
        let passage = self.travel("MKCOL", path).await?;
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
        self.answer(passage, made).await
    }

    async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        source: Option<&Etag>,
        target: MoveIf,
    ) -> Result<()> {
        let passage = self.travel("MOVE", from).await?;
        let conditions = self.state().profile.conditions;
        let replaced = match &target {
            MoveIf::Holds(tag) => Some(tag),
            MoveIf::Free => None,
        };
        let mut since = None;
        if !conditions.move_source || !conditions.move_target {
            since = {
                let mut state = self.state();
                if !state.holds(from, source) || !state.holds(to, replaced) {
                    return Err(RemoteError::PreconditionFailed { etag: None });
                }
                Some(state.moment())
            };
            self.gap(&passage).await;
        }
        let checked = |checks: bool, tag| if checks { tag } else { None };
        let source = checked(conditions.move_source, source);
        let replaced = checked(conditions.move_target, replaced);
        let moved = {
            let mut state = self.state();
            let held = state.objects.get(to).map(|object| object.data.clone());
            if !state.objects.contains_key(from) {
                Err(RemoteError::NotFound)
            } else if !state.holds(from, source) {
                Err(RemoteError::PreconditionFailed { etag: None })
            } else if !state.parent_is_there(to) {
                Err(RemoteError::Conflict("no parent".into()))
            } else if to.0.starts_with(&from.0) {
                Err(RemoteError::Conflict("into itself".into()))
            } else if held.is_some() == (target == MoveIf::Free) || !state.holds(to, replaced) {
                Err(RemoteError::PreconditionFailed { etag: None })
            } else if held == Some(None) {
                Err(RemoteError::Conflict("a folder".into()))
            } else {
                if let Some(old) = held.flatten() {
                    state.we_destroy(to, &old, "MOVE", since.filter(|_| !conditions.move_target));
                    state.objects.remove(to);
                }
                state.move_tree(from, to, true);
                Ok(())
            }
        };
        self.answer(passage, moved).await
    }

    async fn copy(&self, from: &RemotePath, to: &RemotePath, source: Option<&Etag>) -> Result<()> {
        let passage = self.travel("COPY", from).await?;
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
                    let mut copy = Object { id, checksum: None, ..object };
                    if !state.profile.is_nextcloud() {
                        copy.mtime = self.secs();
                        let size = copy.data.as_ref().map_or(0, Vec::len);
                        copy.etag = state.tag_for(id, copy.mtime, size);
                    }
                    state.objects.insert(to.clone(), copy);
                    state.note(to);
                    state.propagate(to);
                    Ok(())
                }
            }
        };
        self.answer(passage, copied).await
    }

    async fn delete(&self, path: &RemotePath, only: Option<&Etag>) -> Result<()> {
        let passage = self.travel("DELETE", path).await?;
        let mut since = None;
        if only.is_some() && !self.state().profile.conditions.delete {
            since = {
                let mut state = self.state();
                if !state.objects.contains_key(path) {
                    return Err(RemoteError::NotFound);
                }
                if !state.holds(path, only) {
                    return Err(RemoteError::PreconditionFailed { etag: None });
                }
                Some(state.moment())
            };
            self.gap(&passage).await;
        }
        let deleted = {
            let mut state = self.state();
            match state.objects.get(path) {
                None => Err(RemoteError::NotFound),
                Some(_) if since.is_none() && !state.holds(path, only) => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                Some(object) => {
                    let by = if object.data.is_none() { "DELETE of a directory" } else { "DELETE" };
                    // From the bottom up, as long as the share's root is there to be seen.
                    for below in state.below(path).into_iter().rev() {
                        let object = state.objects.get(&below);
                        if let Some(data) = object.and_then(|object| object.data.clone())
                            && !state.is_left(&below, path, &data)
                        {
                            state.we_destroy(&below, &data, by, since);
                        }
                        state.objects.remove(&below);
                    }
                    state.propagate(path);
                    Ok(())
                }
            }
        };
        self.answer(passage, deleted).await
    }

    async fn set_mtime(&self, path: &RemotePath, mtime: i64, only: Option<&Etag>) -> Result<()> {
        let passage = self.travel("PROPPATCH", path).await?;
        let done = {
            let mut state = self.state();
            match state.objects.get(path).cloned() {
                None => Err(RemoteError::NotFound),
                Some(object) if only.is_some_and(|tag| *tag.0 != *object.etag) => {
                    Err(RemoteError::PreconditionFailed { etag: None })
                }
                Some(object) => {
                    assert!(state.profile.sets_mtime, "asked to set a time that cannot be set");
                    let size = object.data.as_ref().map_or(0, Vec::len);
                    let etag = state.tag_for(object.id, mtime, size);
                    state.objects.insert(path.clone(), Object { mtime, etag, ..object });
                    state.note(path);
                    state.propagate(path);
                    Ok(())
                }
            }
        };
        self.answer(passage, done).await
    }

    async fn quota(&self) -> Result<Quota> {
        Ok(Quota { used: 0, available: None })
    }
}
