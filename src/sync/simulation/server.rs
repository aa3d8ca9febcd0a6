//! A server in memory that can do what its profile says, and faults on the way to it.
//!
//! Conditions that it does not check itself are looked at before the change, as the remote room does
//! on such a server, with time in between.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rand::RngExt;
use sha1::{Digest, Sha1};

use super::SimClock;
use super::chance::dice;
use super::death::{Death, Moment};
use super::faults::Fault;
use super::profile::Profile;
use super::requests::{Change, Done, Put};
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
    death: Arc<Death>,
    capabilities: Capabilities,
}

/// A request on its way.
struct Passage {
    name: String,
    fault: Option<Fault>,
    back: Duration,
}

/// An upload on its way. If the daemon dies meanwhile, some of them arrive in part.
struct Sending<'a> {
    server: &'a Server,
    put: Option<Put>,
}

impl Sending<'_> {
    fn arrived(mut self) {
        self.put = None;
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let Some(put) = self.put.take() else { return };
        let (server, path) = (self.server, put.path.clone());
        if dice(server.seed, ("cut", path.to_string(), &put.data)).random_bool(0.3) {
            server.story.tell(format_args!("  PUT {path} is cut in the middle"));
            let now = server.secs();
            // What it did is seen later, or by nobody.
            let _ = server.state().carry_out(&Change::Put(put), None, now);
        }
    }
}

impl Passage {
    /// How much of the answer comes, and what then.
    fn cut(&self) -> Option<(f64, RemoteError)> {
        self.fault.filter(|fault| *fault == Fault::CutBody)?;
        let whole = self.back.as_millis() as f64 / 150.0;
        Some((whole, RemoteError::NoAnswer("cut in the middle".into())))
    }
}

impl Server {
    pub fn new(
        seed: u64,
        clock: SimClock,
        story: Story,
        death: Arc<Death>,
        profile: Profile,
    ) -> Self {
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
            protected: false,
        };
        state.objects.insert(RemotePath::root(), root);
        let (state, capabilities) = (Mutex::new(state), profile.capabilities());
        Self { state, seed, clock, story, death, capabilities }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap();
        let now = self.clock.now();
        while let Some(at) = state.late.iter().position(|(due, ..)| *due <= now) {
            let (_, name, change) = state.late.remove(at);
            match state.carry_out(&change, None, now.secs()) {
                Ok(_) => self.story.tell(format_args!("  {name} is carried out now")),
                Err(error) => self.story.tell(format_args!("  {name} comes too late: {error}")),
            }
        }
        state
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
        self.death.live_through(Moment::BeforeRequest).await;
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
        self.death.live_through(Moment::AfterRequest).await;
        tokio::time::sleep(passage.back).await;
        if let Some(error) = passage.fault.and_then(Fault::instead_of_answer) {
            return Err(error);
        }
        if let Err(error) = &value {
            self.story.tell(format_args!("  {}: {error}", passage.name));
        }
        value
    }

    /// A request that changes something.
    async fn change(&self, change: Change) -> Result<Done> {
        let (method, path) = change.request();
        let passage = self.travel(method, path).await?;
        let done = self.carry_out(&passage, &change).await;
        self.answer(passage, done).await
    }

    async fn carry_out(&self, passage: &Passage, change: &Change) -> Result<Done> {
        if passage.fault == Some(Fault::Late) {
            let mut state = self.state();
            if state.is_guarded(change) {
                let wait = dice(self.seed, (&passage.name, "late")).random_range(200..20_000);
                let due = self.clock.now().plus_millis(wait);
                state.late.push((due, passage.name.clone(), change.clone()));
                return Ok(Done::Nothing);
            }
        }
        let since = self.state().look_first(change)?;
        if since.is_some() {
            self.gap(passage).await;
        }
        let now = self.secs();
        self.state().carry_out(change, since, now)
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
        let cut = passage.cut();
        let mut entries = self.answer(passage, entries).await?;
        if let Some((whole, error)) = cut {
            entries.truncate((entries.len() as f64 * whole) as usize);
            entries.push(Err(error));
        }
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
        let cut = passage.cut();
        let (data, etag) = self.answer(passage, found).await?;
        let whole = ByteRange::new(0, data.len() as u64);
        let range = range.map_or(whole, |range| range.intersection(whole));
        let mut part = Bytes::copy_from_slice(&data[range.start as usize..range.end as usize]);
        let mut end = None;
        if let Some((whole, error)) = cut {
            part.truncate((part.len() as f64 * whole) as usize);
            end = Some(Err(error));
        }
        let bytes = stream::iter([Ok(part)].into_iter().chain(end)).boxed();
        Ok(Body { range, etag: Some(Etag(etag.into())), bytes })
    }

    async fn put(&self, path: &RemotePath, upload: Upload) -> Result<Written> {
        let mut data = Vec::new();
        let mut stream = upload.source.read(ByteRange::new(0, upload.source.size()));
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| RemoteError::Source(error.to_string()))?;
            data.extend_from_slice(&bytes);
        }
        let mut put = Put {
            path: path.clone(),
            data: data.clone(),
            condition: upload.condition,
            mtime: upload.mtime,
            checksum: upload.checksum,
            torn: true,
        };
        let sending = Sending { server: self, put: Some(put.clone()) };
        let passage = self.travel("PUT", path).await;
        sending.arrived();
        let passage = passage?;
        put.torn = std::mem::take(&mut self.state().tear) || passage.fault == Some(Fault::Torn);
        let done = self.carry_out(&passage, &Change::Put(put)).await;
        let profile = self.state().profile;
        let unanswered = passage.fault.and_then(Fault::instead_of_answer).is_some();
        let done = match done {
            Ok(Done::Stored(version)) => Ok(version),
            Ok(_) => Err(RemoteError::NoAnswer("held".into())),
            Err(error) => Err(error),
        };
        if profile.is_nextcloud() || done.is_err() || unanswered {
            let other = passage.fault == Some(Fault::OtherTag);
            let version = self.answer(passage, done).await?;
            let etag = match other {
                true => Some(Etag(format!("\"other{}\"", self.state().serial()).into())),
                false => version.etag,
            };
            return Ok(Version { upload_time: None, etag, ..version });
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
        match self.change(Change::MakeDir { path: path.clone() }).await? {
            Done::Made(id) => Ok(Some(id)),
            _ => Ok(None),
        }
    }

    async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        source: Option<&Etag>,
        target: MoveIf,
    ) -> Result<()> {
        let (from, to, source) = (from.clone(), to.clone(), source.cloned());
        self.change(Change::Move { from, to, source, target }).await.map(drop)
    }

    async fn copy(&self, from: &RemotePath, to: &RemotePath, source: Option<&Etag>) -> Result<()> {
        let (from, to, source) = (from.clone(), to.clone(), source.cloned());
        self.change(Change::Copy { from, to, source }).await.map(drop)
    }

    async fn delete(&self, path: &RemotePath, only: Option<&Etag>) -> Result<()> {
        let (path, only) = (path.clone(), only.cloned());
        self.change(Change::Delete { path, only }).await.map(drop)
    }

    async fn set_mtime(&self, path: &RemotePath, mtime: i64, only: Option<&Etag>) -> Result<()> {
        let (path, only) = (path.clone(), only.cloned());
        self.change(Change::SetMtime { path, mtime, only }).await.map(drop)
    }

    async fn quota(&self) -> Result<Quota> {
        Ok(Quota { used: 0, available: None })
    }
}
