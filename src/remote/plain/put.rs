//! Uploads to servers that may write a PUT straight into the file, so that one that is cut on its way
//! leaves a torn file under the name, old or new.
//!
//! There a file gathers under another name first, in [`UPLOADS`], which listings of ours do not show,
//! and is moved to its own when it is whole. Guarantee: the name's content is either what it was or
//! all of the source, but for overwrites of at most [`PLAIN_OVERWRITE_MAX`] bytes, which are one PUT
//! (a request less, and it stays the server's same file); others may see nothing under the name for a
//! moment, as RFC 4918 allows for a MOVE over a file. A crash of ours leaves the gathered file behind;
//! a later mount deletes what is older than a day.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use reqwest::Url;
use tracing::debug;

use super::PlainRemote;
use super::profile::UPLOADS;
use crate::remote::webdav::href::Root;
use crate::remote::webdav::http::{Http, Payload, Request, Verb};
use crate::remote::webdav::properties::Vocabulary;
use crate::remote::webdav::temporary::Temporary;
use crate::remote::webdav::{namespace, propfind, put};
use crate::remote::{
    Depth, PLAIN_OVERWRITE_MAX, PutIf, Remote, RemoteError, Result, Upload, Written, sendable_mtime,
};
use crate::types::{ByteRange, Name, RemotePath};

/// How long an upload can take before what is left of it counts as forgotten, seconds.
const FORGOTTEN: u64 = 24 * 60 * 60;

/// Stores a whole file; see [`Remote::put`].
pub(super) async fn put(
    remote: &PlainRemote,
    path: &RemotePath,
    upload: &Upload,
) -> Result<Written> {
    let size = upload.source.size();
    let small_overwrite =
        matches!(upload.condition, PutIf::Holds(_)) && size <= PLAIN_OVERWRITE_MAX;
    let sent = match remote.profile.atomic_put || small_overwrite {
        true => direct(remote, path, upload).await,
        false => aside(remote, path, upload).await,
    };
    match sent {
        Ok(()) => written(remote, path, size).await,
        Err(error) => Err(remote.explained(error, None, path).await),
    }
}

/// In one PUT.
async fn direct(remote: &PlainRemote, path: &RemotePath, upload: &Upload) -> Result<()> {
    let request = request(remote.files.url(path), upload).await?;
    let request = match &upload.condition {
        PutIf::Free if remote.profile.if_lists => put::conditional(request, &upload.condition)?,
        PutIf::Free => {
            remote.is_free(path).await?;
            request
        }
        PutIf::Holds(etag) => remote.conditional(request, None, Some((path, etag))).await?,
    };
    send(&remote.http, &request).await
}

/// Under another name first.
async fn aside(remote: &PlainRemote, path: &RemotePath, upload: &Upload) -> Result<()> {
    // Before all is sent in vain, and once more before it matters.
    if upload.source.size() > PLAIN_OVERWRITE_MAX {
        check(remote, path, &upload.condition).await?;
    }
    let mut gathered = remote.uploads.gather(&remote.http, upload).await?;
    let overwrite = match &upload.condition {
        PutIf::Free => "F",
        PutIf::Holds(_) => {
            check(remote, path, &upload.condition).await?;
            "T"
        }
    };
    let request = Request::new(Verb::Move, gathered.url().clone())
        .header("destination", remote.files.url(path).as_str())?
        .header("overwrite", overwrite)?;
    gathered.keep();
    let outcome = namespace::finish(&remote.http, &request).await;
    if outcome.as_ref().is_err_and(|error| !error.outcome_unknown()) {
        gathered.discard();
    }
    outcome
}

async fn check(remote: &PlainRemote, path: &RemotePath, condition: &PutIf) -> Result<()> {
    match condition {
        PutIf::Free => remote.is_free(path).await,
        PutIf::Holds(etag) => remote.still_holds(path, etag).await,
    }
}

/// A PUT of the source. Small ones are read before, so that nothing which goes wrong with the source
/// can tear the file.
async fn request(url: Url, upload: &Upload) -> Result<Request> {
    let size = upload.source.size();
    let payload = match size <= PLAIN_OVERWRITE_MAX {
        true => put::read_ahead(&upload.source).await?,
        false => {
            let source = Arc::clone(&upload.source);
            Payload::Part { source, range: ByteRange::new(0, size) }
        }
    };
    // Some servers take the time that Nextcloud takes.
    put::request(url, payload).header("x-oc-mtime", sendable_mtime(upload.mtime).to_string())
}

