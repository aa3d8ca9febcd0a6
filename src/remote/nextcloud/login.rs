//! Getting a credential, and giving it back (FACTS 11).
//!
//! In the browser, by Login Flow v2: [`Flow::start`] gives a link, the person opens it and grants
//! access, and [`Flow::poll`] then gives the app password, once. Or with a password that the person
//! types: [`exchange`] makes an app password of it, so that it need not be kept.
//!
//! Guarantees: the addresses to use that the server returns are only taken if they are of the host that
//! was asked, and then put on the address that the person gave: behind a proxy they may lack the port or
//! the encryption. Whoever polls must count the time: the server answers pending, unknown and expired
//! alike.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::ocs;
use crate::remote::connect::{Found, find_nextcloud, find_server};
use crate::remote::webdav::http::{Http, Payload, Request, Verb};
use crate::remote::{ConnectConfig, ConnectError, Credential, RemoteError, Secret};
use crate::server_url::ServerUrl;

/// How long the server waits for the person.
pub const LIFE: Duration = Duration::from_secs(20 * 60);
/// Most bytes of an answer.
const ANSWER_MAX: usize = 64 * 1024;

/// Why there is no credential; each with what to do next.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error(transparent)]
    Connect(ConnectError),
    #[error(
        "there is no Nextcloud at {address} ({why}); check the address, or log in to another WebDAV \
         server with: ncfs login --user NAME {address}"
    )]
    NotNextcloud { address: String, why: String },
    #[error("there is no Nextcloud and no WebDAV server at {address} ({why}); check the address")]
    NotWebdav { address: String, why: String },
    #[error(
        "{address} offers no login in the browser ({why}); log in with a password: ncfs login \
         --user NAME {address}"
    )]
    NoFlow { address: String, why: String },
    #[error(
        "{ours} sends the login to another host, {theirs}, which was not asked for; if that is the \
         server's true name, use it: ncfs login https://{theirs}"
    )]
    OtherHost { ours: String, theirs: String },
    #[error(
        "the server refused the user name or password; check both, and make an app password in its \
         security settings if it asks for a second factor"
    )]
    WrongPassword,
}

impl From<ConnectError> for LoginError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::OtherVendor { address, why, .. } => Self::NotNextcloud { address, why },
            ConnectError::NoServer { address, why } => Self::NotWebdav { address, why },
            ConnectError::WrongPassword => Self::WrongPassword,
            error => Self::Connect(error),
        }
    }
}

impl LoginError {
    /// Whether trying again later can help without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_transient())
    }
}

/// A login that waits for the person.
pub struct Flow {
    http: Arc<Http>,
    server: ServerUrl,
    link: Url,
    endpoint: Url,
    token: Secret,
}

/// How a login stands.
pub enum Outcome {
    Pending,
    /// The credential, told once: the server has forgotten it by now.
    Granted(Credential),
}

#[derive(Deserialize)]
struct Started {
    poll: Poll,
    login: String,
}

#[derive(Deserialize)]
struct Poll {
    token: String,
    endpoint: String,
}

/// Beside the credential the server tells the address at which the person granted it. It may be another
/// name of the server, by which only their browser reaches it; the password goes where it came from.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    login_name: String,
    #[serde(with = "crate::secret::exposed")]
    app_password: Secret,
}

impl Flow {
    /// Finds the server and starts a login. The app password will be named after our `User-Agent`.
    pub async fn start(config: &ConnectConfig) -> Result<Self, LoginError> {
        // Never sent: the requests of a flow are anonymous.
        let nobody = Credential { login_name: String::new(), app_password: Secret::new("") };
        let (http, server) = find_nextcloud(config, Arc::new(nobody)).await?;
        let mut request = Request::new(Verb::Post, server.page("index.php/login/v2", None));
        request.anonymous = true;
        let no_flow = |why: String| LoginError::NoFlow { address: server.to_string(), why };
        let answer = http.send(&request.payload(Payload::Bytes("".into()))).await;
        let answer = answer.map_err(|error| match error {
            error if error.is_offline() => ConnectError::unreachable(&server, error).into(),
            error @ RemoteError::TooManyRequests { .. } => {
                ConnectError::refused(&server, error).into()
            }
            error => no_flow(error.to_string()),
        })?;
        let body = answer.collect(ANSWER_MAX).await;
        let body = body.map_err(|why| ConnectError::unreachable(&server, why))?;
        let started: Started = serde_json::from_slice(&body)
            .map_err(|_| no_flow("it answers with something else".into()))?;
        let link = rebase(server.as_url(), &started.login)?;
        let endpoint = rebase(server.as_url(), &started.poll.endpoint)?;
        let token = Secret::new(started.poll.token);
        Ok(Self { http, server, link, endpoint, token })
    }

    /// What the person has to open.
    pub fn link(&self) -> &str {
        self.link.as_str()
    }

