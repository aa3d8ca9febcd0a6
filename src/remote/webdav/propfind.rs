//! PROPFIND: listings and looks (RFC 4918, 9.1).
//!
//! Guarantees: what is not below the listed directory is left out; a listing in which the directory
//! itself is missing is an error, so that hrefs which cannot be understood never look like an empty
//! directory; so is an answer to `Depth: infinity` that stopped at the children.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::LOCATION;
use tokio_util::io::StreamReader;

use super::href::{Root, strip};
use super::http::{Answer, Http, Payload, Request, Verb};
use super::multistatus::{Multistatus, Response};
use super::properties::{self, Vocabulary};
use super::tag;
use crate::remote::{Depth, Entry, Listing, Look, Quota, RemoteError, Result};
use crate::types::{RemotePath, Version};

/// Most entries of one listing, against a server without end.
const ENTRIES_MAX: usize = 4_000_000;
/// Until the first byte of `Depth: infinity`: a server may gather all before it speaks.
const EVERYTHING_PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// Lists a directory; see [`crate::remote::Remote::list`].
pub async fn list(
    http: &Http,
    root: &Root,
    vocabulary: Vocabulary,
    path: &RemotePath,
    depth: Depth,
) -> Result<Listing> {
    let level = match depth {
        Depth::Children => "1",
        Depth::Everything => "infinity",
    };
    let mut question = request(root.directory_url(path), vocabulary, level)?;
    if depth == Depth::Everything {
        question.patience = EVERYTHING_PATIENCE;
    }
    let answer = multistatus(http, &question).await?;
    let server_time = tag::server_time(&answer.headers);
    let mut entries =
        Entries::new(answer.body, root.clone(), vocabulary, path.clone(), depth).into_stream();
    // The directory itself comes first, and with it the news that it is a file.
    let first = entries.next().await.transpose()?;
    Ok(Listing { server_time, entries: stream::iter(first.map(Ok)).chain(entries).boxed() })
}

/// Looks at one entry; see [`crate::remote::Remote::look`].
pub async fn look(
    http: &Http,
    root: &Root,
    vocabulary: Vocabulary,
    path: &RemotePath,
) -> Result<Look> {
    let mut question = request(root.url(path), vocabulary, "0")?;
    let mut answer = http.exchange(&question).await?;
    if leads_to_directory(&answer, &question.url) {
        answer.drain().await;
        question.url = root.directory_url(path);
        answer = http.exchange(&question).await?;
    }
    let answer = only_multistatus(&question, http.judged(&question, answer).await?)?;
    let server_time = tag::server_time(&answer.headers);
    let found = find(answer, root, path).await?;
    let entry = found.and_then(|response| entry(path.clone(), response, vocabulary));
    let entry = entry.ok_or_else(|| RemoteError::Protocol("it told of something else".into()))?;
    Ok(Look { server_time, entry })
}

/// Asks how full the account is (RFC 4331); [`RemoteError::Refused`] when the server does not say.
pub async fn quota(http: &Http, root: &Root) -> Result<Quota> {
    let at = RemotePath::root();
    let mut question = request(root.directory_url(&at), Vocabulary::Plain, "0")?;
    question.payload = Payload::Bytes(properties::quota_body().into());
    let found = find(multistatus(http, &question).await?, root, &at).await?;
    let told = found.map(|response| response.properties).unwrap_or_default();
    match (told.quota_used, told.quota_available) {
        (None, None) => Err(RemoteError::Refused("the server does not tell its quota".into())),
        (used, available) => Ok(Quota { used: used.unwrap_or(0), available }),
    }
}

/// The first response of an answer that tells of the entry itself.
async fn find(answer: Answer, root: &Root, path: &RemotePath) -> Result<Option<Response>> {
    let mut responses = Multistatus::new(StreamReader::new(readable(answer.body)));
    let mut found = None;
    while let Some(response) = responses.next().await? {
        if found.is_none() && below(root, path, &response.href).is_some_and(|at| at.0.is_empty()) {
            found = Some(response);
        }
    }
    Ok(found)
}

/// Whether a redirect leads to the same path with a slash at its end, as of some servers for
/// directories.
fn leads_to_directory(answer: &Answer, url: &reqwest::Url) -> bool {
    let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok());
    let to = to.and_then(|to| url.join(to).ok());
    (300..400).contains(&answer.status)
        && to.is_some_and(|to| {
            to.origin() == url.origin() && to.path() == format!("{}/", url.path())
        })
}

/// A PROPFIND of this depth.
pub fn request(url: reqwest::Url, vocabulary: Vocabulary, depth: &str) -> Result<Request> {
    let body = Payload::Bytes(properties::request_body(vocabulary).into());
    Request::new(Verb::Propfind, url)
        .payload(body)
        .header("content-type", "application/xml; charset=utf-8")?
        .header("depth", depth)?
        .header("prefer", "return=minimal")
}

/// Sends a request that must be answered with 207.
pub async fn multistatus(http: &Http, request: &Request) -> Result<Answer> {
    only_multistatus(request, http.send(request).await?)
}

