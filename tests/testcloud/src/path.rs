//! Paths below a user's root: decoding, Unicode form, encoding in hrefs, refused names (FACTS 3).

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use unicode_normalization::UnicodeNormalization;

/// What hrefs leave bare; everything else is encoded with lower-case hex.
const HREF: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':').remove(b'@');

/// What PHP's `rawurlencode` leaves bare, as used in `Content-Disposition`.
const RAW_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

const MAX_NAME_BYTES: usize = 250;
const MAX_PATH_BYTES: usize = 4000;

/// Names in NFC, from the user's root down; the root has none. No name is empty, `.`, `..` or holds
/// a slash or NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct FilePath(Vec<String>);

/// Why a URL path is not a path of files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadUrl {
    /// nginx answers 400 itself.
    Nul,
    /// nginx answers 404 itself.
    Newline,
    /// An encoded `..`, which PHP notices.
    DotDot,
}

impl FilePath {
    /// Of names that are already decoded, as in `/a/b`.
    pub(crate) fn of(path: &str) -> Self {
        Self(
            path.split('/')
                .filter(|name| !matches!(*name, "" | "." | ".."))
                .map(|name| name.replace('\0', "").nfc().collect())
                .collect(),
        )
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The last name; empty for the root.
    pub(crate) fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    pub(crate) fn join(&self, name: &str) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_owned());
        Self(names)
    }

    /// Where it is when `from`, at or above it, becomes `to`.
    pub(crate) fn moved(&self, from: &Self, to: &Self) -> Self {
        let below = self.0.iter().skip(from.0.len());
        Self(to.0.iter().chain(below).cloned().collect())
    }

    /// The path of its first `count` names.
    pub(crate) fn prefix(&self, count: usize) -> Self {
        Self(self.0[..count.min(self.0.len())].to_vec())
    }

    pub(crate) fn is_below(&self, other: &Self) -> bool {
        self.0.len() > other.0.len() && self.0.starts_with(&other.0)
    }

    /// `/a%20b/c` as hrefs have it; empty for the root.
    pub(crate) fn href(&self) -> String {
        self.0.iter().fold(String::new(), |mut href, name| {
            href.push('/');
            href.push_str(&encode(name));
            href
        })
    }

    /// Whether a new object may have this name; the reason if not.
    pub(crate) fn refuse(&self) -> Result<(), String> {
        let name = self.name();
        let lower = name.to_lowercase();
        if name.len() > MAX_NAME_BYTES {
            return Err("Filename is too long".to_owned());
        }
        if self.to_string().len() > MAX_PATH_BYTES {
            return Err("Path is too long".to_owned());
        }
        if name.chars().any(|c| ('\u{1}'..'\u{20}').contains(&c)) {
            return Err("Filename contains at least one invalid character".to_owned());
        }
        if name.contains('\\') {
            return Err("\"\\\" is not allowed inside a file or folder name.".to_owned());
        }
        if lower == ".htaccess" {
            return Err("Filename is a reserved word".to_owned());
        }
        match self.forbidden_extension() {
            Some(extension) => Err(format!("\"{extension}\" is a forbidden file type.")),
            None => Ok(()),
        }
    }

    pub(crate) fn forbidden_extension(&self) -> Option<&'static str> {
        let lower = self.name().to_lowercase();
        [".filepart", ".part"].into_iter().find(|extension| lower.ends_with(extension))
    }
}

/// `/a/b`; the root is the empty string.
impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

/// Decodes a URL path into names: dot segments are resolved as nginx does, double slashes collapse,
/// bytes that are not UTF-8 are read as Latin-1, names become NFC.
pub(crate) fn decode(url_path: &str) -> Result<FilePath, BadUrl> {
    let mut segments: Vec<&str> = Vec::new();
    for segment in url_path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let joined = segments.join("/");
    let bytes: Cow<'_, [u8]> = percent_decode_str(&joined).into();
    if bytes.contains(&0) {
        return Err(BadUrl::Nul);
    }
    if bytes.contains(&b'\n') {
        return Err(BadUrl::Newline);
    }
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    };
    if text.split('/').any(|name| name == "..") {
        return Err(BadUrl::DotDot);
    }
    Ok(FilePath::of(&text))
}

pub(crate) fn encode(name: &str) -> String {
    let upper = utf8_percent_encode(name, HREF).to_string();
    let mut lower = String::with_capacity(upper.len());
    let mut hex_digits = 0;
    for c in upper.chars() {
        lower.push(if hex_digits > 0 { c.to_ascii_lowercase() } else { c });
        hex_digits = match c {
            '%' => 2,
            _ => i32::max(hex_digits - 1, 0),
        };
    }
    lower
}

pub(crate) fn raw_url_encode(name: &str) -> String {
    utf8_percent_encode(name, RAW_URL).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hrefs_are_encoded_with_lower_case_hex() {
        assert_eq!(FilePath::of("/a b/é@:(x)").href(), "/a%20b/%c3%a9@:%28x%29");
    }

    #[test]
    fn decoding_normalises_like_the_server() {
        assert_eq!(decode("/a//b/../e%CC%81/"), Ok(FilePath::of("/a/é")));
        assert_eq!(decode("/%ff%fe"), Ok(FilePath::of("/ÿþ")));
        assert_eq!(decode("/a/%2e%2e/b"), Err(BadUrl::DotDot));
        assert_eq!(decode("/nl%0Ax"), Err(BadUrl::Newline));
    }

    #[test]
    fn sixty_two_emoji_pass_and_sixty_three_do_not() {
        assert!(FilePath::of(&"😀".repeat(62)).refuse().is_ok());
        assert!(FilePath::of(&"😀".repeat(63)).refuse().is_err());
    }
}
