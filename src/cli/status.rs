//! `ncfs status`: for people a block a mount, for programs JSON.

use std::path::PathBuf;

use clap::Args;

use super::args::exit_codes;
use super::output::{print, to_json};
use super::progress::Waiting;
use super::quantity::{files, size, time};
use super::{not_mounted, resolve_mount};
use crate::control::{self, Client, Record, State, Status};
use crate::failure::{ExitCode, Failure};

/// More problems than this are counted only; `ncfs problems` lists all.
const SHOWN_PROBLEMS: usize = 3;

/// Where a sentence of a block is broken, characters.
const WIDTH: usize = 80;

/// Show how mounts stand: server, unsent changes, problems, cache, quota.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct StatusArgs {
    /// Where it is mounted; all your mounts without it
    pub mountpoint: Option<PathBuf>,

    /// Print JSON for programs: one object for a named mount, else an array of them. Sizes are bytes,
    /// times whole seconds; fields are added, never changed
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    if let Some(path) = &args.mountpoint {
        let path = resolve_mount(path)?;
        let record = control::find(&path)?.ok_or_else(|| not_mounted(&path))?;
        let status = ask(&record)?;
        print(&if args.json { to_json(&status)? } else { describe(&status) })?;
        return Ok(ExitCode::Success);
    }
    let mut statuses = Vec::new();
    let mut code = ExitCode::Success;
    for record in control::list()? {
        match ask(&record) {
            Ok(status) => statuses.push(status),
            // One that hangs must not hide the others.
            Err(failure) => {
                eprintln!("ncfs: {}: {failure}", record.mountpoint.display());
                code = failure.exit_code;
            }
        }
    }
    let text = if args.json {
        to_json(&statuses)?
    } else if statuses.is_empty() && code == ExitCode::Success {
        "nothing is mounted".to_owned()
    } else {
        statuses.iter().map(describe).collect::<Vec<_>>().join("\n\n")
    };
    print(&text)?;
    Ok(code)
}

fn ask(record: &Record) -> Result<Status, Failure> {
    let _waiting = Waiting::for_daemon();
    Ok(Client::connect(record)?.status()?)
}

/// The block for people.
fn describe(status: &Status) -> String {
    let mut lines = vec![format!("{}  {}", status.mountpoint, state(status))];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<9} {text}"));
    let read_only = if status.read_only { ", read only" } else { "" };
    let place = format!("{} as {}, {}{read_only}", status.server, status.user, status.remote_dir);
    line("server", place);
    line("unsent", unsent(status));
    line("cache", of_limit(status.cache_bytes, status.cache_limit));
    if let Some(used) = status.quota_used {
        line("quota", format!("{} used", of_limit(used, status.quota_total)));
    }
    if let Some(age) = status.oldest_request_s.filter(|age| *age > 1) {
        line("waiting", format!("a program has waited for {}", time(age)));
    }
    if let Some(age) = status.last_poll_s {
        line("checked", format!("{} ago", time(age)));
    }
    for sentence in &status.not_supported {
        line("limit", folded(sentence));
    }
    if let Some(reason) = &status.last_restart {
        line("restarts", format!("{}, the last because {reason}", status.restarts));
    }
    if !status.problems.is_empty() {
        line("problems", format!("{}; what to do: ncfs problems", status.problems.len()));
    }
    for problem in status.problems.iter().take(SHOWN_PROBLEMS) {
        let path = if problem.path.is_empty() { "all" } else { &problem.path };
        lines.push(format!("    {path}: {}", problem.reason));
    }
    if let Some(more @ 1..) = status.problems.len().checked_sub(SHOWN_PROBLEMS) {
        lines.push(format!("    and {more} more"));
    }
    lines.join("\n")
}

fn state(status: &Status) -> String {
    match status.state {
        State::Online => "online".to_owned(),
        State::Draining => "sending what is pending, then ending".to_owned(),
        State::Failed => "stopped: ncfs problems says why".to_owned(),
        State::Offline => {
            let mut text = "offline".to_owned();
            if let Some(age) = status.offline_since_s {
                text.push_str(&format!(" for {}", time(age)));
            }
            if let Some(reason) = &status.offline_reason {
                text.push_str(&format!(": {reason}"));
            }
            text
        }
    }
}

fn unsent(status: &Status) -> String {
    if status.pending_files == 0 {
        return "nothing".to_owned();
    }
    let mut text = format!("{}, {}", files(status.pending_files), size(status.pending_bytes));
    if let Some(age) = status.oldest_pending_s {
        text.push_str(&format!(", the oldest for {}", time(age)));
    }
    text
}

/// A long sentence over several lines, below each other.
fn folded(sentence: &str) -> String {
    let mut text = String::new();
    let mut left = WIDTH;
    for word in sentence.split(' ') {
        let length = word.chars().count() + 1;
        if length > left && !text.is_empty() {
            text.push_str("\n           ");
            left = WIDTH;
        }
        left = left.saturating_sub(length);
        text.push(' ');
        text.push_str(word);
    }
    text.split_off(text.len().min(1))
}

fn of_limit(used: u64, limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!("{} of {}", size(used), size(limit)),
        None => size(used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Problem;

    #[test]
    fn the_block_says_what_is_wrong_and_what_to_do() {
        let status = Status {
            mountpoint: "/home/alice/cloud".to_owned(),
            server: "https://cloud.example.com".to_owned(),
            user: "alice".to_owned(),
            remote_dir: "/".to_owned(),
            offline_since_s: Some(300),
            offline_reason: Some("connection refused".to_owned()),
            pending_files: 1,
            pending_bytes: 2048,
            oldest_pending_s: Some(280),
            cache_bytes: 1 << 30,
            cache_limit: Some(10 << 30),
            not_supported: vec![
                "modification times cannot be set: other machines see the time of the upload, and \
                 not that of the file"
                    .to_owned(),
            ],
            quota_used: Some(5 << 30),
            problems: vec![Problem {
                path: "a.txt".to_owned(),
                reason: "too big for the quota".to_owned(),
                what_to_do: "free some space".to_owned(),
                ..Problem::default()
            }],
            ..Status::default()
        };
        let expected = "\
/home/alice/cloud  offline for 5 min: connection refused
  server    https://cloud.example.com as alice, /
  unsent    1 file, 2.0 KiB, the oldest for 4 min
  cache     1.0 GiB of 10.0 GiB
  quota     5.0 GiB used
  limit     modification times cannot be set: other machines see the time of the upload,
            and not that of the file
  problems  1; what to do: ncfs problems
    a.txt: too big for the quota";
        assert_eq!(describe(&status), expected);
    }
}