    /// The base address of the server.
    pub fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// Asks whether the person has granted access. After an error that is transient it may be asked
    /// again.
    pub async fn poll(&self) -> Result<Outcome, LoginError> {
        let token = utf8_percent_encode(self.token.expose(), NON_ALPHANUMERIC);
        let mut request = Request::new(Verb::Post, self.endpoint.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .map_err(server)?
            .payload(Payload::Bytes(format!("token={token}").into()));
        request.anonymous = true;
        let answer = match self.http.send(&request).await {
            Err(RemoteError::NotFound) => return Ok(Outcome::Pending),
            answer => answer.map_err(server)?,
        };
        let body = Zeroizing::new(answer.collect(ANSWER_MAX).await.map_err(server)?.to_vec());
        // The parser's message could quote the password.
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| server(RemoteError::Protocol("no credential in the answer".into())))?;
        let Granted { login_name, app_password } = granted;
        Ok(Outcome::Granted(Credential { login_name, app_password }))
    }

    /// Whether the server has forgotten this login: its time is over, or the person denied it. To be
    /// asked after [`Flow::poll`], whose credential makes it forget too.
    pub async fn is_over(&self) -> bool {
        let mut request = Request::new(Verb::Get, self.link.clone());
        request.anonymous = true;
        match self.http.exchange(&request).await {
            Ok(answer) => {
                let is_over = matches!(answer.status, 403 | 404);
                answer.drain().await;
                is_over
            }
            Err(_) => false,
        }
    }
}

/// A credential that works, and whether it was made for us.
pub struct Exchanged {
    /// Where it works: the base address of a Nextcloud, the directory of a WebDAV server.
    pub server: ServerUrl,
    pub credential: Credential,
    /// It is an app password that the server made just now.
    pub is_fresh: bool,
}

/// Checks a password that the person typed, and gets an app password for it if it is the one they
/// log in with. Any WebDAV server will do.
pub async fn exchange(config: &ConnectConfig, typed: Credential) -> Result<Exchanged, LoginError> {
    let (http, server) = match find_server(config, Arc::new(typed.clone())).await? {
        (http, Found::Cloud { server, .. }) => (http, *server),
        // It has taken the password by now.
        (_, Found::Plain { .. }) => {
            let server = config.server.clone();
            return Ok(Exchanged { server, credential: typed, is_fresh: false });
        }
    };
    match ocs::app_password(&http, &server).await {
        Ok(app_password) => {
            let credential = Credential { login_name: typed.login_name.clone(), app_password };
            Ok(Exchanged { server, credential, is_fresh: true })
        }
        // It is an app password already, or the server makes none.
        Err(RemoteError::Forbidden(_) | RemoteError::NotFound) => {
            Ok(Exchanged { server, credential: typed, is_fresh: false })
        }
        Err(error) => Err(ConnectError::refused(&server, error).into()),
    }
}

/// What became of an app password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The server has ended it just now.
    Now,
    /// The server did not take it any more.
    Before,
    /// It is no app password: only the person can change it.
    NotAnAppPassword,
}

/// Ends an app password on its server, at once.
pub async fn revoke(
    config: &ConnectConfig,
    credential: Credential,
) -> Result<Revoked, ConnectError> {
    let (http, server) = find_nextcloud(config, Arc::new(credential)).await?;
    match ocs::revoke(&http, &server).await {
        Ok(()) => Ok(Revoked::Now),
        Err(RemoteError::Unauthorized) => Ok(Revoked::Before),
        Err(RemoteError::Forbidden(_)) => Ok(Revoked::NotAnAppPassword),
        Err(error) => Err(ConnectError::refused(&server, error)),
    }
}

fn server(error: RemoteError) -> LoginError {
    LoginError::Connect(ConnectError::Server(error))
}

/// The path and query of a URL that the server returned, at the address that the person gave.
fn rebase(base: &Url, returned: &str) -> Result<Url, LoginError> {
    let url = Url::parse(returned).map_err(|_| {
        server(RemoteError::Protocol("an address of the login is no address".into()))
    })?;
    let is_web = matches!(url.scheme(), "http" | "https");
    if !is_web || url.host_str() != base.host_str() {
        return Err(LoginError::OtherHost {
            ours: base.host_str().unwrap_or_default().into(),
            theirs: url.host_str().unwrap_or(url.scheme()).into(),
        });
    }
    let mut rebased = base.clone();
    rebased.set_path(url.path());
    rebased.set_query(url.query());
    rebased.set_fragment(None);
    Ok(rebased)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rebased(base: &str, returned: &str) -> Result<String, LoginError> {
        rebase(&Url::parse(base).unwrap(), returned).map(|url| url.to_string())
    }

    #[test]
    fn a_returned_address_is_put_on_the_port_and_scheme_that_were_given() {
        for (base, returned) in [
            ("https://h.org:8443/nc", "https://h.org/nc/login/v2/flow/x?a=b#c"),
            ("https://h.org:8443/nc", "http://H.org:80/nc/login/v2/flow/x?a=b"),
        ] {
            let url = rebased(base, returned).unwrap();
            assert_eq!(url, "https://h.org:8443/nc/login/v2/flow/x?a=b");
        }
    }

    #[test]
    fn a_returned_address_of_another_host_is_refused() {
        for returned in [
            "https://evil.org/login/v2/poll",
            "https://h.org.evil.org/",
            "https://h.org@evil.org/",
            "javascript:alert(1)",
            "file://h.org/etc/passwd",
        ] {
            let error = rebased("https://h.org", returned).unwrap_err();
            assert!(matches!(error, LoginError::OtherHost { .. }), "{returned}: {error}");
        }
    }
}
