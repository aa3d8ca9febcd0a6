//! `ncfs accounts`: who is logged in where.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::args::exit_codes;
use super::output::{print, to_json};
use super::progress::Waiting;
use super::target::protect;
use crate::accounts::{Account, Accounts};
use crate::control::{self, Client, ControlError, Status};
use crate::failure::{ExitCode, Failure};

/// List the accounts that you are logged in with, and where they are mounted.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct AccountsArgs {
    /// Print JSON for programs: an array of objects with name, server, login_name and mountpoints;
    /// fields are added, never changed
    #[arg(long)]
    pub json: bool,
}

/// What is told of an account: no password.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    server: String,
    login_name: String,
    mountpoints: Vec<String>,
}

pub fn run(args: &AccountsArgs) -> Result<ExitCode, Failure> {
    protect()?;
    let (accounts, broken) = Accounts::of_user()?.all()?;
    let mounts = Mounts::ask()?;
    let show = |account: &Account| Shown {
        name: account.name.to_string(),
        server: account.server.to_string(),
        login_name: account.login_name.clone(),
        mountpoints: mounts.of(account),
    };
    let shown: Vec<Shown> = accounts.iter().map(show).collect();
    let mut code = ExitCode::Success;
    for error in broken {
        let failure = Failure::from(error);
        eprintln!("ncfs: {failure}");
        code = failure.exit_code;
    }
    for (mountpoint, error) in mounts.silent {
        eprintln!("ncfs: {}: {error}", mountpoint.display());
        code = Failure::from(error).exit_code;
    }
    let text = if args.json {
        to_json(&shown)?
    } else if shown.is_empty() {
        "you are not logged in anywhere; to log in: ncfs login https://cloud.example.com".to_owned()
    } else {
        shown.iter().map(describe).collect::<Vec<_>>().join("\n")
    };
    print(&text)?;
    Ok(code)
}

/// What is mounted, by the account that it is of.
pub struct Mounts {
    statuses: Vec<Status>,
    /// Of which account these are nobody can tell.
    pub silent: Vec<(PathBuf, ControlError)>,
}

impl Mounts {
    /// Asks the daemons of all mounts.
    pub fn ask() -> Result<Self, Failure> {
        let mut mounts = Self { statuses: Vec::new(), silent: Vec::new() };
        for record in control::list()? {
            let waiting = Waiting::for_daemon();
            let asked = Client::connect(&record).and_then(|mut client| client.status());
            drop(waiting);
            match asked {
                Ok(status) => mounts.statuses.push(status),
                // It has ended meanwhile.
                Err(ControlError::Gone(_)) => {}
                Err(error) => mounts.silent.push((record.mountpoint, error)),
            }
        }
        Ok(mounts)
    }

    /// Where an account is mounted.
    pub fn of(&self, account: &Account) -> Vec<String> {
        let name = account.name.to_string();
        let its = self.statuses.iter().filter(|status| status.account.as_ref() == Some(&name));
        its.map(|status| status.mountpoint.clone()).collect()
    }
}

fn describe(shown: &Shown) -> String {
    let mounts = match shown.mountpoints.is_empty() {
        true => "not mounted".to_owned(),
        false => format!("mounted at {}", shown.mountpoints.join(", ")),
    };
    format!("{}\n  server  {} as {}\n  {mounts}", shown.name, shown.server, shown.login_name)
}
