//! The open handles of a mount: which node each is of, and what for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{AT_HANDLES, AT_HANDLES_USED, MountMemory};
use crate::types::{FileHandle, Ino};

/// Handles open at a time.
const SLOTS: usize = 1 << 20;
/// State, node, request, nothing.
const SLOT: usize = 4;
pub(super) const WORDS: usize = SLOTS * SLOT;

/// A slot's first word: its generation in the upper half, below it what the handle is for (0: the
/// slot is free).
const USE: u64 = u32::MAX as u64;

/// Gives out the numbers of handles, and remembers what is behind them.
///
/// A number is a slot and its generation, which grows each time the slot is given out: a request of
/// the kernel that comes again, after its handle was closed, finds nothing.
pub struct HandleSlots {
    memory: Arc<MountMemory>,
    /// Slots that were used and are free. A leaf lock.
    free: Mutex<Vec<u32>>,
}

/// A handle that was open when the last process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptHandle {
    pub handle: FileHandle,
    pub ino: Ino,
    /// As it was given to [`HandleSlots::take`].
    pub purpose: u32,
    /// The request that opened it.
    pub request: Option<u64>,
}

impl HandleSlots {
    pub fn new(memory: Arc<MountMemory>) -> Self {
        let used = used(&memory);
        let is_free = |slot: &u32| state(&memory, *slot).load(Ordering::Acquire) & USE == 0;
        // The lowest is given out first, so that few pages are touched.
        let free = (0..used).rev().filter(is_free).collect();
        Self { free: Mutex::new(free), memory }
    }

    /// Opens a handle for a purpose, which is not 0. `None` when there are too many.
    pub fn take(&self, ino: Ino, purpose: u32, request: Option<u64>) -> Option<FileHandle> {
        let slot = self.free_slot()?;
        let at = AT_HANDLES + slot as usize * SLOT;
        let generation = (state(&self.memory, slot).load(Ordering::Relaxed) >> 32) + 1;
        self.memory.word(at + 1).store(ino.0, Ordering::Relaxed);
        self.memory.word(at + 2).store(request.unwrap_or(0), Ordering::Relaxed);
        let open = generation << 32 | u64::from(purpose);
        state(&self.memory, slot).store(open, Ordering::Release);
        Some(number(slot, open))
    }

    fn free_slot(&self) -> Option<u32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = free.pop() {
            return Some(slot);
        }
        let slot = used(&self.memory);
        if slot as usize >= SLOTS {
            return None;
        }
        self.memory.word(AT_HANDLES_USED).store(u64::from(slot) + 1, Ordering::Release);
        Some(slot)
    }

    /// Changes what an open handle is for.
    pub fn set_purpose(&self, handle: FileHandle, purpose: u32) {
        if let Some((slot, open)) = self.find(handle) {
            let open = open & !USE | u64::from(purpose);
            state(&self.memory, slot).store(open, Ordering::Release);
        }
    }

    /// Closes a handle; nothing if it is not open.
    pub fn give_back(&self, handle: FileHandle) {
        if let Some((slot, open)) = self.find(handle) {
            state(&self.memory, slot).store(open & !USE, Ordering::Release);
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
    }

    fn find(&self, handle: FileHandle) -> Option<(u32, u64)> {
        let slot = handle.0 as u32;
        if slot >= used(&self.memory) {
            return None;
        }
        let open = state(&self.memory, slot).load(Ordering::Acquire);
        (open & USE != 0 && number(slot, open) == handle).then_some((slot, open))
    }
}

impl MountMemory {
    /// The handles that are open.
    pub fn open_handles(&self) -> Vec<KeptHandle> {
        let kept = |slot| {
            let open = state(self, slot).load(Ordering::Acquire);
            let at = AT_HANDLES + slot as usize * SLOT;
            let request = self.word(at + 2).load(Ordering::Relaxed);
            (open & USE != 0).then(|| KeptHandle {
                handle: number(slot, open),
                ino: Ino(self.word(at + 1).load(Ordering::Relaxed)),
                purpose: (open & USE) as u32,
                request: (request != 0).then_some(request),
            })
        };
        (0..used(self)).filter_map(kept).collect()
    }
}

fn used(memory: &MountMemory) -> u32 {
    let used = memory.word(AT_HANDLES_USED).load(Ordering::Acquire);
    used.min(SLOTS as u64) as u32
}

fn state(memory: &MountMemory, slot: u32) -> &AtomicU64 {
    memory.word(AT_HANDLES + slot as usize * SLOT)
}

fn number(slot: u32, open: u64) -> FileHandle {
    FileHandle(open & !USE | u64::from(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_handles_outlive_the_process_and_closed_ones_do_not() {
        let memory = Arc::new(MountMemory::create().unwrap());
        let slots = HandleSlots::new(Arc::clone(&memory));
        let first = slots.take(Ino(7), 1, Some(24)).unwrap();
        let second = slots.take(Ino(8), 2, None).unwrap();
        slots.give_back(first);

        let other = Arc::new(MountMemory::open(memory.descriptor().unwrap()).unwrap());
        let kept = KeptHandle { handle: second, ino: Ino(8), purpose: 2, request: None };
        assert_eq!(other.open_handles(), [kept]);
        // It fills the gap first, under another number.
        let third = HandleSlots::new(Arc::clone(&other)).take(Ino(9), 1, Some(26)).unwrap();
        assert_eq!(third.0 as u32, first.0 as u32);
        assert_ne!(third, first);
    }

    #[test]
    fn a_handle_that_is_closed_twice_does_not_take_the_next_one_along() {
        let memory = Arc::new(MountMemory::create().unwrap());
        let slots = HandleSlots::new(Arc::clone(&memory));
        let first = slots.take(Ino(7), 1, None).unwrap();
        slots.give_back(first);
        let second = slots.take(Ino(8), 1, None).unwrap();
        slots.give_back(first);
        slots.set_purpose(first, 3);
        let kept = KeptHandle { handle: second, ino: Ino(8), purpose: 1, request: None };
        assert_eq!(memory.open_handles(), [kept]);
    }
}