async fn send(http: &Http, request: &Request) -> Result<()> {
    put::put(http, request).await?.drain().await;
    Ok(())
}

/// What the server shows of a file that it took. Its answer tells neither tag nor time for sure.
async fn written(remote: &PlainRemote, path: &RemotePath, size: u64) -> Result<Written> {
    let unsure = |why: String| RemoteError::NoAnswer(format!("sent, but not seen there: {why}"));
    let look = remote.look(path).await.map_err(|error| unsure(error.to_string()))?;
    match look.entry {
        entry if !entry.is_dir && entry.version.size == size => Ok(entry.version),
        _ => Err(unsure("something else is there".into())),
    }
}

/// The directory in which files gather.
pub(super) struct Uploads {
    root: Root,
    /// Whether it has been made, or found, by this connection.
    made: AtomicBool,
}

impl Uploads {
    pub fn new(files: &Root) -> Self {
        let names = Name::new(UPLOADS.as_bytes()).into_iter().collect();
        Self { root: files.below(&RemotePath(names)), made: AtomicBool::new(false) }
    }

    /// Sends the bytes to a name of their own. Nothing of that can be seen under the name that they
    /// are for, whatever is lost.
    async fn gather(&self, http: &Arc<Http>, upload: &Upload) -> Result<Temporary> {
        if !self.made.load(Relaxed) {
            self.make(http).await?;
        }
        let sent = match self.send(http, upload).await {
            // Somebody has deleted the directory.
            Err(RemoteError::NotFound | RemoteError::Conflict(_)) => {
                self.make(http).await?;
                self.send(http, upload).await
            }
            sent => sent,
        };
        sent.map_err(|error| match error {
            RemoteError::NoAnswer(why) => RemoteError::Offline(why),
            error => error,
        })
    }

    async fn send(&self, http: &Arc<Http>, upload: &Upload) -> Result<Temporary> {
        let name = format!("{}-{:032x}", now(), rand::random::<u128>());
        let name = Name::new(name.into_bytes())
            .map_err(|error| RemoteError::Refused(error.to_string()))?;
        let gathered = Temporary::new(http, self.root.url(&RemotePath(vec![name])));
        send(http, &request(gathered.url().clone(), upload).await?).await?;
        Ok(gathered)
    }

    /// Makes the directory, and clears away what crashes have left in it.
    async fn make(&self, http: &Http) -> Result<()> {
        let at = RemotePath::root();
        match namespace::make_dir(http, self.root.directory_url(&at)).await {
            Ok(_) | Err(RemoteError::Exists) => self.made.store(true, Relaxed),
            Err(error) => return Err(error),
        }
        let listing = propfind::list(http, &self.root, Vocabulary::Plain, &at, Depth::Children);
        let Ok(mut listing) = listing.await else { return Ok(()) };
        while let Some(Ok(entry)) = listing.entries.next().await {
            if is_forgotten(&entry.path, now()) {
                let gone = namespace::delete(http, self.root.url(&entry.path), None).await;
                debug!(?gone, "an upload of an earlier mount is cleared away");
            }
        }
        Ok(())
    }
}

/// Whether what gathers under this name was begun more than [`FORGOTTEN`] ago.
fn is_forgotten(path: &RemotePath, now: u64) -> bool {
    let begun = || {
        let [name] = &path.0[..] else { return None };
        let (begun, _) = name.as_str()?.split_once('-')?;
        begun.parse::<u64>().ok()
    };
    begun().is_some_and(|begun| begun.saturating_add(FORGOTTEN) < now)
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uploads_that_were_begun_long_ago_are_forgotten() {
        let path = |name: &str| RemotePath(vec![Name::new(name.as_bytes()).unwrap()]);
        let now = 1_700_000_000;
        assert!(is_forgotten(&path("1699900000-00ff"), now));
        assert!(!is_forgotten(&path("1699999000-00ff"), now));
        assert!(!is_forgotten(&path("1700000001-00ff"), now));
        assert!(!is_forgotten(&path("letter.txt"), now));
        assert!(!is_forgotten(&RemotePath::root(), now));
    }
}
