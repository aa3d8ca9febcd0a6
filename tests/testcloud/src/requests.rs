//! What was asked: a log of requests with counters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use serde::Serialize;

use crate::sync::lock;

/// One request; those to `/testcloud/` are not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// The HTTP method.
    pub method: String,
    /// The path as sent, percent-encoded, without the query.
    pub path: String,
    /// The `Depth` header as sent.
    pub depth: Option<String>,
    /// None while it is served, and for ever if the connection was closed without an answer.
    pub status: Option<u16>,
    /// Bytes of the request's body that arrived.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were handed to the connection.
    pub bytes_out: u64,
    /// Whether a fault was applied.
    pub faulted: bool,
}

/// Sums over the recorded requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// All requests.
    pub total: u64,
    /// By method.
    pub methods: BTreeMap<String, u64>,
    /// By status; requests without an answer are not in it.
    pub statuses: BTreeMap<u16, u64>,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
}

/// How many requests are being carried out; whoever waits learns when there is none.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<(Mutex<usize>, Condvar)>);

/// One request being carried out.
pub(crate) struct RunningGuard(Running);

impl Running {
    pub(crate) fn enter(&self) -> RunningGuard {
        *lock(&self.0.0) += 1;
        RunningGuard(self.clone())
    }

    pub(crate) fn wait_idle(&self) {
        let mut running = lock(&self.0.0);
        while *running > 0 {
            running = self.0.1.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        *lock(&self.0.0.0) -= 1;
        self.0.0.1.notify_all();
    }
}

#[derive(Default)]
pub(crate) struct RequestLog(Mutex<Vec<Arc<Entry>>>);

pub(crate) struct Entry {
    method: String,
    path: String,
    depth: Option<String>,
    outcome: Mutex<(Option<u16>, bool)>,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
}

impl Entry {
    pub(crate) fn answered(&self, status: u16) {
        lock(&self.outcome).0 = Some(status);
    }

    pub(crate) fn faulted(&self) {
        lock(&self.outcome).1 = true;
    }

    fn record(&self) -> RequestRecord {
        let (status, faulted) = *lock(&self.outcome);
        RequestRecord {
            method: self.method.clone(),
            path: self.path.clone(),
            depth: self.depth.clone(),
            status,
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            faulted,
        }
    }
}

impl RequestLog {
    pub(crate) fn begin(&self, method: &str, path: &str, depth: Option<String>) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            method: method.to_owned(),
            path: path.to_owned(),
            depth,
            outcome: Mutex::default(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        });
        lock(&self.0).push(Arc::clone(&entry));
        entry
    }

    pub(crate) fn list(&self) -> Vec<RequestRecord> {
        lock(&self.0).iter().map(|entry| entry.record()).collect()
    }

    pub(crate) fn reset(&self) {
        lock(&self.0).clear();
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for record in self.list() {
            counters.total += 1;
            counters.bytes_in += record.bytes_in;
            counters.bytes_out += record.bytes_out;
            *counters.methods.entry(record.method).or_default() += 1;
            if let Some(status) = record.status {
                *counters.statuses.entry(status).or_default() += 1;
            }
        }
        counters
    }
}
