//! Names: MKCOL, MOVE, COPY, DELETE, and PROPPATCH of the modification time.
//!
//! Each is one request with the conditions that the server honours (FACTS 6): the source of a MOVE
//! by `If-Match`, its target by `Overwrite: F` or by `If: <target> (["tag"])`. On folders there are
//! none (FACTS 0.10).

use reqwest::Url;
use tokio_util::io::StreamReader;

use super::http::{Http, Payload, Request, Verb};
use super::multistatus::Multistatus;
use super::propfind::{multistatus, readable};
use super::refusal::refusal;
use super::tag;
use crate::remote::{MoveIf, RemoteError, Result};
use crate::types::{Etag, FileId};

/// MKCOL; the id is told by Nextcloud only.
pub async fn make_dir(http: &Http, url: Url) -> Result<Option<FileId>> {
    let answer = http.send(&Request::new(Verb::Mkcol, url)).await?;
    let id = tag::file_id(&answer.headers);
    answer.drain().await;
    Ok(id)
}

/// MOVE, with headers of its own if need be (an assembly has some).
pub fn move_request(
    from: Url,
    to: &Url,
    source: Option<&Etag>,
    target: &MoveIf,
) -> Result<Request> {
    let request = Request::new(Verb::Move, from).header("destination", to.as_str())?;
    let request = if_match(request, source)?;
    match target {
        MoveIf::Free => request.header("overwrite", "F"),
        MoveIf::Holds(etag) => {
            // RFC 4918, 10.4: a condition on a resource other than the one of the request.
            request.header("overwrite", "T")?.header("if", format!("<{to}> ([{}])", etag.0))
        }
    }
}

/// A condition of its own for each of some URLs, in one `If` (RFC 4918, 10.4): its file has this tag,
/// called weak or not. Apache calls the tag of a file weak while it is younger than a second or two,
/// and `If-Match` never holds for it then; this does, and for the target of a MOVE, too. Without host,
/// which a proxy may have changed.
pub fn tagged(conditions: &[(Url, &Etag)]) -> String {
    let lists = conditions
        .iter()
        .map(|(url, Etag(tag))| format!("<{path}> ([{tag}]) ([W/{tag}])", path = url.path()));
    lists.collect::<Vec<_>>().join(" ")
}

/// COPY of a file to a free name.
pub async fn copy(http: &Http, from: Url, to: &Url, source: Option<&Etag>) -> Result<()> {
    let request = Request::new(Verb::Copy, from)
        .header("destination", to.as_str())?
        .header("overwrite", "F")?;
    finish(http, &if_match(request, source)?).await
}

/// DELETE, of a directory with all in it.
pub async fn delete(http: &Http, url: Url, only: Option<&Etag>) -> Result<()> {
    finish(http, &if_match(Request::new(Verb::Delete, url), only)?).await
}

/// Sends a change whose answer tells nothing but that it was made.
pub async fn finish(http: &Http, request: &Request) -> Result<()> {
    let answer = http.send(request).await?;
    if answer.status == 207 {
        // RFC 4918, 9.6.1: some of it failed.
        return Err(first_refusal(request, answer).await);
    }
    answer.drain().await;
    Ok(())
}

/// PROPPATCH of `d:lastmodified`, seconds since the epoch (FACTS 5).
pub async fn set_mtime(http: &Http, url: Url, mtime: i64, only: Option<&Etag>) -> Result<()> {
    let body = format!(
        "<?xml version=\"1.0\"?><d:propertyupdate xmlns:d=\"DAV:\"><d:set><d:prop>\
         <d:lastmodified>{mtime}</d:lastmodified></d:prop></d:set></d:propertyupdate>"
    );
    let request = Request::new(Verb::Proppatch, url)
        .payload(Payload::Bytes(body.into()))
        .header("content-type", "application/xml; charset=utf-8")?;
    let request = if_match(request, only)?;
    let answer = multistatus(http, &request).await?;
    let mut responses = Multistatus::new(StreamReader::new(readable(answer.body)));
    let mut granted = false;
    while let Some(response) = responses.next().await? {
        if let Some(status) = response.refused.or(response.status).filter(|code| *code >= 300) {
            return Err(refusal(Verb::Proppatch, status, &answer.headers, b""));
        }
        granted |= response.granted;
    }
    granted.then_some(()).ok_or_else(|| RemoteError::Protocol("it told of something else".into()))
}

fn if_match(request: Request, only: Option<&Etag>) -> Result<Request> {
    match only {
        Some(etag) => request.header("if-match", etag.0.as_bytes()),
        None => Ok(request),
    }
}

/// The first failure that a 207 tells.
async fn first_refusal(request: &Request, answer: super::http::Answer) -> RemoteError {
    let mut responses = Multistatus::new(StreamReader::new(readable(answer.body)));
    loop {
        match responses.next().await {
            Ok(Some(response)) => {
                if let Some(status) = response.status.filter(|status| *status >= 300) {
                    return refusal(request.verb, status, &answer.headers, b"");
                }
            }
            Ok(None) => return RemoteError::Protocol("a part of it failed".into()),
            Err(error) => return error,
        }
    }
}
