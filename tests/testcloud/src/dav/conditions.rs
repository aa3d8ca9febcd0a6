//! Preconditions, in sabre's order and with its traps (FACTS 0.9, 0.10, 5).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{Response, StatusCode, header};

use super::{Call, Target, split_base};
use crate::error::DavError;
use crate::path;
use crate::uploads::JOINED;

/// What conditions are about: only files have tags here.
pub(super) struct Seen {
    /// With its quotes.
    pub etag: Option<String>,
    pub mtime: Option<i64>,
}

/// Looks at what a URL stands for; none if there is nothing.
pub(super) fn look(call: &Call, target: &Target) -> Option<Seen> {
    let state = call.cloud.state();
    let account = state.account(&call.user).ok()?;
    let bare = || Seen { etag: None, mtime: None };
    match target {
        Target::Top => Some(bare()),
        Target::File { owner, path } if *owner == call.user => {
            let place = state.place(&call.user, path);
            let node = state.account(&place.user).ok()?.tree.get(&place.path)?;
            let quoted = || format!("\"{}\"", node.etag);
            Some(Seen { etag: node.file().map(|_| quoted()), mtime: Some(node.mtime) })
        }
        Target::File { owner, path } => (path.is_root() && state.account(owner).is_ok()).then(bare),
        Target::Upload { folder, part } => {
            let Some(folder) = folder else {
                return Some(bare());
            };
            let upload = account.uploads.get(folder)?;
            match part.as_deref() {
                None => Some(bare()),
                Some(JOINED) => Some(Seen {
                    etag: Some(format!("\"{}\"", upload.etag)),
                    mtime: Some(upload.mtime),
                }),
                Some(part) => {
                    let name = crate::uploads::PartName::new(part);
                    upload.parts.get(&name).map(|_| bare())
                }
            }
        }
        Target::Version { file, .. } => account.tree.node(*file).map(|_| bare()),
        Target::Unknown(_) => None,
    }
}

/// The early answer is 304.
pub(super) fn check(call: &Call) -> Result<Option<Response<Body>>, DavError> {
    let seen = look(call, &call.target);
    if let Some(tags) = call.header("if-match") {
        if_match(tags, seen.as_ref())?;
    }
    if let Some(tags) = call.header("if-none-match") {
        if let Some(response) = if_none_match(call, tags, seen.as_ref())? {
            return Ok(Some(response));
        }
    } else if let Some(not_modified) = if_modified_since(call, seen.as_ref()) {
        return Ok(Some(not_modified));
    }
    if let (Some(date), Some(mtime)) = (
        call.header("if-unmodified-since").and_then(parse_date),
        seen.as_ref().and_then(|seen| seen.mtime),
    ) && mtime > date
    {
        return Err(DavError::precondition(
            "If-Unmodified-Since",
            "An If-Unmodified-Since header was specified, but the entity has been changed since \
             the specified date.",
        ));
    }
    if let Some(lists) = call.header("if") {
        check_if(call, lists)?;
    }
    Ok(None)
}

fn if_match(tags: &str, seen: Option<&Seen>) -> Result<(), DavError> {
    let Some(seen) = seen else {
        return Err(DavError::precondition(
            "If-Match",
            "An If-Match header was specified and the resource did not exist",
        ));
    };
    if tags == "*" || seen.etag.as_deref().is_some_and(|etag| lists(tags, etag)) {
        return Ok(());
    }
    let error = DavError::precondition(
        "If-Match",
        "An If-Match header was specified, but none of the specified ETags matched.",
    );
    Err(match &seen.etag {
        Some(etag) => error.with_header(header::ETAG, etag),
        None => error,
    })
}

fn if_none_match(
    call: &Call,
    tags: &str,
    seen: Option<&Seen>,
) -> Result<Option<Response<Body>>, DavError> {
    let Some(seen) = seen else { return Ok(None) };
    let matched = seen.etag.as_deref().filter(|etag| tags != "*" && lists(tags, etag));
    if tags != "*" && matched.is_none() {
        return Ok(None);
    }
    // Only GET: HEAD falls through to 412 (FACTS 0.9).
    if call.method == "GET" {
        return Ok(Some(not_modified(header::ETAG, matched.unwrap_or_default())));
    }
    let error = DavError::precondition(
        "If-None-Match",
        "An If-None-Match header was specified, but the ETag matched (or * was specified).",
    );
    Err(match matched {
        Some(etag) => error.with_header(header::ETAG, etag),
        None => error,
    })
}

fn if_modified_since(call: &Call, seen: Option<&Seen>) -> Option<Response<Body>> {
    let date = parse_date(call.header("if-modified-since")?)?;
    let mtime = seen?.mtime?;
    (mtime <= date).then(|| not_modified(header::LAST_MODIFIED, &format_date(mtime)))
}

