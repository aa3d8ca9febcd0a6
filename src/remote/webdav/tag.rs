//! Entity tags, ids and clocks as they stand in headers.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::header::{DATE, ETAG, HeaderMap, LAST_MODIFIED};

use crate::types::{Etag, FileId};

/// A tag without what proxies add: `W/` and Apache's `-gzip` (FACTS 16). `None` for an empty one.
pub fn parse(text: &str) -> Option<Etag> {
    let text = text.trim();
    let strong = text.strip_prefix("W/").unwrap_or(text);
    let bare = match strong.strip_suffix("-gzip\"") {
        Some(front) => format!("{front}\""),
        None => strong.to_owned(),
    };
    let empty = bare.is_empty() || bare == "\"\"";
    (!empty).then(|| Etag(bare.into()))
}

/// What stands for a tag where the server has none: seconds since the epoch and bytes. Without quotes,
/// so that no server's can be the same.
pub fn made(mtime: i64, size: u64) -> Etag {
    Etag(format!("{mtime}-{size}").into())
}

/// Whether a tag is one of the server's own, and can be sent to it.
pub fn is_servers(etag: &Etag) -> bool {
    etag.0.len() > 2 && etag.0.starts_with('"') && etag.0.ends_with('"')
}

/// The tag in an answer's head: `OC-ETag`, which proxies leave alone (FACTS 4), else `ETag`.
pub fn of_answer(headers: &HeaderMap) -> Option<Etag> {
    let header = headers.get("oc-etag").or_else(|| headers.get(ETAG))?;
    parse(header.to_str().ok()?)
}

/// `OC-FileId`: the id padded with zeros and the instance's name (`00000720ocinstance01`), of which
/// listings show the number only.
pub fn file_id(headers: &HeaderMap) -> Option<FileId> {
    let text = headers.get("oc-fileid")?.to_str().ok()?;
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].trim_start_matches('0');
    (!number.is_empty()).then(|| FileId(number.into()))
}

/// `Last-Modified`, seconds since the epoch.
pub fn modified(headers: &HeaderMap) -> Option<i64> {
    date(headers.get(LAST_MODIFIED)?.to_str().ok()?)
}

/// `Date`: the server's clock, seconds since the epoch.
pub fn server_time(headers: &HeaderMap) -> Option<i64> {
    date(headers.get(DATE)?.to_str().ok()?)
}

/// A date of RFC 9110, 5.6.7, in seconds since the epoch.
pub fn date(text: &str) -> Option<i64> {
    let time: SystemTime = httpdate::parse_http_date(text.trim()).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_stripped_of_what_proxies_add() {
        for text in ["\"abc\"", "W/\"abc\"", "\"abc-gzip\"", " W/\"abc-gzip\" "] {
            assert_eq!(parse(text), Some(Etag("\"abc\"".into())), "{text}");
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse("\"\""), None);
    }

    #[test]
    fn the_file_id_of_an_answer_is_the_number_of_listings() {
        let id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("oc-fileid", text.parse().unwrap());
            file_id(&headers)
        };
        assert_eq!(id("00000720ocinstance01"), Some(FileId("720".into())));
        assert_eq!(id("1234567890ocinstance01"), Some(FileId("1234567890".into())));
        assert_eq!(id("ocinstance01"), None);
    }

    #[test]
    fn a_tag_that_was_made_here_is_never_taken_for_one_of_a_server() {
        assert_ne!(made(5, 10), made(6, 10));
        assert!(!is_servers(&made(5, 10)));
        assert!(is_servers(&parse("W/\"5-10\"").unwrap()));
        assert!(!is_servers(&Etag("\"".into())));
    }

    #[test]
    fn dates_are_seconds_since_the_epoch() {
        assert_eq!(date("Tue, 14 Nov 2023 22:13:20 GMT"), Some(1_700_000_000));
        assert_eq!(date("yesterday"), None);
    }
}
