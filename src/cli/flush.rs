//! `ncfs flush`: waits until the server has it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::args::exit_codes;
use super::not_mounted;
use super::progress::Display;
use super::quantity::{files, parse_duration, size};
use crate::control::{self, Client, FlushOutcome, Record};
use crate::failure::{ExitCode, Failure};
use crate::types::{Name, RemotePath};

/// Wait until the server has what was changed.
///
/// Ends with exit code 7 if something is left when the time is over, or if it cannot be sent without
/// you: ncfs status says why.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct FlushArgs {
    /// A file or directory in a mount; all your mounts without it
    pub path: Option<PathBuf>,

    /// How long to wait [default: as long as it takes]
    #[arg(long, value_name = "TIME", env = "NCFS_TIMEOUT", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

pub fn run(args: &FlushArgs) -> Result<ExitCode, Failure> {
    let targets = match &args.path {
        Some(path) => vec![locate(path)?],
        None => control::list()?.into_iter().map(|record| (record, RemotePath::root())).collect(),
    };
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut code = ExitCode::Success;
    for (record, below) in targets {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let outcome = flush(&record, &below, left)?;
        if !outcome.is_complete() {
            eprintln!("ncfs: {}", left_over(&record.mountpoint, &outcome));
            code = ExitCode::Unsent;
        }
    }
    Ok(code)
}

/// Flushes one mount with progress shown.
pub fn flush(
    record: &Record,
    below: &RemotePath,
    timeout: Option<Duration>,
) -> Result<FlushOutcome, Failure> {
    let mut display = Display::new(record.mountpoint.display().to_string());
    let mut client = Client::connect(record)?;
    Ok(client.flush(below, timeout, |progress| display.show(progress))?)
}

/// What is left, why, and what waits for the user.
pub fn left_over(mountpoint: &Path, outcome: &FlushOutcome) -> String {
    let mut text = format!(
        "{}: {} ({}) could not be sent",
        mountpoint.display(),
        files(outcome.files_left),
        size(outcome.bytes_left)
    );
    if let Some(reason) = &outcome.reason {
        text.push_str(&format!(": {reason}"));
    }
    for problem in outcome.problems.iter().take(10) {
        text.push_str(&format!("\n  {}: {}; {}", problem.path, problem.reason, problem.what_to_do));
    }
    if outcome.problems.len() > 10 {
        text.push_str("\n  ...; ncfs status lists all");
    }
    text
}

/// The mount that holds a path, and the path below it.
///
/// The last name is not resolved at first: it may be a symlink in the mount, or be deleted already.
fn locate(path: &Path) -> Result<(Record, RemotePath), Failure> {
    let mut tried = None;
    for resolved in [resolve_parent(path), mount_helper::resolve(path).ok()].into_iter().flatten() {
        if let Some(record) = control::find(&resolved)? {
            let below = below(&record.mountpoint, &resolved)?;
            return Ok((record, below));
        }
        tried = Some(resolved);
    }
    match tried {
        Some(resolved) => Err(not_mounted(&resolved)),
        None => Err(Failure::new(
            ExitCode::NotMounted,
            format_args!("{} does not exist", path.display()),
        )),
    }
}

fn resolve_parent(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Some(parent.unwrap_or(Path::new(".")).canonicalize().ok()?.join(name))
}

fn below(mountpoint: &Path, path: &Path) -> Result<RemotePath, Failure> {
    let rest = path.strip_prefix(mountpoint).unwrap_or(Path::new(""));
    rest.iter()
        .map(|name| Name::new(name.as_bytes()))
        .collect::<Result<_, _>>()
        .map(RemotePath)
        .map_err(|error| Failure::new(ExitCode::Usage, error))
}
