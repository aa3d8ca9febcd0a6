//! `ncfs login`: gets a credential for an account and stores it.
//!
//! The order: the new password is on the disk before the former one is revoked, so that a crash in
//! between leaves at most a password too many on the server.

mod browser;
mod password;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;

use self::waiting::wait_for_grant;
use super::args::exit_codes;
use super::credentials;
use super::output::print;
use super::progress::Waiting;
use super::quantity::{parse_duration, size};
use super::target::{connection, parse_name, protect, runtime, server_url};
use crate::accounts::{Account, AccountName, Accounts};
use crate::failure::{ExitCode, Failure};
use crate::remote::nextcloud::login::{self, Exchanged, Flow, LIFE};
use crate::remote::{ConnectConfig, Credential, Quota, Secret, find_account};

const LOGIN_EXAMPLES: &str = "\
Examples:
  ncfs login https://cloud.example.com
  ncfs mount https://cloud.example.com ~/cloud

On a Nextcloud the password that is stored is an app password, made for this machine only; your own
is not kept. Revoke it with ncfs logout, or in the web interface under Settings, Security. A new
login replaces it, also for what is mounted. Other servers make none: what you type is stored, in a
file that only you can read, until ncfs logout.
";

/// Log in to a server and remember the account.
///
/// Shows a link that you open in any browser, and waits until you have granted access there. With
/// --user it asks for a password instead, for servers without such a page.
#[derive(Debug, Args)]
#[command(after_help = LOGIN_EXAMPLES.to_owned() + "\n" + &exit_codes())]
pub struct LoginArgs {
    /// Address of the server: of a Nextcloud as in the browser, https://cloud.example.com; of another
    /// that of its WebDAV directory
    #[arg(env = "NCFS_URL")]
    pub url: String,

    /// What to call the account [default: LOGIN@HOST]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Log in with this login name and a password, which is asked for or taken from the variable
    /// NCFS_PASSWORD
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Only show the link, and leave it to you to open it
    #[arg(long)]
    pub no_browser: bool,

    /// How long to wait for you [default: 20m, as long as the server does]
    #[arg(long, value_name = "TIME", env = "NCFS_TIMEOUT", value_parser = parse_duration)]
    pub timeout: Option<Duration>,

    /// Certificates to trust beside the system's (PEM); remembered
    #[arg(long, value_name = "FILE", env = "NCFS_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// Allow http:// to another machine, where everybody on the way can read the password; remembered
    #[arg(long, env = "NCFS_ALLOW_HTTP", value_parser = FalseyValueParser::new())]
    pub allow_http: bool,
}

pub fn run(args: &LoginArgs, password: Option<Secret>) -> Result<ExitCode, Failure> {
    protect()?;
    let typed = server_url(&args.url, args.allow_http)?;
    let name = args.name.as_deref().map(parse_name).transpose()?;
    let accounts = Accounts::of_user()?;
    if let Some(name) = &name {
        // Early, before anybody is bothered. Whose login it is shows later.
        check_name(&accounts, name, |held| held.server.origin() == typed.origin())?;
    }
    let ca_file = credentials::ca_file(args.ca_file.as_deref())?;
    let config = connection(&typed, ca_file, args.allow_http);
    let obtained = match &args.user {
        Some(user) => {
            let password = match password.filter(|password| !password.expose().is_empty()) {
                Some(password) => password,
                None => password::ask(&format!("Password of {user} at {}: ", typed.host()))?,
            };
            let typed = Credential { login_name: user.clone(), app_password: password };
            let _waiting = Waiting::for_server(&config.server);
            runtime()?.block_on(login::exchange(&config, typed))?
        }
        None => runtime()?.block_on(in_the_browser(args, &config))?,
    };
    runtime()?.block_on(keep(&accounts, name, obtained, config))
}

/// The way through the browser.
async fn in_the_browser(args: &LoginArgs, config: &ConnectConfig) -> Result<Exchanged, Failure> {
    let waiting = Waiting::for_server(&config.server);
    let flow = Flow::start(config).await?;
    drop(waiting);
    let is_opening = !args.no_browser && browser::open(flow.link());
    let hint = if is_opening { "A browser should open; if none does, open" } else { "Open" };
    eprintln!("{hint} this link, log in and grant access:\n\n  {}\n", flow.link());
    let credential = wait_for_grant(&flow, args.timeout.unwrap_or(LIFE).min(LIFE)).await?;
    Ok(Exchanged { server: flow.server().clone(), credential, is_fresh: true })
}

