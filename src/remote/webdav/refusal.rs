//! Answers that are not what was asked for, sorted into [`RemoteError`] (FACTS 12).

use std::error::Error;
use std::time::{Duration, SystemTime};

use quick_xml::NsReader;
use quick_xml::events::Event;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};

use super::http::Verb;
use super::tag;
use crate::remote::RemoteError;

/// Most characters of a server's message that are kept.
const MESSAGE_MAX: usize = 300;
/// Longest wait that a server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What sabre/dav says of an error; empty where the body is something else (nginx answers HTML).
#[derive(Debug, Default, PartialEq, Eq)]
struct Complaint {
    exception: String,
    message: String,
}

/// The error that a status of 300 or more stands for.
pub fn refusal(verb: Verb, status: u16, headers: &HeaderMap, body: &[u8]) -> RemoteError {
    let Complaint { exception, message } = Complaint::read(body);
    let is = |name: &str| exception.ends_with(name);
    match status {
        300..400 => {
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            RemoteError::Protocol(format!("it redirects to {}", clean(to)))
        }
        400 if is("InvalidPath") || exception.is_empty() => RemoteError::Refused(message),
        401 => RemoteError::Unauthorized,
        403 => RemoteError::Forbidden(message),
        404 => RemoteError::NotFound,
        405 if verb == Verb::Mkcol => RemoteError::Exists,
        409 => RemoteError::Conflict(message),
        412 => RemoteError::PreconditionFailed { etag: tag::of_answer(headers) },
        413 | 414 | 415 | 501 => RemoteError::Refused(message),
        416 => RemoteError::OutOfRange,
        423 => RemoteError::Locked,
        429 => RemoteError::TooManyRequests { retry_after: retry_after(headers) },
        500 if is("LockedException") || is("FileLocked") => RemoteError::Locked,
        // The proxy lost the server, perhaps after the request had been passed on.
        502 if !verb.is_read() => RemoteError::NoAnswer(message),
        504 => RemoteError::NoAnswer(message),
        502 | 503 => RemoteError::Unavailable {
            reason: message,
            maintenance: is("ServerMaintenanceMode")
                || headers.get("x-nextcloud-maintenance-mode").is_some_and(|mode| mode == "1"),
            retry_after: retry_after(headers),
        },
        507 => RemoteError::Full(message),
        _ => RemoteError::Status { status, message },
    }
    .with_reason(status)
}

impl RemoteError {
    /// Fills in what the status means where the server gave no reason.
    fn with_reason(mut self, status: u16) -> Self {
        if let Self::NoAnswer(text)
        | Self::Forbidden(text)
        | Self::Conflict(text)
        | Self::Full(text)
        | Self::Refused(text)
        | Self::Unavailable { reason: text, .. }
        | Self::Status { message: text, .. } = &mut self
            && text.is_empty()
        {
            let known = reqwest::StatusCode::from_u16(status).ok();
            *text =
                known.and_then(|status| status.canonical_reason()).unwrap_or("no reason").into();
        }
        self
    }
}

impl Complaint {
    /// Reads `<d:error>`; what cannot be read is left out.
    fn read(body: &[u8]) -> Self {
        let mut reader = NsReader::from_reader(body);
        let (mut buf, mut text) = (Vec::new(), String::new());
        let (mut complaint, mut reason) = (Self::default(), String::new());
        loop {
            buf.clear();
            match reader.read_event_into(&mut buf) {
                Ok(Event::Start(_)) => text.clear(),
                Ok(Event::Text(part)) => text.push_str(&part.xml10_content()),
                Ok(Event::CData(part)) => text.push_str(&part.xml10_content()),
                Ok(Event::GeneralRef(part)) => text.extend(super::multistatus::resolve(&part)),
                Ok(Event::End(end)) => match end.local_name().as_ref() {
                    "exception" => complaint.exception = clean(&text),
                    "message" => complaint.message = clean(&text),
                    "reason" => reason = clean(&text),
                    _ => {}
                },
                Ok(Event::Eof) | Err(_) => break,
                Ok(_) => {}
            }
        }
        // Of InvalidPath the message may be empty, the reason is not.
        if !reason.is_empty() {
            complaint.message = reason;
        }
        complaint
    }
}

/// A server's text on one line and not too long.
fn clean(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect()
}

/// `Retry-After`, as seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            at.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// What the HTTP library says of every failure, before its cause.
const WRAPPERS: [&str; 3] =
    ["client error (Connect)", "client error (SendRequest)", "tcp connect error"];

