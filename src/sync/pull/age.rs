//! Which directories are looked at where a server's tags do not tell: those in use, by age.
//!
//! Without tags that propagate, a directory says nothing of what is below it, and only its own
//! listing says what is in it. So each poll lists a bounded number of directories: the root and
//! those in use, each at most once an interval, those longest not looked at first; those in which
//! something was left open (their tag is unknown, as on every server); and a few of all others, in
//! turn. The cost of a poll grows with use and not with the tree; all of the tree is looked at
//! eventually.
//!
//! In memory only: after a crash nothing is in use, and the turn begins anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::tree::{Node, Tree, TreeError};
use crate::types::Ino;

/// How long after its last use a directory is in use. The kernel asks again for a name that it
/// believes after 60 s, so one that is used all the time is heard of at least that often.
const LASTS: u64 = 150;

/// Directories that can be in use at once: of two with one slot the later use counts.
const SLOTS: usize = 512;

/// The most directories in use that one poll lists, and the most in which something was left open.
const IN_USE: usize = 32;
const LEFT_OPEN: usize = 32;

/// Of all other directories, how many one poll lists: 10,000 take some three and a half hours.
const IN_TURN: usize = 4;

/// The bits of a slot that hold the second of the use; the others hold the directory.
const SECONDS: u32 = 28;

/// The directories that programs used last. A use is one atomic swap.
pub(super) struct InUse {
    began: Instant,
    slots: Box<[AtomicU64]>,
}

impl Default for InUse {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::default()).collect();
        Self { began: Instant::now(), slots }
    }
}

impl InUse {
    /// Seconds on the clock of the slots; from 1, so that an empty slot is none of them.
    fn now(&self) -> u64 {
        Instant::now().saturating_duration_since(self.began).as_secs() + 1
    }

    /// Notes a use. Returns whether the directory was not in use before.
    pub(super) fn note(&self, dir: Ino) -> bool {
        let now = self.now();
        let Some(slot) = self.slots.get(dir.0 as usize % SLOTS) else { return false };
        let before = slot.swap((dir.0 << SECONDS) | now, Ordering::Relaxed);
        before >> SECONDS != dir.0 || !lasts(before, now)
    }

    /// The directories in use.
    fn dirs(&self) -> Vec<Ino> {
        let now = self.now();
        let used = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        used.filter(|slot| lasts(*slot, now)).map(|slot| Ino(slot >> SECONDS)).collect()
    }
}

fn lasts(slot: u64, now: u64) -> bool {
    let used = slot & ((1 << SECONDS) - 1);
    used > 0 && now.saturating_sub(used) < LASTS
}

/// When directories were looked at, and whose turn it is.
#[derive(Default)]
pub(super) struct Ages {
    /// Of the root and the directories in use.
    looked: HashMap<Ino, Instant>,
    /// The last of those in which something was left open.
    left_open: Ino,
    /// The last of all others, and the directory that it is in.
    turn: (Ino, Ino),
    turned: Option<Instant>,
}

impl Ages {
    /// The directories that a poll is to list, the root first if it is among them. `every` is how
    /// often one in use is looked at.
    pub(super) fn due(
        &mut self,
        tree: &Tree,
        used: &InUse,
        every: Duration,
    ) -> Result<Vec<Ino>, TreeError> {
        let now = Instant::now();
        // An interval has a little jitter, and is still one.
        let every = every.mul_f64(0.9);
        let is_due = |looked: Option<&Instant>| looked.is_none_or(|at| now - *at >= every);
        let mut in_use = used.dirs();
        in_use.push(Ino::ROOT);
        for open in tree.pins().open() {
            if let Some(node) = tree.node(open)? {
                in_use.extend(node.is_dir().then_some(open));
                in_use.extend(node.local.as_ref().map(|place| place.parent));
            }
        }
        in_use.sort_unstable();
        in_use.dedup();
        self.looked.retain(|dir, _| in_use.binary_search(dir).is_ok());
        // Of the root it is not told below whether something was left open in it.
        let root_open = tree.node(Ino::ROOT)?.is_some_and(|root| root.tag().is_none());
        in_use.retain(|dir| is_due(self.looked.get(dir)) || (*dir == Ino::ROOT && root_open));
        // The root is the smallest number, so it is the first of those never looked at.
        in_use.sort_by_key(|dir| (*dir != Ino::ROOT, self.looked.get(dir).copied()));
        let mut due = Vec::new();
        for dir in in_use {
            if due.len() < IN_USE && tree.node(dir)?.is_some_and(|node| is_there(&node)) {
                self.looked.insert(dir, now);
                due.push(dir);
            }
        }
        let mut left_open = tree.view(|tx| tx.stale(self.left_open, LEFT_OPEN))?;
        if left_open.is_empty() {
            left_open = tree.view(|tx| tx.stale(Ino::default(), LEFT_OPEN))?;
        }
        self.left_open = left_open.last().map(|dir| dir.ino).unwrap_or_default();
        let mut in_turn = Vec::new();
        if is_due(self.turned.as_ref()) {
            self.turned = Some(now);
            in_turn = tree.view(|tx| tx.directories(self.turn, IN_TURN))?;
            self.turn = match in_turn.last() {
                Some(last) => (last.local.as_ref().map_or(Ino::ROOT, |at| at.parent), last.ino),
                None => Default::default(),
            };
        }
        for dir in left_open.into_iter().chain(in_turn) {
            if is_there(&dir) && !due.contains(&dir.ino) {
                due.push(dir.ino);
            }
        }
        Ok(due)
    }
}

/// Whether programs and the server have the directory, and its children are known.
fn is_there(dir: &Node) -> bool {
    dir.is_listed() && (dir.is_root() || (dir.local.is_some() && dir.synced.is_some()))
}
