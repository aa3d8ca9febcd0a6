//! MOVE and COPY, of files and of assembled uploads (FACTS 6, 9).

use axum::body::Body;
use axum::http::{Response, StatusCode};

use super::conditions::{self, path_of_url};
use super::put::{claims, set_accepted};
use super::{Call, DAV_BASE, Target, WEBDAV_BASE, done, empty, set, set_etag, split_base};
use crate::error::DavError;
use crate::files::{Outcome, blocking};
use crate::path::{self, FilePath};
use crate::shares::{CREATE, DELETE, Place, UPDATE};
use crate::store::copy_all;
use crate::tree::{Missing, NodeId};
use crate::uploads::JOINED;

/// A destination among somebody's files.
pub(super) struct Destination {
    owner: String,
    pub path: FilePath,
}

fn destination_target(call: &Call) -> Result<Target, DavError> {
    let url = call
        .header("destination")
        .ok_or_else(|| DavError::bad_request("The destination header was not supplied"))?;
    let url_path = path_of_url(url);
    let base = if call.base == WEBDAV_BASE { WEBDAV_BASE } else { DAV_BASE };
    let outside =
        || DavError::forbidden(format!("Requested uri ({url_path}) is out of base uri ({base}/)"));
    let (base, rest) = split_base(url_path).ok_or_else(outside)?;
    if base != call.base {
        return Err(outside());
    }
    let path = path::decode(rest).map_err(|_| DavError::invalid_path(String::new()))?;
    Ok(Target::parse(base, &call.user, path))
}

/// Where the `Destination` header points to.
pub(super) fn destination(call: &Call) -> Result<Destination, DavError> {
    match destination_target(call)? {
        Target::File { owner, path } => Ok(Destination { owner, path }),
        _ => Err(DavError::forbidden("Permission denied to create file")),
    }
}

/// What sabre looks at before it moves or copies anything; true if something is at the destination.
fn check(call: &Call, from: Option<&Place>, to: &Destination) -> Result<bool, DavError> {
    let state = call.cloud.state();
    if let Some(from) = from {
        state.account(&from.user)?.tree.find(&from.path)?;
    }
    let overwrite = match call.header("overwrite").unwrap_or("T") {
        "T" | "t" => true,
        "F" | "f" => false,
        _ => {
            return Err(DavError::bad_request("The HTTP Overwrite header should be either T or F"));
        }
    };
    if to.owner != call.user {
        state.account(&to.owner)?;
        return Err(DavError::forbidden(format!(
            "Permission denied to create file (filename {})",
            to.path.name()
        )));
    }
    let parent = state.place(&call.user, &to.path.parent());
    match state.account(&parent.user)?.tree.find(&parent.path) {
        Ok(parent) if !parent.is_folder() => {
            return Err(DavError::unsupported_media_type(
                "The destination node is not a collection",
            ));
        }
        Ok(_) => {}
        Err(Missing::At(_) | Missing::BelowFile(_)) => {
            return Err(DavError::conflict("The destination node is not found"));
        }
    }
    let place = state.place(&call.user, &to.path);
    let exists = state.account(&place.user)?.tree.get(&place.path).is_some();
    if exists && !overwrite {
        return Err(DavError::precondition(
            "Overwrite",
            "The destination node already exists, and the overwrite header is set to false",
        ));
    }
    if let Some(from) = from {
        let from = &from.asked;
        if *from == to.path {
            return Err(DavError::forbidden("Source and destination uri are identical."));
        }
        if to.path.is_below(from) {
            return Err(DavError::conflict(
                "The destination may not be part of the same subtree as the source path.",
            ));
        }
        if from.is_below(&to.path) {
            return Err(DavError::forbidden(""));
        }
    }
    match from.filter(|_| call.method == "MOVE") {
        Some(from) => {
            // What leaves its name is deleted there, and so is what is replaced, before the rest is
            // looked at (share permissions 3, 7, 9, 11 on a real server).
            if !from.is_share() && !from.allows(DELETE) {
                let message = format!("files/{}{} cannot be deleted", call.user, from.asked);
                return Err(DavError::forbidden(message));
            }
            if from.is_share() && parent.share.is_some() {
                return Err(DavError::forbidden(""));
            }
            if exists && !place.is_share() {
                place.require(DELETE)?;
            }
            match from.asked.parent() == to.path.parent() {
                true => parent.require(UPDATE)?,
                false => parent.require(CREATE)?,
            }
        }
        None if exists && (!place.is_share() || call.method == "COPY") => place.require(UPDATE)?,
        None if exists => {}
        None => parent.require(CREATE)?,
    }
    if !exists {
        to.path.refuse().map_err(DavError::invalid_path)?;
    }
    Ok(exists)
}

