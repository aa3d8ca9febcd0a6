//! What is remembered of a mount for as long as it lives, whichever process serves it.
//!
//! The supervisor makes it, and each `serve` maps it: when one dies, the next finds what the kernel
//! was promised, the open handles ([`HandleSlots`]) and the requests that were not answered
//! ([`RequestSlots`]). It is memory without a file system behind it (memfd), so writing costs no
//! system call; it goes with the supervisor, and so does the mount.
//!
//! # What holds after a kill at any instruction
//!
//! All of it is 64-bit words that are read and written as atomics. Whatever has more than one word is
//! filled first and made valid by one last store (`Release`), and taken back by one store. So a
//! reader sees a record whole or not at all; and as the writer is dead when another begins to read,
//! all its stores up to some instruction are there, and none after it.
//!
//! One process writes at a time, but for [`MountMemory::answered`], which the supervisor only reads.
//!
//! # Bounds
//!
//! The size is fixed and sealed: nobody can take the ground away from under a mapping. Pages come
//! into being when they are touched: 36 KiB for an idle mount, 32 bytes for each file that was ever
//! open at the same time as the others.

mod handles;
mod requests;

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

pub use handles::{HandleSlots, KeptHandle};
pub use requests::{RequestSlot, RequestSlots};

/// Why a process ended that `ncfs upgrade` replaced.
pub const UPGRADED: &str = "replaced by ncfs upgrade";

/// Written at the beginning; changes with the layout.
const LAYOUT: u64 = u64::from_be_bytes(*b"ncfsmem1");

// Where what is, in words.
const AT_LAYOUT: usize = 0;
const AT_CONNECTION: usize = 1;
const AT_ANSWERED: usize = 3;
const AT_SUSPICION: usize = 4;
const AT_RESTARTS: usize = 5;
const AT_HANDLES_USED: usize = 6;
const AT_SERVING: usize = 7;
const AT_REASON: usize = 64;
const AT_OFFER: usize = 160;
const AT_PROMISE: usize = 224;
const AT_REQUESTS: usize = 512;
const AT_HANDLES: usize = AT_REQUESTS + requests::WORDS;
const WORDS: usize = AT_HANDLES + handles::WORDS;

/// Bytes of the longest text or message that is kept.
const TEXT: usize = 504;

/// The memory of one mount.
pub struct MountMemory {
    words: NonNull<AtomicU64>,
    file: File,
}

// SAFETY: what is behind the pointer is atomics, which any thread may use; it is unmapped when the
// last owner is gone.
unsafe impl Send for MountMemory {}
// SAFETY: as above.
unsafe impl Sync for MountMemory {}

/// What was agreed with the kernel when the mount began, as the messages that did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// FUSE_INIT as the kernel sent it.
    pub offer: Vec<u8>,
    /// The answer.
    pub promise: Vec<u8>,
}

impl MountMemory {
    /// The memory of a mount that begins.
    pub fn create() -> io::Result<Self> {
        let file = memfd_create("ncfs-mount", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let file = File::from(file);
        file.set_len((WORDS * 8) as u64)?;
        let sealed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(sealed))?;
        let memory = Self::map(file)?;
        let connection: [u64; 2] = [rand::random(), rand::random()];
        for (at, word) in connection.into_iter().enumerate() {
            memory.word(AT_CONNECTION + at).store(word, Ordering::Relaxed);
        }
        memory.word(AT_LAYOUT).store(LAYOUT, Ordering::Release);
        Ok(memory)
    }

    /// The memory that the supervisor handed over.
    pub fn open(descriptor: OwnedFd) -> io::Result<Self> {
        let other = || io::Error::other("the memory of the mount is of another version of ncfs");
        let file = File::from(descriptor);
        if file.metadata()?.len() != (WORDS * 8) as u64 {
            return Err(other());
        }
        let memory = Self::map(file)?;
        if memory.word(AT_LAYOUT).load(Ordering::Acquire) != LAYOUT {
            return Err(other());
        }
        Ok(memory)
    }

    fn map(file: File) -> io::Result<Self> {
        let length = NonZeroUsize::new(WORDS * 8).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing. The file has
        // this length, and is sealed against another.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0) }?;
        Ok(Self { words: address.cast(), file })
    }

