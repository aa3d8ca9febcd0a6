//! PROPFIND: listings and looks (RFC 4918, 9.1).
//!
//! Guarantees: what is not below the listed directory is left out; a listing in which the directory
//! itself is missing is an error, so that hrefs which cannot be understood never look like an empty
//! directory; so is an answer to `Depth: infinity` that stopped at the children.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio_util::io::StreamReader;

use super::href::{Root, strip};
use super::http::{Answer, Http, Payload, Request, Verb};
use super::multistatus::{Multistatus, Response};
use super::properties;
use super::tag;
use crate::remote::{Depth, Entry, Listing, Look, RemoteError, Result};
use crate::types::{RemotePath, Version};

/// Most entries of one listing, against a server without end.
const ENTRIES_MAX: usize = 4_000_000;
/// Until the first byte of `Depth: infinity`: a server may gather all before it speaks.
const EVERYTHING_PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// Lists a directory; see [`crate::remote::Remote::list`].
pub async fn list(http: &Http, root: &Root, path: &RemotePath, depth: Depth) -> Result<Listing> {
    let level = match depth {
        Depth::Children => "1",
        Depth::Everything => "infinity",
    };
    let mut request = propfind(root.directory_url(path), level)?;
    if depth == Depth::Everything {
        request.patience = EVERYTHING_PATIENCE;
    }
    let answer = multistatus(http, &request).await?;
    let server_time = tag::server_time(&answer.headers);
    let mut entries = Entries::new(answer.body, root.clone(), path.clone(), depth).into_stream();
    // The directory itself comes first, and with it the news that it is a file.
    let first = entries.next().await.transpose()?;
    Ok(Listing { server_time, entries: stream::iter(first.map(Ok)).chain(entries).boxed() })
}

/// Looks at one entry; see [`crate::remote::Remote::look`].
pub async fn look(http: &Http, root: &Root, path: &RemotePath) -> Result<Look> {
    let answer = multistatus(http, &propfind(root.url(path), "0")?).await?;
    let server_time = tag::server_time(&answer.headers);
    let mut responses = Multistatus::new(StreamReader::new(readable(answer.body)));
    let mut found = None;
    while let Some(response) = responses.next().await? {
        if found.is_none() && below(root, path, &response.href).is_some_and(|at| at.0.is_empty()) {
            found = entry(path.clone(), response);
        }
    }
    let entry = found.ok_or_else(|| RemoteError::Protocol("it told of something else".into()))?;
    Ok(Look { server_time, entry })
}

fn propfind(url: reqwest::Url, depth: &str) -> Result<Request> {
    let body = Payload::Bytes(properties::request_body().into());
    Request::new(Verb::Propfind, url)
        .payload(body)
        .header("content-type", "application/xml; charset=utf-8")?
        .header("depth", depth)?
        .header("prefer", "return=minimal")
}

/// Sends a request that must be answered with 207.
pub async fn multistatus(http: &Http, request: &Request) -> Result<Answer> {
    let answer = http.send(request).await?;
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
    path: RemotePath,
    depth: Depth,
    count: usize,
    saw_directory: bool,
    /// A directory below the listed one has a size, so there must be something in it.
    expects_deeper: bool,
    saw_deeper: bool,
}

impl Entries {
    fn new(
        body: BoxStream<'static, Result<Bytes>>,
        root: Root,
        path: RemotePath,
        depth: Depth,
    ) -> Self {
        Self {
            responses: Multistatus::new(StreamReader::new(readable(body))),
            root,
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
        let Some(entry) = entry(path, response) else { return Ok(None) };
        match level {
            0 if !entry.is_dir => return Err(RemoteError::NotADirectory),
            0 => self.saw_directory = true,
            1 => self.expects_deeper |= entry.is_dir && entry.version.size > 0,
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
fn entry(path: RemotePath, response: Response) -> Option<Entry> {
    let known = response.properties;
    if !response.granted || response.status.is_some_and(|status| !(200..300).contains(&status)) {
        return None;
    }
    let is_dir = known.is_dir.unwrap_or_else(|| response.href.ends_with('/'));
    let size = if is_dir { known.size } else { known.length.or(known.size) };
    Some(Entry {
        path,
        is_dir,
        version: Version {
            file_id: known.file_id,
            etag: known.tag,
            mtime: known.modified.unwrap_or(0),
            size: size.unwrap_or(0),
            upload_time: known.upload_time,
            // It was asked for: with `return=minimal` a missing one is just not there.
            checksum: (!is_dir).then_some(known.checksum),
        },
        permissions: known.permissions,
        mount_root: known.mount_root.unwrap_or(false),
    })
}

#[cfg(test)]
#[path = "propfind_tests.rs"]
mod tests;
