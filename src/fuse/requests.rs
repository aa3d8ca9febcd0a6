//! Which requests of the kernel came, and which are not answered yet, so that `ncfs status` can tell
//! of a mount that hangs, and the next process of a request that kills.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mount_memory::{MountMemory, RequestSlot, RequestSlots};

/// The requests that wait for an answer, by the order of their arrival.
pub(super) struct Requests {
    slots: RequestSlots,
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
    pub fn new(memory: Arc<MountMemory>) -> Self {
        Self { slots: RequestSlots::new(memory), waiting: Mutex::default() }
    }

    /// At how many deaths of the process that answers it the request may have been the cause.
    pub fn deaths(&self, number: u64) -> u64 {
        self.slots.deaths(number)
    }

    /// Notes a request until what comes back is dropped.
    pub fn arrive(self: &Arc<Self>, operation: &'static str, number: u64) -> Request {
        let slot = self.slots.begin(number);
        let mut waiting = self.waiting();
        *waiting.operations.entry(operation).or_default() += 1;
        waiting.arrivals += 1;
        let arrival = waiting.arrivals;
        waiting.since.insert(arrival, Instant::now());
        Request { requests: Arc::clone(self), arrival, slot }
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
    slot: RequestSlot,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.requests.slots.end(&self.slot);
        self.requests.waiting().since.remove(&self.arrival);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_request_is_the_first_that_is_not_answered() {
        let memory = Arc::new(MountMemory::create().unwrap());
        let requests = Arc::new(Requests::new(memory));
        assert_eq!(requests.oldest(), None);
        let first = requests.arrive("read", 2);
        let second = requests.arrive("read", 4);
        let with_first = requests.oldest().unwrap();
        drop(first);
        assert!(requests.oldest().unwrap() <= with_first + Duration::from_secs(5));
        drop(second);
        assert_eq!(requests.oldest(), None);
        assert_eq!(requests.operations(), BTreeMap::from([("read", 2)]));
    }
}
