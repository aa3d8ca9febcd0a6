//! Why there is no connection, each with what to do next.

use crate::remote::{RemoteError, Vendor};
use crate::server_url::ServerUrl;
use crate::types::RemotePath;

/// The oldest Nextcloud with chunked upload v2 (FACTS 9).
pub(super) const OLDEST_NEXTCLOUD: u32 = 26;
/// The oldest ownCloud with the paths and properties in use (FACTS 16).
pub(super) const OLDEST_OWNCLOUD: u32 = 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "{host} would be spoken to without encryption; use https://, or --allow-http if the network \
         in between is trusted"
    )]
    PlainHttp { host: String },
    #[error("{0}; check the path given with --ca-file")]
    CaFile(String),
    #[error(
        "the certificate of {host} is not trusted ({why}); if it is signed by an authority of your own, \
         give that one's certificate with --ca-file"
    )]
    Certificate { host: String, why: String },
    #[error(
        "the certificate of {host} is that of an authority (CA:TRUE), by which no server can be known; \
         its owner has to make another, as with openssl req -x509 ... -addext \
         basicConstraints=critical,CA:FALSE, which can then be given with --ca-file"
    )]
    AuthorityAsServer { host: String },
    #[error("no encrypted connection to {host} ({why}); check that its port speaks https")]
    Tls { host: String, why: String },
    #[error("no host is known as {host}; check the spelling and the network")]
    UnknownHost { host: String },
    #[error("{host} cannot be reached ({why}); check the address, the port and the network")]
    Unreachable { host: String, why: String },
    #[error("{host} redirects to {to}; use that address if you trust it")]
    Redirected { host: String, to: String },
    #[error(
        "there is no Nextcloud, ownCloud or WebDAV directory at {address} ({why}); check the address: \
         for a Nextcloud that of the browser, for other servers that of the WebDAV directory"
    )]
    NoServer { address: String, why: String },
    #[error(
        "there is no {vendor} at {address} ({why}); check the address, or leave --vendor out to let \
         ncfs find out what it is"
    )]
    OtherVendor { vendor: Vendor, address: String, why: String },
    #[error(
        "{address} asks for a login that ncfs does not know ({schemes}); it needs user name and \
         password by HTTP Basic authentication, which the server's operator can switch on"
    )]
    UnknownLogin { address: String, schemes: String },
    #[error("the server at {address} is not set up yet; ask its operator")]
    NotInstalled { address: String },
    #[error("the server at {address} is in maintenance; try again later")]
    Maintenance { address: String },
    #[error("the server at {address} has version {version}; ncfs needs {oldest} or newer")]
    TooOld { address: String, version: String, oldest: String },
    #[error(
        "the server refused the user name or password; check them (on a Nextcloud: make a new app \
         password in its security settings) and try again"
    )]
    WrongPassword,
    #[error(
        "the server turns logins from this address away for now; wait half an hour and check the \
         password before the next try"
    )]
    TooManyLogins,
    #[error("{path} on the server is a file; give a directory to mount")]
    NotADirectory { path: RemotePath },
    #[error("cannot use the directory {path} on the server: {why}")]
    RemoteDirectory { path: RemotePath, why: RemoteError },
    #[error("the server does not answer as expected: {0}; try again later")]
    Server(RemoteError),
}

impl ConnectError {
    /// Whether trying again later can help without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::UnknownHost { .. } | Self::Unreachable { .. } | Self::Maintenance { .. } => true,
            Self::Server(why) | Self::RemoteDirectory { why, .. } => why.is_transient(),
            _ => false,
        }
    }

    /// Why the first request did not get through, in words that help.
    pub(in crate::remote) fn unreachable(server: &ServerUrl, error: RemoteError) -> Self {
        let host = server.host();
        let why = match error {
            RemoteError::Offline(why) | RemoteError::NoAnswer(why) => why,
            RemoteError::Unavailable { maintenance: true, .. } => {
                return Self::Maintenance { address: server.to_string() };
            }
            error => return Self::Server(error),
        };
        let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
        if says(&["CaUsedAsEndEntity"]) {
            Self::AuthorityAsServer { host }
        } else if says(&["invalid peer certificate", "certificate not valid", "self-signed"]) {
            Self::Certificate { host, why }
        } else if says(&["dns error", "failed to lookup"]) {
            Self::UnknownHost { host }
        } else if server.is_encrypted() && says(&["received corrupt message", "fatal alert", "tls"])
        {
            Self::Tls { host, why }
        } else {
            Self::Unreachable { host, why }
        }
    }

    /// Why the account cannot be used.
    pub(in crate::remote) fn refused(server: &ServerUrl, error: RemoteError) -> Self {
        match error {
            RemoteError::Unauthorized => Self::WrongPassword,
            RemoteError::TooManyRequests { .. } => Self::TooManyLogins,
            RemoteError::Unavailable { maintenance: true, .. } => {
                Self::Maintenance { address: server.to_string() }
            }
            RemoteError::Offline(why) => Self::Unreachable { host: server.host(), why },
            error => Self::Server(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_no_option_makes_good_is_told_from_one_that_is_not_trusted() {
        let server = "https://cloud.example.com".parse().unwrap();
        let told = |why: &str| {
            let why = format!("invalid peer certificate: {why}");
            ConnectError::unreachable(&server, RemoteError::Offline(why)).to_string()
        };
        let unknown = told("UnknownIssuer");
        assert!(unknown.contains("give that one's certificate with --ca-file"), "{unknown}");
        // As `openssl req -x509` makes them, given with --ca-file or not.
        let authority = told("Other(OtherError(CaUsedAsEndEntity))");
        assert!(authority.contains("make another"), "{authority}");
    }
}
