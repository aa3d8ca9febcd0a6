//! `ncfs refresh`: a look at the server now.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::exit_codes;
use super::locate::locate_any;
use super::output::print;
use super::progress::Waiting;
use super::quantity::{self, parse_duration};
use crate::control::{Client, RefreshOutcome};
use crate::failure::{ExitCode, Failure};

/// Look at the server now, and return when what changed there shows here.
///
/// By itself the server is looked at every few seconds. A directory that is named is listed anew in
/// any case.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct RefreshArgs {
    /// A file or directory in a mount; all your mounts without it
    pub path: Option<PathBuf>,

    /// How long to wait
    #[arg(
        long,
        value_name = "TIME",
        env = "NCFS_TIMEOUT",
        default_value = "60s",
        value_parser = parse_duration
    )]
    pub timeout: Duration,
}

pub fn run(args: &RefreshArgs) -> Result<ExitCode, Failure> {
    for (record, path) in locate_any(args.path.as_deref())? {
        let waiting = Waiting::for_daemon();
        let outcome = Client::connect(&record)?.refresh(&path, args.timeout)?;
        drop(waiting);
        let mountpoint = record.mountpoint.display();
        if let Some(failed) = &outcome.failed {
            let sentence = format!(
                "{mountpoint}: the server could not be looked at: {failed}; what is shown is what \
                 was known before"
            );
            return Err(Failure::new(ExitCode::Unreachable, sentence));
        }
        print(&format!("{mountpoint}: {}", describe(&outcome)))?;
    }
    Ok(ExitCode::Success)
}

fn describe(outcome: &RefreshOutcome) -> String {
    let RefreshOutcome { names, files, .. } = outcome;
    if *names == 0 && *files == 0 {
        return "nothing changed on the server".to_owned();
    }
    let names = if *names == 1 { "1 name".to_owned() } else { format!("{names} names") };
    let have = if *files == 1 { "has" } else { "have" };
    format!(
        "{names} appeared, vanished or changed; {} {have} other content or times",
        quantity::files(*files)
    )
}
