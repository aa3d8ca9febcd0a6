//! Pull: brings what changed on the server into _synced_, and into _local_ where that had not
//! changed.
//!
//! One look at the root's tag per interval; a walk down only where tags differ. Where tags do not
//! propagate, directories by use and age ([`age`]). A crash loses nothing: a tag is adopted only
//! after all below it was merged, so what was not is walked again.

mod age;
mod load;
mod merge;
mod permitted;
mod walk;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::engine::Shared;
use super::{Event, ListError, Seen, settle};
use crate::remote::RemoteError;
use crate::tree::{Body, TreeError};
use crate::types::{Etag, Ino, RemotePath, Time};
use age::{Ages, InUse};

use merge::{Merge, Pending};

/// A root that loses at least this many entries at once is not believed (DESIGN 7).
const MASS_REMOVAL: usize = 10;

/// An interval is never shorter than this many times the answer's own time.
const POLITE: u32 = 50;

/// What those who wait for a listing wait on: its outcome, once there is one.
type Waiting = watch::Receiver<Option<Result<(), ListError>>>;

/// Why the server's changes could not be brought in.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The mounted directory is gone. Nothing is deleted here for it.
    #[error("the mounted folder is not on the server any more; nothing is deleted here for that")]
    RootMissing,
    /// The mounted directory is empty all of a sudden. Nothing is deleted here for it.
    #[error("the mounted folder is suddenly empty on the server; nothing is deleted here for that")]
    RootEmptied,
    #[error("the server lists children before their directories")]
    Unordered,
}

/// Looks at the server and merges what it sees.
pub struct Puller {
    shared: Shared,
    listings: Mutex<HashMap<Ino, Waiting>>,
    guard: Mutex<Option<String>>,
    polled: Mutex<Option<Time>>,
    /// How long the server took for one answer of the last poll.
    answer_time: Mutex<Duration>,
    in_use: InUse,
    ages: Mutex<Ages>,
    walking: tokio::sync::Mutex<()>,
    seen_names: AtomicU64,
    seen_files: AtomicU64,
}

impl Deref for Puller {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Puller {
    pub fn new(shared: Shared) -> Self {
        Self {
            shared,
            listings: Mutex::default(),
            guard: Mutex::default(),
            polled: Mutex::default(),
            answer_time: Mutex::default(),
            in_use: InUse::default(),
            ages: Mutex::default(),
            walking: tokio::sync::Mutex::default(),
            seen_names: AtomicU64::default(),
            seen_files: AtomicU64::default(),
        }
    }

    /// Why deletions on the server are not believed just now.
    pub fn guard(&self) -> Option<String> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What of the server's changes was brought in since the start.
    pub fn seen(&self) -> Seen {
        Seen {
            names: self.seen_names.load(Ordering::Relaxed),
            files: self.seen_files.load(Ordering::Relaxed),
        }
    }

