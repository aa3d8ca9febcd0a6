//! From what a person typed to the base address of a Nextcloud.

use reqwest::Url;

use crate::remote::webdav::href::Root;
use crate::remote::webdav::session::is_loopback;
use crate::types::{Name, RemotePath};

/// What follows the base address in addresses that people copy from elsewhere.
const ENTRY_POINTS: [&str; 5] = ["index.php", "remote.php", "status.php", "public.php", "ocs"];

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    #[error("\"{0}\" is not a web address")]
    NotAnUrl(String),
    #[error("it has a user name or password in it")]
    HasCredential,
    #[error("it is not encrypted")]
    Unencrypted,
}

/// A base address: what the server's own paths are appended to. Ends without a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: Url,
    names: Vec<Name>,
}

impl Address {
    /// Understands an address with or without `https://`, the path of the WebDAV or web interface,
    /// or a slash at its end. `allow_http` lets plain HTTP pass to other machines too.
    pub fn parse(typed: &str, allow_http: bool) -> Result<Self, BadAddress> {
        let typed = typed.trim();
        let whole = if typed.contains("://") { typed.into() } else { format!("https://{typed}") };
        let not_an_url = || BadAddress::NotAnUrl(typed.into());
        let url = Url::parse(&whole).map_err(|_| not_an_url())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(not_an_url());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadAddress::HasCredential);
        }
        if url.scheme() == "http" && !allow_http && !is_loopback(&url) {
            return Err(BadAddress::Unencrypted);
        }
        let names = url
            .path_segments()
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .take_while(|part| !ENTRY_POINTS.contains(part))
            .map(|part| Name::new(percent_encoding::percent_decode_str(part).collect::<Vec<u8>>()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| not_an_url())?;
        Ok(Self { url, names })
    }

    /// The address one component shorter; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        let (_, names) = self.names.split_last()?;
        Some(Self { url: self.url.clone(), names: names.to_vec() })
    }

    /// Scheme, host and port, as they bind a state directory to a server.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    pub fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The collection at a path of the server, with names that are not escaped.
    pub fn collection(&self, names: &[&[u8]]) -> Option<Root> {
        let own = names.iter().map(|name| Name::new(*name)).collect::<Result<Vec<_>, _>>().ok()?;
        let all = self.names.iter().cloned().chain(own).collect();
        Some(Root::new(&self.url, all))
    }

    /// A page of the server: `path` and `query` are of ours and need no escapes.
    pub fn page(&self, path: &str, query: Option<&str>) -> Url {
        let base = Root::new(&self.url, self.names.clone());
        let mut url = base.directory_url(&RemotePath::root());
        let whole = format!("{}{path}", url.path());
        url.set_path(&whole);
        url.set_query(query);
        url
    }

    /// Any URL of that server, to decide on certificates and proxies.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = RemotePath(self.names.clone());
        let path = if self.names.is_empty() { String::new() } else { names.to_string() };
        write!(f, "{}{path}", self.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(typed: &str) -> String {
        Address::parse(typed, false).unwrap().to_string()
    }

    #[test]
    fn an_address_is_understood_however_it_was_copied() {
        for typed in [
            "cloud.example.org",
            "https://cloud.example.org",
            " https://cloud.example.org/ ",
            "https://cloud.example.org/index.php/apps/files/?dir=/a",
            "https://cloud.example.org/remote.php/dav/files/alice/",
            "https://CLOUD.example.org:443/remote.php/webdav",
            "https://cloud.example.org/#top",
        ] {
            assert_eq!(base(typed), "https://cloud.example.org", "{typed}");
        }
        assert_eq!(base("https://h.org/my/nc/remote.php/dav"), "https://h.org/my/nc");
        assert_eq!(base("h.org:8443/nc/"), "https://h.org:8443/nc");
        assert_eq!(base("http://127.0.0.1:8180"), "http://127.0.0.1:8180");
    }

    #[test]
    fn pages_lie_below_the_base() {
        let url = Address::parse("https://h.org/my%20nc", false).unwrap().page("status.php", None);
        assert_eq!(url.as_str(), "https://h.org/my%20nc/status.php");
        let url = Address::parse("h.org", false).unwrap().page("ocs/v2.php", Some("a=b"));
        assert_eq!(url.as_str(), "https://h.org/ocs/v2.php?a=b");
    }

    #[test]
    fn plain_http_is_refused_unless_it_stays_on_this_machine_or_was_allowed() {
        assert_eq!(Address::parse("http://h.org", false), Err(BadAddress::Unencrypted));
        assert!(Address::parse("http://h.org", true).is_ok());
        assert!(Address::parse("http://localhost:80/nc", false).is_ok());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "ftp://h.org", "https://", "file:///etc", "h org"] {
            assert!(matches!(Address::parse(bad, true), Err(BadAddress::NotAnUrl(_))), "{bad}");
        }
        assert_eq!(Address::parse("https://a:b@h.org", true), Err(BadAddress::HasCredential));
    }
}
