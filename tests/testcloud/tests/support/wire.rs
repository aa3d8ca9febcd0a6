//! HTTP/1.1 by hand over one connection a request: what a client library would normalise or refuse
//! goes out as written, and connections can be cut in the middle.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Request line or status line.
    pub first: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn request(method: &str, path: &str) -> Self {
        Self { first: format!("{method} {path} HTTP/1.1"), ..Self::default() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body and its length.
    #[must_use]
    pub fn body(self, body: &[u8]) -> Self {
        let mut message = self.with("Content-Length", &body.len().to_string());
        message.body = body.to_vec();
        message
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn word(&self, n: usize) -> &str {
        self.first.split(' ').nth(n).unwrap_or_default()
    }

    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn head(&self) -> String {
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{headers}Host: cloud.example.org\r\nConnection: close\r\n\r\n", self.first)
    }
}

/// Sends a request and reads the answer; none if the connection was closed without one.
pub fn send(server: SocketAddr, request: &Message) -> Option<Message> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(request.head().as_bytes()).unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(&request.body);
    read(stream, request.word(0) == "HEAD")
}

/// Sends the head of a request and these bytes of its body, and leaves the connection open.
pub fn begin(server: SocketAddr, request: &Message, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(request.head().as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

/// Hangs up, and waits until the server has done so too.
pub fn cut(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

/// Reads an answer to the end of the connection.
pub fn read(mut stream: TcpStream, head_only: bool) -> Option<Message> {
    let mut bytes = Vec::new();
    // A reset after the answer is an end as well.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let first = lines.next()?.to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut message = Message { first, headers, body: bytes[end + 4..].to_vec() };
    if message.header("transfer-encoding") == Some("chunked") && !head_only {
        message.body = unchunk(&message.body);
    }
    Some(message)
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        let from = end + 2;
        if size == 0 || rest.len() < from + size + 2 {
            break;
        }
        body.extend_from_slice(&rest[from..from + size]);
        rest = &rest[from + size + 2..];
    }
    body
}
