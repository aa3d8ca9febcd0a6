//! One credential and all that belongs to it: connections, cookies, the gate.
//!
//! Guarantee: cookies of one credential never go out with another. The server lets cookies win over
//! the password (FACTS 0.7), so a session is replaced as a whole when the credential changes, and
//! what an old request still brings in goes to the old jar.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::cookie::Jar;
use reqwest::{Certificate, Client, redirect, retry};

use super::auth_gate::AuthGate;
use crate::remote::Credential;
use crate::server_url::ServerUrl;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Below the 75 s after which nginx closes an idle connection.
const POOL_IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How connections are made.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    pub user_agent: String,
    /// PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why no connection can even be tried.
#[derive(Debug, thiserror::Error)]
pub enum HttpSetupError {
    #[error("cannot read the certificates in {path}: {why}")]
    CaFile { path: PathBuf, why: String },
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// What makes sessions: the configuration, read and checked once.
#[derive(Debug)]
pub struct Dialer {
    user_agent: String,
    certificates: Vec<Certificate>,
    loopback: bool,
}

/// Connections and cookies of one credential.
#[derive(Debug)]
pub struct Session {
    pub credential: Credential,
    pub gate: AuthGate,
    /// Takes bodies as they come: what is stored with a content coding stays coded (FACTS 4).
    pub plain: Client,
    /// Asks for gzip and undoes it, for listings.
    pub compressed: Client,
}

impl Dialer {
    /// Reads the CA file. `server` decides whether a proxy may be used: never for this machine.
    pub fn new(config: &HttpConfig, server: &ServerUrl) -> Result<Self, HttpSetupError> {
        let certificates = match &config.ca_file {
            None => Vec::new(),
            Some(path) => {
                let failed = |why: String| HttpSetupError::CaFile { path: path.clone(), why };
                let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
                let found = Certificate::from_pem_bundle(&pem)
                    .map_err(|error| failed(super::refusal::chain(&error)))?;
                if found.is_empty() {
                    return Err(failed("no certificate in it".into()));
                }
                found
            }
        };
        Ok(Self {
            user_agent: config.user_agent.clone(),
            certificates,
            loopback: server.is_loopback(),
        })
    }

    /// A session without connections and cookies yet.
    pub fn session(&self, credential: Credential) -> Result<Session, HttpSetupError> {
        let jar = Arc::new(Jar::default());
        Ok(Session {
            credential,
            gate: AuthGate::new(),
            plain: self.client(&jar, false)?,
            compressed: self.client(&jar, true)?,
        })
    }

    fn client(&self, jar: &Arc<Jar>, gzip: bool) -> Result<Client, HttpSetupError> {
        let mut builder = Client::builder()
            .user_agent(&self.user_agent)
            .cookie_provider(Arc::clone(jar))
            .gzip(gzip)
            .referer(false)
            // A redirected PROPFIND would become a GET, and credentials could leave for elsewhere.
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .tcp_keepalive(KEEP_ALIVE)
            .tcp_nodelay(true)
            .http2_adaptive_window(true)
            .tls_certs_merge(self.certificates.iter().cloned());
        if self.loopback {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| HttpSetupError::Tls(super::refusal::chain(&error)))
    }
}
