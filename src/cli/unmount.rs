//! `ncfs unmount`: sends what is pending and unmounts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::args::exit_codes;
use super::flush::left_over;
use super::progress::Display;
use super::quantity::parse_duration;
use super::{not_mounted, resolve_mount};
use crate::control::{self, Client, ControlError, Record};
use crate::failure::{ExitCode, Failure};
use crate::supervise;

/// How long the supervisor may take after the daemon has told what is left.
const GRACE: Duration = Duration::from_secs(30);

/// Send what is pending, then unmount.
///
/// What cannot be sent in time is counted (exit code 7), stays in the state directory and goes out
/// at the next mount.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct UnmountArgs {
    /// Where it is mounted
    pub mountpoint: PathBuf,

    /// How long sending may take [default: as the mount was told with --shutdown-timeout]
    #[arg(long, value_name = "TIME", env = "NCFS_TIMEOUT", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

pub fn run(args: &UnmountArgs) -> Result<ExitCode, Failure> {
    let mountpoint = resolve_mount(&args.mountpoint)?;
    match control::find(&mountpoint)?.filter(|record| record.mountpoint == mountpoint) {
        Some(record) => end(&record, args.timeout),
        None => remove_dead(&mountpoint),
    }
}

/// Ends a living mount. Returns when the supervisor has, so that the next mount finds all free.
pub fn end(record: &Record, timeout: Option<Duration>) -> Result<ExitCode, Failure> {
    let mountpoint = &record.mountpoint;
    let mut display = Display::new(mountpoint.display().to_string());
    let outcome = Client::connect(record)?.shutdown(timeout, |progress| display.show(progress));
    drop(display);
    let ended = supervise::process::wait_for_end(record.supervisor_pid, GRACE);
    let outcome = match outcome {
        // It was already on its way out and took the socket with it.
        Err(ControlError::CutOff) if matches!(ended, Ok(true)) => Default::default(),
        outcome => outcome?,
    };
    if !matches!(ended, Ok(true)) || mount_helper::is_mounted(mountpoint)? {
        let sentence = format!(
            "{0} is still mounted, its supervisor (process {1}) does not end; to force it: kill \
             {1}, then umount -l {0}",
            mountpoint.display(),
            record.supervisor_pid
        );
        return Err(Failure::new(ExitCode::MountPoint, sentence));
    }
    if outcome.is_complete() {
        return Ok(ExitCode::Success);
    }
    let sentence = format!(
        "unmounted, but {}\nIt is kept in {} and goes out at the next mount",
        left_over(mountpoint, &outcome),
        record.state_dir.display()
    );
    Err(Failure::new(ExitCode::Unsent, sentence))
}

fn remove_dead(mountpoint: &Path) -> Result<ExitCode, Failure> {
    if !mount_helper::detach_if_dead(mountpoint)? {
        return Err(not_mounted(mountpoint));
    }
    while mount_helper::detach_if_dead(mountpoint)? {}
    eprintln!(
        "ncfs: the daemon of {} had ended before; what was not sent goes out at the next mount",
        mountpoint.display()
    );
    Ok(ExitCode::Success)
}
