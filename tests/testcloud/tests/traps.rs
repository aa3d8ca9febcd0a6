//! What no client library does by itself: cut requests, overlapping ones, faults, a stopped server.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]

mod support;

use std::io::Write as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::wire::{self, Message};
use testcloud::{Action, Config, Fault, Latency, Testcloud};

const FILE: &str = "/remote.php/dav/files/alice/f";

fn start() -> Testcloud {
    Testcloud::start(Config::default().user("alice", "secret")).unwrap()
}

fn request(method: &str, path: &str) -> Message {
    let basic = format!("Basic {}", STANDARD.encode("alice:secret"));
    Message::request(method, path).with("Authorization", &basic)
}

fn send(cloud: &Testcloud, request: &Message) -> Option<Message> {
    wire::send(cloud.address(), request)
}

fn status(cloud: &Testcloud, request: &Message) -> u16 {
    send(cloud, request).unwrap().status()
}

/// Waits until the newest request has brought so many bytes.
fn wait_for_body(cloud: &Testcloud, bytes: u64) {
    while cloud.requests().last().map_or(0, |last| last.bytes_in) < bytes {
        std::thread::yield_now();
    }
}

/// A PUT that announces 1000 bytes and has sent 400.
fn half_a_put(cloud: &Testcloud, path: &str) -> std::net::TcpStream {
    let put = request("PUT", path).with("Content-Length", "1000");
    let stream = wire::begin(cloud.address(), &put, &[b'n'; 400]);
    wait_for_body(cloud, 400);
    stream
}

#[test]
fn a_put_cut_over_a_file_destroys_it_unseen_until_somebody_reads_it() {
    let cloud = start();
    cloud.put_file("alice", "/f", b"precious", Some(1_600_000_000)).unwrap();
    let before = cloud.tree("alice")["/f"].clone();

    wire::cut(half_a_put(&cloud, FILE));
    cloud.wait_idle();

    assert_eq!(cloud.read_file("alice", "/f").unwrap(), [b'n'; 400]);
    assert_eq!(cloud.tree("alice")["/f"], before);
    let answer = send(&cloud, &request("GET", FILE)).unwrap();
    assert_eq!(answer.body, [b'n'; 400]);
    let after = cloud.tree("alice")["/f"].clone();
    assert_eq!(after.size, 400);
    assert_ne!(after.etag, before.etag);
    assert_eq!(after.id, before.id);
}

#[test]
fn a_put_cut_under_a_new_name_leaves_nothing() {
    let cloud = start();
    wire::cut(half_a_put(&cloud, FILE));
    cloud.wait_idle();
    assert_eq!(cloud.read_file("alice", "/f"), None);
    assert!(cloud.tree("alice").is_empty());
    assert_eq!(status(&cloud, &request("PUT", FILE).body(b"x")), 201);
}

#[test]
fn a_put_without_a_length_that_is_cut_becomes_an_empty_file() {
    let cloud = start();
    let put = request("PUT", FILE).with("Transfer-Encoding", "chunked");
    let stream = wire::begin(cloud.address(), &put, b"190\r\nnot all of the 400 bytes");
    wait_for_body(&cloud, 24);
    wire::cut(stream);
    cloud.wait_idle();
    assert_eq!(cloud.read_file("alice", "/f").unwrap(), b"");
}

#[test]
fn a_part_cut_short_keeps_what_was_there() {
    let cloud = start();
    let folder = "/remote.php/dav/uploads/alice/up";
    let part = format!("{folder}/00001");
    assert_eq!(status(&cloud, &request("MKCOL", folder)), 201);
    assert_eq!(status(&cloud, &request("PUT", &part).body(b"whole")), 201);

    wire::cut(half_a_put(&cloud, &part));
    cloud.wait_idle();

    let assemble = request("MOVE", &format!("{folder}/.file")).with("Destination", FILE);
    assert_eq!(status(&cloud, &assemble), 201);
    assert_eq!(cloud.read_file("alice", "/f").unwrap(), b"whole");
    assert!(cloud.open_uploads("alice").is_empty());
}

