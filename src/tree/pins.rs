//! Which nodes are in use by open handles: in memory only, as handles are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::types::Ino;

/// What an open handle may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinKind {
    Reader,
    Writer,
}

/// Counts of open handles by node. A leaf lock.
#[derive(Default)]
pub struct Pins {
    counts: Mutex<HashMap<Ino, Counts>>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    readers: u32,
    writers: u32,
}

impl Pins {
    /// Keeps a node's row and content until the pin is dropped.
    pub fn pin(self: &Arc<Self>, ino: Ino, kind: PinKind) -> Pin {
        let mut counts = self.counts();
        let count = counts.entry(ino).or_default();
        match kind {
            PinKind::Reader => count.readers += 1,
            PinKind::Writer => count.writers += 1,
        }
        Pin { pins: Arc::clone(self), ino, kind }
    }

    /// Whether anybody has it open.
    pub fn is_open(&self, ino: Ino) -> bool {
        self.counts().contains_key(&ino)
    }

    /// Whether anybody has it open for writing.
    pub fn has_writer(&self, ino: Ino) -> bool {
        self.counts().get(&ino).is_some_and(|count| count.writers > 0)
    }

    /// All nodes that anybody has open, by ascending number.
    pub fn open(&self) -> Vec<Ino> {
        let mut open: Vec<Ino> = self.counts().keys().copied().collect();
        open.sort_unstable();
        open
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Ino, Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open handle's hold on a node.
pub struct Pin {
    pins: Arc<Pins>,
    ino: Ino,
    kind: PinKind,
}

impl Pin {
    pub fn kind(&self) -> PinKind {
        self.kind
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut counts = self.pins.counts();
        if let Some(count) = counts.get_mut(&self.ino) {
            match self.kind {
                PinKind::Reader => count.readers = count.readers.saturating_sub(1),
                PinKind::Writer => count.writers = count.writers.saturating_sub(1),
            }
            if count.readers == 0 && count.writers == 0 {
                counts.remove(&self.ino);
            }
        }
    }
}
