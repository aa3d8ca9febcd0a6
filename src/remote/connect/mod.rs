//! Connecting: from an address and a credential to an account and its remote directory.
//!
//! The kind of server is found out: a `status.php` at the address or above it is that of a Nextcloud
//! or ownCloud; else a collection at exactly the address typed is plain WebDAV.
//!
//! Guarantee: the password is sent only where a Nextcloud or ownCloud of a known version, or a WebDAV
//! directory that is open or asks for a password, is at the other end, and it is sent by one request
//! first (FACTS 11).

mod detect;
mod error;
mod known;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use error::ConnectError;
pub use known::KnownAccount;

use super::nextcloud::{CloudAccount, NextcloudRemote};
use super::plain::PlainRemote;
use super::webdav::href::Root;
use super::webdav::http::Http;
use super::webdav::properties::Vocabulary;
use super::webdav::session::{HttpConfig, HttpSetupError};
use super::webdav::{MetricsSnapshot, namespace, propfind};
use super::{CredentialSource, Look, Remote, RemoteError, Vendor};
use crate::server_url::ServerUrl;
use crate::types::RemotePath;
pub(in crate::remote) use detect::{Found, ServerHeaders};

/// How often a level of the remote directory is asked for while it is locked.
const MAKE_ATTEMPTS: u32 = 8;

/// Where to connect to.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    pub server: ServerUrl,
    /// What kind of server it is; found out without it.
    pub vendor: Option<Vendor>,
    /// The directory of the account to mount; created if it is missing.
    pub remote_dir: RemotePath,
    /// Certificates that are trusted beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP may be spoken to other machines.
    pub allow_http: bool,
    /// Shown to the person in the list of devices, and to the operator in the server's log.
    pub user_agent: String,
}

/// Who and what we are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Scheme, host and port; of a plain WebDAV server with the path of its root.
    pub origin: String,
    /// The user id, of which paths are made; of a plain WebDAV server the login name. With the origin
    /// and the remote directory it tells accounts apart.
    pub user_id: String,
    /// The person's name for people.
    pub display_name: String,
    /// The server's name for people, as its operator chose it.
    pub product: String,
    /// `32.0.1`; empty when it does not say.
    pub version: String,
}

/// An account on a server, and one directory of it.
pub struct Connection {
    remote: Arc<dyn Remote>,
    identity: Identity,
    known: KnownAccount,
    http: Arc<Http>,
    /// All files of the account, and what of them is mounted.
    home: Root,
    remote_dir: RemotePath,
}

/// Finds the server and the account. Changes nothing on the server.
pub async fn find_account(
    config: ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
) -> Result<Connection, ConnectError> {
    let login_name = credentials.current().login_name;
    let (http, found) = find_server(&config, credentials).await?;
    let known = match found {
        Found::Cloud { server, vendor, status } => {
            let account = CloudAccount::log_in(&http, *server, vendor, status).await?;
            KnownAccount::Cloud(Box::new(account))
        }
        Found::Plain { headers } => KnownAccount::Plain { login_name, headers },
    };
    connect(config, http, known)
}

/// Connects to an account that was found before. Sends nothing.
pub fn known_account(
    config: ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
    known: KnownAccount,
) -> Result<Connection, ConnectError> {
    let http = reach(&config, credentials)?;
    connect(config, http, known)
}

fn connect(
    config: ConnectConfig,
    http: Arc<Http>,
    known: KnownAccount,
) -> Result<Connection, ConnectError> {
    let ConnectConfig { server, remote_dir, .. } = config;
    let (remote, identity, home): (Arc<dyn Remote>, _, _) = match &known {
        KnownAccount::Cloud(account) => {
            let (remote, home) = NextcloudRemote::new(http.clone(), account, &remote_dir)?;
            (Arc::new(remote), account.identity(), home)
        }
        KnownAccount::Plain { login_name, headers } => {
            let home = Root::of(server.as_typed());
            let identity = Identity {
                origin: server.as_typed().as_str().trim_end_matches('/').into(),
                user_id: login_name.clone(),
                display_name: login_name.clone(),
                product: headers.product().into(),
                version: headers.version().into(),
            };
            let remote = PlainRemote::new(http.clone(), home.below(&remote_dir), headers);
            (Arc::new(remote), identity, home)
        }
    };
    Ok(Connection { remote, identity, known, http, home, remote_dir })
}

/// Finds the server. The credential is sent only to a plain WebDAV server that asks for one.
pub(in crate::remote) async fn find_server(
    config: &ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
) -> Result<(Arc<Http>, Found), ConnectError> {
    let http = reach(config, credentials)?;
    let found = detect::detect(&http, &config.server, config.vendor).await?;
    Ok((http, found))
}

/// Finds a Nextcloud, and nothing else. No credential is sent.
pub(in crate::remote) async fn find_nextcloud(
    config: &ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
) -> Result<(Arc<Http>, ServerUrl), ConnectError> {
    let http = reach(config, credentials)?;
    match detect::cloud(&http, &config.server, Vendor::Nextcloud).await? {
        Found::Cloud { server, .. } => Ok((http, *server)),
        Found::Plain { .. } => Ok((http, config.server.clone())),
    }
}

/// What requests to the configured address are sent with. Sends none.
fn reach(
    config: &ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
) -> Result<Arc<Http>, ConnectError> {
    let server = &config.server;
    if server.is_unprotected() && !config.allow_http {
        return Err(ConnectError::PlainHttp { host: server.host() });
    }
    let settings =
        HttpConfig { user_agent: config.user_agent.clone(), ca_file: config.ca_file.clone() };
    let http = Http::new(&settings, server, credentials).map_err(|error| match error {
        HttpSetupError::CaFile { .. } => ConnectError::CaFile(error.to_string()),
        HttpSetupError::Tls(why) => ConnectError::Tls { host: server.host(), why },
    })?;
    Ok(Arc::new(http))
}

impl Connection {
    pub fn remote(&self) -> Arc<dyn Remote> {
        Arc::clone(&self.remote)
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What has to be kept to connect to it again without asking.
    pub fn known(&self) -> &KnownAccount {
        &self.known
    }

    pub fn metrics(&self) -> MetricsSnapshot {
        self.http.metrics().snapshot()
    }

    /// Makes the mounted directory if it is missing.
    pub async fn make_root(&self) -> Result<(), ConnectError> {
        let path = &self.remote_dir;
        make_root(&self.http, &self.home, path).await.map_err(|why| match why {
            RemoteError::NotADirectory => ConnectError::NotADirectory { path: path.clone() },
            RemoteError::Unauthorized => ConnectError::WrongPassword,
            why => ConnectError::RemoteDirectory { path: path.clone(), why },
        })
    }
}

/// Makes every missing level of the remote directory.
async fn make_root(http: &Http, home: &Root, path: &RemotePath) -> Result<(), RemoteError> {
    let is_dir = |look: Look| match look.entry.is_dir {
        true => Ok(()),
        false => Err(RemoteError::NotADirectory),
    };
    match propfind::look(http, home, Vocabulary::Plain, path).await {
        Err(RemoteError::NotFound) => {}
        found => return found.and_then(is_dir),
    }
    let mut level = RemotePath::root();
    for name in &path.0 {
        level = level.join(name);
        make_level(http, home, &level).await?;
    }
    propfind::look(http, home, Vocabulary::Plain, path).await.and_then(is_dir)
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
