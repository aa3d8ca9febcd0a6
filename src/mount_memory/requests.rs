//! The requests that a process has taken and not answered, so that one that kills whoever answers it
//! can be told from the others.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::{AT_ANSWERED, AT_REQUESTS, AT_SERVING, AT_SUSPICION, MountMemory};

/// Requests in flight that are remembered; of more than these it is not known whether they kill.
const SLOTS: usize = 4096;
/// Number, deaths.
const SLOT: usize = 2;
pub(super) const WORDS: usize = SLOTS * SLOT;

/// The requests in flight of the present process.
pub struct RequestSlots {
    memory: Arc<MountMemory>,
    /// Requests that were in flight at suspicious deaths, and at how many.
    suspects: HashMap<u64, u64>,
    /// A leaf lock.
    free: Mutex<Vec<u16>>,
}

/// Where a request is remembered until it is answered.
#[derive(Debug)]
pub struct RequestSlot(Option<u16>);

impl RequestSlots {
    /// Begins anew with what the last process left.
    pub fn new(memory: Arc<MountMemory>) -> Self {
        let suspicious = memory.word(AT_SUSPICION).swap(0, Ordering::Relaxed);
        let mut suspects = HashMap::new();
        for slot in 0..SLOTS {
            let at = AT_REQUESTS + slot * SLOT;
            let number = memory.word(at).load(Ordering::Acquire);
            if number == 0 {
                continue;
            }
            let deaths = memory.word(at + 1).load(Ordering::Relaxed);
            if suspicious != 0 {
                suspects.insert(number, deaths + 1);
            }
            memory.word(at).store(0, Ordering::Release);
        }
        memory.word(AT_SERVING).store(1, Ordering::Relaxed);
        let free = (0..SLOTS as u16).rev().collect();
        Self { memory, suspects, free: Mutex::new(free) }
    }

    /// At how many suspicious deaths in a row a request was in flight.
    pub fn deaths(&self, number: u64) -> u64 {
        self.suspects.get(&number).copied().unwrap_or(0)
    }

    /// Notes a request as in flight.
    pub fn begin(&self, number: u64) -> RequestSlot {
        let slot = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(slot) = slot {
            let at = AT_REQUESTS + usize::from(slot) * SLOT;
            self.memory.word(at + 1).store(self.deaths(number), Ordering::Relaxed);
            self.memory.word(at).store(number, Ordering::Release);
        }
        RequestSlot(slot)
    }

    /// Notes it as answered.
    pub fn end(&self, slot: &RequestSlot) {
        self.memory.word(AT_ANSWERED).fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = slot.0 {
            let at = AT_REQUESTS + usize::from(slot) * SLOT;
            self.memory.word(at).store(0, Ordering::Release);
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_are_not_answered_are_suspected_and_only_after_suspicious_deaths() {
        let memory = Arc::new(MountMemory::create().unwrap());
        let serve = || RequestSlots::new(Arc::clone(&memory));

        let first = serve();
        let answered = first.begin(2);
        first.begin(4);
        first.end(&answered);
        assert_eq!(memory.answered(), 1);
        memory.note_death("a kill", true);

        let second = serve();
        assert_eq!((second.deaths(2), second.deaths(4)), (0, 1));
        second.begin(4);
        second.begin(6);
        memory.note_death("a kill", true);

        let third = serve();
        assert_eq!((third.deaths(4), third.deaths(6)), (2, 1));
        third.begin(4);
        memory.note_death("a kill, long after", false);
        assert_eq!(serve().deaths(4), 0);
    }

    #[test]
    fn a_death_before_the_first_request_accuses_nobody() {
        let memory = Arc::new(MountMemory::create().unwrap());
        RequestSlots::new(Arc::clone(&memory)).begin(2);
        memory.note_death("a kill, long after", false);
        // Of one that did not come to look at it.
        memory.note_death("a kill", true);
        assert_eq!(RequestSlots::new(memory).deaths(2), 0);
    }
}
