//! What a process does to itself and learns of others.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getpid, getppid};

use crate::secret::Secret;

/// Keeps the memory of this process from other processes of the same user and from core files, and
/// lets it be called `ncfs` whatever path it was executed by.
pub fn harden() -> io::Result<()> {
    nix::sys::prctl::set_name(c"ncfs")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

/// Takes a password out of an environment variable: it is overwritten where the kernel shows it to
/// others (`/proc/PID/environ`) and not inherited by children. `None` if it is unset or not UTF-8.
///
/// Must be called before this process has a second thread.
pub fn take_secret_variable(name: &str) -> Option<Secret> {
    let value = std::env::var(name).ok().map(Secret::new);
    // SAFETY: there is one thread, so nobody else reads or changes the environment meanwhile.
    // `environ` is a null-terminated list of null-terminated strings; what is overwritten is the
    // value of one of them, up to its terminator, in memory that is writable (environ(7)).
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = CStr::from_ptr(*entry).to_bytes();
            let length = text.len();
            let is_named = text.strip_prefix(name.as_bytes()).is_some_and(|t| t.starts_with(b"="));
            if is_named {
                for offset in name.len() + 1..length {
                    (*entry).cast::<u8>().add(offset).write_volatile(0);
                }
            }
            entry = entry.add(1);
        }
        std::env::remove_var(name);
    }
    value
}

unsafe extern "C" {
    static environ: *mut *mut libc::c_char;
}

/// A descriptor that becomes readable when the process ends (pidfd_open(2)).
pub fn watch(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    let number = i32::try_from(number).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Waits until a process has ended, whoever its parent is. Gives whether it did so in time.
pub fn wait_for_end(pid: u32, timeout: Duration) -> io::Result<bool> {
    let watched = match watch(pid) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(true),
        other => other?,
    };
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(watched.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, poll_timeout(left)) {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(0) if !left.is_zero() => {}
            other => return Ok(other? > 0),
        }
    }
}

/// Milliseconds, rounded up, so that a wait never ends early; at most a minute, as nothing here
/// minds waking up.
pub(super) fn poll_timeout(left: Duration) -> PollTimeout {
    let millis = left.min(Duration::from_secs(60)).as_micros().div_ceil(1000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

/// Makes the signals that ask for an end readable instead of deadly, in this thread and those that
/// it starts. Child processes inherit that, see [`unblock_signals`].
pub fn block_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// This program, also after an upgrade replaced its file.
///
/// The child inherits what is passed to it after this call, and nothing that this process inherited
/// itself: a caller may wait for the end of a pipe that a mount in the background would keep open.
pub fn own_program() -> Command {
    let program = std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| "/proc/self/exe".into());
    command(&program)
}

/// The command that executes a program as `ncfs`; see [`own_program`].
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg0("ncfs");
    // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe,
    // takes integers, and marks descriptors of the child only. Where the kernel does not know it
    // (before 5.11) all stays as it was.
    unsafe {
        command.pre_exec(|| {
            libc::syscall(
                libc::SYS_close_range,
                libc::STDERR_FILENO + 1,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            Ok(())
        });
    }
    command
}

/// Lets this thread receive all signals again as before [`block_signals`].
pub fn unblock_signals_here() -> nix::Result<()> {
    SigSet::empty().thread_set_mask()
}

/// Lets the child receive all signals, as if [`block_signals`] had never been called.
pub fn unblock_signals(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe,
    // and touches no memory that another thread may hold a lock on.
    unsafe {
        command.pre_exec(|| {
            SigSet::empty().thread_set_mask()?;
            Ok(())
        });
    }
}

/// Lets the child get SIGTERM when this thread ends, however it does.
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec the closure makes two system calls, which are
    // async-signal-safe, and touches no memory that another thread may hold a lock on.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
            // It may have died before that.
            if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        });
    }
}

/// A child that does not outlive its owner.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_noticed_before_anybody_waits_for_it() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        assert!(!wait_for_end(child.id(), Duration::from_millis(10)).unwrap());
        child.kill().unwrap();
        assert!(wait_for_end(child.id(), Duration::from_secs(60)).unwrap());
        child.wait().unwrap();
    }
}
