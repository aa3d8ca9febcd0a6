//! `ncfs retry`: one more try for what the server did not take.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::exit_codes;
use super::locate::locate_any;
use super::output::print;
use super::progress::Display;
use super::quantity::{files, parse_duration};
use crate::control::{Client, Record, RetryOutcome};
use crate::failure::{ExitCode, Failure};
use crate::types::RemotePath;

/// Try what the server did not take again now, and a refused password.
///
/// By itself a blocked file is tried every hour, a refused password after 15 minutes and then every
/// hour. Waits for what comes of it; ends with exit code 7 if something is still not sent, 3 if the
/// password is refused again, 4 if the server cannot be reached.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct RetryArgs {
    /// A file or directory in a mount; everything in all your mounts without it
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

    /// Return at once; ncfs problems tells what came of it
    #[arg(long, conflicts_with = "timeout")]
    pub no_wait: bool,
}

pub fn run(args: &RetryArgs) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::Success;
    for (record, below) in locate_any(args.path.as_deref())? {
        let timeout = if args.no_wait { Duration::ZERO } else { args.timeout };
        let outcome = retry(&record, &below, timeout)?;
        let text = describe(&outcome, args.no_wait);
        print(&format!("{}: {text}", record.mountpoint.display()))?;
        if !args.no_wait {
            code = match &outcome.reason {
                Some(_) if outcome.password_refused => ExitCode::Credentials,
                Some(_) => ExitCode::Unreachable,
                None if outcome.sent < outcome.tried => ExitCode::Unsent,
                None => code,
            };
        }
    }
    Ok(code)
}

fn retry(record: &Record, below: &RemotePath, timeout: Duration) -> Result<RetryOutcome, Failure> {
    let mut display = Display::new(record.mountpoint.display().to_string());
    let mut client = Client::connect(record)?;
    Ok(client.retry(below, timeout, |progress| display.show(progress))?)
}

fn describe(outcome: &RetryOutcome, no_wait: bool) -> String {
    let mut text = match (outcome.tried, no_wait) {
        (0, _) => "nothing there was blocked or failing".to_owned(),
        (tried, true) => {
            format!("{} tried now; ncfs problems tells what comes of it", files(tried))
        }
        (tried, false) => {
            let mut parts = vec![format!("{} of {} sent", outcome.sent, files(tried))];
            for (count, what) in [
                (outcome.problems.len() as u64, "refused again"),
                (outcome.failing, "failed and tried again by itself"),
                (outcome.waiting, "not tried yet"),
            ] {
                if count > 0 {
                    parts.push(format!("{count} {what}"));
                }
            }
            parts.join(", ")
        }
    };
    if let Some(reason) = &outcome.reason {
        text.push_str(&format!("; nothing can be sent just now: {reason}"));
    }
    for problem in &outcome.problems {
        text.push_str(&format!("\n  {}: {}; {}", problem.path, problem.reason, problem.what_to_do));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_an_outcome_is_told_that_is_not_nothing() {
        let outcome = RetryOutcome { tried: 3, sent: 1, failing: 2, ..RetryOutcome::default() };
        let text = describe(&outcome, false);
        assert_eq!(text, "1 of 3 files sent, 2 failed and tried again by itself");
        let none = RetryOutcome { reason: Some("offline".to_owned()), ..RetryOutcome::default() };
        let text = describe(&none, false);
        assert!(
            text.starts_with("nothing there was blocked") && text.ends_with("offline"),
            "{text}"
        );
    }
}
