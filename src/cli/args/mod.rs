//! The command line. Its help is the reference; what a command takes stands with the command.

mod mount;

use clap::{CommandFactory, Parser, Subcommand};

use super::accounts::AccountsArgs;
use super::completions::CompletionsArgs;
use super::demo::DemoArgs;
use super::explain::ExplainArgs;
use super::flush::FlushArgs;
use super::login::LoginArgs;
use super::logout::LogoutArgs;
use super::man::ManArgs;
use super::problems::ProblemsArgs;
use super::reference::ReferenceArgs;
use super::refresh::RefreshArgs;
use super::rescue::RescueArgs;
use super::resolve::ResolveArgs;
use super::retry::RetryArgs;
use super::serve::{ServeArgs, SuperviseArgs};
use super::status::StatusArgs;
use super::unmount::UnmountArgs;
use super::upgrade::UpgradeArgs;
use crate::failure::ExitCode;

pub use mount::MountArgs;

/// Mount a Nextcloud as a directory.
///
/// What you read, write, rename and delete there works as on a local disk, also while the server is
/// away, and reaches the server within seconds; what changes on the server shows up.
#[derive(Debug, Parser)]
#[command(name = "ncfs", version, after_help = exit_codes(), max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Login(LoginArgs),
    Logout(LogoutArgs),
    Accounts(AccountsArgs),
    Mount(Box<MountArgs>),
    Unmount(UnmountArgs),
    Flush(FlushArgs),
    Status(StatusArgs),
    Problems(ProblemsArgs),
    Explain(ExplainArgs),
    Resolve(ResolveArgs),
    Retry(RetryArgs),
    Refresh(RefreshArgs),
    Rescue(RescueArgs),
    Upgrade(UpgradeArgs),
    Demo(DemoArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    Man(ManArgs),
    #[command(hide = true)]
    Reference(ReferenceArgs),
    #[command(hide = true)]
    Supervise(SuperviseArgs),
    #[command(hide = true)]
    Serve(ServeArgs),
}

/// The command line as people see it: without what one process of ncfs tells another.
pub fn visible() -> clap::Command {
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let shown: Vec<_> = shown.collect();
    let about = all.get_long_about().or(all.get_about()).cloned().unwrap_or_default();
    clap::Command::new("ncfs")
        .version(env!("CARGO_PKG_VERSION"))
        .about(all.get_about().cloned().unwrap_or_default())
        .long_about(about)
        .after_help(exit_codes())
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(shown)
}

/// What every help ends with.
pub fn exit_codes() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in ExitCode::TABLE {
        text.push_str(&format!("  {:>2}  {meaning}\n", code.number()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_of_mount_is_also_a_variable() {
        let command = Cli::command();
        let mount = command.find_subcommand("mount").unwrap();
        for argument in mount.get_arguments().filter(|argument| argument.get_id() != "help") {
            let variable = argument.get_env().unwrap_or_default().to_string_lossy();
            let expected = format!("NCFS_{}", argument.get_id().as_str().to_uppercase());
            assert_eq!(variable, expected);
        }
    }

    #[test]
    fn no_option_takes_a_password() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_arguments().all(|argument| argument.get_id() != "password"));
        }
    }
}
