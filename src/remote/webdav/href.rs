//! Paths on the wire: [`RemotePath`]s to URLs, and what a server calls its entries back to paths.
//!
//! Guarantees: a URL made here lies below the root that it was made from, and a path read here does
//! too. Hrefs are untrusted. Of an absolute URL only the path counts (behind another port a server
//! names itself wrongly, FACTS 1); what leads outside, has a query, or has a component that is no
//! [`Name`] once decoded (`..`, a slash, a NUL) is no path at all.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use reqwest::Url;

use crate::types::{Name, RemotePath};

/// All but the unreserved characters of RFC 3986, 2.3: nothing for a proxy to interpret.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A collection on a server that all paths are relative to.
#[derive(Clone, Debug)]
pub struct Root {
    /// Scheme, host and port; its path is replaced.
    origin: Url,
    names: Vec<Name>,
}

impl Root {
    /// The collection that lies `names` below the origin of `base`.
    pub fn new(base: &Url, names: Vec<Name>) -> Self {
        let mut origin = base.clone();
        origin.set_path("/");
        origin.set_query(None);
        origin.set_fragment(None);
        Self { origin, names }
    }

    /// The collection at this very URL. A component that is no name cannot be addressed and is left
    /// out; a [`crate::server_url::ServerUrl`] has none.
    pub fn of(url: &Url) -> Self {
        let parts = url.path().split('/').filter(|part| !part.is_empty());
        let names = parts.flat_map(|part| Name::new(percent_decode_str(part).collect::<Vec<u8>>()));
        Self::new(url, names.collect())
    }

    /// The collection below this one.
    pub fn below(&self, path: &RemotePath) -> Self {
        let names = self.names.iter().chain(&path.0).cloned().collect();
        Self { origin: self.origin.clone(), names }
    }

    /// The URL of a file or directory, without a slash at its end.
    pub fn url(&self, path: &RemotePath) -> Url {
        let mut text = String::new();
        for name in self.names.iter().chain(&path.0) {
            text.push('/');
            text.extend(percent_encode(name.as_bytes(), ESCAPED));
        }
        let mut url = self.origin.clone();
        url.set_path(&text);
        url
    }

    /// The URL of something known to be a directory: some servers redirect without the last slash.
    pub fn directory_url(&self, path: &RemotePath) -> Url {
        let mut url = self.url(path);
        if !url.path().ends_with('/') {
            let text = format!("{}/", url.path());
            url.set_path(&text);
        }
        url
    }

    /// Where below the root an href leads; `None` when it leads elsewhere or nowhere.
    ///
    /// Components are compared as names, not as bytes: the server answers in NFC whatever it was
    /// asked in (FACTS 3).
    pub fn locate(&self, href: &str) -> Option<RemotePath> {
        let path = path_of(href.trim())?;
        if path.contains(['?', '#']) {
            return None;
        }
        let names = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| Name::new(percent_decode_str(part).collect::<Vec<u8>>()))
            .collect::<Result<Vec<Name>, _>>()
            .ok()?;
        let below = strip(&names, &self.names)?;
        Some(RemotePath(below.to_vec()))
    }
}

/// What follows `prefix` in `names`; `None` when it does not begin with it. Spellings of one name
/// are equal.
pub fn strip<'a>(names: &'a [Name], prefix: &[Name]) -> Option<&'a [Name]> {
    if names.len() < prefix.len() {
        return None;
    }
    let (head, tail) = names.split_at(prefix.len());
    let same = |a: &Name, b: &Name| a == b || a.key() == b.key();
    head.iter().zip(prefix).all(|(a, b)| same(a, b)).then_some(tail)
}

/// The path of an absolute URL or of an absolute path; `None` for a relative reference.
fn path_of(href: &str) -> Option<&str> {
    if href.starts_with('/') {
        return Some(href);
    }
    let (scheme, rest) = href.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then_some(())?;
    rest.find('/').map(|slash| &rest[slash..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).unwrap()
    }

    fn path(names: &[&str]) -> RemotePath {
        RemotePath(names.iter().copied().map(name).collect())
    }

    fn root() -> Root {
        let base = Url::parse("https://cloud.example.org:8443/nc").unwrap();
        Root::new(&base, path(&["nc", "remote.php", "dav", "files", "al ice"]).0)
    }

    #[test]
    fn every_reserved_byte_is_escaped_in_a_request() {
        let url = root().url(&path(&["a b+c?#%", "\u{e9};@:&=", "..two"]));
        assert_eq!(
            url.as_str(),
            "https://cloud.example.org:8443/nc/remote.php/dav/files/al%20ice\
             /a%20b%2Bc%3F%23%25/%C3%A9%3B%40%3A%26%3D/..two"
        );
    }

    #[test]
    fn hrefs_are_decoded_however_they_are_escaped() {
        let expected = Some(path(&["caf\u{e9}", "x@y"]));
        for href in [
            "/nc/remote.php/dav/files/al%20ice/caf%c3%a9/x@y",
            "/nc/remote.php/dav/files/al%20ice/caf%C3%A9/x%40y/",
            "https://cloud.example.org/nc/remote.php/dav/files/al%20ice/caf%c3%a9/x@y",
            "//nc/remote.php/dav//files/al%20ice/caf%c3%a9/x@y",
        ] {
            assert_eq!(root().locate(href), expected, "{href}");
        }
        assert_eq!(root().locate("/nc/remote.php/dav/files/al%20ice/"), Some(RemotePath::root()));
    }

    #[test]
    fn hrefs_that_lead_outside_the_root_are_dropped() {
        for href in [
            "/nc/remote.php/dav/files/bob/x",
            "/nc/remote.php/dav/files/al%20ice/../bob/x",
            "/nc/remote.php/dav/files/al%20ice/%2e%2e/bob",
            "/nc/remote.php/dav/files/al%20ice/a%2fb",
            "/nc/remote.php/dav/files/al%20ice/a%00b",
            "/nc/remote.php/dav/files/al%20ice/./x",
            "/nc/remote.php/dav/files/al%20ice/x?y",
            "/nc/remote.php/dav/files",
            "x",
            "",
            "file:///nc/remote.php/dav/files/al%20ice/x",
            "https://cloud.example.org",
        ] {
            assert_eq!(root().locate(href), None, "{href}");
        }
    }

    #[test]
    fn a_root_in_decomposed_spelling_finds_its_composed_entries() {
        let root = root().below(&path(&["cafe\u{301}"]));
        let href = "/nc/remote.php/dav/files/al%20ice/caf%c3%a9/x";
        assert_eq!(root.locate(href), Some(path(&["x"])));
    }

    proptest! {
        #[test]
        fn what_is_sent_is_found_again(
            names in prop::collection::vec(prop::collection::vec(1u8.., 1..40), 0..5)
        ) {
            let names: Vec<Name> = names.into_iter().flat_map(Name::new).collect();
            let path = RemotePath(names);
            prop_assert_eq!(root().locate(root().url(&path).path()), Some(path.clone()));
            prop_assert_eq!(root().locate(root().directory_url(&path).as_str()), Some(path));
        }

        #[test]
        fn no_href_leads_above_the_root(href in "\\PC*") {
            if let Some(path) = root().locate(&href) {
                prop_assert!(path.0.iter().all(|name| !matches!(name.as_bytes(), b"." | b"..")));
            }
        }
    }
}
