//! `ncfs rescue`: unsent files out of a state directory.

use std::path::PathBuf;

use clap::Args;

use super::args::exit_codes;
use super::output::{print, to_json};
use super::progress::Display;
use super::quantity::files;
use crate::control::Progress;
use crate::failure::{ExitCode, Failure};
use crate::rescue::{self, LIST, Outcome, Report, RescueError};

/// Copy unsent files out of a state directory: without a server, without a mount.
///
/// For when mounting is not possible any more: the server or the account is gone, or the state came
/// from another machine. Files get the paths that they had in the mount; of a file that was only
/// partly here, NAME.partial holds the parts that were written here. The state directory is not
/// changed. Ends with exit code 13 if something was not whole.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct RescueArgs {
    /// As ncfs status --json shows it, below ~/.local/state/ncfs as a rule
    pub state_dir: PathBuf,

    /// A new or empty directory; a list of all files is written there too, as RESCUED.txt
    pub target: PathBuf,

    /// Print the list as JSON for programs
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &RescueArgs) -> Result<ExitCode, Failure> {
    let mut display = Display::new("rescuing".to_owned());
    let mut show = |at: rescue::Progress| {
        display.show(Progress {
            files_left: at.files_left,
            bytes_left: at.bytes_left,
            files_total: at.files,
            bytes_total: at.bytes,
        });
    };
    let report = rescue::rescue(&args.state_dir, &args.target, &mut show)?;
    drop(display);
    if args.json {
        print(&to_json(&report)?)?;
    } else {
        let list = args.target.join(LIST);
        print(&format!("{}; see {}", summary(&report), list.display()))?;
    }
    Ok(if report.is_complete() { ExitCode::Success } else { ExitCode::Attention })
}

fn summary(report: &Report) -> String {
    let mut text = format!("{} rescued whole", files(report.count(Outcome::Whole) as u64));
    for (outcome, what) in [
        (Outcome::Partial, "only in part"),
        (Outcome::Lost, "without content"),
        (Outcome::Failed, "not copied"),
    ] {
        match report.count(outcome) {
            0 => {}
            count => text.push_str(&format!(", {count} {what}")),
        }
    }
    if let Some(why) = &report.names_lost {
        text.push_str(&format!(", names lost ({why})"));
    }
    text
}

impl From<RescueError> for Failure {
    fn from(error: RescueError) -> Self {
        let code = match &error {
            RescueError::NoState(_) | RescueError::NotEmpty(_) | RescueError::Inside(_) => {
                ExitCode::Usage
            }
            RescueError::State { .. } | RescueError::Tree(_) => ExitCode::State,
            RescueError::Target { .. } => ExitCode::Other,
        };
        Self::new(code, error)
    }
}
