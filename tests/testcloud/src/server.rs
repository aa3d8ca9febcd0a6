//! Connections: accepting, faults, latency, the log.
//!
//! What a request does is done in a task of its own: once begun and wholly received it is carried out,
//! also when its client has hung up meanwhile (FACTS 18).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::StreamExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cloud::Cloud;
use crate::faults::{Action, Fault};
use crate::requests::Entry;
use crate::{admin, dav, login, ocs};

/// Serves until it is dropped; every connection then ends at once.
pub(crate) async fn serve(cloud: Arc<Cloud>, listener: TcpListener) {
    let router = Router::new()
        .merge(ocs::routes())
        .merge(login::routes())
        .nest("/testcloud", admin::routes())
        .fallback({
            let cloud = Arc::clone(&cloud);
            move |request| dav::handle(cloud, request)
        })
        .with_state(Arc::clone(&cloud));
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                connections.spawn(connection(Arc::clone(&cloud), router.clone(), stream, peer));
            }
            Err(error) => {
                // Out of descriptors, most likely: others may be closed soon.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(cloud: Arc<Cloud>, router: Router, stream: TcpStream, peer: SocketAddr) {
    let service = service_fn(|request: Request<Incoming>| {
        let (cloud, router) = (Arc::clone(&cloud), router.clone());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        async move { answer(&cloud, router, request).await }
    });
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let result = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Who is connected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub SocketAddr);

/// The error ends the connection without an answer.
async fn answer(
    cloud: &Arc<Cloud>,
    router: Router,
    request: Request<Body>,
) -> io::Result<Response<Metered>> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/testcloud/") {
        let response = run(cloud, router, request).await?;
        return Ok(response.map(|body| Metered::new(body, None, None)));
    }
    let method = request.method().as_str().to_owned();
    let depth = text(request.headers(), "depth");
    let entry = cloud.requests.begin(&method, &path, depth);
    let worker = cloud.throttle.enter().await;

    let fault = cloud.faults.take(&method, &path);
    let action = match fault {
        Some(Fault { delay_ms, action, .. }) => {
            entry.faulted();
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            action
        }
        None => Action::None,
    };
    let cut_request = match action {
        Action::CutRequest { bytes } => Some(bytes),
        _ => None,
    };
    let request = request.map(|body| meter_request(body, &entry, cut_request));
    let hung_up = || io::Error::new(io::ErrorKind::ConnectionAborted, "a fault asked for it");
    let response = match &action {
        Action::Answer { status, headers, body } => {
            drain(request.into_body()).await;
            made_up(*status, headers, body)
        }
        Action::HangUpBefore => {
            drain(request.into_body()).await;
            return Err(hung_up());
        }
        Action::HangUpAfter | Action::CutRequest { .. } => {
            run(cloud, router, request).await?;
            return Err(hung_up());
        }
        Action::Etag { value } => {
            let mut response = run(cloud, router, request).await?;
            replace_etag(response.headers_mut(), value.as_deref());
            response
        }
        Action::None | Action::CutResponse { .. } => run(cloud, router, request).await?,
    };
    let cut = match action {
        Action::CutResponse { bytes } => Some(bytes),
        _ => None,
    };
    drop(worker);
    entry.answered(response.status().as_u16());
    let mut response = response.map(|body| Metered::new(body, Some(entry), cut));
    // The clock of a test is the server's clock for its clients too.
    let now = httpdate::fmt_http_date(
        std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(cloud.stamps.now()).unwrap_or(0)),
    );
    if let Ok(now) = HeaderValue::from_str(&now) {
        response.headers_mut().insert(header::DATE, now);
    }
    Ok(response)
}

async fn run(cloud: &Cloud, router: Router, request: Request<Body>) -> io::Result<Response<Body>> {
    let service = TowerToHyperService::new(router);
    let running = cloud.running.enter();
    let result = tokio::spawn(async move {
        let _running = running;
        service.call(request).await
    })
    .await;
    match result {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(never)) => match never {},
        Err(error) => Err(io::Error::other(error)),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(ToOwned::to_owned)
}

async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    while let Some(Ok(_)) = stream.next().await {}
}

fn made_up(status: u16, headers: &BTreeMap<String, String>, body: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, body.to_owned()).into_response();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn replace_etag(headers: &mut HeaderMap, value: Option<&str>) {
    for name in ["etag", "oc-etag"] {
        match value.and_then(|value| HeaderValue::from_str(value).ok()) {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
}

/// Counts what arrives and, on demand, breaks the body off as if the client had gone.
fn meter_request(body: Body, entry: &Arc<Entry>, cut: Option<u64>) -> Body {
    let entry = Arc::clone(entry);
    let mut left = cut;
    Body::from_stream(body.into_data_stream().map(move |bytes| {
        let mut bytes = bytes.map_err(io::Error::other)?;
        if let Some(left) = &mut left {
            if *left == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let keep = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            bytes.truncate(keep);
            *left -= keep as u64;
        }
        entry.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }))
}

/// An answer's body that is counted and, on demand, breaks off.
pub(crate) struct Metered {
    inner: Body,
    entry: Option<Arc<Entry>>,
    left: Option<u64>,
    /// Whether hyper had a chance to send what came before a cut.
    flushed: bool,
}

impl Metered {
    fn new(inner: Body, entry: Option<Arc<Entry>>, left: Option<u64>) -> Self {
        Self { inner, entry, left, flushed: false }
    }
}

impl hyper::body::Body for Metered {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == Some(0) && !self.flushed {
            // hyper throws away what it has not sent when a body fails; it sends while one waits.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == Some(0) {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
            None => return Poll::Ready(None),
        };
        let Ok(mut bytes) = frame.into_data() else {
            return Poll::Ready(None);
        };
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        if let Some(entry) = &self.entry {
            entry.bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    /// A cut body announces its whole length.
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