fn only_multistatus(request: &Request, answer: Answer) -> Result<Answer> {
    match answer.status {
        207 => Ok(answer),
        status => {
            Err(RemoteError::Protocol(format!("status {status} to a {}", request.verb.as_str())))
        }
    }
}

type Input = StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>;

/// A body as a reader; its errors pass through inside of [`io::Error`].
pub fn readable(body: BoxStream<'static, Result<Bytes>>) -> BoxStream<'static, io::Result<Bytes>> {
    body.map_err(io::Error::other).boxed()
}

/// A listing being read.
struct Entries {
    responses: Multistatus<Input>,
    root: Root,
    vocabulary: Vocabulary,
    path: RemotePath,
    depth: Depth,
    count: usize,
    saw_directory: bool,
    /// A directory below the listed one has a size, so there must be something in it; where sizes of
    /// directories are not told there may be.
    expects_deeper: bool,
    saw_deeper: bool,
}

impl Entries {
    fn new(
        body: BoxStream<'static, Result<Bytes>>,
        root: Root,
        vocabulary: Vocabulary,
        path: RemotePath,
        depth: Depth,
    ) -> Self {
        Self {
            responses: Multistatus::new(StreamReader::new(readable(body))),
            root,
            vocabulary,
            path,
            depth,
            count: 0,
            saw_directory: false,
            expects_deeper: false,
            saw_deeper: false,
        }
    }

    fn into_stream(self) -> BoxStream<'static, Result<Entry>> {
        stream::unfold(Some(self), |entries| async {
            let mut entries = entries?;
            match entries.next().await {
                Ok(Some(entry)) => Some((Ok(entry), Some(entries))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Entry>> {
        while let Some(response) = self.responses.next().await? {
            self.count += 1;
            if self.count > ENTRIES_MAX {
                return Err(RemoteError::Protocol("a listing without end".into()));
            }
            if let Some(entry) = self.judge(response)? {
                return Ok(Some(entry));
            }
        }
        if !self.saw_directory {
            return Err(RemoteError::Protocol("the listing lacks the directory itself".into()));
        }
        if self.depth == Depth::Everything && self.expects_deeper && !self.saw_deeper {
            return Err(RemoteError::Protocol("it lists only one level at a time".into()));
        }
        Ok(None)
    }

    /// The entry of a response; `None` for what does not belong here.
    fn judge(&mut self, response: Response) -> Result<Option<Entry>> {
        let Some(at) = below(&self.root, &self.path, &response.href) else { return Ok(None) };
        let level = at.0.len();
        if level > 1 && self.depth == Depth::Children {
            return Ok(None);
        }
        let path = RemotePath(self.path.0.iter().chain(&at.0).cloned().collect());
        let Some(entry) = entry(path, response, self.vocabulary) else { return Ok(None) };
        match level {
            0 if !entry.is_dir => return Err(RemoteError::NotADirectory),
            0 => self.saw_directory = true,
            1 => {
                let unknown = self.vocabulary == Vocabulary::Plain;
                self.expects_deeper |= entry.is_dir && (unknown || entry.version.size > 0);
            }
            _ => self.saw_deeper = true,
        }
        Ok(Some(entry))
    }
}

/// Where below `path` an href leads; `None` for elsewhere.
fn below(root: &Root, path: &RemotePath, href: &str) -> Option<RemotePath> {
    let located = root.locate(href)?;
    strip(&located.0, &path.0).map(|rest| RemotePath(rest.to_vec()))
}

/// What a response says of the entry at `path`; `None` when it says nothing: gone meanwhile, or of
/// somebody else (FACTS 0.11).
fn entry(path: RemotePath, response: Response, vocabulary: Vocabulary) -> Option<Entry> {
    let known = response.properties;
    if !response.granted || response.status.is_some_and(|status| !(200..300).contains(&status)) {
        return None;
    }
    let is_dir = known.is_dir.unwrap_or_else(|| response.href.ends_with('/'));
    let size = if is_dir { known.size } else { known.length.or(known.size) }.unwrap_or(0);
    let mtime = known.modified.unwrap_or(0);
    let entry = Entry {
        path,
        is_dir,
        version: Version {
            file_id: known.file_id,
            etag: known.tag,
            mtime,
            size,
            upload_time: known.upload_time,
            // It was asked for: with `return=minimal` a missing one is just not there.
            checksum: (!is_dir).then_some(known.checksum),
        },
        permissions: known.permissions,
        mount_root: known.mount_root.unwrap_or(false),
    };
    Some(match vocabulary {
        Vocabulary::Cloud => entry,
        Vocabulary::Plain => plain(entry),
    })
}

/// The entry without what a plain server does not tell, or does not mean.
fn plain(entry: Entry) -> Entry {
    let Version { etag, mtime, size, .. } = entry.version;
    let etag = (!entry.is_dir).then(|| etag.unwrap_or_else(|| tag::made(mtime, size)));
    let version = Version { file_id: None, etag, mtime, size, upload_time: None, checksum: None };
    Entry { version, permissions: None, mount_root: false, ..entry }
}

#[cfg(test)]
#[path = "propfind_tests.rs"]
mod tests;