    /// When the server was last looked at with success.
    pub fn polled(&self) -> Option<Time> {
        *self.polled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the server for ever: every `interval`, sooner when asked to.
    pub async fn run(&self, interval: Duration) {
        loop {
            let outcome = self.poll(interval).await;
            let wait = match outcome {
                Ok(()) => {
                    let jitter = interval.mul_f64(self.clock.chance() / 10.0);
                    let answer = *self.answer_time.lock().unwrap_or_else(PoisonError::into_inner);
                    interval.max(answer * POLITE) + jitter
                }
                Err(error) => {
                    tracing::debug!("poll: {error}");
                    match self.health.offline() {
                        Some(_) => self.health.next_probe(),
                        None => interval,
                    }
                }
            };
            let earliest = tokio::time::sleep(Duration::from_millis(500).min(wait));
            earliest.await;
            tokio::select! {
                biased;
                () = self.look.notified() => {}
                () = tokio::time::sleep(wait.saturating_sub(Duration::from_millis(500))) => {}
            }
        }
    }

    /// A program uses the directory.
    pub fn used(&self, dir: Ino) {
        // Tags tell more.
        if !self.remote.capabilities().tags_propagate && self.in_use.note(dir) {
            self.look.notify_one();
        }
    }

    /// Looks at the root's tag, and walks if it is not the adopted one; where tags do not propagate,
    /// lists what is due, if directories in use are looked at `every` so often.
    pub async fn poll(&self, every: Duration) -> Result<(), PullError> {
        let outcome = self.poll_once(every).await;
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        match &outcome {
            Ok(()) => {
                *guard = None;
                *self.polled.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(self.clock.now());
            }
            Err(error @ (PullError::RootMissing | PullError::RootEmptied)) => {
                if guard.is_none() {
                    tracing::error!("{error}");
                }
                *guard = Some(error.to_string());
            }
            Err(PullError::Remote(error)) => self.health.failed(error),
            Err(_) => {}
        }
        outcome
    }

    async fn poll_once(&self, every: Duration) -> Result<(), PullError> {
        let _walking = self.walking.lock().await;
        let began = tokio::time::Instant::now();
        let seen = self.root_tag().await?;
        *self.answer_time.lock().unwrap_or_else(PoisonError::into_inner) = began.elapsed();
        self.health.answered();
        let Some(root) = self.tree.node(Ino::ROOT)? else { return Ok(()) };
        if !root.is_listed() {
            return self.list_now(Ino::ROOT).await;
        }
        if !self.remote.capabilities().tags_propagate {
            let due = {
                let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
                ages.due(&self.tree, &self.in_use, every)?
            };
            self.walk(due).await?;
        } else if seen.is_some() && root.tag() == seen.as_ref() {
            return Ok(());
        } else {
            self.walk(vec![Ino::ROOT]).await?;
        }
        // Directories that turned up at the end of the walk.
        self.load_by_levels().await
    }

    async fn root_tag(&self) -> Result<Option<Etag>, PullError> {
        match self.remote.look(&RemotePath::root()).await {
            Ok(look) => Ok(look.entry.version.etag),
            Err(RemoteError::NotFound) => Err(PullError::RootMissing),
            Err(error) => Err(error.into()),
        }
    }

    fn is_mass_removal(&self) -> Result<bool, TreeError> {
        Ok(self.tree.view(|tx| tx.synced_children(Ino::ROOT))?.len() >= MASS_REMOVAL)
    }

    /// Lists one directory that nobody has listed yet.
    pub async fn list_now(&self, dir: Ino) -> Result<(), PullError> {
        let observation = self.overlap.observe();
        let Some(path) = self.tree.view(|tx| tx.synced_path(dir))? else { return Ok(()) };
        let listed = self.list_children(&path).await?;
        self.health.answered();
        let mut pending = Pending::default();
        let merged = self.merge_listing(dir, &listed, &observation, &mut pending)?;
        // A directory below that is listed and has another tag is for a walk to come to.
        let settled_below = |dirs: &[Ino]| -> Result<bool, TreeError> {
            let mut settled = true;
            for dir in dirs {
                settled &= !self.tree.node(*dir)?.is_some_and(|node| node.is_listed());
            }
            Ok(settled)
        };
        let whole = match &merged {
            Some(merged) => merged.complete && settled_below(&merged.changed_dirs)?,
            None => false,
        };
        let whole = whole && pending.is_empty() && !observation.is_outdated(dir);
        self.tree.transact(|tx| {
            let Some(node) = tx.node(dir)? else { return Ok(()) };
            let mut node = (*node).clone();
            if let Body::Dir { tag, .. } = &mut node.body {
                *tag = listed.tag.clone().filter(|_| whole);
            }
            tx.put(node)?;
            if !whole {
                settle::stale_parent(tx, dir)?;
            }
            Ok::<_, TreeError>(())
        })?;
        if !whole {
            self.look.notify_one();
        }
        Ok(())
    }

    /// As [`Puller::list_now`], once however many wait for it.
    pub async fn list(self: &Arc<Self>, dir: Ino) -> Result<(), ListError> {
        let mut waiting = {
            let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
            match listings.get(&dir) {
                Some(waiting) => waiting.clone(),
                None => {
                    let (done, waiting) = watch::channel(None);
                    listings.insert(dir, waiting.clone());
                    let puller = Arc::clone(self);
                    tokio::spawn(async move {
                        let outcome = puller.list_now(dir).await;
                        if let Err(PullError::Remote(error)) = &outcome {
                            puller.health.failed(error);
                        }
                        let mut listings =
                            puller.listings.lock().unwrap_or_else(PoisonError::into_inner);
                        listings.remove(&dir);
                        drop(listings);
                        // Nobody may be waiting any more.
                        let _ = done.send(Some(outcome.map_err(ListError::from)));
                    });
                    waiting
                }
            }
        };
        match waiting.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Err(ListError::Failed("the listing was given up".into())),
        }
    }

    fn merge(&self, server_time: Option<i64>) -> Merge<'_> {
        Merge {
            tree: &self.tree,
            contents: &*self.contents,
            rules: &self.remote.capabilities().names,
            now: self.clock.now(),
            server_time,
            events: Vec::new(),
            orphaned: Vec::new(),
        }
    }

    /// Tells the rooms above, and counts it.
    fn tell(&self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Entry { .. } => self.seen_names.fetch_add(1, Ordering::Relaxed),
                Event::Attributes(_) | Event::Content(_) => {
                    self.seen_files.fetch_add(1, Ordering::Relaxed)
                }
            };
            self.shared.tell(event);
        }
    }
}

impl From<PullError> for ListError {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Remote(RemoteError::NotFound | RemoteError::NotADirectory) => Self::Gone,
            PullError::Remote(error) if error.is_offline() => Self::Offline,
            error => Self::Failed(error.to_string()),
        }
    }
}
