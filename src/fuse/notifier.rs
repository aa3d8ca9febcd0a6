//! Tells the kernel what of its caches is no longer true.
//!
//! A notification can block in the kernel for as long as a request of the same inode waits for its
//! answer: dropping pages waits for reads (ANCHORS 0.4). So it is done by one thread, with no lock
//! held, and nothing ever waits for that thread. Pages are dropped only of files that nobody has
//! open; for an open one the next open decides whether its pages are kept.
//!
//! A thread that waits in the kernel outlives the death of its process until it is let go, which takes
//! the answer of the process that takes over. So this one holds no descriptors but the mount's own:
//! else it would hold the lock of the state directory, and nobody could take over.

use std::ffi::OsStr;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::INodeNo;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::types::{Ino, Name};
use crate::vfs::{Event, Vfs};

/// The thread that notifies; silent once it is disarmed.
#[derive(Clone)]
pub(super) struct Notifier {
    armed: Arc<AtomicBool>,
}

/// What the kernel is told.
#[derive(Debug, PartialEq, Eq)]
enum Notice {
    /// Forget where this name leads.
    Name(Ino, Name),
    /// Ask for the attributes again.
    Attributes(Ino),
    /// Ask for the attributes and all bytes again.
    Pages(Ino),
}

impl Notifier {
    /// Begins to tell the kernel of `events`, until their sender is gone. `device` is where.
    pub fn start(
        kernel: fuser::Notifier,
        device: RawFd,
        vfs: Arc<Vfs>,
        mut events: UnboundedReceiver<Event>,
    ) -> io::Result<Notifier> {
        let armed = Arc::new(AtomicBool::new(true));
        let notifier = Notifier { armed: Arc::clone(&armed) };
        std::thread::Builder::new().name("ncfs-notifier".into()).spawn(move || {
            if let Err(error) = keep_only(device) {
                tracing::debug!(%error, "the notifier shares all descriptors");
            }
            while let Some(event) = events.blocking_recv() {
                if armed.load(Ordering::Acquire) {
                    tell(&kernel, notice(event, |ino| vfs.is_open(ino)));
                }
            }
        })?;
        Ok(notifier)
    }

    /// Sends nothing from now on. One notification may still be on its way.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Release);
    }
}

/// Gives this thread a table of descriptors of its own, with the standard ones and this one.
fn keep_only(device: RawFd) -> io::Result<()> {
    let close = |first: RawFd, last: libc::c_uint| {
        // SAFETY: the call takes integers. With CLOSE_RANGE_UNSHARE it first copies the table, so that
        // what is closed stays open for all other threads; this one uses none of it.
        let closed = unsafe {
            libc::syscall(
                libc::SYS_close_range,
                first as libc::c_uint,
                last,
                libc::CLOSE_RANGE_UNSHARE,
            )
        };
        if closed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    close(device + 1, libc::c_uint::MAX)?;
    if device > libc::STDERR_FILENO + 1 {
        close(libc::STDERR_FILENO + 1, device as libc::c_uint - 1)?;
    }
    Ok(())
}

fn notice(event: Event, is_open: impl Fn(Ino) -> bool) -> Notice {
    match event {
        Event::Entry { parent, name } => Notice::Name(parent, name),
        Event::Attributes(ino) => Notice::Attributes(ino),
        Event::Content(ino) if is_open(ino) => Notice::Attributes(ino),
        Event::Content(ino) => Notice::Pages(ino),
    }
}

fn tell(kernel: &fuser::Notifier, notice: Notice) {
    let told = match &notice {
        Notice::Name(parent, name) => {
            kernel.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name.as_bytes()))
        }
        // A negative offset leaves the pages alone (fs/fuse/inode.c, fuse_reverse_inval_inode).
        Notice::Attributes(ino) => kernel.inval_inode(INodeNo(ino.0), -1, 0),
        Notice::Pages(ino) => kernel.inval_inode(INodeNo(ino.0), 0, 0),
    };
    // That the kernel knows nothing of it (ENOENT) is no error for fuser.
    if let Err(error) = told {
        tracing::debug!(%error, "the kernel did not take a notification");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_an_open_file_are_never_dropped() {
        assert_eq!(notice(Event::Content(Ino(7)), |_| true), Notice::Attributes(Ino(7)));
        assert_eq!(notice(Event::Content(Ino(7)), |_| false), Notice::Pages(Ino(7)));
    }
}
