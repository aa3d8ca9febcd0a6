//! Connecting: from an address and a credential to a remote directory that is there.
//!
//! Guarantee: the password is sent only once `status.php` has shown a Nextcloud of a known version
//! at the other end, and it is sent by one request first (FACTS 11).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::LOCATION;

use super::address::{Address, BadAddress};
use super::ocs::{self, Status};
use super::{Identity, NextcloudRemote};
use crate::remote::webdav::href::Root;
use crate::remote::webdav::http::Http;
use crate::remote::webdav::session::{HttpConfig, HttpSetupError};
use crate::remote::webdav::{namespace, propfind};
use crate::remote::{Capabilities, Conditions, CredentialSource, RemoteError, Vendor};
use crate::types::RemotePath;

/// The oldest Nextcloud with chunked upload v2 (FACTS 9).
const OLDEST: u32 = 26;
/// Size of upload parts when the server announces none. Bytes.
const PART_MAX: u64 = 100 * 1024 * 1024;
/// How often a level of the remote directory is asked for while it is locked.
const MAKE_ATTEMPTS: u32 = 8;

/// Where to connect to.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// What the person typed: with or without `https://`, `/remote.php/dav`, `/index.php`.
    pub url: String,
    /// The directory of the account to mount; created if it is missing.
    pub remote_dir: RemotePath,
    /// Certificates that are trusted beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP may be spoken to other machines.
    pub allow_http: bool,
    /// Shown to the person in the list of devices, and to the operator in the server's log.
    pub user_agent: String,
}

/// Why there is no connection, each with what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}; give the address that you use in the browser, like https://cloud.example.org")]
    Address(BadAddress),
    #[error(
        "{host} would be spoken to without encryption; use https://, or --allow-http if the network \
         in between is trusted"
    )]
    PlainHttp { host: String },
    #[error("{0}; check the path given with --ca-file")]
    CaFile(String),
    #[error(
        "the certificate of {host} is not trusted ({why}); if it is signed by an authority of your own, \
         give that one's certificate with --ca-file"
    )]
    Certificate { host: String, why: String },
    #[error("no encrypted connection to {host} ({why}); check that its port speaks https")]
    Tls { host: String, why: String },
    #[error("no host is known as {host}; check the spelling and the network")]
    UnknownHost { host: String },
    #[error("{host} cannot be reached ({why}); check the address, the port and the network")]
    Unreachable { host: String, why: String },
    #[error("{host} redirects to {to}; use that address if you trust it")]
    Redirected { host: String, to: String },
    #[error("there is no Nextcloud at {address} ({why}); check the address")]
    NotNextcloud { address: String, why: String },
    #[error("the Nextcloud at {address} is not set up yet; ask its operator")]
    NotInstalled { address: String },
    #[error("the Nextcloud at {address} is in maintenance; try again later")]
    Maintenance { address: String },
    #[error("the Nextcloud at {address} has version {version}; ncfs needs {OLDEST} or newer")]
    TooOld { address: String, version: String },
    #[error(
        "the server refused the user name or password; make a new app password in its security \
         settings and try again"
    )]
    WrongPassword,
    #[error(
        "the server turns logins from this address away for now; wait half an hour and check the \
         password before the next try"
    )]
    TooManyLogins,
    #[error("{path} on the server is a file; give a directory to mount")]
    NotADirectory { path: RemotePath },
    #[error("cannot use the directory {path} on the server: {why}")]
    RemoteDirectory { path: RemotePath, why: RemoteError },
    #[error("the server does not answer as expected: {0}; try again later")]
    Server(RemoteError),
}

impl ConnectError {
    /// Whether trying again later can help without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::UnknownHost { .. } | Self::Unreachable { .. } | Self::Maintenance { .. } => true,
            Self::Server(why) | Self::RemoteDirectory { why, .. } => why.is_transient(),
            _ => false,
        }
    }
}

/// [`find_account`], and the remote directory is there.
pub async fn connect(
    config: ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
) -> Result<NextcloudRemote, ConnectError> {
    let remote = find_account(config, credentials).await?;
    remote.make_root().await?;
    Ok(remote)
}

