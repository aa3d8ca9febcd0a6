//! Servers that speak WebDAV and nothing beyond it: [`Remote`] keeps its meaning on them.
//!
//! Where the server checks no condition it is checked here: look, compare, act, and after a PUT look
//! again. A condition that is false at that look fails as it would on the server; what somebody else
//! does between the look and the act is not noticed ([`Capabilities::conditions`] says where that is).
//! `Overwrite: F` is taken to hold everywhere (RFC 4918, 10.6; it does on all servers measured).
//!
//! Directories have no tag here, files no id. A file's tag is the server's, or where it has none one
//! that is made from time and size, is compared like one, and never sent.

mod conditions;
mod profile;
mod put;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;

use super::connect::ServerHeaders;
use super::webdav::get::Checked;
use super::webdav::href::Root;
use super::webdav::http::{Http, Request, Verb};
use super::webdav::properties::Vocabulary;
use super::webdav::{get, namespace, propfind, tag};
use super::{
    Body, Capabilities, Depth, Listing, Look, MoveIf, Quota, Remote, RemoteError, Result, Upload,
    Written, sendable_mtime,
};
use crate::types::{ByteRange, Etag, FileId, RemotePath};
use profile::{Profile, UPLOADS};
use put::Uploads;

/// One directory of a plain WebDAV server.
pub struct PlainRemote {
    http: Arc<Http>,
    /// The mounted directory.
    files: Root,
    uploads: Uploads,
    profile: Profile,
    capabilities: Capabilities,
}

impl PlainRemote {
    pub fn new(http: Arc<Http>, files: Root, headers: &ServerHeaders) -> Self {
        let profile = Profile::of(headers);
        let uploads = Uploads::new(&files);
        Self { http, files, uploads, profile, capabilities: profile.capabilities() }
    }

    /// Whether a directory is at this path.
    async fn is_dir(&self, path: &RemotePath) -> bool {
        self.look(path).await.is_ok_and(|look| look.entry.is_dir)
    }
}

/// Whether it is where uploads gather, or below.
fn is_uploads(path: &RemotePath) -> bool {
    path.0.first().is_some_and(|name| name.as_bytes() == UPLOADS.as_bytes())
}

#[async_trait]
impl Remote for PlainRemote {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn list(&self, path: &RemotePath, depth: Depth) -> Result<Listing> {
        match propfind::list(&self.http, &self.files, Vocabulary::Plain, path, depth).await {
            Ok(Listing { server_time, entries }) => {
                let entries = entries.filter(|entry| {
                    let ours = entry.as_ref().is_ok_and(|entry| is_uploads(&entry.path));
                    std::future::ready(!ours)
                });
                Ok(Listing { server_time, entries: entries.boxed() })
            }
            // Servers answer in many ways to a file with a slash at its end.
            Err(error) if conditions::is_vague(&error) => match self.look(path).await {
                Ok(look) if !look.entry.is_dir => Err(RemoteError::NotADirectory),
                Err(RemoteError::NotFound) => Err(RemoteError::NotFound),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn look(&self, path: &RemotePath) -> Result<Look> {
        propfind::look(&self.http, &self.files, Vocabulary::Plain, path).await
    }

    async fn read(
        &self,
        path: &RemotePath,
        range: Option<ByteRange>,
        only: Option<&Etag>,
    ) -> Result<Body> {
        let is_dir = || RemoteError::Conflict("it is a directory".into());
        match get::get(&self.http, self.files.url(path), range, only, Checked::Here).await {
            // The page that some servers make of a directory has no tag.
            Ok(body) if !body.etag.as_ref().is_some_and(tag::is_servers) => {
                if self.is_dir(path).await { Err(is_dir()) } else { Ok(body) }
            }
            Err(error) if conditions::is_vague(&error) && self.is_dir(path).await => Err(is_dir()),
            outcome => outcome,
        }
    }

    async fn put(&self, path: &RemotePath, upload: Upload) -> Result<Written> {
        put::put(self, path, &upload).await
    }

    async fn make_dir(&self, path: &RemotePath) -> Result<Option<FileId>> {
        if !self.profile.honest_mkcol {
            match self.look(path).await {
                Err(RemoteError::NotFound) => {}
                Ok(_) => return Err(RemoteError::Exists),
                Err(error) => return Err(self.explained(error, None, path).await),
            }
        }
        match namespace::make_dir(&self.http, self.files.directory_url(path)).await {
            Ok(_) => Ok(None),
            Err(error) => Err(self.explained(error, None, path).await),
        }
    }

    async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        source: Option<&Etag>,
        target: MoveIf,
    ) -> Result<()> {
        let replaced = match &target {
            MoveIf::Free => None,
            MoveIf::Holds(etag) => Some((to, etag)),
        };
        let request = Request::new(Verb::Move, self.files.url(from))
            .header("destination", self.files.url(to).as_str())?
            .header("overwrite", if replaced.is_some() { "T" } else { "F" })?;
        let source = source.map(|etag| (from, etag));
        let request = self.conditional(request, source, replaced).await?;
        match namespace::finish(&self.http, &request).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explained(error, Some(from), to).await),
        }
    }

    async fn copy(&self, from: &RemotePath, to: &RemotePath, source: Option<&Etag>) -> Result<()> {
        let request = Request::new(Verb::Copy, self.files.url(from))
            .header("destination", self.files.url(to).as_str())?
            .header("overwrite", "F")?;
        let source = source.map(|etag| (from, etag));
        let request = self.conditional(request, source, None).await?;
        match namespace::finish(&self.http, &request).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explained(error, Some(from), to).await),
        }
    }

    async fn delete(&self, path: &RemotePath, only: Option<&Etag>) -> Result<()> {
        let request = Request::new(Verb::Delete, self.files.url(path));
        let only = only.map(|etag| (path, etag));
        let request = self.conditional(request, only, None).await?;
        namespace::finish(&self.http, &request).await
    }

    async fn set_mtime(&self, path: &RemotePath, mtime: i64, only: Option<&Etag>) -> Result<()> {
        if !self.profile.sets_mtime {
            return Err(RemoteError::Refused("the server lets no times be set".into()));
        }
        if let Some(etag) = only {
            self.holds(path, etag).await?;
        }
        namespace::set_mtime(&self.http, self.files.url(path), sendable_mtime(mtime), None).await
    }

    fn retry_login(&self) {
        self.http.retry_login();
    }

    async fn quota(&self) -> Result<Quota> {
        propfind::quota(&self.http, &self.files).await
    }
}
