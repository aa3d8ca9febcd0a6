//! Makes the threads that read requests ready before they read one.
//!
//! A process that is killed while the kernel copies a request into pages of its buffer that are not
//! there yet makes the kernel give up that request: the program gets EIO, and nothing is sent again
//! (fs/fuse/dev.c, fuse_dev_do_read). So the buffers are there before the device is.
//!
//! They are fuser's. It reads a first message on each thread from a socket that stands in for the
//! device ([`super::handshake`]): a FORGET of node 0, which the kernel never sends. Whoever is called
//! for it is on the thread, and `Request` of fuser 0.18 is the head of the message where it was read
//! to: the beginning of the buffer. Each thread is held there until all are, so that each gets one,
//! and none reads while the device takes the socket's place.
//!
//! The price is the memory that a busy mount uses anyway: a MiB for each thread, from the start. If
//! another fuser keeps its messages elsewhere, nothing is brought in and nothing else happens.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the threads may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// Beside the bytes of the largest write: heads, and what is before the first page's end.
const BESIDE: usize = 16 * 1024;

/// Bytes of a message's head (fuse.h, struct fuse_in_header).
const HEAD: usize = 40;
const _: () =
    assert!(size_of::<fuser::Request>() == HEAD, "a request is not the head of its message");

/// Holds the threads that are ready until all are.
pub(super) struct Primer {
    threads: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: usize,
    released: bool,
    /// Bytes of the largest write, as was agreed with the kernel.
    max_write: usize,
}

impl Primer {
    pub fn new(threads: usize) -> Self {
        Self { threads, state: Mutex::default(), changed: Condvar::new() }
    }

    /// What a thread is sent.
    pub fn message() -> [u8; 48] {
        const FORGET: u32 = 2;
        let mut message = [0; 48];
        message[..4].copy_from_slice(&48_u32.to_ne_bytes());
        message[4..8].copy_from_slice(&FORGET.to_ne_bytes());
        message
    }

    /// What the buffers have to hold.
    pub fn set_max_write(&self, max_write: u32) {
        self.state().max_write = max_write as usize;
    }

    /// Called on each thread for its message, which begins at this address.
    pub fn hold(&self, message: *const u8) {
        let mut state = self.state();
        if state.released {
            return;
        }
        if let Err(error) = populate(message, state.max_write + BESIDE) {
            tracing::debug!(%error, "a buffer is not there before it is needed");
        }
        state.ready += 1;
        self.changed.notify_all();
        while !state.released {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all threads are held, and does something before they go on, in any case.
    pub fn when_all_are_held(&self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let state = self.state();
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.ready < self.threads)
            .unwrap_or_else(PoisonError::into_inner);
        let done = match waited.timed_out() {
            true => Err(io::Error::other("the threads that answer the kernel do not start")),
            false => act(),
        };
        state.released = true;
        self.changed.notify_all();
        done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the kernel bring in pages for writing. What they hold does not change.
fn populate(from: *const u8, length: usize) -> io::Result<()> {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.unwrap_or(4096) as usize;
    let start = from.addr() & !(page - 1);
    // SAFETY: the advice changes no byte of the range, wherever it is; what is not mapped is an error.
    let done = unsafe {
        libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_POPULATE_WRITE)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn no_thread_goes_on_before_all_are_ready_and_the_act_is_done() {
        let primer = Arc::new(Primer::new(3));
        let done = Arc::new(Mutex::new(false));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (primer, done) = (Arc::clone(&primer), Arc::clone(&done));
                std::thread::spawn(move || {
                    let buffer = vec![0_u8; 1 << 20];
                    primer.hold(buffer.as_ptr());
                    assert!(*done.lock().unwrap());
                })
            })
            .collect();
        primer
            .when_all_are_held(|| {
                *done.lock().unwrap() = true;
                Ok(())
            })
            .unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn pages_are_there_afterwards() {
        const LENGTH: usize = 4 << 20;
        let buffer = vec![0_u8; LENGTH];
        populate(buffer.as_ptr(), LENGTH / 2).unwrap();
        let page = 4096;
        let first = (buffer.as_ptr().addr() + page - 1) & !(page - 1);
        let mut present = vec![0_u8; LENGTH / 4 / page];
        // SAFETY: the range is inside the buffer, and the vector has a byte for each of its pages.
        let asked = unsafe {
            libc::mincore(std::ptr::without_provenance_mut(first), LENGTH / 4, present.as_mut_ptr())
        };
        assert_eq!(asked, 0);
        assert!(present.iter().all(|page| page & 1 == 1));
    }
}
