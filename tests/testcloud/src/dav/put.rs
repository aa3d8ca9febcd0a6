//! PUT of files and of upload parts, and the PATCH that digests a file (FACTS 5, 9).

use axum::body::Body;
use axum::http::{Response, StatusCode};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::moves::{destination, set_file_headers};
use super::{Call, Target, conditions, done, empty, set};
use crate::error::DavError;
use crate::files::Outcome;
use crate::shares::{CREATE, Place, UPDATE};
use crate::tree::Kind;
use crate::write::{Claims, Digests, Writing};

pub(super) async fn put(call: &Call, body: Body) -> Result<Response<Body>, DavError> {
    if call.header("content-range").is_some() {
        return Err(DavError::bad_request("Content-Range on PUT requests are forbidden."));
    }
    match &call.target {
        Target::Upload { folder: Some(folder), part: Some(part) } => {
            put_part(call, folder, part, body).await
        }
        Target::File { owner, path } if *owner != call.user => Err(DavError::forbidden(format!(
            "Permission denied to create file (filename {})",
            path.name()
        ))),
        _ => put_file(call, &call.own_file()?, body).await,
    }
}

async fn put_file(call: &Call, place: &Place, body: Body) -> Result<Response<Body>, DavError> {
    let Place { user, path, .. } = place;
    let exists = call.cloud.state().account(user)?.tree.get(path).is_some();
    place.require(if exists { UPDATE } else { CREATE })?;
    if call.header("x-nc-webdav-auto-mkcol") == Some("1") {
        call.cloud.make_folders(user, &path.parent())?;
    }
    let still = || conditions::check(call).map(drop);
    let writing = Writing::put(&call.cloud, user, path, content_length(call), &still)?;
    let mut digests = Digests::asked(call.header("x-hash").unwrap_or_default());
    receive(call, body, &writing.file(), &mut digests).await?;
    let claims = claims(call);
    let written = writing.commit(&claims)?;
    let mut response = done(written.outcome);
    set_file_headers(call, &mut response, written.id, Some(&written.etag));
    set_accepted(&mut response, &claims);
    for (name, value) in digests.finish() {
        let header = match name {
            "MD5" => "x-hash-md5",
            "SHA1" => "x-hash-sha1",
            _ => "x-hash-sha256",
        };
        set(&mut response, header, &value);
    }
    Ok(response)
}

async fn put_part(
    call: &Call,
    folder: &str,
    part: &str,
    body: Body,
) -> Result<Response<Body>, DavError> {
    call.cloud.upload(&call.user, folder, |_| ())?;
    let total = call.header("oc-total-length").and_then(|n| n.parse().ok());
    if let (Some(total), Ok(to)) = (total, destination(call)) {
        let state = call.cloud.state();
        let to = state.place(&call.user, &to.path);
        state.account(&to.user)?.require(&to.path.parent(), total)?;
    }
    let temp = call.cloud.store.temp();
    receive(call, body, temp.path(), &mut Digests::asked("")).await?;
    let new = call.cloud.add_part(&call.user, folder, part, temp.path())?;
    Ok(done(if new { Outcome::Created } else { Outcome::Replaced }))
}

fn content_length(call: &Call) -> Option<u64> {
    call.header("content-length")?.parse().ok()
}

pub(super) fn claims(call: &Call) -> Claims {
    Claims {
        mtime: call.claim("x-oc-mtime"),
        ctime: call.claim("x-oc-ctime"),
        checksums: call.claim("oc-checksum"),
    }
}

pub(super) fn set_accepted(response: &mut Response<Body>, claims: &Claims) {
    if claims.mtime.is_some() {
        set(response, "x-oc-mtime", "accepted");
    }
    if claims.ctime.is_some() {
        set(response, "x-oc-ctime", "accepted");
    }
}

/// Streams a body into a file. A body shorter than announced is an error, and what arrived stays in
/// the file; one of unknown length that breaks off counts as complete and leaves an empty file
/// (FACTS 5).
async fn receive(
    call: &Call,
    body: Body,
    to: &std::path::Path,
    digests: &mut Digests,
) -> Result<(), DavError> {
    let announced = content_length(call);
    let mut file = tokio::fs::File::create(to).await?;
    let mut stream = body.into_data_stream();
    let mut received = 0;
    let mut broken = false;
    while let Some(bytes) = stream.next().await {
        let Ok(bytes) = bytes else {
            broken = true;
            break;
        };
        received += bytes.len() as u64;
        digests.update(&bytes);
        file.write_all(&bytes).await?;
    }
    file.flush().await?;
    match announced {
        Some(announced) if received < announced => Err(DavError::bad_request(format!(
            "Expected filesize of {announced} bytes but read (from Nextcloud client) and wrote \
             (to Nextcloud storage) {received} bytes."
        ))),
        None if broken => Ok(file.set_len(0).await?),
        _ => Ok(()),
    }
}

/// `PATCH` with `X-Recalculate-Hash`: the server reads the file again and stores the digest.
pub(super) async fn recalculate(call: &Call) -> Result<Response<Body>, DavError> {
    let Place { user, path, .. } = &call.own_file()?;
    let id = call.cloud.state().account(user)?.tree.find(path)?.id;
    let asked = call.header("x-recalculate-hash").unwrap_or_default();
    let mut digests = Digests::asked(asked);
    if digests.is_empty() {
        return Err(DavError::internal(
            "ValueError",
            "hash_file(): Argument #1 ($algo) must be a valid hashing algorithm",
        ));
    }
    let _lock = call.cloud.locks.shared(user, path)?;
    let mut file = tokio::fs::File::open(call.cloud.store.file(user, path)).await?;
    let mut block = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut block).await?;
        if read == 0 {
            break;
        }
        digests.update(&block[..read]);
    }
    let checksums: Vec<String> =
        digests.finish().into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let checksums = checksums.join(" ");
    let mut state = call.cloud.state();
    let node = state.account_mut(user)?.tree.node_mut(id);
    if let Some(Kind::File(file)) = node.map(|node| &mut node.kind) {
        file.checksums = Some(checksums.clone());
    }
    drop(state);
    let mut response = empty(StatusCode::NO_CONTENT);
    set(&mut response, "oc-checksum", &checksums);
    Ok(response)
}