/// Finds the server and the account. Changes nothing on the server.
pub async fn find_account(
    config: ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
) -> Result<NextcloudRemote, ConnectError> {
    let (http, address, status) = find_server(&config, credentials).await?;
    let user = ocs::user(&http, &address).await.map_err(|error| refused(&address, error))?;
    let announced =
        ocs::capabilities(&http, &address).await.map_err(|error| refused(&address, error))?;
    let id = user.id.as_bytes();
    let collection = |kind: &[u8]| address.collection(&[b"remote.php", b"dav", kind, id]);
    let (Some(home), Some(uploads), Some(versions)) =
        (collection(b"files"), collection(b"uploads"), collection(b"versions"))
    else {
        let why = RemoteError::Protocol("a user id that is no name".into());
        return Err(ConnectError::Server(why));
    };
    let names = announced.name_rules().below(&user.id, &config.remote_dir);
    let remote = NextcloudRemote {
        files: home.below(&config.remote_dir),
        home,
        remote_dir: config.remote_dir,
        uploads,
        versions,
        identity: Identity {
            origin: address.origin(),
            user_id: user.id.clone(),
            display_name: user.display_name().into(),
            product: status.productname,
            version: status.versionstring,
        },
        part_max: announced.part_max().unwrap_or(PART_MAX),
        capabilities: Capabilities {
            vendor: Vendor::Nextcloud,
            tags_propagate: true,
            depth_infinity: true,
            file_ids: true,
            sets_mtime: true,
            conditions: Conditions::ALL,
            names,
        },
        http,
        address,
    };
    Ok(remote)
}

/// Finds the server, and that it can be used. No credential is sent yet.
pub(super) async fn find_server(
    config: &ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
) -> Result<(Arc<Http>, Address, Status), ConnectError> {
    let (http, address) = reach(config, credentials)?;
    let (address, status) = find(&http, address).await?;
    check(&address, &status)?;
    Ok((Arc::new(http), address, status))
}

/// What requests to the configured address are sent with. Sends none.
pub(super) fn reach(
    config: &ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
) -> Result<(Http, Address), ConnectError> {
    let address = Address::parse(&config.url, config.allow_http).map_err(|bad| match bad {
        BadAddress::Unencrypted => ConnectError::PlainHttp { host: config.url.clone() },
        bad => ConnectError::Address(bad),
    })?;
    let settings =
        HttpConfig { user_agent: config.user_agent.clone(), ca_file: config.ca_file.clone() };
    let http = Http::new(&settings, address.url(), credentials).map_err(|error| match error {
        HttpSetupError::CaFile { .. } => ConnectError::CaFile(error.to_string()),
        HttpSetupError::Tls(why) => ConnectError::Tls { host: address.host().into(), why },
    })?;
    Ok((http, address))
}

impl NextcloudRemote {
    /// Makes the mounted directory if it is missing.
    pub async fn make_root(&self) -> Result<(), ConnectError> {
        let path = &self.remote_dir;
        make_root(self, &self.home, path).await.map_err(|why| match why {
            RemoteError::NotADirectory => ConnectError::NotADirectory { path: path.clone() },
            RemoteError::Unauthorized => ConnectError::WrongPassword,
            why => ConnectError::RemoteDirectory { path: path.clone(), why },
        })
    }
}

/// Looks for `status.php` at the address and above it: people copy addresses of pages deep inside,
/// below which anything may be answered, a request to log in too.
async fn find(http: &Http, typed: Address) -> Result<(Address, Status), ConnectError> {
    let mut address = typed.clone();
    loop {
        let elsewhere = match look_for_status(http, &address).await? {
            Ok(status) => return Ok((address, status)),
            Err(elsewhere) => elsewhere,
        };
        match (address.parent(), elsewhere) {
            (Some(parent), _) => address = parent,
            (None, Elsewhere::Redirected(to)) => {
                return Err(ConnectError::Redirected { host: address.host().into(), to });
            }
            (None, Elsewhere::Answered(why)) => {
                return Err(ConnectError::NotNextcloud { address: typed.to_string(), why });
            }
        }
    }
}

/// What is at an address that is not the base of a Nextcloud.
enum Elsewhere {
    Redirected(String),
    Answered(String),
}

