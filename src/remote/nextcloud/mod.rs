//! Nextcloud: what it has beyond WebDAV (user id, capabilities, quota, chunked upload).
//!
//! [`connect`] finds out all that stays the same; after it a [`NextcloudRemote`] is one account and
//! one remote directory.

mod address;
mod connect;
pub mod login;
mod ocs;
mod upload;

use std::sync::Arc;

use async_trait::async_trait;

pub use address::BadAddress;
pub use connect::{ConnectConfig, ConnectError, connect, find_account};

use super::webdav::href::Root;
use super::webdav::http::Http;
use super::webdav::{MetricsSnapshot, get, namespace, propfind};
use super::{
    Body, Capabilities, Depth, Listing, Look, MoveIf, Quota, Remote, RemoteError, Result, Upload,
    Written, sendable_mtime,
};
use crate::types::{ByteRange, Etag, FileId, Name, RemotePath, Version};
use address::Address;

/// One remote directory of one account on a Nextcloud.
pub struct NextcloudRemote {
    http: Arc<Http>,
    address: Address,
    /// The mounted directory.
    files: Root,
    /// All files of the user, and what of them is mounted.
    home: Root,
    remote_dir: RemotePath,
    /// Where former contents are.
    versions: Root,
    /// Where the folders of chunked uploads are made.
    uploads: Root,
    identity: Identity,
    /// Largest part of a chunked upload, bytes.
    part_max: u64,
    capabilities: Capabilities,
}

/// Who and what we are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Scheme, host and port.
    pub origin: String,
    /// What paths are made of; with the origin and the remote directory it tells accounts apart.
    pub user_id: String,
    /// The person's name for people.
    pub display_name: String,
    /// The server's name for people, as its operator chose it.
    pub product: String,
    /// `32.0.1`
    pub version: String,
}

impl NextcloudRemote {
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The base address, for people and for the pages of the server.
    pub fn base_address(&self) -> String {
        self.address.to_string()
    }

    pub fn metrics(&self) -> MetricsSnapshot {
        self.http.metrics().snapshot()
    }
}

#[async_trait]
impl Remote for NextcloudRemote {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, path: &RemotePath, depth: Depth) -> Result<Listing> {
        propfind::list(&self.http, &self.files, path, depth).await
    }

    async fn look(&self, path: &RemotePath) -> Result<Look> {
        propfind::look(&self.http, &self.files, path).await
    }

    async fn read(
        &self,
        path: &RemotePath,
        range: Option<ByteRange>,
        only: Option<&Etag>,
    ) -> Result<Body> {
        let body = get::get(&self.http, self.files.url(path), range, only).await?;
        // A folder answers like an empty file, but has no tag (FACTS 4).
        if range.is_none() && body.range.is_empty() && body.etag.is_none() {
            return Err(RemoteError::Conflict("it is a directory".into()));
        }
        Ok(body)
    }

    async fn read_former(&self, version: &Version) -> Result<Body> {
        let Some(id) = &version.file_id else { return Err(RemoteError::NotFound) };
        // Former contents are named by the file's id and their mtime.
        let names = ["versions".into(), id.0.to_string(), version.mtime.to_string()];
        let names: Vec<Name> = names
            .into_iter()
            .map(|name: String| Name::new(name.into_bytes()))
            .collect::<std::result::Result<_, _>>()
            .map_err(|bad| RemoteError::Protocol(format!("a file id: {bad}")))?;
        get::get(&self.http, self.versions.url(&RemotePath(names)), None, None).await
    }

    async fn put(&self, path: &RemotePath, upload: Upload) -> Result<Written> {
        upload::upload(self, path, upload).await
    }

    async fn make_dir(&self, path: &RemotePath) -> Result<Option<FileId>> {
        namespace::make_dir(&self.http, self.files.directory_url(path)).await
    }

    async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        source: Option<&Etag>,
        target: MoveIf,
    ) -> Result<()> {
        let (from, to) = (self.files.url(from), self.files.url(to));
        let request = namespace::move_request(from, &to, source, &target)?;
        namespace::finish(&self.http, &request).await
    }

    async fn copy(&self, from: &RemotePath, to: &RemotePath, source: Option<&Etag>) -> Result<()> {
        namespace::copy(&self.http, self.files.url(from), &self.files.url(to), source).await
    }

    async fn delete(&self, path: &RemotePath, only: Option<&Etag>) -> Result<()> {
        namespace::delete(&self.http, self.files.url(path), only).await
    }

    async fn set_mtime(&self, path: &RemotePath, mtime: i64, only: Option<&Etag>) -> Result<()> {
        let mtime = sendable_mtime(mtime);
        namespace::set_mtime(&self.http, self.files.url(path), mtime, only).await
    }

    fn retry_login(&self) {
        self.http.retry_login();
    }

    async fn quota(&self) -> Result<Quota> {
        Ok(ocs::user(&self.http, &self.address).await?.quota())
    }
}

#[cfg(test)]
mod tests;