#[test]
fn a_put_under_way_locks_everybody_out_and_ends_with_its_connection() {
    let cloud = start();
    cloud.put_file("alice", "/f", b"old", None).unwrap();
    let stream = half_a_put(&cloud, FILE);

    assert_eq!(status(&cloud, &request("GET", FILE)), 423);
    assert_eq!(status(&cloud, &request("PUT", FILE).body(b"x")), 423);
    assert_eq!(status(&cloud, &request("DELETE", FILE)), 423);
    let poke = cloud.put_file("alice", "/f", b"x", None).unwrap_err();
    assert_eq!(poke.kind(), std::io::ErrorKind::WouldBlock);

    wire::cut(stream);
    cloud.wait_idle();
    assert_eq!(status(&cloud, &request("PUT", FILE).body(b"x")), 204);
}

/// Sends these requests, eight of each at a time, and counts the answers that say that it was done.
fn race(
    cloud: &Testcloud,
    rounds: usize,
    request: impl Fn(usize, usize) -> Message + Sync,
) -> usize {
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let request = &request;
            scope.spawn(move || {
                for round in 0..rounds {
                    let status = status(cloud, &request(round, worker));
                    assert!(matches!(status, 201 | 204 | 412 | 423 | 500), "{status}");
                }
            });
        }
    });
    cloud.requests().iter().filter(|r| matches!(r.status, Some(201 | 204))).count()
}

#[test]
fn of_many_who_create_a_name_one_succeeds() {
    let cloud = start();
    let won = race(&cloud, 100, |round, _| {
        request("PUT", &format!("{FILE}{round}")).with("If-None-Match", "*").body(b"mine")
    });
    assert_eq!(won, 100);
}

#[test]
fn of_many_who_replace_a_version_one_succeeds() {
    let cloud = start();
    cloud.put_file("alice", "/f", b"old", Some(1_600_000_000)).unwrap();
    let tag = format!("\"{}\"", cloud.tree("alice")["/f"].etag);
    let won = race(&cloud, 5, |_, worker| {
        request("PUT", FILE).with("If-Match", &tag).body(format!("new {worker}").as_bytes())
    });
    assert_eq!(won, 1);
}

#[test]
fn of_many_who_move_onto_a_free_name_one_succeeds() {
    let cloud = start();
    for n in 0..8 {
        cloud.put_file("alice", &format!("/f{n}"), b"x", None).unwrap();
    }
    let to = "/remote.php/dav/files/alice/target";
    let won = race(&cloud, 1, |_, worker| {
        request("MOVE", &format!("{FILE}{worker}")).with("Destination", to).with("Overwrite", "F")
    });
    assert_eq!(won, 1);
    assert_eq!(cloud.tree("alice").len(), 8);
}

#[test]
fn a_reader_who_does_not_read_locks_writers_out() {
    let cloud = start();
    // More than the sockets' buffers hold.
    cloud.put_file("alice", "/f", &vec![0; 32 << 20], None).unwrap();
    let reader = wire::begin(cloud.address(), &request("GET", FILE), b"");
    while cloud.counters().bytes_out == 0 {
        std::thread::yield_now();
    }

    assert_eq!(status(&cloud, &request("PUT", FILE).body(b"x")), 423);
    assert_eq!(status(&cloud, &request("DELETE", FILE)), 423);
    assert_eq!(status(&cloud, &request("GET", FILE).with("Range", "bytes=0-3")), 206);
    let away = request("MOVE", FILE).with("Destination", "/remote.php/dav/files/alice/g");
    assert_eq!(status(&cloud, &away), 500);

    drop(reader);
    let deadline = Instant::now() + Duration::from_secs(10);
    while status(&cloud, &request("PUT", FILE).body(b"x")) == 423 {
        assert!(Instant::now() < deadline, "the lock outlives its reader");
    }
}

