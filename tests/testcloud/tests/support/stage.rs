//! A fresh server for one transcript, and what was there before each of its exchanges.

use std::collections::HashMap;
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testcloud::{Config, Testcloud};

use super::compare::Known;
use super::transcript::{self, Exchange};
use super::wire::{self, Message};

/// The login password of each user, and who has an e-mail address.
const LOGIN: &str = "login-password";
const EMAIL: &str = "alice@proto.example";

pub struct Stage {
    cloud: Testcloud,
    pub known: Known,
    /// App passwords by user.
    passwords: HashMap<String, String>,
    /// The app password that an answer brought last.
    issued: String,
    cookies: String,
    /// What stands for a token of the login flow in the transcript, and what it is here.
    tokens: Vec<(&'static str, String)>,
    /// A PUT under way.
    slow: Option<TcpStream>,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if matches!(name, "copy-large" | "quota-507") {
            // Its bytes are never looked at: a hole will do.
            let get = dir.path().join("alice/files/get");
            std::fs::create_dir_all(&get).unwrap();
            let big = std::fs::File::create(get.join("big256")).unwrap();
            big.set_len(256 << 20).unwrap();
        }
        let cloud = Testcloud::start(Config {
            instance_id: "ocinstance01".to_owned(),
            ..Config::default().dir(dir.path())
        })
        .unwrap();
        // The roots are older than everything in them.
        cloud.freeze_clock(Some(1_500_000_000));
        for user in ["alice", "bob"] {
            cloud.add_user(user, LOGIN).unwrap();
        }
        if name == "auth-email" {
            cloud.set_email("alice", EMAIL);
        }
        let passwords =
            ["alice", "bob"].map(|user| (user.to_owned(), cloud.add_app_password(user))).into();
        Self {
            cloud,
            known: Known::default(),
            passwords,
            issued: String::new(),
            cookies: String::new(),
            tokens: vec![("=PASSWORD", format!("={LOGIN}"))],
            slow: None,
            _dir: dir,
        }
    }

    /// Sets the clock to the date of a recorded answer, or some seconds before.
    pub fn set_clock(&self, exchange: &Exchange, earlier: i64) {
        let date = exchange.response.header("date").unwrap();
        self.at(second(date) - earlier);
    }

    fn at(&self, second: i64) {
        self.cloud.freeze_clock(Some(second));
    }

