//! PROPFIND (FACTS 2).

use std::io::Write as _;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::properties::DEFAULT;
use super::resources::{Depth, list};
use super::{CLASSES, Call, DAV_HEADER, parse};
use crate::error::DavError;
use crate::xml::{DAV, Multistatus, Name};

const VARY: &str = "Brief,Prefer";

pub(super) fn propfind(call: &Call, body: &[u8]) -> Result<Response<Body>, DavError> {
    let named: Vec<Name> = parse(body)?
        .as_ref()
        .and_then(|request| request.child(DAV, "prop"))
        .map(|prop| prop.children().filter_map(|p| p.name.clone()).collect())
        .unwrap_or_default();
    let by_default = named.is_empty();
    let names = if by_default { DEFAULT.map(|local| Name::new(DAV, local)).into() } else { named };
    let minimal = by_default
        || call.header("prefer").is_some_and(|p| p.contains("return=minimal"))
        || call.header("brief") == Some("t");
    let depth = Depth::parse(call.header("depth"));

    let state = call.cloud.state();
    let mut answer = Multistatus::new();
    let resources = list(call, &state, depth)
        .map_err(|error| error.with_header(header::VARY, VARY).with_header(DAV_HEADER, CLASSES))?;
    for resource in resources {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in &names {
            match resource.property(name) {
                Some(value) => found.push((name, value)),
                None if minimal => {}
                None => missing.push((name, String::new())),
            }
        }
        let groups = [("200 OK", found), ("404 Not Found", missing)];
        answer.response(&resource.href, &groups);
    }
    drop(state);
    Ok(compress(call, answer.finish()))
}

/// A 207 with this XML.
pub(super) fn multistatus(xml: String) -> Response<Body> {
    let mut response = Response::new(Body::from(xml));
    *response.status_mut() = StatusCode::MULTI_STATUS;
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml; charset=utf-8"));
    headers.insert(header::VARY, HeaderValue::from_static(VARY));
    headers.insert(DAV_HEADER, HeaderValue::from_static(CLASSES));
    response
}

fn compress(call: &Call, xml: String) -> Response<Body> {
    let wanted = call.header("accept-encoding").is_some_and(|encodings| encodings.contains("gzip"));
    if !wanted {
        return multistatus(xml);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    match encoder.write_all(xml.as_bytes()).and_then(|()| encoder.finish()) {
        Ok(bytes) => {
            let mut response = multistatus(String::new());
            *response.body_mut() = Body::from(bytes);
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        Err(_) => multistatus(xml),
    }
}
