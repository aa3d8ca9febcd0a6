//! Which requests of the kernel came, and which are not answered yet, so that `ncfs status` can tell
//! of a mount that hangs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The requests that wait for an answer, by the order of their arrival.
#[derive(Default)]
pub(super) struct Requests {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    arrivals: u64,
    since: BTreeMap<u64, Instant>,
    /// How many came, by operation.
    operations: BTreeMap<&'static str, u64>,
}

impl Requests {
    /// Notes a request until what comes back is dropped.
    pub fn arrive(self: &Arc<Self>, operation: &'static str) -> Request {
        let mut waiting = self.waiting();
        *waiting.operations.entry(operation).or_default() += 1;
        waiting.arrivals += 1;
        let arrival = waiting.arrivals;
        waiting.since.insert(arrival, Instant::now());
        Request { requests: Arc::clone(self), arrival }
    }

    /// How long the oldest request has been waiting.
    pub fn oldest(&self) -> Option<Duration> {
        self.waiting().since.first_key_value().map(|(_, since)| since.elapsed())
    }

    /// How many requests came so far, by operation.
    pub fn operations(&self) -> BTreeMap<&'static str, u64> {
        self.waiting().operations.clone()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is not answered yet.
pub(super) struct Request {
    requests: Arc<Requests>,
    arrival: u64,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.requests.waiting().since.remove(&self.arrival);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_request_is_the_first_that_is_not_answered() {
        let requests = Arc::new(Requests::default());
        assert_eq!(requests.oldest(), None);
        let first = requests.arrive("read");
        let second = requests.arrive("read");
        let with_first = requests.oldest().unwrap();
        drop(first);
        assert!(requests.oldest().unwrap() <= with_first + Duration::from_secs(5));
        drop(second);
        assert_eq!(requests.oldest(), None);
        assert_eq!(requests.operations(), BTreeMap::from([("read", 2)]));
    }
}
