//! PUT: a whole file in one request, always with its length (FACTS 0.3).

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use reqwest::Url;

use super::http::{Answer, Http, Payload, Request, Verb};
use crate::remote::{PutIf, RemoteError, Result, Source};
use crate::types::ByteRange;

/// Until the answer to an upload, counted from its last byte, for the smallest ones.
const PATIENCE: Duration = Duration::from_secs(120);
/// And for each of these many bytes a second more: behind a proxy that gathers the body first all of
/// it moves once more after its last byte has left here.
const BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

/// How long the server may take to store `bytes` once it has them.
pub fn patience(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes / BYTES_PER_SECOND)
}

/// A PUT of these bytes, to which headers can be added.
pub fn request(url: Url, payload: Payload) -> Request {
    let patience = patience(payload.len());
    Request { patience, ..Request::new(Verb::Put, url).payload(payload) }
}

/// Adds the condition of an upload.
pub fn conditional(request: Request, condition: &PutIf) -> Result<Request> {
    match condition {
        PutIf::Free => request.header("if-none-match", "*"),
        PutIf::Holds(etag) => request.header("if-match", etag.0.as_bytes()),
    }
}

/// Sends a PUT; its answer has no body that matters.
pub async fn put(http: &Http, request: &Request) -> Result<Answer> {
    http.send(request).await
}

/// All of a small source in memory, so that nothing which goes wrong with it can tear a file on the
/// server (FACTS 0.2).
pub async fn read_ahead(source: &Arc<dyn Source>) -> Result<Payload> {
    let failed = |why: String| RemoteError::Source(why);
    let size = source.size();
    let mut pieces = source.read(ByteRange::new(0, size));
    let mut all = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        all.extend_from_slice(&piece.map_err(|error| failed(error.to_string()))?);
        if all.len() as u64 > size {
            return Err(failed(format!("it is longer than {size} bytes")));
        }
    }
    match all.len() as u64 {
        read if read == size => Ok(Payload::Bytes(all.freeze())),
        read => Err(failed(format!("it ended after {read} of {size} bytes"))),
    }
}
