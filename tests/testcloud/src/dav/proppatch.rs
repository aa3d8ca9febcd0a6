//! PROPPATCH: times, the tag, and dead properties (FACTS 5, 7).

use axum::body::Body;
use axum::http::Response;

use super::properties::is_protected;
use super::propfind::multistatus;
use super::{Call, parse};
use crate::error::DavError;
use crate::shares::Place;
use crate::tree::Node;
use crate::write::parse_time;
use crate::xml::{DAV, Element, Multistatus, NC, Name};

/// One instruction of the request, in its order.
enum Change<'a> {
    Set(&'a Name, &'a Element),
    Remove(&'a Name),
}

impl Change<'_> {
    fn name(&self) -> &Name {
        match self {
            Self::Set(name, _) | Self::Remove(name) => name,
        }
    }
}

pub(super) fn proppatch(call: &Call, body: &[u8]) -> Result<Response<Body>, DavError> {
    let place = call.own_file()?;
    let request = parse(body)?.ok_or_else(|| DavError::bad_request("Document is empty"))?;
    call.cloud.state().account(&place.user)?.tree.find(&place.path)?;
    let changes = changes(&request);

    // All or nothing: what could be done fails with what cannot (RFC 4918 9.2).
    let refused = changes.iter().any(|change| is_protected(change.name()));
    let mut groups: Vec<(&str, Vec<(&Name, String)>)> = Vec::new();
    for change in &changes {
        let status = if is_protected(change.name()) {
            "403 Forbidden"
        } else if refused {
            "424 Failed Dependency"
        } else {
            apply(call, &place, change)?
        };
        let entry = (change.name(), String::new());
        match groups.iter_mut().find(|(other, _)| *other == status) {
            Some((_, names)) => names.push(entry),
            None => groups.push((status, vec![entry])),
        }
    }
    let mut answer = Multistatus::new();
    answer.response(&call.url_path, &groups);
    Ok(multistatus(answer.finish()))
}

/// Sets the dead properties of an extended MKCOL.
pub(super) fn set_dead(call: &Call, place: &Place, request: &Element) -> Result<(), DavError> {
    for change in changes(request) {
        if !change.name().is(DAV, "resourcetype") {
            apply(call, place, &change)?;
        }
    }
    Ok(())
}

fn changes(request: &Element) -> Vec<Change<'_>> {
    let mut changes = Vec::new();
    for instruction in request.children() {
        let set = instruction.is(DAV, "set");
        if !set && !instruction.is(DAV, "remove") {
            continue;
        }
        let properties = instruction.child(DAV, "prop").into_iter();
        for property in properties.flat_map(Element::children) {
            if let Some(name) = &property.name {
                changes.push(match set {
                    true => Change::Set(name, property),
                    false => Change::Remove(name),
                });
            }
        }
    }
    changes
}

/// Does one change and returns the status of its property; an error ends the whole request. No share
/// forbids any: times and tags are the owner's then, dead properties one's own (FACTS 8).
fn apply(call: &Call, place: &Place, change: &Change<'_>) -> Result<&'static str, DavError> {
    let (name, value) = match change {
        Change::Set(name, value) => (name, value),
        Change::Remove(name) => {
            let mut state = call.cloud.state();
            let tree = &mut state.account_mut(&call.user)?.tree;
            tree.dead_mut(&place.asked).remove(*name);
            return Ok("204 No Content");
        }
    };
    if name.is(DAV, "lastmodified") {
        let mtime = parse_time(value.text().trim())?;
        call.cloud.set_mtime(&place.user, &place.path, mtime)?;
    } else if name.is(NC, "creation_time") {
        let created = parse_time(value.text().trim())?;
        change_node(call, place, |node| node.created = created)?;
    } else if name.is(DAV, "getetag") {
        change_node(call, place, |node| node.etag = value.text())?;
    } else {
        let mut state = call.cloud.state();
        let tree = &mut state.account_mut(&call.user)?.tree;
        tree.dead_mut(&place.asked).insert((*name).clone(), value.inner_xml());
    }
    Ok("200 OK")
}

/// Changes what no tag above tells of (FACTS 6).
fn change_node(call: &Call, place: &Place, change: impl FnOnce(&mut Node)) -> Result<(), DavError> {
    let mut state = call.cloud.state();
    let tree = &mut state.account_mut(&place.user)?.tree;
    let id = tree.find(&place.path)?.id;
    if let Some(node) = tree.node_mut(id) {
        change(node);
    }
    Ok(())
}
