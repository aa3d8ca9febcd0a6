//! Nextcloud, and ownCloud as its sibling: what they have beyond WebDAV (user id, capabilities, quota,
//! chunked upload).
//!
//! Logging in finds out all that stays the same; after it a [`NextcloudRemote`] is one account and
//! one remote directory. What differs on an ownCloud (FACTS 16) is untried: there is none to try it
//! on. `Depth: infinity` is refused there, the quota is told by WebDAV only, checksums are verified,
//! and files are sent whole unless it announces chunked upload.

mod account;
pub mod login;
mod ocs;
mod upload;

use std::sync::Arc;

use async_trait::async_trait;

pub use account::CloudAccount;
pub(in crate::remote) use ocs::{Status, read_status, status_page};

use super::webdav::get::Checked;
use super::webdav::href::Root;
use super::webdav::http::Http;
use super::webdav::properties::Vocabulary;
use super::webdav::{get, namespace, propfind};
use super::{
    Body, Capabilities, Depth, Listing, Look, MoveIf, Quota, Remote, RemoteError, Result, Upload,
    Vendor, Written, sendable_mtime,
};
use crate::server_url::ServerUrl;
use crate::types::{ByteRange, Etag, FileId, Name, RemotePath, Version};

/// One remote directory of one account on a Nextcloud.
pub struct NextcloudRemote {
    http: Arc<Http>,
    server: ServerUrl,
    /// The mounted directory.
    files: Root,
    /// Where former contents are.
    versions: Root,
    /// Where the folders of chunked uploads are made.
    uploads: Root,
    /// Largest part of a chunked upload, bytes; `None` where files are sent whole.
    part_max: Option<u64>,
    capabilities: Capabilities,
}

#[async_trait]
impl Remote for NextcloudRemote {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, path: &RemotePath, depth: Depth) -> Result<Listing> {
        propfind::list(&self.http, &self.files, Vocabulary::Cloud, path, depth).await
    }

    async fn look(&self, path: &RemotePath) -> Result<Look> {
        propfind::look(&self.http, &self.files, Vocabulary::Cloud, path).await
    }

    async fn read(
        &self,
        path: &RemotePath,
        range: Option<ByteRange>,
        only: Option<&Etag>,
    ) -> Result<Body> {
        let body = get::get(&self.http, self.files.url(path), range, only, Checked::There).await?;
        // A folder answers like an empty file, but has no tag (FACTS 4).
        if range.is_none() && body.range.is_empty() && body.etag.is_none() {
            return Err(RemoteError::Conflict("it is a directory".into()));
        }
        Ok(body)
    }

    async fn read_former(&self, version: &Version) -> Result<Body> {
        // An ownCloud keeps them under names that would have to be looked up first.
        let is_named = self.capabilities.vendor == Vendor::Nextcloud;
        let Some(id) = version.file_id.as_ref().filter(|_| is_named) else {
            return Err(RemoteError::NotFound);
        };
        // Former contents are named by the file's id and their mtime.
        let names = ["versions".into(), id.0.to_string(), version.mtime.to_string()];
        let names: Vec<Name> = names
            .into_iter()
            .map(|name: String| Name::new(name.into_bytes()))
            .collect::<std::result::Result<_, _>>()
            .map_err(|bad| RemoteError::Protocol(format!("a file id: {bad}")))?;
        let url = self.versions.url(&RemotePath(names));
        get::get(&self.http, url, None, None, Checked::There).await
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
        match self.capabilities.vendor {
            Vendor::Owncloud => propfind::quota(&self.http, &self.files).await,
            Vendor::Nextcloud | Vendor::Webdav => {
                Ok(ocs::user(&self.http, &self.server).await?.quota())
            }
        }
    }
}
