//! `ncfs explain`: why a file is as it is.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;

use super::args::exit_codes;
use super::locate::{locate, locate_all};
use super::output::{print, to_json};
use super::progress::Waiting;
use super::quantity::size;
use crate::control::{Client, Explanation, Subject};
use crate::failure::{ExitCode, Failure};
use crate::types::Ino;

/// Explain a file: its state, what the server has, where its bytes are, what happens next and why
/// not yet.
///
/// Also for a file that you removed or renamed, under its former name, until the server knows.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct ExplainArgs {
    /// A file or directory in a mount
    #[arg(required_unless_present = "ino")]
    pub path: Option<PathBuf>,

    /// The inode with this number instead, as logs name it; PATH then says in which mount, if you
    /// have several
    #[arg(long, value_name = "N")]
    pub ino: Option<u64>,

    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let (record, subject) = match (&args.path, args.ino) {
        (Some(path), None) => {
            let (record, path) = locate(path)?;
            (record, Subject::Path(path))
        }
        (path, ino) => {
            let mut mounts = locate_all(path.as_deref())?.into_iter();
            let (Some((record, _)), None) = (mounts.next(), mounts.next()) else {
                let sentence = "you have none or several mounts: name the one that is meant after \
                                the number, as in ncfs explain --ino 42 ~/cloud";
                return Err(Failure::new(ExitCode::Usage, sentence));
            };
            (record, Subject::Ino(Ino(ino.unwrap_or_default())))
        }
    };
    let waiting = Waiting::for_daemon();
    let explanation = Client::connect(&record)?.explain(&subject)?;
    drop(waiting);
    print(&if args.json { to_json(&explanation)? } else { describe(&explanation) })?;
    Ok(ExitCode::Success)
}

fn describe(told: &Explanation) -> String {
    let mut lines = vec![told.path.clone()];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<9} {text}"));
    let removed = if told.removed { ", removed here" } else { "" };
    line("state", format!("{}{removed}", state(told)));
    let what = match told.kind.as_str() {
        "file" => format!("file, {}, changed {}", size(told.size), date(told.mtime)),
        other => other.to_owned(),
    };
    line("here", format!("{what}; inode {}", told.ino));
    line("server", server(told));
    if told.kind == "file" {
        line("bytes", bytes(told));
    }
    if let Some(next) = &told.next {
        line("next", next.clone());
    }
    for (index, reason) in told.not_yet.iter().enumerate() {
        line(if index == 0 { "not yet" } else { "" }, reason.clone());
    }
    lines.join("\n")
}

fn state(told: &Explanation) -> &str {
    match told.state.as_str() {
        "clean" => "as on the server",
        "dirty" => "changed here, not sent yet",
        "pushing" => "being sent",
        "unknown" => "sent, and no answer came",
        "blocked" => "not taken by the server; kept here",
        "conflict" => "changed on both sides",
        "local_only" => "only on this machine: the server cannot hold it",
        other => other,
    }
}

fn server(told: &Explanation) -> String {
    let Some(synced) = &told.synced else {
        return "does not have it".to_owned();
    };
    let mut parts = Vec::new();
    if let Some(path) = &synced.path {
        parts.push(format!("as {path}"));
    }
    if told.kind == "file" {
        parts.push(size(synced.size));
        parts.push(format!("changed {}", date(synced.mtime)));
    }
    parts.extend(synced.tag.as_ref().map(|tag| format!("tag {tag}")));
    parts.extend(synced.file_id.as_ref().map(|id| format!("file id {id}")));
    if let Some(remote) = &told.remote {
        parts.push(format!("by now another content of {}", size(remote.size)));
    }
    parts.join(", ")
}

fn bytes(told: &Explanation) -> String {
    let whole = told.bytes_here >= told.size;
    let part = format!("{} of {}", size(told.bytes_here), size(told.size));
    match (told.bytes.as_str(), whole) {
        ("none", _) => "none".to_owned(),
        ("server", _) => "on the server only; fetched when they are read".to_owned(),
        ("cache", true) => "a whole copy is here".to_owned(),
        ("cache", false) => format!("a copy of {part} is here, the rest is on the server"),
        (_, true) => "unsent, all of them here".to_owned(),
        (_, false) => format!("unsent; {part} are here, the rest is fetched first"),
    }
}

fn date(seconds: i64) -> String {
    match u64::try_from(seconds) {
        Ok(seconds) => httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)),
        Err(_) => "before 1970".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::explain::SyncedVersion;

    #[test]
    fn a_blocked_file_is_told_in_the_order_in_which_one_asks() {
        let told = Explanation {
            path: "/a.txt".to_owned(),
            ino: 7,
            kind: "file".to_owned(),
            state: "blocked".to_owned(),
            size: 2048,
            mtime: 784_111_777,
            synced: Some(SyncedVersion {
                tag: Some("\"e\"".to_owned()),
                size: 10,
                mtime: 784_111_000,
                ..SyncedVersion::default()
            }),
            bytes: "staging".to_owned(),
            bytes_here: 2048,
            next: Some("its new content is uploaded".to_owned()),
            not_yet: vec!["no space".to_owned(), "the next attempt comes in 60 s".to_owned()],
            ..Explanation::default()
        };
        let expected = "\
/a.txt
  state     not taken by the server; kept here
  here      file, 2.0 KiB, changed Sun, 06 Nov 1994 08:49:37 GMT; inode 7
  server    10 B, changed Sun, 06 Nov 1994 08:36:40 GMT, tag \"e\"
  bytes     unsent, all of them here
  next      its new content is uploaded
  not yet   no space
            the next attempt comes in 60 s";
        assert_eq!(describe(&told), expected);
    }
}
