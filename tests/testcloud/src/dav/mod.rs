//! WebDAV: what a request is about, who may ask it, and which module answers.

mod conditions;
mod get;
mod moves;
mod properties;
mod propfind;
mod proppatch;
mod put;
mod resources;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::StreamExt as _;

use crate::auth::{Caller, Scheme};
use crate::cloud::Cloud;
use crate::error::{DavError, nginx_page};
use crate::files::Outcome;
use crate::path::{self, BadUrl, FilePath};
use crate::shares::{CREATE, DELETE, Place};
use crate::xml::{self, Element};

pub(crate) const ALLOWED: &str =
    "OPTIONS, GET, HEAD, DELETE, PROPFIND, PUT, PROPPATCH, COPY, MOVE, REPORT";

/// What is promised and kept; the real list also has nc-paginate, access control and calendars.
const CLASSES: &str = "1, 3, extended-mkcol, nextcloud-checksum-update";

const DAV_HEADER: HeaderName = HeaderName::from_static("dav");

const DAV_BASE: &str = "/remote.php/dav";
const WEBDAV_BASE: &str = "/remote.php/webdav";

/// One authenticated request; its body is passed beside it.
struct Call {
    cloud: Arc<Cloud>,
    user: String,
    method: Method,
    headers: HeaderMap,
    /// The path as sent, percent-encoded.
    url_path: String,
    target: Target,
    /// Below which of the two addresses it was asked.
    base: &'static str,
}

/// What a URL below `remote.php` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// `/remote.php/dav/`
    Top,
    File {
        owner: String,
        path: FilePath,
    },
    /// Whatever user id it says: uploads are one's own (FACTS 9).
    Upload {
        folder: Option<String>,
        part: Option<String>,
    },
    Version {
        file: u64,
        mtime: Option<String>,
    },
    Unknown(FilePath),
}

impl Target {
    fn parse(base: &str, user: &str, path: FilePath) -> Self {
        if base == WEBDAV_BASE {
            return Self::File { owner: user.to_owned(), path };
        }
        let names: Vec<&str> = path.names().iter().map(String::as_str).collect();
        match names.as_slice() {
            [] => Self::Top,
            ["files", owner, rest @ ..] => {
                Self::File { owner: (*owner).to_owned(), path: FilePath::of(&rest.join("/")) }
            }
            ["uploads", _] => Self::Upload { folder: None, part: None },
            ["uploads", _, folder] => {
                Self::Upload { folder: Some((*folder).to_owned()), part: None }
            }
            ["uploads", _, folder, part] => {
                Self::Upload { folder: Some((*folder).to_owned()), part: Some((*part).to_owned()) }
            }
            ["versions", _, "versions", file, rest @ ..] if rest.len() < 2 => match file.parse() {
                Ok(file) => {
                    Self::Version { file, mtime: rest.first().map(|name| (*name).to_owned()) }
                }
                Err(_) => Self::Unknown(path),
            },
            _ => Self::Unknown(path),
        }
    }
}

/// Answers a request below `/remote.php/`.
pub(crate) async fn handle(cloud: Arc<Cloud>, request: Request) -> Response<Body> {
    let maintenance = cloud.maintenance.load(Ordering::Relaxed);
    let url_path = request.uri().path().to_owned();
    let Some((base, rest)) = split_base(&url_path) else {
        return page(maintenance);
    };
    let path = match path::decode(rest) {
        Ok(path) => path,
        Err(BadUrl::Nul) => return nginx_page(StatusCode::BAD_REQUEST),
        Err(BadUrl::Newline) => return nginx_page(StatusCode::NOT_FOUND),
        Err(BadUrl::DotDot) => {
            return DavError::internal("OCP\\Files\\InvalidPathException", "").into_response();
        }
    };
    let visitor = cloud.visitor(request.headers());
    let user = match visitor.caller {
        _ if maintenance => Err(DavError::maintenance()),
        Caller::User { id, .. } => Ok(id),
        Caller::Nobody => Err(refusal(base, request.headers(), None)),
        Caller::Refused(scheme) => Err(refusal(base, request.headers(), Some(scheme))),
    };
    let mut response = match user {
        Err(error) => error.into_response(),
        Ok(user) => {
            let (head, body) = request.into_parts();
            let target = Target::parse(base, &user, path);
            let call = Call {
                cloud,
                user,
                method: head.method,
                headers: head.headers,
                url_path,
                target,
                base,
            };
            dispatch(&call, body).await.unwrap_or_else(IntoResponse::into_response)
        }
    };
    let headers = response.headers_mut();
    for cookie in visitor.cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    headers
        .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none';"));
    response
}