pub(super) async fn relocate(call: &Call) -> Result<Response<Body>, DavError> {
    if let Target::Upload { folder: Some(folder), part: Some(part) } = &call.target {
        if part != JOINED {
            return Err(DavError::forbidden(""));
        }
        return assemble(call, folder).await;
    }
    let from = call.own_file()?;
    let to = destination(call)?;
    let exists = check(call, Some(&from), &to)?;
    let still = || conditions::check(call).and_then(|_| check(call, Some(&from), &to).map(drop));
    let mut target = call.cloud.state().place(&call.user, &to.path);
    if target.is_share() {
        // What is replaced is deleted first, which leaves a share.
        call.cloud.state().leave(&call.user, &to.path);
        target = call.cloud.state().place(&call.user, &to.path);
    }
    let (id, outcome) = if let Some(share) = from.share.as_ref().filter(|_| from.is_share()) {
        if exists && target.share.is_none() {
            call.cloud.delete(&target.user, &target.path, &still)?;
        }
        call.cloud.state().move_shares(&call.user, &from.asked, &to.path);
        (share.node, if exists { Outcome::Replaced } else { Outcome::Created })
    } else {
        call.cloud.relocate((&from.user, &from.path), (&target.user, &target.path), &still)?
    };
    let mut response = done(outcome);
    let etag = {
        let state = call.cloud.state();
        let owner = if from.is_share() { &from.user } else { &target.user };
        let node = state.account(owner)?.tree.node(id);
        node.filter(|node| !node.is_folder()).map(|node| node.etag.clone())
    };
    set_file_headers(call, &mut response, id, etag.as_deref());
    Ok(response)
}

async fn assemble(call: &Call, folder: &str) -> Result<Response<Body>, DavError> {
    let size = call.cloud.upload(&call.user, folder, crate::uploads::Upload::size)?;
    let to = destination(call)?;
    let exists = check(call, None, &to)?;
    if let Some(expected) = call.header("oc-total-length")
        && expected.parse() != Ok(size)
    {
        return Err(DavError::bad_request(format!(
            "Chunks on server do not sum up to {expected} but to {size} bytes"
        )));
    }
    let onto_folder = exists && {
        let state = call.cloud.state();
        let place = state.place(&call.user, &to.path);
        state.account(&place.user)?.tree.find(&place.path)?.is_folder()
    };
    if onto_folder {
        return Err(DavError::bad_request(format!(
            "The given destination files/{}{} is a directory.",
            to.owner, to.path
        )));
    }
    let claims = claims(call);
    let still = || conditions::check(call).and_then(|_| check(call, None, &to).map(drop));
    let place = call.cloud.state().place(&call.user, &to.path);
    let target = (place.user.as_str(), &place.path);
    let written = call.cloud.assemble(&call.user, folder, target, &claims, &still).await?;
    let mut response = done(written.outcome);
    set_file_headers(call, &mut response, written.id, Some(&written.etag));
    set_accepted(&mut response, &claims);
    Ok(response)
}

pub(super) async fn duplicate(call: &Call) -> Result<Response<Body>, DavError> {
    let from = call.own_file()?;
    if let Target::Upload { folder: Some(folder), part: Some(part) } = destination_target(call)? {
        return copy_to_part(call, &from, &folder, &part).await;
    }
    let to = destination(call)?;
    check(call, Some(&from), &to)?;
    let still = || conditions::check(call).and_then(|_| check(call, Some(&from), &to).map(drop));
    let place = call.cloud.state().place(&call.user, &to.path);
    let target = (place.user.as_str(), &place.path);
    let (id, outcome) = call.cloud.duplicate((&from.user, &from.path), target, &still).await?;
    let mut response = done(outcome);
    set_file_headers(call, &mut response, id, None);
    Ok(response)
}

/// A file becomes a part without crossing the network: that is how one appends (FACTS 9).
async fn copy_to_part(
    call: &Call,
    Place { user, path: from, .. }: &Place,
    folder: &str,
    part: &str,
) -> Result<Response<Body>, DavError> {
    let _lock = call.cloud.locks.shared(user, from)?;
    if call.cloud.state().account(user)?.tree.find(from)?.is_folder() {
        return Err(DavError::forbidden(""));
    }
    let (source, temp) = (call.cloud.store.file(user, from), call.cloud.store.temp());
    let temp = blocking(move || copy_all(&source, temp.path()).map(|()| temp)).await?;
    call.cloud.add_part(&call.user, folder, part, temp.path())?;
    Ok(empty(StatusCode::CREATED))
}

/// `OC-FileId`, and the tags of a file.
pub(super) fn set_file_headers(
    call: &Call,
    response: &mut Response<Body>,
    id: NodeId,
    etag: Option<&str>,
) {
    set(response, "oc-fileid", &call.cloud.stamps.instance_file_id(id));
    if let Some(etag) = etag {
        set_etag(response, etag);
    }
}