fn not_modified(name: header::HeaderName, value: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    if let Ok(value) = header::HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Tags are compared as they stand: without quotes, or weak, they match nothing.
pub(super) fn lists(tags: &str, etag: &str) -> bool {
    tags.split(',').any(|tag| tag.trim() == etag)
}

/// `If: <url> (["tag"] [..]) ..`: of each list one tag has to be that of the resource (RFC 4918
/// 10.4). No lock token is ever valid.
fn check_if(call: &Call, header: &str) -> Result<(), DavError> {
    for (url, lists) in parse_if(header) {
        let (target, shown) = match &url {
            Some(url) => match resolve(call, url) {
                Some(resolved) => resolved,
                None => continue,
            },
            None => (call.target.clone(), shown(&call.url_path)),
        };
        let etag = look(call, &target).and_then(|seen| seen.etag);
        let holds = lists.iter().any(|condition| {
            let met = match &condition.what {
                What::Etag(wanted) => etag.as_ref() == Some(wanted),
                What::Token => false,
            };
            met != condition.negated
        });
        if !holds {
            return Err(DavError::precondition(
                "If",
                format!("Failed to find a valid token/etag combination for {shown}"),
            ));
        }
    }
    Ok(())
}

/// A URL as sabre shows it: decoded, below the base.
fn shown(url_path: &str) -> String {
    split_base(url_path)
        .and_then(|(_, rest)| path::decode(rest).ok())
        .map_or(String::new(), |path| path.to_string().trim_start_matches('/').to_owned())
}

fn resolve(call: &Call, url: &str) -> Option<(Target, String)> {
    let url_path = path_of_url(url);
    let (base, rest) = split_base(url_path)?;
    let path = path::decode(rest).ok()?;
    Some((Target::parse(base, &call.user, path), shown(url_path)))
}

/// The path of an absolute URL or of an absolute path, without its query.
pub(super) fn path_of_url(url: &str) -> &str {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => url,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}

#[derive(Debug, PartialEq, Eq)]
struct Condition {
    negated: bool,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Etag(String),
    Token,
}

/// All conditions of an `If` header by the resource they are about; none is the request's own.
fn parse_if(header: &str) -> Vec<(Option<String>, Vec<Condition>)> {
    let mut found: Vec<(Option<String>, Vec<Condition>)> = Vec::new();
    let (mut inside, mut negated) = (false, false);
    let mut rest = header;
    while let Some(c) = rest.chars().next() {
        let mut used = c.len_utf8();
        match c {
            '(' => {
                inside = true;
                if found.is_empty() {
                    found.push((None, Vec::new()));
                }
            }
            ')' => inside = false,
            '<' | '[' => {
                let close = if c == '<' { '>' } else { ']' };
                let end = rest.find(close).unwrap_or(rest.len());
                let value = rest[1..end].to_owned();
                used = (end + 1).min(rest.len());
                match (c, inside) {
                    ('<', false) => found.push((Some(value), Vec::new())),
                    _ => {
                        let what = if c == '<' { What::Token } else { What::Etag(value) };
                        if let Some((_, conditions)) = found.last_mut() {
                            conditions.push(Condition { negated, what });
                        }
                        negated = false;
                    }
                }
            }
            _ if rest.len() >= 3
                && rest.is_char_boundary(3)
                && rest[..3].eq_ignore_ascii_case("not") =>
            {
                negated = true;
                used = 3;
            }
            _ => {}
        }
        rest = &rest[used..];
    }
    found
}

/// Seconds since 1970.
pub(super) fn parse_date(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// `Sun, 13 Sep 2020 12:26:40 GMT`
pub(super) fn format_date(second: i64) -> String {
    let since = Duration::from_secs(u64::try_from(second).unwrap_or(0));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etag(negated: bool, tag: &str) -> Condition {
        Condition { negated, what: What::Etag(tag.to_owned()) }
    }

    #[test]
    fn an_if_header_is_read_by_resource() {
        assert_eq!(parse_if("(Not [\"a\"])"), [(None, vec![etag(true, "\"a\"")])]);
        assert_eq!(
            parse_if("<http://h/x> ([\"a\"] [\"b\"]) <http://h/y> (<opaquelocktoken:1>)"),
            [
                (Some("http://h/x".to_owned()), vec![etag(false, "\"a\""), etag(false, "\"b\"")]),
                (
                    Some("http://h/y".to_owned()),
                    vec![Condition { negated: false, what: What::Token }]
                ),
            ]
        );
    }
}
