//! `ncfs upgrade`: lets the program that is installed by now serve a mount.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::args::exit_codes;
use super::{not_mounted, resolve_mount};
use crate::control::{self, Client, Record, Status};
use crate::failure::{ExitCode, Failure};
use crate::mount_memory::UPGRADED;

/// How long the next process may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_millis(50);

/// Let the version that is installed by now serve a mount, without unmounting.
///
/// Programs see a pause: open files stay open, and nothing is sent or lost for it. If the new version
/// cannot take the mount over, the one before goes on. The program is looked for at the path from
/// which the mount was started.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct UpgradeArgs {
    /// Where it is mounted
    pub mountpoint: PathBuf,
}

pub fn run(args: &UpgradeArgs) -> Result<ExitCode, Failure> {
    let mountpoint = resolve_mount(&args.mountpoint)?;
    let record = control::find(&mountpoint)?.ok_or_else(|| not_mounted(&mountpoint))?;
    let mut client = Client::connect(&record)?;
    let before = client.status()?;
    client.upgrade()?;
    let after = successor(&record, &before)?;
    let now = format!(
        "{} is served by ncfs {} now (process {}; before: {}, process {})",
        after.mountpoint,
        after.program_version,
        after.daemon_pid,
        before.program_version,
        before.daemon_pid
    );
    match after.last_restart {
        Some(reason) if reason != UPGRADED => {
            Err(Failure::new(ExitCode::Other, format_args!("{now}: {reason}")))
        }
        _ => {
            println!("{now}");
            Ok(ExitCode::Success)
        }
    }
}

/// Waits for the next process of the mount.
fn successor(record: &Record, before: &Status) -> Result<Status, Failure> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let status = Client::connect(record)?.status()?;
        if status.daemon_pid != before.daemon_pid {
            return Ok(status);
        }
        std::thread::sleep(EVERY);
    }
    let sentence = format!(
        "{} was not taken over in {} s; see the log in the state directory",
        before.mountpoint,
        PATIENCE.as_secs()
    );
    Err(Failure::new(ExitCode::NotMounted, sentence))
}
