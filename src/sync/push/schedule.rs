//! When a node's turn has come, and how many have theirs at once.
//!
//! A node is due shortly after its last change, so that what belongs together is sent once; later if
//! it is rewritten often, big, or kept open. Nodes that others wait for go first. Everything here is
//! in memory and follows from the rows: after a crash it is rebuilt from what is dirty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::{Pushed, Pusher};
use crate::sync::plan;
use crate::tree::{Node, TreeError};
use crate::types::{Ino, Time};

/// After the last change: long enough for a save that consists of several calls. Milliseconds.
const SETTLE: i64 = 300;
/// For a file that was sent less than [`OFTEN`] ago, and for a big one. Milliseconds.
const SETTLE_LONG: i64 = 2_000;
const OFTEN: i64 = 10_000;
/// A file that is kept open for writing is sent this often. Milliseconds.
const WHILE_OPEN: i64 = 30_000;
/// A bigger file, kept open, is sent when it was quiet for [`QUIET`]. Bytes.
const BIG: u64 = 64 * 1024 * 1024;
const QUIET: i64 = 10_000;
/// The longest that a changed file stays back for its own sake. Milliseconds.
const PATIENCE: i64 = 300_000;

/// What is removed in a received share waits this long after the last removal there: a removal of the
/// whole share removes what is in it first, and then it is only left. Milliseconds.
const SHARE_REST: i64 = 30_000;

/// Steps under way at once. More do not help: a Nextcloud creates 20 to 30 files a second however
/// many requests ask for it (FACTS 10).
const PARALLEL: usize = 6;
/// How many of them may be uploads above [`LARGE`].
const PARALLEL_LARGE: usize = 2;
const LARGE: u64 = 8 * 1024 * 1024;

/// Asks for everything to be sent at once while it lives: a flush, a drain.
pub struct Urgency(Arc<Shared>);

#[derive(Default)]
struct Shared {
    urgent: AtomicUsize,
    changed: Notify,
    /// Woken after every turn.
    turned: Notify,
}