#[test]
fn two_writes_in_one_second_have_one_tag() {
    let cloud = start();
    cloud.freeze_clock(Some(1_700_000_000));
    let tag = || cloud.tree("alice")["/d/f"].etag.clone();
    cloud.put_file("alice", "/d/f", b"first", None).unwrap();
    let (first, root) = (tag(), cloud.root_etag("alice"));
    cloud.put_file("alice", "/d/f", b"another size", None).unwrap();
    assert_eq!(tag(), first);
    assert_ne!(cloud.root_etag("alice"), root);
    assert_eq!(cloud.root_etag("alice").unwrap(), cloud.tree("alice")["/d"].etag);

    cloud.freeze_clock(Some(1_700_000_001));
    cloud.put_file("alice", "/d/f", b"first", None).unwrap();
    assert_ne!(tag(), first);
    // A time and a size that were there before bring their tag back.
    cloud.put_file("alice", "/d/f", b"third", Some(1_700_000_000)).unwrap();
    assert_eq!(tag(), first);
}

#[test]
fn faults_are_counted_and_logged() {
    let cloud = start();
    let busy = Fault::on("PUT", "/f$").after(1).times(2).status(429).header("Retry-After", "1");
    cloud.fault(busy).unwrap();
    let put = request("PUT", FILE).body(b"x");
    let answers: Vec<u16> = (0..4).map(|_| status(&cloud, &put)).collect();
    assert_eq!(answers, [201, 429, 429, 204]);
    let spoilt: Vec<bool> = cloud.requests().iter().map(|r| r.faulted).collect();
    assert_eq!(spoilt, [false, true, true, false]);
    assert_eq!(cloud.faults()[0].times, Some(0));
    assert_eq!(cloud.counters().bytes_in, 4);
}

#[test]
fn a_lost_answer_is_a_change_and_a_lost_request_is_none() {
    let cloud = start();
    cloud.fault(Fault::on("PUT", "").action(Action::HangUpBefore)).unwrap();
    cloud.fault(Fault::on("PUT", "").action(Action::HangUpAfter)).unwrap();
    assert!(send(&cloud, &request("PUT", FILE).body(b"one")).is_none());
    assert_eq!(cloud.read_file("alice", "/f"), None);
    assert!(send(&cloud, &request("PUT", FILE).body(b"two")).is_none());
    assert_eq!(cloud.read_file("alice", "/f").unwrap(), b"two");
    assert_eq!(cloud.requests()[1].status, None);
}

#[test]
fn bodies_can_be_cut_on_either_way() {
    let cloud = start();
    cloud.put_file("alice", "/f", b"0123456789", None).unwrap();
    cloud.fault(Fault::on("GET", "").action(Action::CutResponse { bytes: 4 })).unwrap();
    let answer = send(&cloud, &request("GET", FILE)).unwrap();
    assert_eq!(answer.header("content-length"), Some("10"));
    assert_eq!(answer.body, b"0123");

    cloud.fault(Fault::on("PUT", "").action(Action::CutRequest { bytes: 3 })).unwrap();
    assert!(send(&cloud, &request("PUT", FILE).body(b"abcdef")).is_none());
    assert_eq!(cloud.read_file("alice", "/f").unwrap(), b"abc");
    assert_eq!(cloud.tree("alice")["/f"].size, 10);
}

#[test]
fn tags_can_be_wrong_or_missing() {
    let cloud = start();
    for value in [Some("\"wrong\"".to_owned()), None] {
        let fault = Fault::on("PUT", "").action(Action::Etag { value: value.clone() });
        cloud.fault(fault).unwrap();
        let answer = send(&cloud, &request("PUT", FILE).body(b"x")).unwrap();
        assert_eq!(answer.header("etag"), value.as_deref());
        assert_eq!(answer.header("oc-etag"), value.as_deref());
    }
}

