//! The address of a server, as people write it.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::types::Name;

/// An http or https address (https if it was not said) without user, password, query and trailing
/// slash.
///
/// It has two forms. What was typed, whole: the root of a plain WebDAV server. And the server's own
/// directory, for all else: what follows it in an address copied from a browser or from the settings
/// of a Nextcloud (`/index.php/..`, `/remote.php/..`, `/apps/..`) is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl {
    typed: Url,
    base: Url,
}

/// Where the paths of Nextcloud and ownCloud begin.
const ENTRY_POINTS: [&str; 6] =
    ["index.php", "remote.php", "public.php", "status.php", "ocs", "apps"];

/// Why a text is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadServerUrl {
    #[error("it is not an address ({0}); write it like https://cloud.example.com")]
    Malformed(String),
    #[error("it must begin with https:// (or http://), as in https://cloud.example.com")]
    Scheme,
    #[error(
        "it must hold no user name or password; use --credentials-file, or NCFS_USER and \
         NCFS_PASSWORD"
    )]
    Credentials,
}

impl ServerUrl {
    /// The server's own directory.
    pub fn as_url(&self) -> &Url {
        &self.base
    }

    /// All that was typed.
    pub fn as_typed(&self) -> &Url {
        &self.typed
    }

    /// The address of the server's own directory, as if only that had been typed.
    pub fn to_base(&self) -> Self {
        Self { typed: self.base.clone(), base: self.base.clone() }
    }

    /// A page below the server's own directory; `path` and `query` are of ours and need no escapes.
    pub fn page(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        url
    }

    /// The server's own directory, if it is one level higher than thought; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        let (above, _) = self.base.path().trim_end_matches('/').rsplit_once('/')?;
        let mut base = self.base.clone();
        base.set_path(above);
        Some(Self { typed: self.typed.clone(), base })
    }

    /// Scheme, host and port: who gets the password.
    pub fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// Whether this, as it was typed, is the address of that server: whole, only its beginning, or of a
    /// page of it. What goes elsewhere on the same host is another server.
    pub fn means(&self, server: &Self) -> bool {
        if self.typed != self.base {
            return self.typed == server.typed || self.base == server.typed;
        }
        let path = |url: &Url| format!("{}/", url.path().trim_end_matches('/'));
        self.origin() == server.origin() && path(&server.typed).starts_with(&path(&self.typed))
    }

    /// The host, with the port unless it is the usual one.
    pub fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    pub fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Whether it is this machine, so that nothing can listen in between.
    pub fn is_loopback(&self) -> bool {
        match self.base.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// Whether what is sent there can be read on the way: http to another machine.
    pub fn is_unprotected(&self) -> bool {
        !self.is_encrypted() && !self.is_loopback()
    }
}

impl FromStr for ServerUrl {
    type Err = BadServerUrl;

