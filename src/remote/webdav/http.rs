//! The one place that sends requests: deadlines, repeats, credentials, cookies, counters, errors.
//!
//! Guarantees:
//! - Only reads are repeated, at most [`READ_ATTEMPTS`] times, and only when the failure came fast.
//!   The exception is a refused password that has been changed meanwhile: nothing was carried out.
//! - No request waits for ever: 10 s to connect, [`Request::patience`] for the head of the answer
//!   once the body is sent, [`STALL`] for every next piece of a body in either direction.
//! - Redirects are never followed, so that no credential leaves for another place.
//! - Errors say whether the request can have been carried out ([`RemoteError::outcome_unknown`]).
//!
//! Dropping a future closes its connection: an upload leaves no complete body, a download no lock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, debug, debug_span};

use super::body::{Progress, STALL, incoming, outgoing};
use super::metrics::Metrics;
use super::refusal::{chain, refusal};
use super::session::{Dialer, HttpConfig, HttpSetupError, Session};
use crate::remote::{Credential, CredentialSource, RemoteError, Result, Source};
use crate::server_url::ServerUrl;
use crate::types::ByteRange;

/// How often a read is sent before its error is told.
pub const READ_ATTEMPTS: u32 = 3;
/// An attempt that took longer than this is not repeated: the caller has waited enough.
const REPEAT_WITHIN: Duration = Duration::from_secs(5);
/// A longer `Retry-After` is the caller's to obey.
const SHORT_WAIT: Duration = Duration::from_secs(1);
/// Until the head of the answer, for reads.
pub const READ_PATIENCE: Duration = Duration::from_secs(30);
/// Until the head of the answer, for changes without a body: MOVE grows with the versions and the
/// entries of what is moved (FACTS 6).
pub const CHANGE_PATIENCE: Duration = Duration::from_secs(300);
/// Most bytes of an error's body that are read.
const ERROR_BODY_MAX: usize = 64 * 1024;

/// The HTTP methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Options,
    Propfind,
    Put,
    Mkcol,
    Move,
    Copy,
    Delete,
    Proppatch,
}

impl Verb {
    pub const ALL: [Self; 10] = [
        Self::Get,
        Self::Post,
        Self::Options,
        Self::Propfind,
        Self::Put,
        Self::Mkcol,
        Self::Move,
        Self::Copy,
        Self::Delete,
        Self::Proppatch,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Options => "OPTIONS",
            Self::Propfind => "PROPFIND",
            Self::Put => "PUT",
            Self::Mkcol => "MKCOL",
            Self::Move => "MOVE",
            Self::Copy => "COPY",
            Self::Delete => "DELETE",
            Self::Proppatch => "PROPPATCH",
        }
    }

    /// Whether it changes nothing on the server.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::Options | Self::Propfind)
    }
}

/// What follows a request's head. The length is always sent: a cut body of unknown length would
/// pass for a whole file (FACTS 0.3).
#[derive(Clone)]
pub enum Payload {
    None,
    Bytes(Bytes),
    Part { source: Arc<dyn Source>, range: ByteRange },
}

impl Payload {
    /// Bytes that are sent.
    pub fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part { range, .. } => range.len(),
        }
    }
}

/// A request that can be sent more than once.
pub struct Request {
    pub verb: Verb,
    pub url: Url,
    pub headers: HeaderMap,
    pub payload: Payload,
    /// Longest wait for the head of the answer, counted from the end of the body.
    pub patience: Duration,
    /// Whether it carries no credential.
    pub anonymous: bool,
}

impl Request {
    pub fn new(verb: Verb, url: Url) -> Self {
        let patience = if verb.is_read() { READ_PATIENCE } else { CHANGE_PATIENCE };
        let headers = HeaderMap::new();
        Self { verb, url, headers, payload: Payload::None, patience, anonymous: false }
    }

