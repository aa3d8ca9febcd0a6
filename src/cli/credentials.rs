//! Which server a mount is of, and which of the ways to give credentials was used.

use std::path::{Path, PathBuf};

use super::args::MountArgs;
use super::inherited;
use super::target::{find_account, listed, server_url};
use crate::accounts::{Account, Accounts};
use crate::config::CredentialConfig;
use crate::credential_file::{self, CredentialError, FileCredentials};
use crate::failure::{ExitCode, Failure};
use crate::remote::{CredentialSource, Secret};
use crate::server_url::ServerUrl;

/// What is mounted, as whom, and how the daemon gets at the password.
pub struct Source {
    pub server: ServerUrl,
    pub login_name: String,
    pub credentials: CredentialConfig,
    /// The name of the stored account, if it is one.
    pub account: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub allow_http: bool,
}

/// Credentials that were given count more than what `ncfs login` stored.
pub fn find(args: &MountArgs, password: Option<Secret>) -> Result<Source, Failure> {
    let ca_file = ca_file(args.ca_file.as_deref())?;
    let allow_http = args.allow_http;
    let user = args.user.as_deref().filter(|user| !user.is_empty());
    let password = password.filter(|password| !password.expose().is_empty());
    let are_given = args.credentials_file.is_some()
        || args.credentials_fd.is_some()
        || user.is_some() && password.is_some();
    if are_given {
        let server = server_url(&args.url, allow_http)?;
        let (login_name, credentials) = given(args, user, password, &server)?;
        return Ok(Source { server, login_name, credentials, account: None, ca_file, allow_http });
    }
    let accounts = Accounts::of_user()?;
    let Some(account) = find_account(&accounts, &args.url, user)? else {
        return Err(not_logged_in(args, neighbours(&accounts, &args.url)));
    };
    Ok(stored(&accounts, account, ca_file, allow_http))
}

/// An account with what was remembered of its login. Its file is followed when it changes.
fn stored(
    accounts: &Accounts,
    account: Account,
    ca_file: Option<PathBuf>,
    allow_http: bool,
) -> Source {
    Source {
        credentials: CredentialConfig::File(accounts.path(&account.name)),
        account: Some(account.name.to_string()),
        ca_file: ca_file.or(account.ca_file),
        allow_http: allow_http || account.allow_http,
        server: account.server,
        login_name: account.login_name,
    }
}

/// The accounts on the same host, one of which may be meant.
fn neighbours(accounts: &Accounts, text: &str) -> Vec<Account> {
    let (Ok(server), Ok((mut all, _))) = (text.parse::<ServerUrl>(), accounts.all()) else {
        return Vec::new();
    };
    all.retain(|account| account.server.origin() == server.origin());
    all
}

fn not_logged_in(args: &MountArgs, neighbours: Vec<Account>) -> Failure {
    let sentence = match server_url(&args.url, args.allow_http) {
        Err(failure) if args.url.contains("://") => return failure,
        Ok(server) if !neighbours.is_empty() => format!(
            "there are no credentials for {}; name an account, of which you have on this host {}, or \
             log in: ncfs login {0}",
            server.as_typed(),
            listed(&neighbours)
        ),
        // What looks like no address is more likely the name of an account than a host.
        Ok(server) if args.url.contains(['.', ':', '/']) => format!(
            "there are no credentials for {server}; log in first: ncfs login {server} (ncfs mount \
             --help shows other ways)"
        ),
        _ => format!(
            "there is no account {}; ncfs accounts lists those you have, and ncfs login URL adds one",
            args.url
        ),
    };
    Failure::new(ExitCode::Credentials, sentence)
}

/// The login name, and how the daemon gets at the password.
fn given(
    args: &MountArgs,
    user: Option<&str>,
    password: Option<Secret>,
    server: &ServerUrl,
) -> Result<(String, CredentialConfig), Failure> {
    if let Some(path) = &args.credentials_file {
        let path = std::path::absolute(path)
            .map_err(|cause| CredentialError::Unreadable { path: path.clone(), cause })?;
        let credential = FileCredentials::open(&path, server)?.current();
        return Ok((credential.login_name, CredentialConfig::File(path)));
    }
    if let Some(number) = args.credentials_fd {
        let stream = inherited::take_file(number, "--credentials-fd")?;
        let credential = credential_file::read(stream, "--credentials-fd", server)?;
        return Ok((credential.login_name, CredentialConfig::Given(credential.app_password)));
    }
    match (user, password) {
        (Some(user), Some(password)) => Ok((user.to_owned(), CredentialConfig::Given(password))),
        _ => Err(not_logged_in(args, Vec::new())),
    }
}

/// Makes the certificate file readable from any directory, and says early if it is missing.
pub fn ca_file(path: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    path.map(|path| {
        path.canonicalize().map_err(|cause| {
            let sentence =
                format!("the certificate file {} cannot be read: {cause}", path.display());
            Failure::new(ExitCode::Usage, sentence)
        })
    })
    .transpose()
}
