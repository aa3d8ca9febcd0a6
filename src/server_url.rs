//! The address of a Nextcloud, as people write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// An http or https address (https if it was not said) without user, password, query and trailing
/// slash. What follows the
/// server's own directory in an address copied from a browser or from its settings page
/// (`/index.php/..`, `/remote.php/..`, `/apps/..`) is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl(Url);

/// Where the server's own paths begin.
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
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port: who gets the password.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The host, with the port unless it is the usual one.
    pub fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether what is sent there can be read on the way: http to another machine.
    pub fn is_unprotected(&self) -> bool {
        let loopback = match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        self.0.scheme() != "https" && !loopback
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
        let own: Vec<&str> = url
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .take_while(|part| !ENTRY_POINTS.contains(part))
            .collect();
        let path = own.join("/");
        url.set_path(&path);
        Ok(Self(url))
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
        url.to_string()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
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
        for text in ["", "https://", "a b"] {
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