/// What browsers would see; there are no pages here.
fn page(maintenance: bool) -> Response<Body> {
    if !maintenance {
        return nginx_page(StatusCode::NOT_FOUND);
    }
    let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
    set(&mut response, "x-nextcloud-maintenance-mode", "1");
    set(&mut response, "retry-after", "120");
    response
}

fn split_base(url_path: &str) -> Option<(&'static str, &str)> {
    [DAV_BASE, WEBDAV_BASE].into_iter().find_map(|base| {
        let rest = url_path.strip_prefix(base)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((base, rest))
    })
}

fn refusal(base: &str, headers: &HeaderMap, wrong: Option<Scheme>) -> DavError {
    if headers.get("x-requested-with").is_some_and(|with| with == "XMLHttpRequest") {
        return DavError::not_authenticated(
            "Cannot authenticate over ajax calls",
            "DummyBasic realm=\"Nextcloud\"",
        );
    }
    let basic = match wrong {
        Some(Scheme::Basic) => "Username or password was incorrect",
        _ => {
            "No 'Authorization: Basic' header found. Either the client didn't send one, or the \
             server is misconfigured"
        }
    };
    let bearer = match wrong {
        Some(Scheme::Bearer) => "Bearer token was incorrect",
        _ => {
            "No 'Authorization: Bearer' header found. Either the client didn't send one, or the \
             server is mis-configured"
        }
    };
    let message = if base == WEBDAV_BASE {
        format!("{basic}, {bearer}")
    } else {
        format!(
            "No public access to this resource., AppAPIAuth has not passed, This request is not \
             for a federated calendar, {basic}, {bearer}, {basic}"
        )
    };
    DavError::not_authenticated(message, "Basic realm=\"Nextcloud\", charset=\"UTF-8\"")
}

async fn dispatch(call: &Call, body: Body) -> Result<Response<Body>, DavError> {
    if let Some(not_modified) = conditions::check(call)? {
        return Ok(not_modified);
    }
    match call.method.as_str() {
        "OPTIONS" => Ok(options(call)),
        "GET" | "HEAD" => get::get(call).await,
        "PUT" => put::put(call, body).await,
        "PATCH" => put::recalculate(call).await,
        "PROPFIND" => propfind::propfind(call, &read_all(body).await?),
        "PROPPATCH" => proppatch::proppatch(call, &read_all(body).await?),
        "MKCOL" => mkcol(call, &read_all(body).await?),
        "DELETE" => delete(call),
        "MOVE" => moves::relocate(call).await,
        "COPY" => moves::duplicate(call).await,
        "REPORT" => report(&read_all(body).await?),
        other => Err(DavError::not_implemented(other)),
    }
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A header that is there and not empty.
    fn claim(&self, name: &str) -> Option<String> {
        self.header(name).filter(|value| !value.is_empty()).map(ToOwned::to_owned)
    }

    /// The file if the target is among the caller's, received ones included.
    fn own_file(&self) -> Result<Place, DavError> {
        match &self.target {
            Target::File { owner, path } if *owner == self.user => {
                Ok(self.cloud.state().place(&self.user, path))
            }
            Target::File { owner, path } => {
                self.cloud.state().account(owner)?;
                match path.is_root() {
                    true => Err(DavError::forbidden("")),
                    false => Err(crate::tree::Missing::At(path.clone()).into()),
                }
            }
            _ => Err(DavError::forbidden("")),
        }
    }

    /// `/remote.php/dav/files/alice/a%20b`, without a slash at the end.
    fn file_href(&self, owner: &str, path: &FilePath) -> String {
        match self.base {
            WEBDAV_BASE => format!("{WEBDAV_BASE}{}", path.href()),
            _ => format!("{DAV_BASE}/files/{}{}", path::encode(owner), path.href()),
        }
    }
}

