//! A running `ncfs serve`, as its supervisor sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::time::Instant;

use mount_helper::{Mounted, pass_to_child};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::link::Receiver;
use super::process::{self, Killed, die_with_parent, unblock_signals, watch};
use super::program::Program;
use super::sealed::Sealed;
use crate::mount_memory::MountMemory;

/// What a process is started for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    Serve,
    Refuse,
}

pub(super) struct Serve {
    pub child: Killed,
    /// Readable when it has ended.
    pub ended: OwnedFd,
    /// `None` when it has closed its end.
    pub link: Option<Receiver>,
    /// When it began to answer.
    pub ready: Option<Instant>,
    /// It was killed so that another program takes its place.
    pub replaced: bool,
    /// Its link ended and it did not: when it is given up.
    pub given_up: Option<Instant>,
}

impl Serve {
    pub fn start(
        program: &Program,
        mounted: &Mounted,
        sealed: &Sealed,
        memory: &MountMemory,
        duty: Duty,
    ) -> io::Result<Self> {
        let device = mounted
            .device()
            .ok_or_else(|| io::Error::other("the mount is gone"))?
            .try_clone_to_owned()?;
        let (config_out, config_in) = io::pipe()?;
        let (link_out, link_in) = io::pipe()?;

        let mut command = process::command(&program.path());
        command.arg("serve");
        for (option, descriptor) in [
            ("--fuse-fd", device),
            ("--memory-fd", memory.descriptor()?),
            ("--config-fd", config_out.into()),
            ("--link-fd", link_in.into()),
        ] {
            let number = pass_to_child(&mut command, descriptor);
            command.arg(option).arg(number.to_string());
        }
        if duty == Duty::Refuse {
            command.arg("--refuse");
        }
        // Ctrl-C in a terminal reaches the supervisor only, which decides.
        command.process_group(0);
        unblock_signals(&mut command);
        die_with_parent(&mut command);
        let child = Killed(command.spawn()?);
        // Our copies of what was passed must close, or the pipes never end.
        drop(command);
        // A process that is dead already does not read; its end says why.
        if let Err(error) = sealed.send(OwnedFd::from(config_in).into()) {
            tracing::debug!(%error, "the configuration was not read");
        }
        let ended = watch(child.0.id())?;
        let link = Some(Receiver::new(OwnedFd::from(link_out).into()));
        Ok(Self { child, ended, link, ready: None, replaced: false, given_up: None })
    }

    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.0.id())
            && let Err(error) = kill(Pid::from_raw(pid), signal)
        {
            tracing::warn!(%error, "the serving process could not be signalled");
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.0.try_wait(), Ok(None))
    }
}
