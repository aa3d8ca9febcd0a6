//! The beginning of a session: agreeing with the kernel, once for each mount.
//!
//! fuser reads FUSE_INIT from the descriptor that it is given, and the kernel sends it once. So fuser
//! gets one end of a socket pair; the request goes in at the other end, from the kernel or, when a
//! process before this one has answered it, from the memory of the mount. Then the real descriptor
//! takes the place of the socket, under its number (ANCHORS 0.1), when the threads are ready for it
//! ([`super::prime`]).
//!
//! A process that takes over must answer as the first one did, byte for byte, since the kernel goes by
//! that answer; it asks for what was promised then, whatever it would ask for today.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use fuser::{Config, Filesystem, InitFlags, Session, SessionACL};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::prime::Primer;
use crate::mount_memory::{Handshake, MountMemory};

/// More than the kernel wants as room for a first request (FUSE_MIN_READ_BUFFER, 8 KiB).
const ROOM: usize = 128 * 1024;

/// Bytes of the head of an answer, and of a notification (fuse.h, struct fuse_out_header).
const HEAD: usize = 16;

// Notifications to the kernel (fuse.h, enum fuse_notify_code).
const NOTIFY_RESEND: i32 = 7;
const NOTIFY_INC_EPOCH: i32 = 8;

/// What the kernel was promised when the mount began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promised {
    pub flags: InitFlags,
    pub max_write: u32,
    pub max_background: u16,
}

impl Promised {
    /// `None` when nothing was: the mount begins.
    pub fn in_memory(memory: &MountMemory) -> Option<Self> {
        memory.handshake().and_then(|handshake| Self::parse(&handshake.promise))
    }

    /// Reads the answer to FUSE_INIT (fuse.h, struct fuse_init_out).
    fn parse(answer: &[u8]) -> Option<Self> {
        let body = answer.get(HEAD..)?;
        let word = |at: usize| {
            let bytes = body.get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let flags = u64::from(word(12)?) | u64::from(word(32)?) << 32;
        Some(Self {
            flags: InitFlags::from_bits_retain(flags) & !InitFlags::FUSE_INIT_EXT,
            max_write: word(20)?,
            max_background: u16::from_ne_bytes(body.get(16..18)?.try_into().ok()?),
        })
    }
}

/// A session whose threads wait for the device.
pub(super) struct Waiting {
    socket: File,
    device: File,
    /// Where fuser reads.
    number: RawFd,
    takes_over: bool,
    max_write: u32,
}

/// A session on the mount behind `device`, whose requests `threads` threads will read. Once it runs,
/// [`Waiting::begin`] lets them.
pub(super) fn session<F: Filesystem>(
    filesystem: F,
    device: OwnedFd,
    memory: &MountMemory,
    threads: usize,
) -> io::Result<(Session<F>, Waiting)> {
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(threads);

    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let (mut socket, mut device) = (File::from(ours), File::from(device));
    let known = memory.handshake();
    let offer = match &known {
        Some(handshake) => handshake.offer.clone(),
        None => read_message(&mut device)?,
    };
    socket.write_all(&offer)?;
    let session = Session::from_fd(filesystem, theirs, SessionACL::All, config)?;
    let promise = read_message(&mut socket)?;
    let takes_over = known.is_some();
    match known {
        Some(handshake) if handshake.promise != promise => {
            return Err(io::Error::other(
                "this version of ncfs cannot take over what another one has agreed with the kernel",
            ));
        }
        Some(_) => {}
        None => {
            memory.set_handshake(&Handshake { offer, promise: promise.clone() })?;
            device.write_all(&promise)?;
        }
    }
    let max_write = Promised::parse(&promise).map_or(0, |promised| promised.max_write);
    let number = session.as_fd().as_raw_fd();
    Ok((session, Waiting { socket, device, number, takes_over, max_write }))
}

impl Waiting {
    /// Puts the device where the threads of the running session wait, when all of them are ready.
    pub fn begin(mut self, primer: &Primer, threads: usize) -> io::Result<RawFd> {
        primer.set_max_write(self.max_write);
        for _ in 0..threads {
            self.socket.write_all(&Primer::message())?;
        }
        primer.when_all_are_held(|| {
            replace(self.number, &self.device)?;
            if self.takes_over { take_over(&mut self.device) } else { Ok(()) }
        })?;
        Ok(self.number)
    }
}

/// One message: both kinds of descriptor give one with each read.
fn read_message(from: &mut File) -> io::Result<Vec<u8>> {
    let mut message = vec![0; ROOM];
    let length = loop {
        match from.read(&mut message) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    message.truncate(length);
    Ok(message)
}

/// Puts the device under a number that fuser owns, which stays closed to children. Nobody reads there
/// at the moment.
fn replace(number: RawFd, device: &File) -> io::Result<()> {
    // SAFETY: the call takes integers. What was open under the number is closed, which is the socket
    // that fuser owns and does not use meanwhile; what takes its place is as good a descriptor.
    if unsafe { libc::dup3(device.as_raw_fd(), number, libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has the kernel send again what the dead process had taken, and look up names anew: what it was
/// about to be told of them is lost.
pub(super) fn take_over(device: &mut File) -> io::Result<()> {
    // Linux 6.16. An older one believes what it has for a minute at most.
    if let Err(error) = notify(device, NOTIFY_INC_EPOCH) {
        tracing::debug!(%error, "the kernel does not look up all names anew");
    }
    notify(device, NOTIFY_RESEND).map_err(|error| {
        io::Error::other(format!(
            "the kernel does not send again what was not answered ({error}); that needs Linux 6.9"
        ))
    })
}

/// A notification without content.
fn notify(device: &mut File, code: i32) -> io::Result<()> {
    let mut message = [0; HEAD];
    message[..4].copy_from_slice(&(HEAD as u32).to_ne_bytes());
    message[4..8].copy_from_slice(&code.to_ne_bytes());
    device.write_all(&message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As fuser 0.18 answers Linux 6.18.
    fn answer() -> Vec<u8> {
        let mut answer = vec![0; HEAD + 64];
        let mut put = |at: usize, bytes: &[u8]| {
            answer[HEAD + at..HEAD + at + bytes.len()].copy_from_slice(bytes);
        };
        put(12, &0x4000_0021_u32.to_ne_bytes());
        put(16, &64_u16.to_ne_bytes());
        put(20, &(1_u32 << 20).to_ne_bytes());
        put(32, &2_u32.to_ne_bytes());
        answer
    }

    #[test]
    fn what_was_promised_is_read_from_the_answer() {
        let promised = Promised::parse(&answer()).unwrap();
        assert_eq!(promised.flags.bits(), 0x2_0000_0021);
        assert_eq!((promised.max_write, promised.max_background), (1 << 20, 64));
        assert_eq!(Promised::parse(&answer()[..40]), None);
    }
}
