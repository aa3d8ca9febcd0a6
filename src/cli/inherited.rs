//! Descriptors that were inherited under a number.

use std::fs::File;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::failure::{ExitCode, Failure};

/// Takes a descriptor over, so that it closes with the result and no child inherits it. `option`
/// names it in the error. A number may be given once.
pub fn take(number: i32, option: &str) -> Result<OwnedFd, Failure> {
    let refused = |why: &dyn std::fmt::Display| {
        Failure::new(ExitCode::Usage, format_args!("{option} {number} cannot be used: {why}"))
    };
    if number <= libc::STDERR_FILENO {
        return Err(refused(&"0, 1 and 2 are taken; name another open descriptor"));
    }
    // SAFETY: the borrow ends before anything could close the descriptor; if it is not open at all,
    // fcntl says so.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(|errno| refused(&errno.desc()))?;
    // SAFETY: it is open, and it was opened for us by whoever gave us its number: nothing else in
    // this process owns it, as this runs before anything else is opened.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The same as a file.
pub fn take_file(number: i32, option: &str) -> Result<File, Failure> {
    take(number, option).map(File::from)
}
