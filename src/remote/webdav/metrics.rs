//! What the HTTP layer counts. Counters only go up, start at 0 with the process, and need no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::http::Verb;

/// The counters of one connection to a server.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [AtomicU64; Verb::ALL.len()],
    repeated: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Requests sent, repeated ones included, by HTTP method.
    pub requests: Vec<(&'static str, u64)>,
    /// Requests sent again by this layer.
    pub repeated: u64,
    /// Answers with a status of 400 or more.
    pub refused: u64,
    /// Requests to which no answer came.
    pub unanswered: u64,
    /// Bytes of request bodies.
    pub sent: u64,
    /// Bytes of answer bodies, decompressed.
    pub received: u64,
}

impl Metrics {
    pub fn snapshot(&self) -> MetricsSnapshot {
        let count = |(verb, count): (&Verb, &AtomicU64)| (verb.as_str(), count.load(Relaxed));
        MetricsSnapshot {
            requests: Verb::ALL.iter().zip(&self.requests).map(count).collect(),
            repeated: self.repeated.load(Relaxed),
            refused: self.refused.load(Relaxed),
            unanswered: self.unanswered.load(Relaxed),
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
        }
    }

    pub(super) fn request(&self, verb: Verb) {
        if let Some(counter) = self.requests.get(verb as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn repeat(&self) {
        self.repeated.fetch_add(1, Relaxed);
    }

    pub(super) fn answer(&self, status: u16) {
        if status >= 400 {
            self.refused.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn no_answer(&self) {
        self.unanswered.fetch_add(1, Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }
}
