//! Descriptors for child processes.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Lets the child of this command inherit the descriptor, under the number returned.
///
/// The command owns the descriptor from now on: it closes here when the command is dropped.
pub fn pass_to_child(command: &mut Command, descriptor: OwnedFd) -> RawFd {
    let number = descriptor.as_raw_fd();
    // SAFETY: between fork and exec the closure makes one fcntl(2) call, which is
    // async-signal-safe, and touches no memory that another thread may hold a lock on.
    unsafe {
        command.pre_exec(move || {
            fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok(())
        });
    }
    number
}
