//! Serving a mount by refusing all of it.
//!
//! For a mount whose processes die as fast as they are started: programs get EIO instead of waiting
//! for ever, and the mount can be ended. It knows the heads of requests only, so that there is as
//! little as possible to die of.

use std::fs::File;
use std::io::{self, Read, Write};

/// Bytes of a request's head (fuse.h, struct fuse_in_header): length, operation, number, ...
const REQUEST_HEAD: usize = 40;
/// Room that a read needs beyond the largest write (FUSE_MIN_READ_BUFFER).
const ROOM: usize = 8192;

// Operations (fuse.h, enum fuse_opcode).
const FORGET: u32 = 2;
const RELEASE: u32 = 18;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// None: the kernel expects none.
    Nothing,
    Done,
    Refused,
}

fn answer(operation: u32) -> Answer {
    match operation {
        // An interrupted request gets its answer at once as it is.
        FORGET | BATCH_FORGET | INTERRUPT => Answer::Nothing,
        RELEASE | RELEASEDIR | DESTROY => Answer::Done,
        _ => Answer::Refused,
    }
}

/// Answers until the mount is gone. `max_write` is what the kernel was promised.
pub(super) fn refuse_all(mut device: File, max_write: u32) -> io::Result<()> {
    let mut request = vec![0; max_write as usize + ROOM];
    loop {
        match device.read(&mut request) {
            Ok(length) if length >= REQUEST_HEAD => {}
            Ok(_) => return Err(io::Error::other("a request without a head")),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::EINTR | libc::EAGAIN) => continue,
                Some(libc::ENODEV) => return Ok(()),
                _ => return Err(error),
            },
        }
        let mut operation = [0; 4];
        operation.copy_from_slice(&request[4..8]);
        let errno = match answer(u32::from_ne_bytes(operation)) {
            Answer::Nothing => continue,
            Answer::Done => 0,
            Answer::Refused => libc::EIO,
        };
        let mut reply = [0; 16];
        reply[..4].copy_from_slice(&16_u32.to_ne_bytes());
        reply[4..8].copy_from_slice(&(-errno).to_ne_bytes());
        reply[8..].copy_from_slice(&request[8..16]);
        // A program that was killed waits for no answer any more (ENOENT).
        if let Err(error) = device.write_all(&reply) {
            tracing::debug!(%error, "an answer was not wanted");
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn every_request_gets_the_answer_that_it_waits_for() {
        const LOOKUP: u32 = 1;
        let (kernel, device) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::empty()).unwrap();
        let mut kernel = File::from(kernel);
        let refusing = std::thread::spawn(move || refuse_all(File::from(device), 4096));
        for (operation, unique) in [(FORGET, 2_u64), (LOOKUP, 4), (RELEASE, 1 << 63 | 6)] {
            let mut request = [0; REQUEST_HEAD];
            request[4..8].copy_from_slice(&operation.to_ne_bytes());
            request[8..16].copy_from_slice(&unique.to_ne_bytes());
            kernel.write_all(&request).unwrap();
        }
        for (errno, unique) in [(-libc::EIO, 4_u64), (0, 1 << 63 | 6)] {
            let mut reply = [0; 16];
            assert_eq!(kernel.read(&mut reply).unwrap(), 16);
            assert_eq!(i32::from_ne_bytes(reply[4..8].try_into().unwrap()), errno);
            assert_eq!(u64::from_ne_bytes(reply[8..].try_into().unwrap()), unique);
        }
        drop(kernel);
        assert!(refusing.join().unwrap().is_err());
    }
}