/// An error of the HTTP library as its causes, and without the URL, which is a path.
pub fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        let text = text.split(" (os error ").next().unwrap_or_default().to_owned();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        cause = error.source();
    }
    if causes.len() > 1 {
        causes.retain(|cause| !WRAPPERS.contains(&cause.as_str()));
    }
    if causes.is_empty() {
        return if error.is_timeout() { "timed out".into() } else { "the request failed".into() };
    }
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sabre(exception: &str, message: &str) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<d:error xmlns:d=\"DAV:\" \
             xmlns:s=\"http://sabredav.org/ns\">\n  <s:exception>{exception}</s:exception>\n  \
             <s:message>{message}</s:message>\n</d:error>"
        )
        .into_bytes()
    }

    fn plain(verb: Verb, status: u16) -> RemoteError {
        refusal(verb, status, &HeaderMap::new(), b"<html><head><title>nginx</title></head>")
    }

    #[test]
    fn statuses_become_what_the_caller_must_do() {
        use RemoteError as E;
        assert!(matches!(plain(Verb::Get, 401), E::Unauthorized));
        assert!(matches!(plain(Verb::Put, 404), E::NotFound));
        assert!(matches!(plain(Verb::Mkcol, 405), E::Exists));
        assert!(matches!(plain(Verb::Put, 405), E::Status { status: 405, .. }));
        assert!(matches!(plain(Verb::Put, 409), E::Conflict(_)));
        assert!(matches!(plain(Verb::Get, 416), E::OutOfRange));
        assert!(matches!(plain(Verb::Get, 423), E::Locked));
        assert!(matches!(plain(Verb::Put, 413), E::Refused(_)));
        assert!(matches!(plain(Verb::Put, 507), E::Full(_)));
        assert!(matches!(plain(Verb::Move, 504), E::NoAnswer(_)));
        assert!(matches!(plain(Verb::Move, 502), E::NoAnswer(_)));
        assert!(matches!(plain(Verb::Get, 502), E::Unavailable { maintenance: false, .. }));
        assert!(plain(Verb::Move, 500).outcome_unknown());
        assert_eq!(plain(Verb::Put, 403).to_string(), "the server forbids it: Forbidden");
    }

    #[test]
    fn a_lock_that_is_told_as_an_internal_error_is_a_lock() {
        let body = sabre(r"OCP\Lock\LockedException", "&quot;/lk/f&quot; is locked");
        let error = refusal(Verb::Move, 500, &HeaderMap::new(), &body);
        assert!(matches!(error, RemoteError::Locked) && !error.outcome_unknown());
    }

    #[test]
    fn maintenance_is_told_from_other_unavailability() {
        let body = sabre(r"OCA\DAV\Exception\ServerMaintenanceMode", "System is in maintenance");
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "120".parse().unwrap());
        let error = refusal(Verb::Get, 503, &headers, &body);
        assert!(matches!(error, RemoteError::Unavailable { maintenance: true, .. }));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
    }

    #[test]
    fn a_refused_name_comes_with_the_reason_in_the_servers_words() {
        let body = br#"<d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns">
            <s:exception>OCA\DAV\Connector\Sabre\Exception\InvalidPath</s:exception>
            <s:message/><o:retry xmlns:o="o:">false</o:retry>
            <o:reason xmlns:o="o:">".part" is a forbidden
            file type.</o:reason></d:error>"#;
        match refusal(Verb::Put, 400, &HeaderMap::new(), body) {
            RemoteError::Refused(why) => assert_eq!(why, "\".part\" is a forbidden file type."),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_body_that_did_not_arrive_whole_is_no_refusal_for_good() {
        let body = sabre(r"Sabre\DAV\Exception\BadRequest", "Chunks on server do not sum up");
        let error = refusal(Verb::Move, 400, &HeaderMap::new(), &body);
        assert!(matches!(error, RemoteError::Status { status: 400, .. }));
    }

    #[test]
    fn a_failed_condition_tells_the_present_tag() {
        let mut headers = HeaderMap::new();
        headers.insert("etag", "\"now-gzip\"".parse().unwrap());
        match refusal(Verb::Put, 412, &headers, b"") {
            RemoteError::PreconditionFailed { etag } => assert_eq!(&*etag.unwrap().0, "\"now\""),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hostile_messages_are_cut_to_one_line() {
        let body = sabre("X", &format!("a\u{7f}\n{}", "b".repeat(10_000)));
        let text = refusal(Verb::Put, 403, &HeaderMap::new(), &body).to_string();
        assert!(text.len() < 400 && !text.contains('\n') && !text.contains('\u{7f}'));
        assert_eq!(Complaint::read(b"\xff\xfe<not xml"), Complaint::default());
    }
}
