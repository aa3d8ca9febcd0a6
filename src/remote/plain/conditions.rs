//! Conditions: checked by the server where it can, by a look before where it cannot; and what vague
//! refusals mean.

use super::PlainRemote;
use crate::remote::webdav::http::Request;
use crate::remote::webdav::{namespace, tag};
use crate::remote::{Remote, RemoteError, Result};
use crate::types::{Etag, RemotePath};

impl PlainRemote {
    /// The request, on condition that what is moved, and what is replaced, has its tag.
    pub(super) async fn conditional(
        &self,
        request: Request,
        source: Option<(&RemotePath, &Etag)>,
        target: Option<(&RemotePath, &Etag)>,
    ) -> Result<Request> {
        let all: Vec<_> = source.into_iter().chain(target).collect();
        if all.is_empty() {
            return Ok(request);
        }
        if self.profile.if_lists && all.iter().all(|(_, etag)| tag::is_servers(etag)) {
            let lists: Vec<_> =
                all.iter().map(|(path, etag)| (self.files.url(path), *etag)).collect();
            return request.header("if", namespace::tagged(&lists));
        }
        if let Some((path, etag)) = source {
            self.holds(path, etag).await?;
        }
        if let Some((path, etag)) = target {
            self.still_holds(path, etag).await?;
        }
        Ok(request)
    }

    /// Whether the file has this tag just now.
    pub(super) async fn holds(&self, path: &RemotePath, etag: &Etag) -> Result<()> {
        let entry = self.look(path).await?.entry;
        match entry.version.etag {
            Some(seen) if !entry.is_dir && seen == *etag => Ok(()),
            seen => Err(RemoteError::PreconditionFailed { etag: seen }),
        }
    }

    /// Whether the file that is to be replaced has this tag just now; one that is gone has not.
    pub(super) async fn still_holds(&self, path: &RemotePath, etag: &Etag) -> Result<()> {
        self.holds(path, etag).await.map_err(|error| match error {
            RemoteError::NotFound => RemoteError::PreconditionFailed { etag: None },
            error => error,
        })
    }

    /// Whether nothing has this name just now.
    pub(super) async fn is_free(&self, path: &RemotePath) -> Result<()> {
        match self.look(path).await {
            Err(RemoteError::NotFound) => Ok(()),
            Ok(look) => Err(RemoteError::PreconditionFailed { etag: look.entry.version.etag }),
            Err(error) => Err(error),
        }
    }

    /// What a refusal means that can mean many things: of a missing parent Apache says 500 to a MOVE
    /// and 400 below a file, rclone 403 and 405.
    pub(super) async fn explained(
        &self,
        error: RemoteError,
        from: Option<&RemotePath>,
        to: &RemotePath,
    ) -> RemoteError {
        if !is_vague(&error) {
            return error;
        }
        if let Some(from) = from
            && matches!(self.look(from).await, Err(RemoteError::NotFound))
        {
            return RemoteError::NotFound;
        }
        let Some(parent) = to.parent() else { return error };
        match self.look(&parent).await {
            Ok(look) if look.entry.is_dir => error,
            Ok(_) | Err(RemoteError::NotFound) => {
                RemoteError::Conflict("the directory that it goes into is not there".into())
            }
            Err(_) => error,
        }
    }
}

/// Whether a refusal says little of its reason.
pub(super) fn is_vague(error: &RemoteError) -> bool {
    matches!(
        error,
        RemoteError::Forbidden(_)
            | RemoteError::NotFound
            | RemoteError::Exists
            | RemoteError::Refused(_)
            | RemoteError::Protocol(_)
            | RemoteError::Status { .. }
    )
}