/// Bodies of XML; a connection that ends early is a bad request that nobody hears about.
async fn read_all(body: Body) -> Result<Vec<u8>, DavError> {
    let mut all = Vec::new();
    let mut stream = body.into_data_stream();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|error| DavError::bad_request(error.to_string()))?;
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// Parses a body of XML; no body is none.
fn parse(body: &[u8]) -> Result<Option<Element>, DavError> {
    if body.is_empty() {
        return Ok(None);
    }
    xml::parse(body).map(Some).map_err(DavError::bad_request)
}

/// An answer without a body, as PHP sends it.
fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    response
}

fn done(outcome: Outcome) -> Response<Body> {
    empty(match outcome {
        Outcome::Created => StatusCode::CREATED,
        Outcome::Replaced => StatusCode::NO_CONTENT,
    })
}

fn set(response: &mut Response<Body>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// `ETag` and, for proxies that weaken it, `OC-ETag`.
fn set_etag(response: &mut Response<Body>, etag: &str) {
    let quoted = format!("\"{etag}\"");
    set(response, "etag", &quoted);
    set(response, "oc-etag", &quoted);
}

fn options(call: &Call) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    let exists = conditions::look(call, &call.target).is_some();
    let allowed = if exists { ALLOWED.to_owned() } else { format!("{ALLOWED}, MKCOL") };
    set(&mut response, "allow", &allowed);
    set(&mut response, "ms-author-via", "DAV");
    set(&mut response, "accept-ranges", "bytes");
    set(&mut response, "dav", CLASSES);
    response
}

fn mkcol(call: &Call, body: &[u8]) -> Result<Response<Body>, DavError> {
    if !body.is_empty() {
        let content_type = call.header("content-type").unwrap_or_default();
        if !content_type.starts_with("application/xml") && !content_type.starts_with("text/xml") {
            return Err(DavError::unsupported_media_type(
                "The request body for the MKCOL request must have an xml Content-Type",
            ));
        }
    }
    let request = parse(body)?;
    match &call.target {
        Target::Upload { folder: Some(folder), part: None } => {
            call.cloud.open_upload(&call.user, folder)?;
            Ok(empty(StatusCode::CREATED))
        }
        _ => {
            let place = call.own_file()?;
            place.require(CREATE)?;
            let id = call.cloud.make_folder(&place.user, &place.path)?;
            if let Some(request) = request {
                proppatch::set_dead(call, &place, &request)?;
            }
            let mut response = empty(StatusCode::CREATED);
            let id = call.cloud.stamps.instance_file_id(id);
            set(&mut response, "oc-fileid", &id);
            Ok(response)
        }
    }
}

fn delete(call: &Call) -> Result<Response<Body>, DavError> {
    match &call.target {
        Target::Upload { folder: Some(folder), part } => {
            call.cloud.abort(&call.user, folder, part.as_deref())?
        }
        _ => {
            let still = || conditions::check(call).map(drop);
            let place = call.own_file()?;
            if place.is_share() {
                // The owner keeps everything (FACTS 0.12).
                call.cloud.state().leave(&call.user, &place.asked);
                return Ok(empty(StatusCode::NO_CONTENT));
            }
            place.require(DELETE)?;
            call.cloud.delete(&place.user, &place.path, &still)?;
        }
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// There are no sync tokens, and nothing is a favourite.
fn report(body: &[u8]) -> Result<Response<Body>, DavError> {
    let report = parse(body)?.and_then(|element| element.name);
    match report {
        Some(name) if name.is(xml::OC, "filter-files") => {
            let mut response = propfind::multistatus(xml::Multistatus::new().finish());
            response.headers_mut().remove(header::VARY);
            Ok(response)
        }
        other => {
            let name = other.map_or(String::new(), |name| format!("{{{}}}{}", name.ns, name.local));
            Err(DavError::report_not_supported(format!(
                "The {name} REPORT is not supported on this url."
            )))
        }
    }
}
