//! The HTTP endpoint of a mount for measurements: `GET /metrics` and `GET /healthz`, nothing else.
//!
//! As much of HTTP/1.1 as these two need: one request a connection, no body, `Connection: close`.
//! Guarantees: requests are bounded in length, connections in time and number, so whoever connects can
//! hold up others who measure, for [`PATIENCE`] with each [`MAX_CONNECTIONS`], and the mount never.
//!
//! A crash leaves a Unix socket behind on which nobody listens: the next bind removes it.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::MetricsAddress;

/// More connections than this wait to be accepted.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection may take altogether.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest head of a request, bytes.
const MAX_HEAD: usize = 8 * 1024;

/// What is measured.
pub trait Measured: Send + Sync + 'static {
    /// All measurements in Prometheus' text format. May wait for the disk, never for the network.
    fn metrics(&self) -> String;

    /// One line that says how it is going: `Err` when somebody has to do something.
    fn health(&self) -> Result<String, String>;
}

/// An address that is taken. Dropped, it is free again, and nobody is answered any more.
pub struct Endpoint {
    listener: Option<Listener>,
    tasks: JoinSet<()>,
    address: MetricsAddress,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Endpoint {
    /// Takes the address; whoever connects waits until [`Endpoint::answer`]. A socket can be used only
    /// by this user. Must be called within a tokio runtime.
    pub async fn bind(address: &MetricsAddress) -> io::Result<Self> {
        let (listener, address) = match address {
            MetricsAddress::Tcp(asked) => {
                let listener = TcpListener::bind(asked).await?;
                let address = MetricsAddress::Tcp(listener.local_addr()?);
                (Listener::Tcp(listener), address)
            }
            MetricsAddress::Unix(path) => (Listener::Unix(bind_socket(path)?), address.clone()),
        };
        Ok(Self { listener: Some(listener), tasks: JoinSet::new(), address })
    }

    /// Where it listens: with the port that was given for port 0.
    pub fn address(&self) -> &MetricsAddress {
        &self.address
    }

    /// Begins to answer.
    pub fn answer(&mut self, measured: Arc<dyn Measured>) {
        if let Some(listener) = self.listener.take() {
            self.tasks.spawn(listen(listener, measured));
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let MetricsAddress::Unix(path) = &self.address
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "the socket for measurements was not removed");
        }
    }
}

/// Binds a socket, in the place of one that a crash has left behind.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|old| old.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

async fn listen(listener: Listener, measured: Arc<dyn Measured>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Ends them all with this task.
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        let measured = Arc::clone(&measured);
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                connections.spawn(async move {
                    converse(stream, measured).await;
                    drop(place);
                })
            }),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                connections.spawn(async move {
                    converse(stream, measured).await;
                    drop(place);
                })
            }),
        };
        if let Err(error) = accepted {
            // Out of descriptors, as a rule; they come back.
            tracing::debug!(%error, "a connection for measurements was not accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, measured: Arc<dyn Measured>) {
    let conversation = async {
        let Some(target) = read_target(&mut stream).await? else { return Ok(()) };
        // The state is read from a disk.
        let answer = tokio::task::spawn_blocking(move || answer(&target, &*measured)).await;
        stream.write_all(answer.map_err(io::Error::other)?.as_bytes()).await?;
        stream.shutdown().await?;
        // What is unread at the end would take the answer back.
        let mut rest = stream.take(MAX_HEAD as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map(drop)
    };
    match timeout(PATIENCE, conversation).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for measurements broke"),
        Err(_) => tracing::debug!("a connection for measurements took too long"),
    }
}

/// What a request is for, as `GET /metrics`; `None` if there is none, or one that is too long.
async fn read_target(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    Ok(Some(format!("{method} {path}")))
}

fn answer(target: &str, measured: &dyn Measured) -> String {
    let (status, body) = match target {
        "GET /metrics" => ("200 OK", measured.metrics()),
        "GET /healthz" => match measured.health() {
            Ok(line) => ("200 OK", line + "\n"),
            Err(line) => ("503 Service Unavailable", line + "\n"),
        },
        _ => ("404 Not Found", "GET /metrics or GET /healthz\n".to_owned()),
    };
    let kind = match target {
        "GET /metrics" => "text/plain; version=0.0.4; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpStream;

    use super::*;

    struct Fixed(Result<&'static str, &'static str>);

    impl Measured for Fixed {
        fn metrics(&self) -> String {
            "up 1\n".to_owned()
        }

        fn health(&self) -> Result<String, String> {
            self.0.map(str::to_owned).map_err(str::to_owned)
        }
    }

    async fn endpoint(health: Result<&'static str, &'static str>) -> (Endpoint, SocketAddr) {
        let mut endpoint = Endpoint::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        endpoint.answer(Arc::new(Fixed(health)));
        let MetricsAddress::Tcp(address) = *endpoint.address() else { panic!() };
        (endpoint, address)
    }

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn two_paths_are_answered_and_nothing_else() {
        let (_endpoint, address) = endpoint(Ok("ok")).await;
        let metrics = ask(address, b"GET /metrics?x=y HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(
            metrics,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: 5\r\nConnection: close\r\n\r\nup 1\n"
        );
        let health = ask(address, b"GET /healthz HTTP/1.0\r\n\r\n").await;
        assert!(health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("\r\n\r\nok\n"));
        for other in ["GET / HTTP/1.1", "POST /metrics HTTP/1.1", "GET /metrics/ HTTP/1.1", "x"] {
            let answer = ask(address, format!("{other}\r\n\r\n").as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{other}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_mount_that_needs_somebody_is_not_healthy() {
        let (_endpoint, address) = endpoint(Err("failed: why")).await;
        let health = ask(address, b"GET /healthz HTTP/1.1\r\n\r\n").await;
        assert!(health.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{health}");
        assert!(health.ends_with("\r\n\r\nfailed: why\n"), "{health}");
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_not_answered() {
        let (_endpoint, address) = endpoint(Ok("ok")).await;
        assert_eq!(ask(address, &[b'x'; MAX_HEAD]).await, "");
    }

    #[tokio::test]
    async fn those_who_say_nothing_hold_up_nobody_for_long() {
        let (_endpoint, address) = endpoint(Ok("ok")).await;
        let mut idle = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let answered = ask(address, b"GET /healthz HTTP/1.1\r\n\r\n");
        let answered = timeout(4 * PATIENCE, answered).await.unwrap();
        assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    }

    #[tokio::test]
    async fn a_socket_that_a_crash_left_behind_is_replaced_and_nothing_else_is() {
        let holder = tempfile::tempdir().unwrap();
        let path = holder.path().join("s");
        let address = MetricsAddress::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let endpoint = Endpoint::bind(&address).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = Endpoint::bind(&address).await.map(drop);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(endpoint);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(Endpoint::bind(&address).await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