/// Stores what was obtained, ends what it replaces, and tells who is logged in.
async fn keep(
    accounts: &Accounts,
    name: Option<AccountName>,
    obtained: Exchanged,
    config: ConnectConfig,
) -> Result<ExitCode, Failure> {
    let Exchanged { server, credential, is_fresh } = obtained;
    let config = ConnectConfig { server, ..config };
    let waiting = Waiting::for_server(&config.server);
    let stored = store(accounts, name, &credential, is_fresh, &config);
    let (account, former) = match stored {
        Ok(stored) => stored,
        Err(failure) => {
            // Nobody would ever use it.
            if is_fresh && let Err(error) = login::revoke(&config, credential).await {
                eprintln!("ncfs: an app password without use stays on the server: {error}");
            }
            return Err(failure);
        }
    };
    let finished = async {
        if let Some(former) = former {
            end_former(former, &account, &config).await;
        }
        introduce(&account, config).await
    };
    let introduced = tokio::select! {
        introduced = finished => introduced?,
        _ = tokio::signal::ctrl_c() => {
            let sentence = format!(
                "stopped; you are logged in, and the account is stored as {}", account.name
            );
            return Err(Failure::new(ExitCode::Other, sentence));
        }
    };
    drop(waiting);
    print(&introduced)?;
    Ok(ExitCode::Success)
}

/// Revokes the password that was stored before, if it was made for us and is another one.
async fn end_former(former: Account, account: &Account, config: &ConnectConfig) {
    if !former.is_ours || former.app_password == account.app_password {
        return;
    }
    let credential =
        Credential { login_name: former.login_name, app_password: former.app_password };
    if let Err(error) = login::revoke(config, credential).await {
        eprintln!(
            "ncfs: the former app password could not be revoked ({error}); remove it in the web \
             interface under Settings, Security"
        );
    }
}

/// Stores the account under its name. Gives also what was stored there before.
fn store(
    accounts: &Accounts,
    name: Option<AccountName>,
    credential: &Credential,
    is_fresh: bool,
    config: &ConnectConfig,
) -> Result<(Account, Option<Account>), Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::new(ExitCode::Usage, error);
    let server = config.server.clone();
    let login_name = &credential.login_name;
    let name = match name {
        Some(name) => name,
        // A login that is known keeps the name that it was given.
        None => match accounts.all()?.0.into_iter().find(|one| one.is(&server, login_name)) {
            Some(known) => known.name,
            None => AccountName::usual(login_name, &server).map_err(|_| {
                usage(&"the login name makes no name for the account; give it one with --name")
            })?,
        },
    };
    let former = check_name(accounts, &name, |held| held.is(&server, login_name))?;
    let account = Account {
        name,
        server,
        login_name: login_name.clone(),
        app_password: credential.app_password.clone(),
        is_ours: is_fresh,
        ca_file: config.ca_file.clone(),
        allow_http: config.allow_http,
    };
    accounts.store(&account)?;
    Ok((account, former))
}

/// What is stored under a name, if that may be replaced. What cannot be read may.
fn check_name(
    accounts: &Accounts,
    name: &AccountName,
    may_replace: impl Fn(&Account) -> bool,
) -> Result<Option<Account>, Failure> {
    match accounts.find(name).ok().flatten() {
        Some(held) if !may_replace(&held) => {
            let sentence = format!(
                "the name {0} belongs to {1} at {2}; choose another with --name, or log that one \
                 out: ncfs logout '{0}'",
                held.name, held.login_name, held.server
            );
            Err(Failure::new(ExitCode::Usage, sentence))
        }
        held => Ok(held),
    }
}

/// Who is logged in where, as the server tells it.
async fn introduce(account: &Account, config: ConnectConfig) -> Result<String, Failure> {
    let credential = Credential {
        login_name: account.login_name.clone(),
        app_password: account.app_password.clone(),
    };
    let mut lines = Vec::new();
    match find_account(config, Arc::new(credential)).await {
        Ok(connection) => {
            let who = connection.identity();
            let is_named = who.display_name != who.user_id;
            let person = if is_named { format!(" ({})", who.display_name) } else { String::new() };
            let product = format!("{} {}", who.product, who.version);
            lines.push(format!(
                "Logged in to {} ({}) as {}{person}",
                account.server,
                product.trim_end(),
                who.user_id
            ));
            let quota = connection.remote().quota().await.ok();
            lines.extend(quota.map(|quota| format!("  quota    {}", describe(quota))));
        }
        Err(error) => {
            let failure = Failure::from(error);
            let sentence = format!(
                "you are logged in, and the account is stored as {}, but the server does not tell \
                 who you are: {failure}",
                account.name
            );
            return Err(Failure::new(failure.exit_code, sentence));
        }
    }
    lines.push(format!("  account  {}", account.name));
    lines.push(format!("Mount it with: ncfs mount '{}' DIRECTORY", account.name));
    Ok(lines.join("\n"))
}

fn describe(quota: Quota) -> String {
    match quota.available {
        Some(available) => {
            format!("{} of {} used", size(quota.used), size(quota.used.saturating_add(available)))
        }
        None => format!("{} used, no limit", size(quota.used)),
    }
}