/// The status of a Nextcloud at this very address. The outer error ends the search.
async fn look_for_status(
    http: &Http,
    address: &Address,
) -> Result<Result<Status, Elsewhere>, ConnectError> {
    let answer = match ocs::status_page(http, address).await {
        Ok(answer) => answer,
        Err(RemoteError::Unauthorized) => {
            return Ok(Err(Elsewhere::Answered("its status.php asks for a login".into())));
        }
        Err(error) => return Err(unreachable(address, error)),
    };
    let elsewhere = match answer.status {
        200 => match ocs::status(answer).await.map_err(|error| unreachable(address, error))? {
            Some(status) => return Ok(Ok(status)),
            None => Elsewhere::Answered("its status.php is something else".into()),
        },
        300..400 => {
            let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok());
            let to = to.unwrap_or("another address").trim_end_matches("/status.php");
            Elsewhere::Redirected(to.into())
        }
        status => Elsewhere::Answered(format!("its status.php answers {status}")),
    };
    Ok(Err(elsewhere))
}

fn check(address: &Address, status: &Status) -> Result<(), ConnectError> {
    let address = address.to_string();
    if !status.installed {
        return Err(ConnectError::NotInstalled { address });
    }
    if status.maintenance {
        return Err(ConnectError::Maintenance { address });
    }
    match status.major() {
        Some(OLDEST..) => Ok(()),
        _ => Err(ConnectError::TooOld { address, version: status.versionstring.clone() }),
    }
}

/// Why the first request did not get through, in words that help.
pub(super) fn unreachable(address: &Address, error: RemoteError) -> ConnectError {
    let host = address.host().to_owned();
    let why = match error {
        RemoteError::Offline(why) | RemoteError::NoAnswer(why) => {
            // What the HTTP library says of every failed connection.
            why.strip_prefix("client error (Connect): ").map_or(why.clone(), str::to_owned)
        }
        RemoteError::Unavailable { maintenance: true, .. } => {
            return ConnectError::Maintenance { address: address.to_string() };
        }
        error => return ConnectError::Server(error),
    };
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&["invalid peer certificate", "certificate not valid", "self-signed"]) {
        ConnectError::Certificate { host, why }
    } else if says(&["dns error", "failed to lookup"]) {
        ConnectError::UnknownHost { host }
    } else if address.is_encrypted() && says(&["received corrupt message", "fatal alert", "tls"]) {
        ConnectError::Tls { host, why }
    } else {
        ConnectError::Unreachable { host, why }
    }
}

/// Why the account cannot be used.
pub(super) fn refused(address: &Address, error: RemoteError) -> ConnectError {
    match error {
        RemoteError::Unauthorized => ConnectError::WrongPassword,
        RemoteError::TooManyRequests { .. } => ConnectError::TooManyLogins,
        RemoteError::Unavailable { maintenance: true, .. } => {
            ConnectError::Maintenance { address: address.to_string() }
        }
        RemoteError::Offline(why) => ConnectError::Unreachable { host: address.host().into(), why },
        error => ConnectError::Server(error),
    }
}

/// Makes every missing level of the remote directory.
async fn make_root(
    remote: &NextcloudRemote,
    home: &Root,
    path: &RemotePath,
) -> Result<(), RemoteError> {
    let http = &remote.http;
    let is_dir = |look: crate::remote::Look| match look.entry.is_dir {
        true => Ok(()),
        false => Err(RemoteError::NotADirectory),
    };
    match propfind::look(http, home, path).await {
        Err(RemoteError::NotFound) => {}
        found => return found.and_then(is_dir),
    }
    let mut level = RemotePath::root();
    for name in &path.0 {
        level = level.join(name);
        make_level(http, home, &level).await?;
    }
    propfind::look(http, home, path).await.and_then(is_dir)
}

/// Makes one level, which another mount of the same account may be making too: then the server
/// answers that it exists, or that it is locked.
async fn make_level(http: &Http, home: &Root, level: &RemotePath) -> Result<(), RemoteError> {
    let mut attempt = 1;
    loop {
        match namespace::make_dir(http, home.directory_url(level)).await {
            Ok(_) | Err(RemoteError::Exists) => return Ok(()),
            Err(RemoteError::Locked) if attempt < MAKE_ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(Duration::from_millis(rand::random_range(50..500))).await;
            }
            Err(error) => return Err(error),
        }
    }
}
