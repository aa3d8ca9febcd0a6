//! What a person means by `ACCOUNT|URL`, and how its server is spoken to.

use std::path::PathBuf;

use tokio::runtime::Runtime;

use crate::accounts::{Account, AccountName, Accounts};
use crate::failure::{ExitCode, Failure};
use crate::remote::ConnectConfig;
use crate::server_url::ServerUrl;
use crate::supervise;
use crate::types::RemotePath;

/// A server whose address was typed. One that others on the way could listen to has to be allowed.
pub fn server_url(text: &str, allow_http: bool) -> Result<ServerUrl, Failure> {
    let usage = |sentence: String| Failure::new(ExitCode::Usage, sentence);
    let server: ServerUrl = text
        .parse()
        .map_err(|error| usage(format!("the server address cannot be used: {error}")))?;
    if server.is_unprotected() && !allow_http {
        return Err(usage(format!(
            "{server} is not encrypted, the password could be read on the way; use https://, or \
             --allow-http if you trust the network"
        )));
    }
    Ok(server)
}

/// The value of `--name`.
pub fn parse_name(text: &str) -> Result<AccountName, Failure> {
    text.parse()
        .map_err(|error| Failure::new(ExitCode::Usage, format_args!("--name {text}: {error}")))
}

/// The stored account with this name, or the only one at this address, of which the end may be left
/// out; with `user`, the only one of these with that login name. `None` if nothing stored fits.
pub fn find_account(
    accounts: &Accounts,
    text: &str,
    user: Option<&str>,
) -> Result<Option<Account>, Failure> {
    if let Ok(name) = text.parse()
        && let Some(account) = accounts.find(&name)?
    {
        return Ok(Some(account));
    }
    let Ok(server) = text.parse::<ServerUrl>() else { return Ok(None) };
    let mut fitting: Vec<Account> = usable(accounts)?
        .into_iter()
        .filter(|account| server.means(&account.server))
        .filter(|account| user.is_none_or(|user| account.login_name == user))
        .collect();
    if fitting.len() > 1 {
        let sentence = format!(
            "you have several accounts at {}: {}; name the one you mean",
            server.host(),
            listed(&fitting)
        );
        return Err(Failure::new(ExitCode::Usage, sentence));
    }
    Ok(fitting.pop())
}

/// The stored accounts. Those that cannot be used are told of.
pub fn usable(accounts: &Accounts) -> Result<Vec<Account>, Failure> {
    let (all, broken) = accounts.all()?;
    for error in broken {
        eprintln!("ncfs: {error}");
    }
    Ok(all)
}

/// Their names, for a sentence.
pub fn listed(accounts: &[Account]) -> String {
    let names: Vec<String> = accounts.iter().map(|account| account.name.to_string()).collect();
    names.join(", ")
}

/// How the commands speak with the server of an account. The name of the machine is what a person
/// finds in the list of their devices there.
pub fn connection(server: &ServerUrl, ca_file: Option<PathBuf>, allow_http: bool) -> ConnectConfig {
    let host = nix::unistd::gethostname().unwrap_or_default();
    // What may stand in a comment of a User-Agent (RFC 9110, 5.6.5).
    let may_stand = |c: &char| c.is_ascii_graphic() && !"()\\".contains(*c);
    let host: String = host.to_string_lossy().chars().filter(may_stand).collect();
    ConnectConfig {
        server: server.clone(),
        vendor: None,
        remote_dir: RemotePath::root(),
        ca_file,
        allow_http,
        user_agent: format!("ncfs/{} ({host})", env!("CARGO_PKG_VERSION")),
    }
}

/// Keeps the passwords that this process is about to hold from others.
pub fn protect() -> Result<(), Failure> {
    supervise::process::harden().map_err(|error| {
        Failure::new(ExitCode::Other, format_args!("the process cannot be protected: {error}"))
    })
}

/// For a few requests.
pub fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitCode::Other, error))
}
