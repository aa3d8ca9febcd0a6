//! What happened in a history, in words.

use std::fmt::Display;
use std::sync::{Arc, Mutex};

use super::SimClock;
use crate::clock::Clock;

/// Written by everybody who takes part.
#[derive(Clone)]
pub struct Story {
    clock: SimClock,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Story {
    pub fn new(clock: SimClock) -> Self {
        Self { clock, lines: Arc::default() }
    }

    pub fn tell(&self, what: impl Display) {
        let millis = (self.clock.now().0 - SimClock::BEGINNING) / 1_000_000;
        let line = format!("{:6}.{:03} s  {what}", millis / 1000, millis % 1000);
        tracing::debug!("{line}");
        self.lines.lock().unwrap().push(line);
    }

    pub fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

/// Contents here are text.
pub fn text(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}
