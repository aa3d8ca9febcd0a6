//! The commands: what the user types, what they read, and the exit codes.
//!
//! Every command ends in a [`Failure`] with one sentence on stderr, or in an exit code. What a command
//! prints for programs goes to stdout, everything else to stderr.

mod accounts;
mod args;
mod completions;
mod credentials;
mod demo;
mod directories;
mod exit_codes;
mod explain;
mod flush;
mod helpers;
mod inherited;
mod locate;
mod log;
mod login;
mod logout;
mod man;
mod mount;
mod output;
mod predecessor;
mod problems;
mod progress;
mod quantity;
mod reference;
mod refresh;
mod rescue;
mod resolve;
mod retry;
mod serve;
mod status;
mod target;
mod unmount;
mod upgrade;

use std::path::{Path, PathBuf};

use clap::Parser;
use mount_helper::MountError;

use crate::failure::{ExitCode, Failure};
use crate::remote::Secret;
use args::{Cli, Command};
use helpers::Helper;
use mount::Setting;

/// The program.
pub fn main() -> std::process::ExitCode {
    // Before anything can start a thread or a child.
    let password = crate::supervise::process::take_secret_variable("NCFS_PASSWORD");
    if let Some(helper) = std::env::args_os().next().and_then(|name| Helper::named(&name)) {
        return helper.run(password);
    }
    match dispatch(Cli::parse().command, password) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("ncfs: {failure}");
            failure.exit_code.into()
        }
    }
}

fn dispatch(command: Command, password: Option<Secret>) -> Result<std::process::ExitCode, Failure> {
    Ok(match command {
        Command::Login(args) => login::run(&args, password)?.into(),
        Command::Logout(args) => logout::run(&args)?.into(),
        Command::Accounts(args) => accounts::run(&args)?.into(),
        Command::Mount(args) => mount::run(*args, password, Setting::default())?.into(),
        Command::Unmount(args) => unmount::run(&args)?.into(),
        Command::Flush(args) => flush::run(&args)?.into(),
        Command::Upgrade(args) => upgrade::run(&args)?.into(),
        Command::Status(args) => status::run(&args)?.into(),
        Command::Problems(args) => problems::run(&args)?.into(),
        Command::Explain(args) => explain::run(&args)?.into(),
        Command::Resolve(args) => resolve::run(&args)?.into(),
        Command::Retry(args) => retry::run(&args)?.into(),
        Command::Refresh(args) => refresh::run(&args)?.into(),
        Command::Rescue(args) => rescue::run(&args)?.into(),
        Command::Demo(args) => demo::run(&args)?,
        Command::Completions(args) => completions::run(&args)?.into(),
        Command::Man(args) => man::run(&args)?.into(),
        Command::Reference(args) => reference::run(&args)?.into(),
        Command::Supervise(args) => serve::supervise(&args)?.into(),
        Command::Serve(args) => serve::serve(&args)?.into(),
    })
}

/// The path of a mount without symlinks, also when it is dead.
fn resolve_mount(path: &Path) -> Result<PathBuf, Failure> {
    mount_helper::resolve(path).map_err(|error| match error {
        MountError::Missing(path) => {
            let sentence = format!("{} does not exist", path.display());
            Failure::new(ExitCode::NotMounted, sentence)
        }
        error => error.into(),
    })
}

/// Nobody answers for this path.
fn not_mounted(path: &Path) -> Failure {
    let is_mount = |path: &&Path| mount_helper::is_mounted(path).unwrap_or(false);
    let sentence = match path.ancestors().find(is_mount) {
        Some(mount) if mount_helper::is_dead(mount) => format!(
            "the daemon of {0} has ended; remove the dead mount with: ncfs unmount {0}",
            mount.display()
        ),
        Some(mount) => format!(
            "{} is not a mount of yours, or was mounted with another NCFS_RUNTIME_DIR or \
             XDG_RUNTIME_DIR; ask as the user who mounted it, with the same variables",
            mount.display()
        ),
        None => format!(
            "nothing is mounted at {} by you; ncfs status lists your mounts",
            path.display()
        ),
    };
    Failure::new(ExitCode::NotMounted, sentence)
}
