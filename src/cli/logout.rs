//! `ncfs logout`: revokes an account's password and forgets the account.

use clap::Args;

use super::accounts::Mounts;
use super::args::exit_codes;
use super::output::print;
use super::progress::Waiting;
use super::target::{connection, find_account, listed, protect, runtime, usable};
use crate::accounts::{Account, Accounts};
use crate::failure::{ExitCode, Failure};
use crate::remote::Credential;
use crate::remote::nextcloud::login::{Revoked, revoke};

/// What is said of a password that was not made for us.
const OWN: &str = "the password is forgotten here; it was your own, so it was not revoked";

/// Revoke the password of an account and forget the account.
///
/// What was mounted has to be unmounted before. Unsent files stay in the state directory and go out
/// when you log in and mount again.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct LogoutArgs {
    /// Name or address of the account, if there are several
    #[arg(value_name = "ACCOUNT|URL")]
    pub account: Option<String>,

    /// Forget the account also while it is mounted, or if the server cannot be reached to revoke its
    /// password
    #[arg(long)]
    pub force: bool,
}

pub fn run(args: &LogoutArgs) -> Result<ExitCode, Failure> {
    protect()?;
    let accounts = Accounts::of_user()?;
    let account = choose(&accounts, args.account.as_deref())?;
    let name = &account.name;
    if !args.force {
        check_mounts(&account)?;
    }
    let outcome =
        if account.is_ours { end_password(&account, args.force)? } else { OWN.to_owned() };
    accounts.forget(name)?;
    print(&format!("Logged out {name}: {outcome}"))?;
    Ok(ExitCode::Success)
}

/// Fails if the account is mounted, or may be: its password is not pulled from under a mount.
fn check_mounts(account: &Account) -> Result<(), Failure> {
    let name = &account.name;
    let forced = "with --force it is logged out all the same: the mount then goes offline, and keeps \
                  what is not sent";
    let mounts = Mounts::ask().map_err(|failure| {
        let sentence = format!("whether {name} is mounted cannot be told: {failure} ({forced})");
        Failure::new(failure.exit_code, sentence)
    })?;
    let sentence = if let Some(mount) = mounts.of(account).first() {
        format!("{name} is mounted at {mount}; unmount it first: ncfs unmount '{mount}' ({forced})")
    } else if let Some((mount, error)) = mounts.silent.first() {
        let mount = mount.display();
        format!("{name} may be what is mounted at {mount}, but {error} ({forced})")
    } else {
        return Ok(());
    };
    Err(Failure::new(ExitCode::MountPoint, sentence))
}

/// Revokes the password. Gives what to say of it.
fn end_password(account: &Account, force: bool) -> Result<String, Failure> {
    let credential = Credential {
        login_name: account.login_name.clone(),
        app_password: account.app_password.clone(),
    };
    let _waiting = Waiting::for_server(&account.server);
    let config = connection(&account.server, account.ca_file.clone(), account.allow_http);
    match runtime()?.block_on(revoke(&config, credential)) {
        Ok(Revoked::Now) => Ok("its app password is revoked".to_owned()),
        Ok(Revoked::Before) => Ok("its app password had been revoked before".to_owned()),
        Ok(Revoked::NotAnAppPassword) => Ok(OWN.to_owned()),
        Err(error) if force => Ok(format!(
            "the account is forgotten here, but its app password still works ({error}); remove it in \
             the web interface under Settings, Security"
        )),
        Err(error) => {
            let failure = Failure::from(error);
            let sentence = format!(
                "{} is still logged in, as its app password could not be revoked: {failure}; or \
                 forget it all the same with --force",
                account.name
            );
            Err(Failure::new(failure.exit_code, sentence))
        }
    }
}

fn choose(accounts: &Accounts, named: Option<&str>) -> Result<Account, Failure> {
    let usage = |sentence: String| Failure::new(ExitCode::Usage, sentence);
    if let Some(text) = named {
        return find_account(accounts, text, None)?.ok_or_else(|| {
            usage(format!("there is no account {text}; ncfs accounts lists those you have"))
        });
    }
    let mut all = usable(accounts)?;
    if all.len() > 1 {
        let names = listed(&all);
        return Err(usage(format!("you have several accounts: {names}; name the one you mean")));
    }
    all.pop().ok_or_else(|| usage("you are not logged in anywhere".to_owned()))
}