    fn from_str(text: &str) -> Result<Self, BadServerUrl> {
        let text = text.trim();
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url =
            Url::parse(&whole).map_err(|error| BadServerUrl::Malformed(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadServerUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadServerUrl::Credentials);
        }
        url.set_query(None);
        url.set_fragment(None);
        let whole = url.path().to_owned();
        let parts: Vec<&str> = whole.split('/').filter(|part| !part.is_empty()).collect();
        let is_name =
            |part: &&str| Name::new(percent_decode_str(part).collect::<Vec<u8>>()).is_ok();
        if !parts.iter().all(is_name) {
            return Err(BadServerUrl::Malformed("a path that no server can have".into()));
        }
        let own = parts.iter().position(|part| ENTRY_POINTS.contains(part)).unwrap_or(parts.len());
        let mut base = url.clone();
        base.set_path(&parts[..own].join("/"));
        url.set_path(&parts.join("/"));
        Ok(Self { typed: url, base })
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = BadServerUrl;

    fn try_from(text: String) -> Result<Self, BadServerUrl> {
        text.parse()
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> Self {
        url.typed.as_str().trim_end_matches('/').to_owned()
    }
}

/// The server's own directory, for people.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_copied_from_a_browser_is_cut_to_the_server() {
        for (text, server) in [
            ("https://cloud.example.com/", "https://cloud.example.com"),
            ("https://c.example/nc/index.php/apps/files/?dir=/x#y", "https://c.example/nc"),
            ("https://c.example/remote.php/dav/files/alice/", "https://c.example"),
            ("cloud.example.com", "https://cloud.example.com"),
            ("cloud.example.com:8443/nc", "https://cloud.example.com:8443/nc"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(parsed(text).to_string(), server);
        }
    }

    #[test]
    fn what_was_typed_is_kept_beside_it_and_survives_the_pipe() {
        for text in ["https://c.example/remote.php/webdav", "https://c.example/nc/apps/x%20y"] {
            let server = parsed(text);
            assert_eq!(server.as_typed().as_str(), text);
            assert_eq!(parsed(&String::from(server.clone())), server);
        }
        assert_eq!(parsed("c.example/dav//files/").as_typed().path(), "/dav/files");
    }

    #[test]
    fn the_directory_above_is_one_component_shorter() {
        let nc = parsed("https://c.example/a/my%20nc/remote.php/dav");
        let above = nc.parent().unwrap();
        assert_eq!(above.to_string(), "https://c.example/a");
        assert_eq!(above.parent().unwrap().to_string(), "https://c.example");
        assert!(above.parent().unwrap().parent().is_none());
        assert_eq!(nc.page("status.php", None).path(), "/a/my%20nc/status.php");
        assert_eq!(
            parsed("c.example").page("ocs/v2.php", Some("a=b")).as_str(),
            "https://c.example/ocs/v2.php?a=b"
        );
    }

    #[test]
    fn an_address_means_a_server_and_not_its_neighbour_on_the_same_host() {
        for (typed, server) in [
            ("c.example/nc", "c.example/nc"),
            ("c.example", "c.example/nc"),
            ("c.example/nc/index.php/apps/files", "c.example/nc"),
            ("c.example/remote.php/webdav", "c.example/remote.php/webdav"),
            ("c.example", "c.example/remote.php/webdav"),
        ] {
            assert!(parsed(typed).means(&parsed(server)), "{typed} is {server}");
        }
        for (typed, server) in [
            ("c.example/nc2", "c.example/nc"),
            ("c.example/n", "c.example/nc"),
            ("c.example/dav/work", "c.example/dav"),
            ("c.example/index.php", "c.example/nc"),
            ("c.example/remote.php/dav/files/bob", "c.example/remote.php/webdav"),
            ("http://c.example", "c.example"),
        ] {
            assert!(!parsed(typed).means(&parsed(server)), "{typed} is not {server}");
        }
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        let error = ServerUrl::from_str("https://alice:hunter2@cloud.example.com").unwrap_err();
        assert_eq!(error, BadServerUrl::Credentials);
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for text in ["ftp://cloud.example.com", "file:///etc"] {
            assert_eq!(ServerUrl::from_str(text).unwrap_err(), BadServerUrl::Scheme, "{text}");
        }
        for text in ["", "https://", "a b", "https://x.org/a%2fb", "https://x.org/%00"] {
            assert!(matches!(ServerUrl::from_str(text), Err(BadServerUrl::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_trusted_without_tls() {
        for text in ["http://127.0.0.1:80", "http://[::1]/", "http://localhost", "https://x.org"] {
            assert!(!parsed(text).is_unprotected(), "{text}");
        }
        for text in ["http://cloud.example.com", "http://10.0.0.1", "http://localhost.evil.org"] {
            assert!(parsed(text).is_unprotected(), "{text}");
        }
    }

    #[test]
    fn the_usual_port_does_not_make_another_origin() {
        assert_eq!(
            parsed("https://C.example:443/a").origin(),
            parsed("https://c.example").origin()
        );
        assert_ne!(parsed("http://c.example").origin(), parsed("https://c.example").origin());
    }
}