impl Drop for Urgency {
    fn drop(&mut self) {
        self.0.urgent.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The handle on a running [`Scheduler`].
#[derive(Clone)]
pub struct Hurry(Arc<Shared>);

impl Hurry {
    /// Makes every node due now, for as long as the value lives.
    pub fn hurry(&self) -> Urgency {
        self.0.urgent.fetch_add(1, Ordering::AcqRel);
        self.0.changed.notify_one();
        Urgency(Arc::clone(&self.0))
    }

    /// Returns after some node had its turn, or after `at_most`.
    pub async fn turn(&self, at_most: Duration) {
        // Which of the two it was does not matter.
        let _ = tokio::time::timeout(at_most, self.0.turned.notified()).await;
    }
}

/// Gives nodes their turns.
pub struct Scheduler {
    pusher: Arc<Pusher>,
    changes: mpsc::UnboundedReceiver<Ino>,
    shared: Arc<Shared>,
    due: BTreeSet<(Time, Ino)>,
    at: BTreeMap<Ino, Time>,
    running: BTreeMap<Ino, u64>,
    /// Who waits for whom.
    waiting: BTreeMap<Ino, BTreeSet<Ino>>,
    busy: BTreeSet<Ino>,
    /// Who failed since everything was made urgent.
    hurried: BTreeSet<Ino>,
    sent: BTreeMap<Ino, Time>,
    /// When something was last removed below a received share.
    removals: BTreeMap<Ino, Time>,
    turns: JoinSet<(Ino, Pushed)>,
}

impl Scheduler {
    /// A scheduler that learns of dirty nodes from `changes`.
    pub fn new(pusher: Arc<Pusher>, changes: mpsc::UnboundedReceiver<Ino>) -> (Self, Hurry) {
        let shared = Arc::new(Shared::default());
        let hurry = Hurry(Arc::clone(&shared));
        let scheduler = Self {
            pusher,
            changes,
            shared,
            due: BTreeSet::new(),
            at: BTreeMap::new(),
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            busy: BTreeSet::new(),
            hurried: BTreeSet::new(),
            sent: BTreeMap::new(),
            removals: BTreeMap::new(),
            turns: JoinSet::new(),
        };
        (scheduler, hurry)
    }

    /// Runs until the tree is gone.
    pub async fn run(mut self) -> Result<(), TreeError> {
        for node in self.pusher.tree.view(|tx| tx.dirty())? {
            self.reschedule(node.ino)?;
        }
        let mut online = self.pusher.health.watch();
        let shared = Arc::clone(&self.shared);
        loop {
            self.start_turns()?;
            let next = self.next_due();
            tokio::select! {
                biased;
                Some(turn) = self.turns.join_next(), if !self.turns.is_empty() => {
                    match turn {
                        Ok((ino, pushed)) => self.ended(ino, pushed)?,
                        Err(error) => tracing::error!("a push ended abnormally: {error}"),
                    }
                    self.shared.turned.notify_waiters();
                }
                change = self.changes.recv() => match change {
                    Some(ino) => self.reschedule(ino)?,
                    None => return Ok(()),
                },
                () = shared.changed.notified() => {
                    self.hurried.clear();
                    self.reschedule_all()?;
                }
                Ok(()) = online.changed() => {
                    if *online.borrow_and_update() {
                        self.reschedule_all()?;
                    }
                }
                () = sleep_until(next) => {}
            }
        }
    }

    fn now(&self) -> Time {
        self.pusher.clock.now()
    }

    fn is_urgent(&self) -> bool {
        self.shared.urgent.load(Ordering::Acquire) > 0
    }

    /// How long until something is due; `None` when only an event can make it so.
    fn next_due(&self) -> Option<Duration> {
        if self.running.len() >= PARALLEL || self.pusher.health.offline().is_some() {
            return None;
        }
        let now = self.now();
        let large_full = self.large_running() >= PARALLEL_LARGE;
        let (time, _) = self
            .due
            .iter()
            .find(|(time, ino)| *time > now || !(large_full && self.size(*ino) > LARGE))?;
        Some(Duration::from_nanos(time.0.saturating_sub(now.0).max(0) as u64))
    }

    fn large_running(&self) -> usize {
        self.running.values().filter(|size| **size > LARGE).count()
    }

    fn size(&self, ino: Ino) -> u64 {
        self.pusher.tree.node(ino).ok().flatten().map_or(0, |node| node.attr.size)
    }

    fn start_turns(&mut self) -> Result<(), TreeError> {
        if self.pusher.health.offline().is_some() {
            return Ok(());
        }
        let now = self.now();
        while self.running.len() < PARALLEL {
            let large_full = self.large_running() >= PARALLEL_LARGE;
            let ready = self
                .due
                .iter()
                .take_while(|(time, _)| *time <= now)
                .find(|(_, ino)| !(large_full && self.size(*ino) > LARGE))
                .copied();
            let Some((_, ino)) = ready else { return Ok(()) };
            if let Some(rested) = self.rested(ino)?.filter(|rested| *rested > now) {
                self.schedule(ino, rested);
                continue;
            }
            self.unschedule(ino);
            self.running.insert(ino, self.size(ino));
            let pusher = Arc::clone(&self.pusher);
            self.turns.spawn(async move { (ino, pusher.push(ino).await) });
        }
        Ok(())
    }

    fn ended(&mut self, ino: Ino, pushed: Pushed) -> Result<(), TreeError> {
        self.running.remove(&ino);
        let now = self.now();
        match pushed {
            Pushed::Nothing => {
                // Changed while it had its turn, maybe: then it is due again.
                if self.pusher.tree.node(ino)?.is_some_and(|node| node.is_dirty()) {
                    self.schedule(ino, now.plus_millis(SETTLE));
                }
                self.wake_waiters(ino, now.plus_millis(SETTLE));
            }
            Pushed::Done(mut nodes) => {
                if self.sent.len() > 10_000 {
                    self.sent.retain(|_, time| now.0 - time.0 < OFTEN * 1_000_000);
                }
                self.sent.insert(ino, now);
                nodes.push(ino);
                self.settled(&nodes)?;
            }
            Pushed::Waits(blockers) => {
                // The wait for the blocker's end is the rule; the time is the net below it.
                self.schedule(ino, now.plus_millis(5_000));
                for blocker in blockers {
                    self.waiting.entry(blocker).or_default().insert(ino);
                    let blocked = self
                        .pusher
                        .tree
                        .node(blocker)?
                        .is_some_and(|node| node.push.not_before > now);
                    if !self.running.contains_key(&blocker) && !blocked {
                        self.schedule(blocker, now);
                    }
                }
            }
            Pushed::Busy => {
                // The end of another turn is the rule; the time is the net below it.
                self.busy.insert(ino);
                self.schedule(ino, now.plus_millis(1_000));
                return Ok(());
            }
            Pushed::Failed(not_before) => {
                self.hurried.insert(ino);
                self.schedule(ino, not_before);
            }
            Pushed::Offline => self.schedule(ino, now),
        }
        // One turn less under way: what collided with it may go on.
        for ino in std::mem::take(&mut self.busy) {
            self.schedule(ino, now);
        }
        Ok(())
    }

    /// These nodes' turns changed something: theirs and those of who waited for them come again.
    fn settled(&mut self, nodes: &[Ino]) -> Result<(), TreeError> {
        let now = self.now();
        for ino in nodes {
            self.reschedule(*ino)?;
            self.wake_waiters(*ino, now);
        }
        Ok(())
    }

    fn wake_waiters(&mut self, ino: Ino, due: Time) {
        for waiter in self.waiting.remove(&ino).into_iter().flatten() {
            if !self.running.contains_key(&waiter) {
                self.schedule(waiter, due);
            }
        }
    }

    fn reschedule_all(&mut self) -> Result<(), TreeError> {
        for node in self.pusher.tree.view(|tx| tx.dirty())? {
            self.reschedule(node.ino)?;
        }
        Ok(())
    }

    fn reschedule(&mut self, ino: Ino) -> Result<(), TreeError> {
        if self.running.contains_key(&ino) {
            // Its turn's end looks again.
            return Ok(());
        }
        match self.pusher.tree.node(ino)?.filter(|node| node.is_dirty()) {
            Some(node) => {
                let due = self.due_time(&node);
                let due = self.rested(ino)?.map_or(due, |rested| due.max(rested));
                self.schedule(ino, due);
            }
            None => self.unschedule(ino),
        }
        Ok(())
    }

    fn schedule(&mut self, ino: Ino, due: Time) {
        self.unschedule(ino);
        self.due.insert((due, ino));
        self.at.insert(ino, due);
    }

    fn unschedule(&mut self, ino: Ino) {
        if let Some(due) = self.at.remove(&ino) {
            self.due.remove(&(due, ino));
        }
    }

    /// When a dirty node's turn comes, if nothing happens until then.
    fn due_time(&self, node: &Node) -> Time {
        let push = &node.push;
        if self.is_urgent() {
            // Also blocked and failing ones get one more try at once, but not a storm of them.
            return if self.hurried.contains(&node.ino) {
                push.not_before
            } else {
                Time::default()
            };
        }
        let changed = push.changed;
        let content_waits = node.content_differs() && !self.is_renamed(node);
        let wanted = if content_waits && self.pusher.tree.pins().has_writer(node.ino) {
            if node.attr.size > BIG {
                changed.plus_millis(QUIET)
            } else {
                let last = self.sent.get(&node.ino).copied().unwrap_or(push.since);
                last.max(push.since).plus_millis(WHILE_OPEN)
            }
        } else {
            let often =
                self.sent.get(&node.ino).is_some_and(|sent| changed.0 - sent.0 < OFTEN * 1_000_000);
            let settle = if often || node.attr.size > BIG { SETTLE_LONG } else { SETTLE };
            changed.plus_millis(settle)
        };
        wanted.min(push.since.plus_millis(PATIENCE)).max(push.not_before)
    }

    /// Until when a removal in a received share waits for the removal of the share; at most
    /// [`PATIENCE`].
    fn rested(&mut self, ino: Ino) -> Result<Option<Time>, TreeError> {
        if self.is_urgent() {
            return Ok(None);
        }
        let found = self.pusher.tree.view(|tx| match tx.node(ino)? {
            Some(node) => Ok(plan::share_around(tx, &node)?.map(|share| (share, node))),
            None => Ok(None),
        })?;
        let Some((share, node)) = found else { return Ok(None) };
        let removed = node.push.changed;
        let last = self.removals.entry(share).or_default();
        *last = removed.max(*last);
        Ok(Some(last.plus_millis(SHARE_REST).min(removed.plus_millis(PATIENCE))))
    }

    /// Only the name has to be told first: that does not wait for a writer.
    fn is_renamed(&self, node: &Node) -> bool {
        node.synced.is_some() && node.place_differs()
    }
}

async fn sleep_until(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
