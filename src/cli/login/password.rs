//! Asking for a password at the terminal, without showing it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::waiting::stopped;
use crate::failure::{ExitCode, Failure};
use crate::remote::Secret;
use crate::supervise::process::{block_signals, unblock_signals_here};

/// Asks at the terminal that this process belongs to, wherever its streams lead. The terminal is as
/// before afterwards, also if a signal ends it.
pub fn ask(prompt: &str) -> Result<Secret, Failure> {
    let failed = |cause: &dyn std::fmt::Display| {
        let sentence = format!(
            "there is no terminal to ask for the password ({cause}); give it in the variable \
             NCFS_PASSWORD"
        );
        Failure::new(ExitCode::Credentials, sentence)
    };
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let terminal = terminal.map_err(|cause| failed(&cause))?;
    let signals = block_signals().map_err(|cause| failed(&cause))?;
    let quiet = Quiet::new(&terminal).map_err(|cause| failed(&cause))?;
    (&terminal).write_all(prompt.as_bytes()).map_err(|cause| failed(&cause))?;
    let mut polled = [
        PollFd::new(terminal.as_fd(), PollFlags::POLLIN),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
    ];
    while let Err(errno) = poll(&mut polled, PollTimeout::NONE) {
        if errno != nix::errno::Errno::EINTR {
            return Err(failed(&errno));
        }
    }
    if polled[1].any() == Some(true) {
        return Err(stopped());
    }
    // The terminal gives a line as a whole.
    let mut line = Zeroizing::new(String::with_capacity(4096));
    BufReader::new(&terminal).read_line(&mut line).map_err(|cause| failed(&cause))?;
    drop(quiet);
    // What follows can be stopped as usual.
    unblock_signals_here().map_err(|cause| failed(&cause))?;
    match line.trim_end_matches(['\n', '\r']) {
        "" => Err(stopped()),
        password => Ok(Secret::new(password)),
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> nix::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // There is nobody to tell. The line end that was typed was not shown either.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
        let mut terminal = self.terminal;
        let _ = terminal.write_all(b"\n");
    }
}
