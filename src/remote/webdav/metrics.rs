//! What the HTTP layer counts. Counters only go up, start at 0 with the process, and need no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::http::Verb;

/// How requests end: without an answer, or by the class of its status.
const OUTCOMES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Upper bounds of the durations that are counted together, seconds: from a server in the same room
/// to the longest wait for a listing. What took longer is in the total only.
const BOUNDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The counters of one connection to a server.
#[derive(Debug, Default)]
pub struct Metrics {
    methods: [Method; Verb::ALL.len()],
    repeated: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// The requests of one HTTP method that have ended.
#[derive(Debug, Default)]
struct Method {
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// By the first bound that they kept to.
    durations: [AtomicU64; BOUNDS.len()],
    micros: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsSnapshot {
    /// Requests that have ended, repeated ones included.
    pub methods: Vec<MethodSnapshot>,
    /// Requests sent again by this layer.
    pub repeated: u64,
    /// Bytes of request bodies.
    pub sent: u64,
    /// Bytes of answer bodies, decompressed.
    pub received: u64,
}

/// The requests of one HTTP method that have ended.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodSnapshot {
    pub method: &'static str,
    /// How many ended how: `none` is without an answer, `2xx` with a status of 200 to 299.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Upper bounds in seconds, and how many requests took no longer, from their start to the head of
    /// the answer or the failure.
    pub durations: Vec<(f64, u64)>,
    /// Seconds that they took together.
    pub seconds: f64,
}

impl MethodSnapshot {
    /// All requests of the method.
    pub fn count(&self) -> u64 {
        self.outcomes.iter().map(|(_, count)| count).sum()
    }
}

impl MetricsSnapshot {
    /// Requests to which no answer came.
    pub fn unanswered(&self) -> u64 {
        let none = |method: &MethodSnapshot| method.outcomes.first().map_or(0, |(_, count)| *count);
        self.methods.iter().map(none).sum()
    }
}

impl Metrics {
    pub fn snapshot(&self) -> MetricsSnapshot {
        let methods = Verb::ALL.iter().zip(&self.methods);
        MetricsSnapshot {
            methods: methods.map(|(verb, method)| method.snapshot(*verb)).collect(),
            repeated: self.repeated.load(Relaxed),
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
        }
    }

    /// A request ended after `took`, with this status or without an answer.
    pub(super) fn ended(&self, verb: Verb, status: Option<u16>, took: Duration) {
        let Some(method) = self.methods.get(verb as usize) else { return };
        let class = status.map_or(0, |status| usize::from(status / 100).min(OUTCOMES.len() - 1));
        if let Some(outcome) = method.outcomes.get(class) {
            outcome.fetch_add(1, Relaxed);
        }
        let kept = BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound);
        if let Some(bucket) = kept.and_then(|at| method.durations.get(at)) {
            bucket.fetch_add(1, Relaxed);
        }
        method.micros.fetch_add(took.as_micros() as u64, Relaxed);
    }

    pub(super) fn repeat(&self) {
        self.repeated.fetch_add(1, Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }
}

impl Method {
    fn snapshot(&self, verb: Verb) -> MethodSnapshot {
        // Buckets before outcomes, so that a request that ends meanwhile is not in a bucket alone.
        let mut so_far = 0;
        let durations = BOUNDS.iter().zip(&self.durations).map(|(bound, count)| {
            so_far += count.load(Relaxed);
            (*bound, so_far)
        });
        let durations = durations.collect();
        let outcomes = OUTCOMES.iter().zip(&self.outcomes);
        MethodSnapshot {
            method: verb.as_str(),
            durations,
            outcomes: outcomes.map(|(name, count)| (*name, count.load(Relaxed))).collect(),
            seconds: Duration::from_micros(self.micros.load(Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_by_its_outcome_and_in_all_bounds_that_it_kept_to() {
        let metrics = Metrics::default();
        metrics.ended(Verb::Put, Some(201), Duration::from_millis(25));
        metrics.ended(Verb::Put, Some(507), Duration::from_millis(700));
        metrics.ended(Verb::Put, None, Duration::from_secs(300));
        let snapshot = metrics.snapshot();
        let put = snapshot.methods.iter().find(|method| method.method == "PUT").unwrap();
        let ended: Vec<_> = put.outcomes.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(ended, [&("none", 1), &("2xx", 1), &("5xx", 1)]);
        let within = |bound| put.durations.iter().find(|(b, _)| *b == bound).unwrap().1;
        assert_eq!((within(0.01), within(0.025), within(0.5), within(1.0)), (0, 1, 1, 2));
        assert_eq!((within(30.0), put.count()), (2, 3));
        assert_eq!(put.seconds, 300.725);
        assert_eq!(snapshot.unanswered(), 1);
    }
}