#[test]
fn latency_delays_and_workers_bound() {
    let cloud = start();
    cloud.set_latency(Latency { millis: 50, workers: Some(1) });
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                assert_eq!(status(&cloud, &request("HEAD", "/remote.php/dav/files/alice/")), 200)
            });
        }
    });
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_stopped_server_refuses_and_comes_back_with_its_data() {
    let mut cloud = start();
    cloud.put_file("alice", "/d/f", b"data", None).unwrap();
    let tree = cloud.tree("alice");
    let idle =
        wire::begin(cloud.address(), &request("PUT", FILE).with("Content-Length", "9"), b"x");

    cloud.stop();
    assert!(std::net::TcpStream::connect(cloud.address()).is_err());
    cloud.restart().unwrap();

    assert_eq!(cloud.tree("alice"), tree);
    assert_eq!(status(&cloud, &request("GET", "/remote.php/dav/files/alice/d/f")), 200);
    assert!(wire::read(idle, false).is_none());
}

#[test]
fn a_directory_is_imported_and_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("alice/files");
    std::fs::create_dir_all(files.join("sub")).unwrap();
    std::fs::write(files.join("sub/a"), b"imported").unwrap();
    let cloud =
        Testcloud::start(Config::default().dir(dir.path()).user("alice", "secret")).unwrap();

    assert_eq!(cloud.tree("alice")["/sub"].size, 8);
    let put = request("PUT", "/remote.php/dav/files/alice/sub/b")
        .with("X-OC-Mtime", "1600000000")
        .body(b"plain");
    assert_eq!(status(&cloud, &put), 201);
    let written = files.join("sub/b");
    assert_eq!(std::fs::read(&written).unwrap(), b"plain");
    let mtime = written.metadata().unwrap().modified().unwrap();
    let since = mtime.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_secs(), 1_600_000_000);
}

#[test]
fn the_admin_endpoint_does_what_the_handle_does() {
    let cloud = start();
    let ask = |method: &str, path: &str, body: &str| {
        let request = Message::request(method, &format!("/testcloud{path}"))
            .with("Content-Type", "application/json")
            .body(body.as_bytes());
        let answer = send(&cloud, &request).unwrap();
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer.text()
    };
    ask(
        "POST",
        "/faults",
        r#"{"method": "GET", "path": "/f", "action": {"answer": {"status": 503, "headers": {"Retry-After": "7"}}}}"#,
    );
    ask("PUT", "/users/bob", r#"{"password": "hidden"}"#);
    ask("PUT", "/users/bob/quota", r#"{"bytes": 10}"#);
    ask("PUT", "/latency", r#"{"millis": 1, "workers": 4}"#);
    let password = ask("POST", "/users/bob/app-passwords", "");
    let answer = send(&cloud, &request("GET", FILE)).unwrap();
    assert_eq!((answer.status(), answer.header("retry-after")), (503, Some("7")));

    let password: serde_json::Value = serde_json::from_str(&password).unwrap();
    ask("POST", "/revoke", &password.to_string());
    ask("PUT", "/maintenance", r#"{"on": true}"#);
    assert_eq!(status(&cloud, &request("GET", FILE)), 503);
    let log: serde_json::Value = serde_json::from_str(&ask("GET", "/requests", "")).unwrap();
    assert_eq!(log["counters"]["statuses"]["503"], 2);
    ask("DELETE", "/requests", "");
    assert!(cloud.requests().is_empty());
}

#[tokio::test]
async fn it_starts_and_stops_inside_a_runtime() {
    let cloud = start();
    let address = cloud.address();
    let answered = tokio::task::spawn_blocking(move || {
        wire::send(address, &Message::request("GET", "/status.php")).unwrap().status()
    });
    assert_eq!(answered.await.unwrap(), 200);
    drop(cloud);
}

#[test]
fn big_bodies_are_streamed() {
    let cloud = start();
    const LENGTH: usize = 64 << 20;
    let put = request("PUT", FILE).with("Content-Length", &LENGTH.to_string());
    let mut stream = wire::begin(cloud.address(), &put, b"");
    let block = vec![7; 1 << 20];
    for _ in 0..LENGTH / block.len() {
        stream.write_all(&block).unwrap();
    }
    assert_eq!(wire::read(stream, false).unwrap().status(), 201);
    let tail = request("GET", FILE).with("Range", "bytes=-5");
    assert_eq!(send(&cloud, &tail).unwrap().body, [7; 5]);
    assert_eq!(cloud.tree("alice")["/f"].size, LENGTH as u64);
}