    /// Sends a recorded request with this server's credentials, tags and ids.
    pub fn send(&mut self, name: &str, number: usize, recorded: &Message) -> Message {
        let mut request = recorded.clone();
        request
            .headers
            .retain(|(name, _)| !matches!(name.to_lowercase().as_str(), "host" | "connection"));
        for (header, value) in &mut request.headers {
            match header.as_str() {
                "Authorization" => *value = self.authorization(name, number, value),
                "Cookie" => value.clone_from(&self.cookies),
                _ => {
                    for (there, here) in self.known.tags.pairs() {
                        *value = value.replace(there, here);
                    }
                }
            }
        }
        if request.header("transfer-encoding") == Some("chunked") {
            let mut body = Vec::new();
            if !request.body.is_empty() {
                body.extend(format!("{:x}\r\n", request.body.len()).bytes());
                body.append(&mut request.body);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            request.body = body;
        }
        for (there, here) in self.known.ids.pairs() {
            let there = format!("/versions/alice/versions/{there}");
            let here = format!("/versions/alice/versions/{here}");
            request.first = request.first.replace(&there, &here);
        }
        if name == "login-flow-v2" {
            self.fill_in_tokens(&mut request);
        }
        let answer = wire::send(self.cloud.address(), &request).unwrap();
        let text = answer.text();
        if name == "login-flow-v2" {
            self.note_tokens(&answer);
        }
        if let Some((_, rest)) = text.split_once("\"apppassword\":\"") {
            self.issued = rest.split('"').next().unwrap().to_owned();
        }
        answer
    }

    fn fill_in_tokens(&self, request: &mut Message) {
        let mut body = request.text().trim_end_matches('\n').to_owned();
        for (there, here) in &self.tokens {
            request.first = request.first.replace(there, here);
            body = body.replace(there, here);
        }
        request.headers.retain(|(name, _)| name != "Content-Length");
        *request = request.clone().body(body.as_bytes());
    }

    /// What follows these words in an answer, up to a quotation mark, is a token from then on.
    fn note_tokens(&mut self, answer: &Message) {
        let text = answer.text();
        for (words, there) in [
            ("\"token\":\"", "POLL-TOKEN"),
            ("/login/v2/flow/", "LOGIN-TOKEN"),
            ("name=\"stateToken\" value=\"", "STATE-TOKEN"),
        ] {
            if let Some((_, rest)) = text.split_once(words) {
                let here = rest.split('"').next().unwrap().to_owned();
                self.tokens.push((there, here));
            }
        }
        // The browser's first answer; those of the client bring cookies too, which it does not keep.
        if self.cookies.is_empty() && answer.status() == 303 {
            self.cookies = cookies(answer);
        }
    }

    /// `Basic <base64 of alice:APP-PASSWORD>` does not tell which of her passwords it was.
    fn authorization(&self, name: &str, number: usize, recorded: &str) -> String {
        let Some(login) = recorded
            .strip_prefix("Basic <base64 of ")
            .and_then(|rest| rest.split(":APP-PASSWORD>").next())
        else {
            return recorded.to_owned();
        };
        let user = if login.contains("bob") { "bob" } else { "alice" };
        let password = match (name, number) {
            ("app-password", 2) | ("auth-email", 1 | 2) => LOGIN,
            ("app-password", 3..) => &self.issued,
            ("auth-401", 2) => "wrong",
            _ => &self.passwords[user],
        };
        format!("Basic {}", STANDARD.encode(format!("{login}:{password}")))
    }

    fn put(&self, path: &str, content: &[u8], mtime: Option<i64>) {
        self.cloud.put_file("alice", path, content, mtime).unwrap();
    }

    fn folder(&self, path: &str) {
        self.cloud.make_folder("alice", path).unwrap();
    }

    /// Notes that a recorded tag is the present one of a path.
    fn tag(&mut self, recorded: &str, path: &str) {
        let here = &self.cloud.tree("alice")[path].etag;
        assert!(self.known.tags.same(recorded, here));
    }

    /// An own request of alice.
    fn ask(&self, request: Message) -> Message {
        let request = request.with("Authorization", &self.basic("alice"));
        wire::send(self.cloud.address(), &request).unwrap()
    }

    fn basic(&self, user: &str) -> String {
        let credentials = format!("{user}:{}", self.passwords[user]);
        format!("Basic {}", STANDARD.encode(credentials))
    }

    fn upload(&self, id: &str, parts: &[(&str, &[u8])]) {
        let folder = format!("/remote.php/dav/uploads/alice/{id}");
        assert_eq!(self.ask(Message::request("MKCOL", &folder)).status(), 201);
        for (name, content) in parts {
            let part = Message::request("PUT", &format!("{folder}/{name}")).body(content);
            assert_eq!(self.ask(part).status(), 201);
        }
    }

    /// Begins a PUT of bob's and sends half of it.
    fn begin_slow_put(&mut self, path: &str, length: usize) {
        let request = Message::request("PUT", &format!("/remote.php/dav/files/bob{path}"))
            .with("Authorization", &self.basic("bob"))
            .with("Content-Length", &length.to_string());
        let half = vec![b'x'; length / 2];
        self.slow = Some(wire::begin(self.cloud.address(), &request, &half));
        let arrived = |cloud: &Testcloud| cloud.requests().last().map_or(0, |put| put.bytes_in);
        while arrived(&self.cloud) < (length / 2) as u64 {
            std::thread::yield_now();
        }
    }

    fn finish_slow_put(&mut self, length: usize) {
        use std::io::Write as _;
        let mut slow = self.slow.take().unwrap();
        slow.write_all(&vec![b'x'; length - length / 2]).unwrap();
        let answer = wire::read(slow, false).unwrap();
        assert_eq!(answer.status(), 204);
    }

    fn used(&self) -> u64 {
        let tree = self.cloud.tree("alice");
        tree.values().filter(|e| !e.is_folder).map(|e| e.size).sum()
    }

    fn set_available(&self, bytes: u64) {
        self.cloud.set_quota("alice", Some(self.used() + bytes));
    }

    /// Makes what was there before an exchange.
    pub fn prepare(&mut self, name: &str, number: usize) {
        match (name, number) {
            ("atomic-save", 1) => self.put("/ops/doc", b"version 2", None),
            ("chunked-append", 1) => {
                self.put("/x20/log", b"old line\n", Some(1_700_000_000));
                self.tag("1b0ee6bcb5aaeaf44f236a2d7c6a5186", "/x20/log");
            }
            ("chunked-upload", 1) => self.folder("/chunk"),
            ("chunked-upload-errors", 1) => {
                self.put("/chunk/big", b"big", Some(1_600_000_000));
                self.tag("1d173362afb045d18fec00186705d356", "/chunk/big");
                let ten = ("1", b"0123456789".as_slice());
                self.upload("proto-2", &[ten, ("2", b"0123456789")]);
                self.upload("proto-3", &[ten]);
                for id in ["proto-6", "proto-7"] {
                    self.upload(id, &[]);
                }
                self.upload("proto-9", &[ten]);
            }
            ("chunked-upload-errors", 22) => {
                self.upload("proto-10", &[("1", b"x")]);
                self.upload("proto-12", &[]);
            }
            ("chunked-upload-errors", 28) => {
                let abort = Message::request("DELETE", "/remote.php/dav/uploads/alice/proto-6");
                assert_eq!(self.ask(abort).status(), 204);
            }
            ("cookie-wins", 1) => {
                self.folder("/x20");
                let who = Message::request("PROPFIND", "/remote.php/dav/files/alice/");
                self.cookies = cookies(&self.ask(who.with("Depth", "0")));
            }
            ("copy", 1) => {
                self.put("/ops/s1", b"one", None);
                self.put("/ops/cd/f", b"x", None);
            }
            ("delete", 1) => {
                self.put("/ops/d1/f0", b"x", None);
                self.folder("/ops/d1/s");
                self.folder("/ops/d1/s2");
                self.put("/ops/ne", b"x", None);
            }
            ("delete", 4) => self.tag("6b020d840c8eb", "/ops/d1/s2"),
            ("etag-trap", 1) => self.folder("/x20"),
            ("get-conditional" | "get-gzip" | "get-range", 1) => {
                let lines: String = (0..1000).map(|n| format!("{n:09}\n")).collect();
                self.at(second("Sat, 21 Nov 2026 21:29:05 GMT"));
                self.put("/get/data.txt", lines.as_bytes(), Some(1_600_000_000));
                self.tag("7dc6a555df8a291f25683064bf2545ae", "/get/data.txt");
                if name == "get-conditional" {
                    self.tag("6b020d21807c5", "/get");
                }
            }
            ("share-permissions", 1) => {
                self.put("/t1/a.txt", b"x", None);
                self.at(second("Sat, 21 Nov 2026 21:38:18 GMT"));
                for (path, permissions) in [("/share-ro", 1), ("/share-rw", 31)] {
                    self.cloud.make_folder("bob", &format!("{path}/sub")).unwrap();
                    self.cloud
                        .put_file("bob", &format!("{path}/f.txt"), b"x".repeat(5).as_slice(), None)
                        .unwrap();
                    self.cloud.share("bob", path, "alice", permissions).unwrap();
                }
            }
            ("get-zero", 1) => self.put("/get/zero", b"", None),
            ("head-traps", 1) => self.put("/x20/log", b"old line\nnew line\n", None),
            ("lock", 1) => self.put("/srch/s/f01.txt", b"x", None),
            ("locked-423", 1) => {
                self.at(second("Sat, 21 Nov 2026 21:38:24 GMT"));
                self.cloud.put_file("bob", "/lk/f", &[0; 8000], None).unwrap();
                self.begin_slow_put("/lk/f", 2_000_000);
            }
            ("locked-423", 11) => {
                self.at(second("Sat, 21 Nov 2026 21:38:27 GMT"));
                self.finish_slow_put(2_000_000);
                self.begin_slow_put("/lk/new", 2_000_000);
            }
            ("maintenance-503", 1) => self.cloud.set_maintenance(true),
            ("login-flow-v2", 1) => self.cloud.announce(Some("http://cloud.example.org")),
            ("mkcol", 1) => self.put("/ops/f", b"x", None),
            ("move", _) => self.prepare_move(number),
            ("names-encoding", 1) => {
                let exchange = transcript::read(name).remove(0);
                let xml = exchange.response.text();
                self.folder("/names");
                for href in xml.split("<d:href>").skip(2) {
                    let href = href.split("</d:href>").next().unwrap();
                    let put = Message::request("PUT", href).body(b"x");
                    assert_eq!(self.ask(put).status(), 201, "{href}");
                }
            }
            ("names-nfd", 1) => self.folder("/nfd"),
            ("names-refused", 1) => self.put("/names/..two", b"y", Some(1_600_000_000)),
            (
                "propfind-allprop"
                | "propfind-depth-infinity"
                | "propfind-dir-all"
                | "propfind-dir-fs"
                | "propfind-errors"
                | "propfind-file-all"
                | "propfind-prefer-minimal"
                | "propfind-root",
                1,
            ) => {
                self.at(second("Sat, 21 Nov 2026 21:25:17 GMT"));
                let put = Message::request("PUT", "/remote.php/dav/files/alice/t1/a.txt")
                    .with("X-NC-WebDAV-Auto-Mkcol", "1")
                    .with("X-OC-Mtime", "1700000000")
                    .with("OC-Checksum", "SHA1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
                assert_eq!(self.ask(put.body(b"hello")).status(), 201);
                self.put("/t1/sub/b.bin", &[0; 1000], None);
            }
            ("proppatch-dead" | "proppatch-limits", 1) => {
                self.put("/props/a", b"a", Some(1_600_000_000));
            }
            ("proppatch-mtime", 1) => self.put("/ops/e1/e2/f", b"x", None),
            ("put-checksum" | "put-create-overwrite" | "put-mtime", 1) => self.folder("/put"),
            ("put-conditional", 1) => self.put("/put/a.txt", b"hello2", None),
            ("put-interrupted", 1) => {
                self.put("/x16/v", b"precious content", Some(1_600_000_000));
            }
            ("put-interrupted", 2) => {
                self.at(second("Sat, 21 Nov 2026 21:49:06 GMT"));
                let request = Message::request("PUT", "/remote.php/dav/files/alice/x16/v")
                    .with("Authorization", &self.basic("alice"))
                    .with("Content-Length", "3000000");
                let arrived = vec![b'T'; 1_998_848];
                wire::cut(wire::begin(self.cloud.address(), &request, &arrived));
                self.cloud.wait_idle();
            }
            ("put-odd", 1) => {
                self.put("/put/a.txt", b"x", None);
                self.folder("/put/dir");
            }
            ("quota-507", 1) => self.put("/ver/f", b"x", None),
            ("quota-507", 2) => self.set_available(99_958),
            ("quota-507", 4) => {
                self.cloud.delete("alice", "/ver/q2").unwrap();
                self.set_available(49_958);
            }
            ("quota-507", 5) => self.upload("proto-q", &[]),
            ("quota-507", 9) => self.set_available(0),
            ("trailing-slash", 1) => {
                self.at(second("Sat, 21 Nov 2026 21:27:06 GMT"));
                self.put("/case/File", b"File", None);
                self.at(second("Sat, 21 Nov 2026 21:27:07 GMT"));
            }
            ("versions", 1) => {
                for (second, content) in [
                    (1_795_297_187, "first\n"),
                    (1_795_297_189, "second\n"),
                    (1_795_297_190, "thirds\n"),
                ] {
                    self.at(second);
                    self.put("/ver/a.txt", content.as_bytes(), None);
                }
                self.put("/ver/a.txt", b"seven with old mtime\n\n\n\n\n", Some(1_600_000_000));
                let id = self.cloud.file_id("alice", "/ver/a.txt").unwrap();
                assert!(self.known.ids.same("5625", &id.to_string()));
            }
            _ => {}
        }
    }

    fn prepare_move(&mut self, number: usize) {
        match number {
            1 => {
                for file in ["/ops/a", "/ops/c"] {
                    self.put(file, b"x", None);
                }
            }
            4 => self.put("/ops/b", b"y", None),
            15 => {
                self.put("/ops/c11", b"changed", None);
                self.put("/ops/dst", b"z", None);
                self.tag("dc8290395bf42fcbb26d6360a24e7629", "/ops/dst");
            }
            18 => {
                for file in ["/ops/m1/s/f", "/ops/m2/g", "/ops/file", "/ops/file2", "/ops/lower"] {
                    self.put(file, b"x", None);
                }
                self.folder("/ops/dirx");
            }
            _ => {}
        }
    }
}

/// What an answer sets, as it is sent back.
fn cookies(answer: &Message) -> String {
    let set = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
    set.map(|(_, value)| value.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

/// Seconds since 1970.
fn second(date: &str) -> i64 {
    let time = httpdate::parse_http_date(date).unwrap();
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs().cast_signed()
}
