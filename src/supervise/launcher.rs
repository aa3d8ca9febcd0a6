//! `ncfs mount` without `--foreground`: starts the supervisor away from the terminal and waits until
//! the mount answers.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mount_helper::pass_to_child;

use super::link::{Message, Receiver};
use super::process::{harden, own_program};
use super::sealed::Sealed;
use super::supervisor::{self, RemoteLauncher};
use crate::config::ServeConfig;
use crate::failure::{ExitCode, Failure};

/// Where the log of a mount in the background is.
pub fn log_file(config: &ServeConfig) -> PathBuf {
    config.state_dir.join("ncfs.log")
}

/// Starts a mount in the background. Returns when it answers; if it does not come to that, nothing
/// stays mounted. If this process ends before, the mount ends too.
pub fn launch(config: &ServeConfig) -> Result<(), Failure> {
    let log = open_log(&log_file(config)).map_err(|cause| {
        let sentence = format!(
            "the state directory {} cannot be written: {cause}; name another with --state-dir",
            config.state_dir.display()
        );
        Failure::new(ExitCode::State, sentence)
    })?;
    let failed = |cause: io::Error| {
        Failure::new(ExitCode::Other, format_args!("the mount cannot be started: {cause}"))
    };
    let ready = start(config, &log).map_err(failed)?;
    let mut receiver = Receiver::new(OwnedFd::from(ready).into());
    while let Some(messages) = receiver.receive().map_err(failed)? {
        match messages.first() {
            Some(Message::Ready { .. }) => return Ok(()),
            Some(Message::Failed { error, exit_code }) => {
                return Err(Message::failure(error, *exit_code));
            }
            Some(Message::Unmount { .. } | Message::Upgrade { .. }) | None => {}
        }
    }
    let sentence = format!("the mount ended at its start; see {}", log_file(config).display());
    Err(Failure::new(ExitCode::Other, sentence))
}

fn start(config: &ServeConfig, log: &File) -> io::Result<io::PipeReader> {
    let sealed = Sealed::new(&config.encode()?)?;
    let (config_out, config_in) = io::pipe()?;
    let (ready_out, ready_in) = io::pipe()?;
    let mut command = own_program();
    command.arg("supervise");
    for (option, descriptor) in
        [("--config-fd", OwnedFd::from(config_out)), ("--link-fd", ready_in.into())]
    {
        let number = pass_to_child(&mut command, descriptor);
        command.arg(option).arg(number.to_string());
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).current_dir("/");
    // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Ok(())
        });
    }
    // Not waited for: it outlives us, and init inherits it.
    command.spawn()?;
    drop(command);
    sealed.send(OwnedFd::from(config_in).into())?;
    Ok(ready_out)
}

/// `ncfs supervise`: what [`launch`] started. `pipe` leads to it.
pub fn supervise(config: &ServeConfig, pipe: File) -> Result<ExitCode, Failure> {
    let mut launcher = RemoteLauncher::new(pipe);
    let outcome = harden()
        .map_err(|cause| Failure::new(ExitCode::Other, cause))
        .and_then(|()| supervisor::run(config, &mut launcher));
    if let Err(failure) = &outcome {
        launcher.fail(failure);
    }
    outcome
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
