//! `ncfs flush`: waits until the server has it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::args::exit_codes;
use super::locate::locate_any;
use super::progress::Display;
use super::quantity::{files, parse_duration, size};
use crate::control::{Client, FlushOutcome, Record};
use crate::failure::{ExitCode, Failure};
use crate::types::RemotePath;

/// Wait until the server has what was changed.
///
/// Ends with exit code 7 if something is left when the time is over, or if it cannot be sent without
/// you: ncfs problems says why.
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
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut code = ExitCode::Success;
    for (record, below) in locate_any(args.path.as_deref())? {
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
        text.push_str("\n  ...; ncfs problems lists all");
    }
    text
}