    /// Adds a header. A value that cannot stand in one (a tag with a line end) is refused here.
    pub fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Result<Self> {
        let value = HeaderValue::from_bytes(value.as_ref())
            .map_err(|_| RemoteError::Refused(format!("{name} cannot be sent with this value")))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
}

/// The head of an answer, and its body on the way.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl Answer {
    /// The whole body, if it has at most `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if whole.len() + piece.len() > limit {
                return Err(RemoteError::Protocol(format!("an answer of over {limit} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Reads what is left of a body that nobody needs, so that the connection can be used again.
    pub async fn drain(mut self) {
        let mut left = ERROR_BODY_MAX;
        while let Some(Ok(piece)) = self.body.next().await {
            match left.checked_sub(piece.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }

    /// The beginning of the body, whatever becomes of the rest.
    async fn beginning(mut self) -> BytesMut {
        let mut start = BytesMut::new();
        while let Some(Ok(piece)) = self.body.next().await {
            let room = ERROR_BODY_MAX - start.len();
            start.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() >= room {
                break;
            }
        }
        start
    }
}

/// A connection to one server with one credential at a time.
pub struct Http {
    dialer: Dialer,
    credentials: Arc<dyn CredentialSource>,
    session: Mutex<Arc<Session>>,
    metrics: Arc<Metrics>,
}

impl Http {
    /// Nothing is sent yet. `server` is where all requests will go.
    pub fn new(
        config: &HttpConfig,
        server: &ServerUrl,
        credentials: Arc<dyn CredentialSource>,
    ) -> std::result::Result<Self, HttpSetupError> {
        let dialer = Dialer::new(config, server)?;
        let session = Mutex::new(Arc::new(dialer.session(credentials.current())?));
        Ok(Self { dialer, credentials, session, metrics: Arc::default() })
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Lets the next request try a refused password again.
    pub fn retry_login(&self) {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).gate.retry_now();
    }

    /// Sends a request; only an answer of 200 to 299 is `Ok`.
    pub async fn send(&self, request: &Request) -> Result<Answer> {
        let answer = self.exchange(request).await?;
        self.judged(request, answer).await
    }

    /// The answer, if it is one of 200 to 299.
    pub async fn judged(&self, request: &Request, answer: Answer) -> Result<Answer> {
        match answer.status {
            200..300 => Ok(answer),
            _ => Err(judge(request, answer).await),
        }
    }

    /// Sends a request and gives any answer, but for those that are worth another attempt.
    pub async fn exchange(&self, request: &Request) -> Result<Answer> {
        let mut attempt = 1;
        loop {
            let session = self.session()?;
            let span = debug_span!("request", method = request.verb.as_str(), attempt);
            let started = Instant::now();
            let outcome = self.attempt(&session, request).instrument(span).await;
            let quick = started.elapsed() < REPEAT_WITHIN;
            let error = match outcome {
                Ok(answer) if !worth_judging(request, answer.status) => return Ok(answer),
                Ok(answer) => judge(request, answer).await,
                Err(error) => error,
            };
            let changed = matches!(error, RemoteError::Unauthorized)
                && attempt == 1
                && self.credentials.current() != session.credential;
            match pause_before_repeat(request.verb, &error) {
                _ if changed => {}
                Some(pause) if quick && attempt < READ_ATTEMPTS => {
                    debug!(%error, "repeated");
                    tokio::time::sleep(pause).await;
                }
                _ => return Err(error),
            }
            attempt += 1;
            self.metrics.repeat();
        }
    }

    /// The session of the present credential.
    fn session(&self) -> Result<Arc<Session>> {
        let credential = self.credentials.current();
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.credential != credential {
            let fresh = self.dialer.session(credential);
            *session = Arc::new(fresh.map_err(|error| RemoteError::Offline(error.to_string()))?);
        }
        Ok(Arc::clone(&session))
    }

    async fn attempt(&self, session: &Session, request: &Request) -> Result<Answer> {
        let permit = match request.anonymous {
            true => None,
            false => Some(session.gate.admit().await?),
        };
        debug!(path = request.url.path(), bytes = request.payload.len(), "sending");
        let started = Instant::now();
        let outcome = self.transmit(session, request).await;
        let status = outcome.as_ref().ok().map(|answer| answer.status);
        self.metrics.ended(request.verb, status, started.elapsed());
        if let (Ok(answer), Some(permit)) = (&outcome, permit) {
            permit.settle(answer.status);
        }
        outcome
    }

    async fn transmit(&self, session: &Session, request: &Request) -> Result<Answer> {
        let compressed = request.verb == Verb::Propfind;
        let client = if compressed { &session.compressed } else { &session.plain };
        let method = Method::from_bytes(request.verb.as_str().as_bytes())
            .map_err(|error| RemoteError::Refused(error.to_string()))?;
        let mut outgoing_request =
            client.request(method, request.url.clone()).headers(request.headers.clone());
        if request.verb == Verb::Get {
            outgoing_request = outgoing_request.header(ACCEPT_ENCODING, "identity");
        }
        if !request.anonymous {
            let Credential { login_name, app_password } = &session.credential;
            outgoing_request = outgoing_request.basic_auth(login_name, Some(app_password.expose()));
        }
        let length = request.payload.len();
        let progress = Arc::new(Progress::new(length));
        let carries_body = !matches!(request.payload, Payload::None);
        if carries_body {
            outgoing_request = outgoing_request.header(CONTENT_LENGTH, length);
        }
        outgoing_request = match &request.payload {
            Payload::None => outgoing_request,
            Payload::Bytes(bytes) => {
                self.metrics.sent(bytes.len());
                outgoing_request.body(bytes.clone())
            }
            Payload::Part { source, range } => {
                let metrics = Arc::clone(&self.metrics);
                let pieces = outgoing(source, *range, Arc::clone(&progress), metrics);
                outgoing_request.body(reqwest::Body::wrap_stream(pieces))
            }
        };
        let watched = matches!(request.payload, Payload::Part { .. }).then_some(&*progress);
        let answered = within_deadline(outgoing_request.send(), watched, request.patience).await;
        if let Some(why) = progress.failure() {
            return Err(RemoteError::Source(why.into()));
        }
        let response = answered?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: incoming(response.bytes_stream(), Arc::clone(&self.metrics)),
        })
    }
}

/// Waits for the head of an answer: as long as the body moves, and `patience` from its end.
async fn within_deadline(
    sending: impl Future<Output = reqwest::Result<reqwest::Response>>,
    progress: Option<&Progress>,
    patience: Duration,
) -> Result<reqwest::Response> {
    let mut sending = std::pin::pin!(sending);
    let mut seen = progress.map(Progress::handed);
    loop {
        let complete = progress.is_none_or(Progress::is_complete);
        let limit = if complete { patience } else { STALL };
        match timeout(limit, &mut sending).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) if error.is_connect() || error.is_builder() => {
                return Err(RemoteError::Offline(chain(&error)));
            }
            Ok(Err(error)) => return Err(RemoteError::NoAnswer(chain(&error))),
            Err(_) => {
                let handed = progress.map(Progress::handed);
                if handed == seen {
                    let why = format!("nothing came for {} s", limit.as_secs());
                    return Err(RemoteError::NoAnswer(why));
                }
                seen = handed;
            }
        }
    }
}

/// Whether the answer is an error that [`Http::exchange`] may want to repeat.
fn worth_judging(request: &Request, status: u16) -> bool {
    status == 401 && !request.anonymous
        || request.verb.is_read() && matches!(status, 423 | 500 | 502..=504)
}

/// How long to wait before a failed request is sent again; `None` when it is not.
fn pause_before_repeat(verb: Verb, error: &RemoteError) -> Option<Duration> {
    let again = verb.is_read()
        && match error {
            RemoteError::NoAnswer(_) | RemoteError::Locked => true,
            RemoteError::Unavailable { maintenance, retry_after, .. } => {
                !maintenance && retry_after.is_none_or(|wait| wait <= SHORT_WAIT)
            }
            _ => false,
        };
    // The spread that frees a lock without a stampede (FACTS 17.5).
    again.then(|| Duration::from_millis(rand::random_range(50..500)))
}

async fn judge(request: &Request, answer: Answer) -> RemoteError {
    let (status, headers) = (answer.status, answer.headers.clone());
    refusal(request.verb, status, &headers, &answer.beginning().await)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
