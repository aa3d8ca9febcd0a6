//! `ncfs reference`: the commands as a chapter of the book, made from the same definitions that read
//! the command line. `tests/book.rs` fails while the chapter in the repository is another.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Args, Command, CommandFactory};

use super::args::{Cli, exit_codes, visible};
use super::helpers::{EXIT_CODES, MountHelperArgs, UmountHelperArgs, accepted as mount_options};
use crate::failure::{ExitCode, Failure};

/// Write the reference of commands as Markdown. Used to make docs/reference/commands.md.
#[derive(Debug, Args)]
pub struct ReferenceArgs {
    /// The file to write
    pub file: PathBuf,
}

const HEAD: &str = "\
<!-- Made by: cargo run -- reference docs/reference/commands.md -->

# Commands

What `ncfs COMMAND --help` and the manual pages say. Every option with a variable can be given by it,
too; the command line counts more. Sizes are written as `512M`, `10G` or `1T`, times as `500ms`, `5s`,
`2m` or `1h`.

";

pub fn run(args: &ReferenceArgs) -> Result<ExitCode, Failure> {
    fs::write(&args.file, chapter()).map_err(|cause| {
        let sentence = format!("{} cannot be written: {cause}", args.file.display());
        Failure::new(ExitCode::Other, sentence)
    })?;
    Ok(ExitCode::Success)
}

fn chapter() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (code, meaning) in ExitCode::TABLE {
        line(&mut text, format_args!("| {} | {meaning} |", code.number()));
    }
    for command in visible().get_subcommands() {
        let name = format!("ncfs {}", command.get_name());
        section(&mut text, command.clone().bin_name(&name), &name);
    }
    section(&mut text, MountHelperArgs::command(), "mount.ncfs");
    text.push_str("\nMount options, beside the generic ones of mount(8):\n\n");
    for (name, arg) in mount_options(&Cli::command()) {
        let value = value_name(arg).map(|value| format!("={value}")).unwrap_or_default();
        line(&mut text, format_args!("- `{name}{value}`: {}", sentence(arg, false)));
    }
    helper_codes(&mut text);
    section(&mut text, UmountHelperArgs::command(), "umount.ncfs");
    helper_codes(&mut text);
    text
}

/// One command: what it is for, its arguments and options, its examples.
fn section(text: &mut String, mut command: Command, name: &str) {
    line(text, format_args!("\n## {name}\n"));
    let about = command.get_long_about().or(command.get_about()).cloned().unwrap_or_default();
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    line(text, format_args!("{about}\n\n```text\n{usage}\n```\n"));
    let mut heading = None;
    let arguments = command.get_arguments().filter(|arg| arg.get_id() != "help");
    for arg in arguments.filter(|arg| !arg.is_hide_set()) {
        let own = arg.get_help_heading().filter(|_| !arg.is_positional());
        if own != heading {
            heading = own;
            line(text, format_args!("\n{}:\n", own.unwrap_or("Others")));
        }
        line(text, format_args!("- {}: {}", spelling(arg), sentence(arg, true)));
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let after = after.strip_suffix(&exit_codes()).unwrap_or(&after).trim();
    if !after.is_empty() {
        line(text, format_args!("\n```text\n{after}\n```"));
    }
}

fn helper_codes(text: &mut String) {
    text.push_str("\n| exit code | meaning |\n| --- | --- |\n");
    for (code, meaning) in EXIT_CODES {
        line(text, format_args!("| {code} | {meaning} |"));
    }
}

/// As it is typed: `` `-f`, `--foreground` ``.
fn spelling(arg: &Arg) -> String {
    let value = value_name(arg);
    if arg.is_positional() {
        return format!("`{}`", value.unwrap_or_default());
    }
    let value = value.map(|value| format!(" {value}")).unwrap_or_default();
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}{value}`"),
        (Some(short), None) => format!("`-{short}{value}`"),
        (None, long) => format!("`--{}{value}`", long.unwrap_or_default()),
    }
}

fn value_name(arg: &Arg) -> Option<String> {
    let name = || arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    takes_value.then(|| name().unwrap_or_else(|| arg.get_id().as_str().to_uppercase()))
}

/// Its help, what may be given, the default and the variable.
fn sentence(arg: &Arg, with_variable: bool) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = help.replace('\n', " ");
    if value_name(arg).is_some() {
        let values = arg.get_possible_values();
        let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        if !values.is_empty() {
            text = format!("{text}; one of {}", values.join(", "));
        }
        if let Some(default) = arg.get_default_values().first() {
            text = format!("{text} [default: `{}`]", default.to_string_lossy());
        }
    }
    if let Some(variable) = arg.get_env().filter(|_| with_variable) {
        text = format!("{text} (`{}`)", variable.to_string_lossy());
    }
    text
}

/// Writing to a text cannot fail.
fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{what}");
}
