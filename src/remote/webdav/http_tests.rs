use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::remote::Secret;

/// What came over one connection, and whether it ended there.
#[derive(Debug)]
struct Received {
    head: String,
    body: Vec<u8>,
    cut: bool,
}

/// A server that gives every request the same answer, and tells what it received.
async fn server(answer: &'static str) -> (Url, mpsc::UnboundedReceiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/x", listener.local_addr().unwrap())).unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Ok(Some(received)) = receive(&mut stream).await {
                    let cut = received.cut;
                    let _ = tell.send(received);
                    if cut || stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, told)
}

async fn receive(stream: &mut tokio::net::TcpStream) -> io::Result<Option<Received>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return Ok(None),
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let mut body = Vec::new();
    (&mut *stream).take(length).read_to_end(&mut body).await?;
    let cut = (body.len() as u64) < length;
    Ok(Some(Received { head, body, cut }))
}

/// A credential that changes with every letter of a text.
struct Spelled(Mutex<&'static str>);

impl CredentialSource for Spelled {
    fn current(&self) -> Credential {
        let name = *self.0.lock().unwrap();
        Credential { login_name: name.into(), app_password: Secret::new("pw") }
    }
}

fn http(url: &Url) -> (Arc<Spelled>, Http) {
    let source = Arc::new(Spelled(Mutex::new("alice")));
    let config = HttpConfig { user_agent: "ncfs-test/1".into(), ca_file: None };
    let http = Http::new(&config, &url.as_str().parse().unwrap(), source.clone()).unwrap();
    (source, http)
}

/// So many bytes, and then an error if there is one.
struct Bytewise(u64, Option<&'static str>);

impl Source for Bytewise {
    fn size(&self) -> u64 {
        self.0
    }

    fn read(&self, range: ByteRange) -> BoxStream<'static, io::Result<Bytes>> {
        let bytes = Bytes::from(vec![b'x'; range.len() as usize]);
        let error = self.1.map(|why| Err(io::Error::other(why)));
        futures_util::stream::iter(std::iter::once(Ok(bytes)).chain(error)).boxed()
    }
}

fn put(url: &Url, source: Bytewise) -> Request {
    let range = ByteRange::new(0, source.0);
    let payload = Payload::Part { source: Arc::new(source), range };
    Request::new(Verb::Put, url.clone()).payload(payload)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn every_body_goes_out_with_its_length_and_without_chunks() {
    let (url, mut told) = server(OK).await;
    let (_, http) = http(&url);
    let small = Payload::Bytes(Bytes::from_static(b"abc"));
    let empty = Payload::Bytes(Bytes::new());
    let requests = [
        (put(&url, Bytewise(1_000_000, None)), 1_000_000),
        (put(&url, Bytewise(0, None)), 0),
        (Request::new(Verb::Put, url.clone()).payload(small), 3),
        (Request::new(Verb::Put, url.clone()).payload(empty), 0),
    ];
    for (request, length) in requests {
        http.send(&request).await.unwrap().drain().await;
        let Received { head, body, cut } = told.recv().await.unwrap();
        assert_eq!((body.len(), cut), (length, false));
        assert_eq!(head.matches("content-length").count(), 1, "{head}");
        assert!(head.contains(&format!("content-length: {length}\r\n")), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert!(head.contains("user-agent: ncfs-test/1"), "{head}");
    }
}

#[tokio::test]
async fn a_source_that_fails_at_its_very_end_leaves_no_complete_body() {
    let (url, mut told) = server(OK).await;
    let (_, http) = http(&url);
    for size in [10, 200_000, 3_000_000] {
        let error = http.send(&put(&url, Bytewise(size, Some("changed")))).await.err();
        assert!(matches!(error, Some(RemoteError::Source(why)) if why == "changed"));
    }
    drop(http);
    // Told in the order of arrival: what follows the failed ones shows that they have been dealt with.
    let (_, another) = self::http(&url);
    another.send(&put(&url, Bytewise(7, None))).await.unwrap().drain().await;
    while let Some(received) = told.recv().await {
        if !received.cut {
            assert_eq!(received.body.len(), 7);
            break;
        }
    }
}

#[tokio::test]
async fn cookies_are_kept_for_one_credential_and_dropped_with_it() {
    let (url, mut told) = server(
        "HTTP/1.1 200 OK\r\nSet-Cookie: session=alices; path=/; HttpOnly\r\n\
         Content-Length: 0\r\n\r\n",
    )
    .await;
    let (source, http) = http(&url);
    let mut heads = Vec::new();
    for name in ["alice", "alice", "bob", "bob"] {
        *source.0.lock().unwrap() = name;
        http.send(&Request::new(Verb::Get, url.clone())).await.unwrap().drain().await;
        heads.push(told.recv().await.unwrap().head);
    }
    let cookies: Vec<_> = heads.iter().map(|head| head.contains("cookie: session")).collect();
    assert_eq!(cookies, [false, true, false, true]);
    assert!(heads.iter().all(|head| head.contains("authorization: basic ")));
    assert_ne!(
        heads[1].lines().find(|line| line.starts_with("authorization")),
        heads[2].lines().find(|line| line.starts_with("authorization"))
    );
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (url, mut told) =
        server("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n").await;
    let (_, http) = http(&url);
    let error = http.send(&Request::new(Verb::Get, url.clone())).await.err().unwrap();
    assert!(matches!(&error, RemoteError::Protocol(why) if why.contains("/elsewhere")), "{error}");
    assert!(told.recv().await.is_some() && told.try_recv().is_err());
}

#[tokio::test]
async fn a_connection_that_the_server_closes_after_each_answer_does_no_harm() {
    let (url, mut told) =
        server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let (_, http) = http(&url);
    for _ in 0..5 {
        http.send(&put(&url, Bytewise(10, None))).await.unwrap().drain().await;
        assert!(told.recv().await.is_some());
    }
    assert_eq!(http.metrics().snapshot().unanswered(), 0);
}

#[tokio::test]
async fn a_file_is_asked_for_as_it_is_and_a_listing_compressed() {
    let (url, mut told) = server(OK).await;
    let (_, http) = http(&url);
    for (verb, coding) in [(Verb::Get, "identity"), (Verb::Propfind, "gzip")] {
        http.send(&Request::new(verb, url.clone())).await.unwrap().drain().await;
        let head = told.recv().await.unwrap().head;
        assert!(head.contains(&format!("accept-encoding: {coding}\r\n")), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_ends() {
    let never = || std::future::pending::<reqwest::Result<reqwest::Response>>();
    let started = Instant::now();
    let outcome = within_deadline(never(), None, Duration::from_secs(300)).await;
    assert!(matches!(outcome, Err(RemoteError::NoAnswer(_))));
    assert_eq!(started.elapsed(), Duration::from_secs(300));
    let started = Instant::now();
    let standing = Progress::new(100);
    let outcome = within_deadline(never(), Some(&standing), Duration::from_secs(300)).await;
    assert!(matches!(outcome, Err(RemoteError::NoAnswer(_))));
    assert_eq!(started.elapsed(), STALL);
}
