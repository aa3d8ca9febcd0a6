//! `ncfs problems`: what needs attention, and what to do about it.

use std::path::PathBuf;

use clap::Args;

use super::args::exit_codes;
use super::locate::locate_all;
use super::output::{print, to_json};
use super::progress::Waiting;
use super::quantity::time;
use crate::control::{Client, Problem, ProblemKind, Problems};
use crate::failure::{ExitCode, Failure};

/// Show what needs your attention: what is not sent and why, conflicts, content without a name.
///
/// Ends with exit code 13 if there is anything, with 0 if all is well.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct ProblemsArgs {
    /// A mount, or anything in it; all your mounts without it
    pub mountpoint: Option<PathBuf>,

    /// Print JSON for programs: one object for a named mount, else an array of them
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &ProblemsArgs) -> Result<ExitCode, Failure> {
    let mut all = Vec::new();
    let mut code = ExitCode::Success;
    for (record, _) in locate_all(args.mountpoint.as_deref())? {
        let waiting = Waiting::for_daemon();
        let asked = Client::connect(&record).and_then(|mut client| client.problems());
        drop(waiting);
        match asked {
            Ok(problems) => all.push(problems),
            Err(error) if args.mountpoint.is_some() => return Err(error.into()),
            // One that hangs must not hide the others.
            Err(error) => {
                eprintln!("ncfs: {}: {error}", record.mountpoint.display());
                code = Failure::from(error).exit_code;
            }
        }
    }
    let text = match (args.json, &args.mountpoint, &all[..]) {
        (true, Some(_), [problems]) => to_json(problems)?,
        (true, ..) => to_json(&all)?,
        (false, None, []) if code == ExitCode::Success => "nothing is mounted".to_owned(),
        (false, ..) => all.iter().map(describe).collect::<Vec<_>>().join("\n\n"),
    };
    print(&text)?;
    if code == ExitCode::Success && all.iter().any(|problems| !problems.problems.is_empty()) {
        code = ExitCode::Attention;
    }
    Ok(code)
}

/// The block for people: by kind, and under each kind what to do, said once.
fn describe(problems: &Problems) -> String {
    if problems.problems.is_empty() {
        return format!("{}  no problems", problems.mountpoint);
    }
    let mut lines = vec![problems.mountpoint.clone()];
    let mut rest = &problems.problems[..];
    while let Some(first) = rest.first() {
        let alike = |problem: &&Problem| {
            problem.kind == first.kind && problem.what_to_do == first.what_to_do
        };
        let count = rest.iter().take_while(alike).count();
        let (group, others) = rest.split_at(count);
        lines.push(format!("  {}", heading(first.kind, problems)));
        for problem in group {
            lines.push(match problem.path.as_str() {
                "" => format!("    {}", problem.reason),
                path => format!("    {path}: {}", problem.reason),
            });
        }
        lines.push(format!("    What to do: {}.", first.what_to_do));
        rest = others;
    }
    if problems.more > 0 {
        lines.push(format!("  and {} more that the server does not take", problems.more));
    }
    lines.join("\n")
}

fn heading(kind: ProblemKind, problems: &Problems) -> String {
    match kind {
        ProblemKind::Daemon => "Not served any more".to_owned(),
        ProblemKind::Password => "Password refused".to_owned(),
        ProblemKind::Guard => "Not believed".to_owned(),
        ProblemKind::State => "State directory".to_owned(),
        ProblemKind::Blocked => "Not taken by the server".to_owned(),
        ProblemKind::Conflict => "Conflicts".to_owned(),
        ProblemKind::LostFound => "Content without a name".to_owned(),
        ProblemKind::Offline => match problems.offline_since_s {
            Some(age) => format!("Offline for {}", time(age)),
            None => "Offline".to_owned(),
        },
        ProblemKind::Other => "Others".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_is_said_once_for_all_of_a_kind() {
        let blocked = |path: &str| Problem {
            kind: ProblemKind::Blocked,
            path: path.to_owned(),
            reason: "no space".to_owned(),
            what_to_do: "free some, then: ncfs retry".to_owned(),
        };
        let offline = Problem {
            kind: ProblemKind::Offline,
            reason: "connection refused".to_owned(),
            what_to_do: "nothing".to_owned(),
            ..Problem::default()
        };
        let problems = Problems {
            mountpoint: "/m".to_owned(),
            problems: vec![blocked("a"), blocked("b"), offline],
            more: 3,
            offline_since_s: Some(30),
        };
        let expected = "\
/m
  Not taken by the server
    a: no space
    b: no space
    What to do: free some, then: ncfs retry.
  Offline for 30 s
    connection refused
    What to do: nothing.
  and 3 more that the server does not take";
        assert_eq!(describe(&problems), expected);
    }
}
