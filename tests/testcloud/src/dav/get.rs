//! GET and HEAD of files and versions: ranges and headers as in FACTS 4.

use std::io::SeekFrom;

use axum::body::Body;
use axum::http::{Method, Response, StatusCode, header};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::conditions::{format_date, lists, parse_date};
use super::properties::content_type;
use super::{Call, Target, empty, set};
use crate::error::DavError;
use crate::locks::LockGuard;
use crate::path::raw_url_encode;
use crate::shares::Place;
use crate::tree::Missing;

const BLOCK: usize = 256 * 1024;

/// What is served, file or version.
struct Source {
    disk: std::path::PathBuf,
    name: String,
    size: u64,
    mtime: i64,
    /// As in the header: versions have no quotes.
    etag: String,
    checksums: Option<String>,
    /// Held until the body is delivered: a stalled reader locks writers out.
    lock: Option<LockGuard>,
}

pub(super) async fn get(call: &Call) -> Result<Response<Body>, DavError> {
    let source = match &call.target {
        Target::File { .. } => file(call, &call.own_file()?)?,
        Target::Version { file, mtime: Some(mtime) } => Some(version(call, *file, mtime)?),
        Target::Unknown(path) => return Err(Missing::At(path.clone()).into()),
        _ => None,
    };
    match source {
        Some(source) => serve(call, source).await,
        None => Ok(empty(StatusCode::OK)),
    }
}

/// None for a folder.
fn file(call: &Call, place: &Place) -> Result<Option<Source>, DavError> {
    let cloud = &call.cloud;
    let Place { user, path, .. } = place;
    if cloud.state().account(user)?.tree.find(path)?.is_folder() {
        return Ok(None);
    }
    // HEAD is answered from the metadata, whatever is going on.
    let lock = match call.method {
        Method::HEAD => None,
        _ => Some(cloud.locks.shared(user, path)?),
    };
    if lock.is_some() {
        cloud.repair(user, path)?;
    }
    let state = cloud.state();
    let node = state.account(user)?.tree.find(path)?;
    Ok(Some(Source {
        disk: cloud.store.file(user, path),
        name: place.asked.name().to_owned(),
        size: node.size(),
        mtime: node.mtime,
        etag: format!("\"{}\"", node.etag),
        checksums: node.file().and_then(|file| file.checksums.clone()),
        lock,
    }))
}

fn version(call: &Call, id: u64, mtime: &str) -> Result<Source, DavError> {
    let state = call.cloud.state();
    let tree = &state.account(&call.user)?.tree;
    let missing = || DavError::not_found("");
    let node = tree.node(id).ok_or_else(missing)?;
    let second: i64 = mtime.parse().map_err(|_| missing())?;
    let former = node.file().and_then(|file| file.versions.get(&second));
    let (disk, size) = match former {
        Some(size) => (call.cloud.store.version(&call.user, id, second), *size),
        // The newest version is the file itself (FACTS 13).
        None if node.mtime == second && !node.is_folder() => {
            let path = tree.path_of(id).ok_or_else(missing)?;
            (call.cloud.store.file(&call.user, &path), node.size())
        }
        None => return Err(missing()),
    };
    Ok(Source {
        disk,
        name: node.name.clone(),
        size,
        mtime: second,
        etag: mtime.to_owned(),
        checksums: None,
        lock: None,
    })
}

async fn serve(call: &Call, source: Source) -> Result<Response<Body>, DavError> {
    let range = match asked_range(call, &source) {
        Some(range) => Some(resolve_range(range, source.size).map_err(|message| {
            DavError::range(message)
                .with_header(header::LAST_MODIFIED, format_date(source.mtime))
                .with_header(header::ETAG, &source.etag)
        })?),
        None => None,
    };
    if range.is_some() && call.method == Method::HEAD {
        // fseek on what HEAD has instead of a stream (FACTS 0.9).
        return Err(DavError::internal("TypeError", "")
            .with_header(header::LAST_MODIFIED, format_date(source.mtime))
            .with_header(header::ETAG, &source.etag));
    }
    let (start, length) = match range {
        Some((first, last)) => (first, last - first + 1),
        None => (0, source.size),
    };
    let mut response = empty(match range {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    });
    set(&mut response, "content-type", served_type(&source.name));
    set(&mut response, "last-modified", &format_date(source.mtime));
    set(&mut response, "etag", &source.etag);
    set(&mut response, "oc-etag", &source.etag);
    let name = raw_url_encode(&source.name);
    let disposition = format!("attachment; filename*=UTF-8''{name}; filename=\"{name}\"");
    set(&mut response, "content-disposition", &disposition);
    if let Some(checksums) = &source.checksums {
        set(&mut response, "oc-checksum", checksums);
    }
    if let Some((first, last)) = range {
        let content_range = format!("bytes {first}-{last}/{}", source.size);
        set(&mut response, "content-range", &content_range);
    }
    // An empty file comes chunked, without a length (FACTS 4).
    if length > 0 {
        set(&mut response, "content-length", &length.to_string());
    }
    if call.method != Method::HEAD {
        *response.body_mut() = body(source, start, length).await?;
    }
    Ok(response)
}

async fn body(source: Source, start: u64, length: u64) -> Result<Body, DavError> {
    let mut file = tokio::fs::File::open(&source.disk).await?;
    file.seek(SeekFrom::Start(start)).await?;
    let blocks = ReaderStream::with_capacity(file.take(length), BLOCK);
    let lock = source.lock;
    Ok(Body::from_stream(blocks.inspect(move |_| {
        let _held = &lock;
    })))
}

/// First and last byte as asked; none if the header asks for nothing that is understood. Several
/// ranges, another unit, and any range of an empty file are not.
fn asked_range(call: &Call, source: &Source) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = call.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| match text {
        "" => Some(None),
        _ => text.parse().ok().map(Some),
    };
    let range = (number(first)?, number(last)?);
    if range == (None, None) || source.size == 0 {
        return None;
    }
    if let Some(condition) = call.header("if-range") {
        let same = match parse_date(condition) {
            Some(date) => source.mtime <= date,
            None => lists(condition, &source.etag),
        };
        if !same {
            return None;
        }
    }
    Some(range)
}

fn resolve_range(
    (first, last): (Option<u64>, Option<u64>),
    size: u64,
) -> Result<(u64, u64), String> {
    let (first, last) = match (first, last) {
        (None, suffix) => (size.saturating_sub(suffix.unwrap_or(0)), size - 1),
        (Some(first), last) => (first, last.unwrap_or(size - 1)),
    };
    if first >= size {
        return Err(format!("The start offset ({first}) exceeded the size of the entity ({size})"));
    }
    if last < first {
        return Err(format!("The end offset ({last}) is lower than the start offset ({first})"));
    }
    Ok((first, last.min(size - 1)))
}

/// What a browser could run comes as plain text.
fn served_type(name: &str) -> &'static str {
    match content_type(name) {
        "text/html" | "image/svg+xml" | "application/json" => "text/plain;charset=UTF-8",
        "text/plain" => "text/plain;charset=UTF-8",
        "text/markdown" => "text/markdown;charset=UTF-8",
        "text/csv" => "text/csv;charset=UTF-8",
        "text/x-python" => "text/x-python;charset=UTF-8",
        other => other,
    }
}
