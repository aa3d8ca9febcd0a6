//! Against a whole server: testcloud, or the one that `NCFS_TEST_URL`, `NCFS_TEST_USER` and
//! `NCFS_TEST_PASSWORD` name (with `NCFS_TEST_CA_FILE` if its certificate is of its own). There
//! everything happens below `/remote-test`.

mod connecting;
mod faults;
mod operations;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use testcloud::{Action, Config, Fault, Testcloud};

use super::*;
use crate::remote::{Credential, Entry, PutIf, Secret, Source};
use crate::types::{Name, Sha1Sum};

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
        url,
        remote_dir: path(&["remote-test", dir]),
        ca_file: std::env::var_os("NCFS_TEST_CA_FILE").map(Into::into),
        allow_http: false,
        user_agent: "ncfs-test".into(),
    }
}

/// A server with an account on it.
struct Place {
    url: String,
    credential: Credential,
    /// The server, if it is ours and its faults can be chosen.
    cloud: Option<Testcloud>,
}

impl Place {
    /// The server that the environment names, else one of our own.
    fn any() -> Self {
        let setting = |name: &str| std::env::var(format!("NCFS_TEST_{name}")).ok();
        let (Some(url), Some(user), Some(password)) =
            (setting("URL"), setting("USER"), setting("PASSWORD"))
        else {
            return Self::own();
        };
        let credential = Credential { login_name: user, app_password: Secret::new(password) };
        Self { url, credential, cloud: None }
    }

    fn own() -> Self {
        let cloud = Testcloud::start(Config::default().user("alice", "secret")).unwrap();
        let app_password = Secret::new(cloud.add_app_password("alice"));
        let credential = Credential { login_name: "alice".into(), app_password };
        Self { url: cloud.url(), credential, cloud: Some(cloud) }
    }

    /// A fresh directory on it.
    async fn remote(&self) -> NextcloudRemote {
        let dir = format!("{:016x}", rand::random::<u64>());
        let credential = Arc::new(self.credential.clone());
        connect(config(self.url.clone(), &dir), credential).await.unwrap()
    }
}

async fn remote() -> (Place, NextcloudRemote) {
    let place = Place::any();
    let remote = place.remote().await;
    (place, remote)
}

async fn content(remote: &NextcloudRemote, at: &RemotePath) -> Result<Bytes> {
    let body = remote.read(at, None, None).await?;
    let pieces: Vec<Bytes> = body.bytes.try_collect().await?;
    Ok(pieces.concat().into())
}

async fn listed(remote: &NextcloudRemote, at: &RemotePath, depth: Depth) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = remote.list(at, depth).await?.entries.try_collect().await?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}
