//! Memory for the credential: not swapped, not in a core file, not in a forked child, overwritten
//! when dropped.
//!
//! memfd_secret(2) would hide it from the kernel's own reach as well, but keeps the whole machine
//! from hibernating while it exists, which nobody expects of a mount.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use zeroize::Zeroize;

/// Bytes that only this process sees.
pub(super) struct Sealed {
    address: NonNull<c_void>,
    mapped: NonZeroUsize,
    length: usize,
}

impl Sealed {
    /// Takes a copy of the bytes; the original is the caller's to overwrite.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let mapped = NonZeroUsize::new(bytes.len()).unwrap_or(NonZeroUsize::MIN);
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
        let address = unsafe {
            mmap_anonymous(
                None,
                mapped,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE,
            )
        }?;
        let mut sealed = Self { address, mapped, length: bytes.len() };
        // SAFETY: the range is exactly the mapping made above, and none of the three changes what
        // this process reads there.
        unsafe {
            madvise(address, mapped.get(), MmapAdvise::MADV_DONTDUMP)?;
            madvise(address, mapped.get(), MmapAdvise::MADV_DONTFORK)?;
            if let Err(error) = mlock(address, mapped.get()) {
                // A container may allow none at all (RLIMIT_MEMLOCK); it rarely has swap either.
                tracing::debug!(%error, "the credential cannot be kept from being swapped");
            }
        }
        sealed.as_mut().copy_from_slice(bytes);
        Ok(sealed)
    }

    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is ours alone, readable and writable, at least `length` bytes long,
        // filled with zeros by the kernel, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts_mut(self.address.cast().as_ptr(), self.length) }
    }

    /// Writes the bytes into a pipe. The reader must exist: they may be more than a pipe holds.
    pub fn send(&self, mut pipe: File) -> io::Result<()> {
        // SAFETY: as in `as_mut`; nobody writes there while `self` is borrowed.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.address.cast().as_ptr(), self.length) };
        pipe.write_all(bytes)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.as_mut().zeroize();
        // SAFETY: the mapping is ours and nothing borrows from it any more. An error would leave
        // zeros behind.
        let _ = unsafe { munmap(self.address, self.mapped.get()) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_sealed_can_be_sent_more_than_once() {
        let sealed = Sealed::new(b"hunter2").unwrap();
        for _ in 0..2 {
            let (mut reader, writer) = std::io::pipe().unwrap();
            sealed.send(std::os::fd::OwnedFd::from(writer).into()).unwrap();
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hunter2");
        }
    }
}
