//! Against whole servers: testcloud, or the Nextcloud that `NCFS_TEST_URL`, `NCFS_TEST_USER` and
//! `NCFS_TEST_PASSWORD` name (with `NCFS_TEST_CA_FILE` if its certificate is of its own), and plain
//! WebDAV servers that others wrote. Everything happens below `/remote-test`.

mod connecting;
mod faults;
mod nextcloud;
mod operations;
mod plain;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use testcloud::{Action, Config, Fault, Testcloud};

use super::*;
use crate::types::Name;

const MTIME: i64 = 1_700_000_000;

/// Bytes in memory, in pieces of 100,000.
struct Bytewise(Bytes);

impl Source for Bytewise {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: ByteRange) -> BoxStream<'static, io::Result<Bytes>> {
        let bytes = self.0.slice(range.start as usize..range.end as usize);
        let pieces: Vec<_> = bytes.chunks(100_000).map(Bytes::copy_from_slice).map(Ok).collect();
        stream::iter(pieces).boxed()
    }
}

/// Claims more than it has.
struct Torn(u64);

impl Source for Torn {
    fn size(&self) -> u64 {
        self.0
    }

    fn read(&self, range: ByteRange) -> BoxStream<'static, io::Result<Bytes>> {
        let half = Bytes::from(vec![b'x'; range.len() as usize / 2]);
        stream::iter([Ok(half), Err(io::Error::other("changed meanwhile"))]).boxed()
    }
}

fn path(names: &[&str]) -> RemotePath {
    RemotePath(names.iter().map(|name| Name::new(name.as_bytes()).unwrap()).collect())
}

fn upload(content: impl Into<Bytes>, condition: PutIf, mtime: i64) -> Upload {
    Upload { source: Arc::new(Bytewise(content.into())), condition, mtime, checksum: None }
}

fn config(url: String, dir: &str) -> ConnectConfig {
    ConnectConfig {
        server: url.parse().unwrap(),
        vendor: None,
        remote_dir: path(&["remote-test", dir]),
        ca_file: std::env::var_os("NCFS_TEST_CA_FILE").map(Into::into),
        allow_http: false,
        user_agent: "ncfs-test".into(),
    }
}

/// A mounted directory, with what is known of its account.
struct Reach {
    connection: Connection,
    remote: Arc<dyn Remote>,
}

impl std::ops::Deref for Reach {
    type Target = dyn Remote;

    fn deref(&self) -> &Self::Target {
        &*self.remote
    }
}

/// Finds the account and makes the directory, as a mount does.
async fn connect(
    config: ConnectConfig,
    credentials: Arc<dyn CredentialSource>,
) -> std::result::Result<Reach, ConnectError> {
    let connection = find_account(config, credentials).await?;
    connection.make_root().await?;
    let remote = connection.remote();
    Ok(Reach { connection, remote })
}

/// A server with an account on it.
struct Place {
    url: String,
    credential: Credential,
    vendor: Option<Vendor>,
    /// The server, if it is ours and its faults can be chosen.
    cloud: Option<Testcloud>,
    /// The server, if it is one that others wrote.
    server: Option<servers::Server>,
}

impl Place {
    /// The Nextcloud that the environment names, else one of our own.
    fn any() -> Self {
        let setting = |name: &str| std::env::var(format!("NCFS_TEST_{name}")).ok();
        let (Some(url), Some(user), Some(password)) =
            (setting("URL"), setting("USER"), setting("PASSWORD"))
        else {
            return Self::own();
        };
        let credential = Credential { login_name: user, app_password: Secret::new(password) };
        Self { url, credential, vendor: None, cloud: None, server: None }
    }

    fn own() -> Self {
        let cloud = Testcloud::start(Config::default().user("alice", "secret")).unwrap();
        let app_password = Secret::new(cloud.add_app_password("alice"));
        let credential = Credential { login_name: "alice".into(), app_password };
        Self { url: cloud.url(), credential, vendor: None, cloud: Some(cloud), server: None }
    }

    /// A Nextcloud that is taken for a plain WebDAV server.
    fn disguised() -> Self {
        let place = Self::any();
        let url = format!("{}/remote.php/webdav", place.url);
        Self { url, vendor: Some(Vendor::Webdav), ..place }
    }

    fn plain(kind: servers::Kind) -> Self {
        let server = servers::Server::start(kind).unwrap();
        let credential = Credential {
            login_name: servers::USER.into(),
            app_password: Secret::new(servers::PASSWORD),
        };
        let url = server.url();
        Self { url, credential, vendor: None, cloud: None, server: Some(server) }
    }

    /// A fresh directory on it.
    async fn remote(&self) -> Reach {
        let dir = format!("{:016x}", rand::random::<u64>());
        let config = ConnectConfig { vendor: self.vendor, ..config(self.url.clone(), &dir) };
        connect(config, Arc::new(self.credential.clone())).await.unwrap()
    }
}

async fn remote() -> (Place, Reach) {
    let place = Place::any();
    let remote = place.remote().await;
    (place, remote)
}

async fn content(remote: &dyn Remote, at: &RemotePath) -> Result<Bytes> {
    let body = remote.read(at, None, None).await?;
    let pieces: Vec<Bytes> = body.bytes.try_collect().await?;
    Ok(pieces.concat().into())
}

async fn listed(remote: &dyn Remote, at: &RemotePath, depth: Depth) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = remote.list(at, depth).await?.entries.try_collect().await?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}