    /// A descriptor for the process that is to serve.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < WORDS, "beyond the memory of the mount");
        // SAFETY: `at` is inside the mapping, which is aligned to a page and lives as long as `self`;
        // everybody uses these words as atomics, and any bit pattern is a u64.
        unsafe { self.words.add(at).as_ref() }
    }

    /// Names this mount's connection to the kernel: random, another for each mount.
    pub fn connection(&self) -> u128 {
        let half = |at| u128::from(self.word(AT_CONNECTION + at).load(Ordering::Relaxed));
        half(0) << 64 | half(1)
    }

    /// How many requests were answered by the present process.
    pub fn answered(&self) -> u64 {
        self.word(AT_ANSWERED).load(Ordering::Relaxed)
    }

    /// How often a process took over from one that had ended.
    pub fn restarts(&self) -> u64 {
        self.word(AT_RESTARTS).load(Ordering::Relaxed)
    }

    /// Why the last one ended; `None` before the first restart.
    pub fn last_end(&self) -> Option<String> {
        let text = self.bytes(AT_REASON)?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Notes a death, and prepares for the next process. `suspicious`: the requests that were not
    /// answered may have been the cause, if the dead process had come to any.
    pub fn note_death(&self, reason: &str, suspicious: bool) {
        let mut end = reason.len().min(TEXT);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.set_bytes(AT_REASON, &reason.as_bytes()[..end]);
        if self.word(AT_SERVING).swap(0, Ordering::Relaxed) != 0 {
            self.word(AT_SUSPICION).store(u64::from(suspicious), Ordering::Relaxed);
        }
        self.word(AT_ANSWERED).store(0, Ordering::Relaxed);
        self.word(AT_RESTARTS).fetch_add(1, Ordering::Relaxed);
    }

    /// What was agreed with the kernel; `None` as long as nothing was: the mount has not begun.
    pub fn handshake(&self) -> Option<Handshake> {
        // The promise is noted last.
        let promise = self.bytes(AT_PROMISE)?;
        Some(Handshake { offer: self.bytes(AT_OFFER)?, promise })
    }

    /// To be called before the answer goes out: a daemon that dies after it left a mount that can be
    /// taken over.
    pub fn set_handshake(&self, handshake: &Handshake) -> io::Result<()> {
        if handshake.offer.len().max(handshake.promise.len()) > TEXT {
            return Err(io::Error::other("FUSE_INIT is longer than anybody knows it"));
        }
        self.set_bytes(AT_OFFER, &handshake.offer);
        self.set_bytes(AT_PROMISE, &handshake.promise);
        Ok(())
    }

    /// A text: its length, then its bytes. `None` if there is none.
    fn bytes(&self, at: usize) -> Option<Vec<u8>> {
        let length = self.word(at).load(Ordering::Acquire) as usize;
        if length == 0 || length > TEXT {
            return None;
        }
        let words = (0..length.div_ceil(8)).map(|n| self.word(at + 1 + n).load(Ordering::Relaxed));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        bytes.truncate(length);
        Some(bytes)
    }

    fn set_bytes(&self, at: usize, bytes: &[u8]) {
        self.word(at).store(0, Ordering::Release);
        for (n, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(at + 1 + n).store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        self.word(at).store(bytes.len() as u64, Ordering::Release);
    }
}

impl Drop for MountMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this length, and nothing borrows from it any more. An
        // error would leave it mapped, which harms nobody.
        let _ = unsafe { munmap(self.words.cast(), WORDS * 8) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_finds_what_was_agreed_and_why_the_last_one_ended() {
        let memory = MountMemory::create().unwrap();
        assert_eq!((memory.handshake(), memory.last_end(), memory.restarts()), (None, None, 0));
        let handshake = Handshake { offer: vec![1; 104], promise: vec![2; 81] };
        memory.set_handshake(&handshake).unwrap();
        memory.note_death("ended by signal 9", false);

        let other = MountMemory::open(memory.descriptor().unwrap()).unwrap();
        assert_eq!(other.connection(), memory.connection());
        assert_eq!(other.handshake(), Some(handshake));
        assert_eq!(other.last_end().as_deref(), Some("ended by signal 9"));
        assert_eq!(other.restarts(), 1);
    }

    #[test]
    fn a_reason_that_is_too_long_is_cut_between_two_letters() {
        let memory = MountMemory::create().unwrap();
        memory.note_death(&"\u{e9}".repeat(TEXT), true);
        assert_eq!(memory.last_end(), Some("\u{e9}".repeat(TEXT / 2)));
    }

    #[test]
    fn memory_of_another_layout_is_refused() {
        let memory = MountMemory::create().unwrap();
        memory.word(AT_LAYOUT).store(7, Ordering::Relaxed);
        assert!(MountMemory::open(memory.descriptor().unwrap()).is_err());
        let short = memfd_create("short", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(MountMemory::open(short).is_err());
    }
}
