//! What can be measured from outside, and that the page on it is true.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use testcloud::Fault;

use crate::harness::{Fixture, eventually, for_both};

for_both!(
    the_page_lists_what_the_endpoint_serves_and_the_numbers_move,
    a_mount_whose_password_is_refused_is_not_healthy,
    an_address_for_measurements_that_is_in_use_is_exit_code_2,
);

fn ask(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The endpoint's families with their types, and its values.
fn scrape(socket: &Path) -> (BTreeMap<String, String>, BTreeMap<String, f64>) {
    let answer = ask(socket, "/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let mut types = BTreeMap::new();
    let mut values = BTreeMap::new();
    for line in body.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "{name} comes twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            values.insert(name.to_owned(), value.parse().unwrap());
        }
    }
    assert!(!body.contains("secretplan") && !body.contains("alice"), "{body}");
    (types, values)
}

fn the_page_lists_what_the_endpoint_serves_and_the_numbers_move() {
    let fixture = Fixture::new();
    fixture.upload("/secretplan there", &[3; 300]);
    let socket = fixture.path("metrics.sock");
    let mount = fixture.mount_with(&["--metrics-listen", "unix:metrics.sock"]);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let page = include_str!("../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeMap<_, _> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            let name = cells.next().unwrap().trim_end_matches('`').to_owned();
            (name, cells.next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(scrape(&socket).0, listed);

    assert_eq!(fs::read(mount.path("secretplan there")).unwrap(), [3; 300]);
    fixture.cloud().fault(Fault::on("PUT", "secretplan blocked").forever().status(403)).unwrap();
    fs::write(mount.path("secretplan"), [1; 1000]).unwrap();
    fs::write(mount.path("secretplan blocked"), [2; 500]).unwrap();
    eventually("one is blocked, one is sent", || {
        let (_, values) = scrape(&socket);
        values["ncfs_blocked_files"] == 1.0 && values["ncfs_pending_files"] == 1.0
    });
    let (_, values) = scrape(&socket);
    assert_eq!((values["ncfs_pending_bytes"], values["ncfs_online"]), (500.0, 1.0));
    assert!(values["ncfs_cache_misses_total"] >= 1.0, "{values:?}");
    assert_eq!(values["ncfs_server_requests_total{method=\"PUT\",status=\"2xx\"}"], 1.0);
    assert!(values["ncfs_server_requests_total{method=\"PUT\",status=\"4xx\"}"] >= 1.0);
    let put = |name: &str| values[&format!("ncfs_server_request_duration_seconds_{name}")];
    assert!(put("count{method=\"PUT\"}") >= 2.0);
    assert_eq!(put("bucket{method=\"PUT\",le=\"+Inf\"}"), put("count{method=\"PUT\"}"));
    assert!(values["ncfs_server_sent_bytes_total"] >= 1500.0);
    assert!(values["ncfs_server_received_bytes_total"] >= 300.0);
    assert_eq!(values["ncfs_fuse_requests_total{operation=\"create\"}"], 2.0, "{values:?}");
    assert!(values["process_resident_memory_bytes"] > 1e6);
    assert!(values["process_start_time_seconds"] > 1.7e9);

    fixture.stop_server();
    eventually("it is offline", || scrape(&socket).1["ncfs_online"] == 0.0);
    let health = ask(&socket, "/healthz");
    assert!(
        health.starts_with("HTTP/1.1 200 OK") && health.contains("\r\n\r\noffline"),
        "{health}"
    );
    mount.unmount_with(&["--timeout", "1s"]);
    assert!(!socket.exists());
}

fn a_mount_whose_password_is_refused_is_not_healthy() {
    let fixture = Fixture::new();
    let socket = fixture.path("metrics.sock");
    let mount = fixture.mount_with(&["--metrics-listen", "unix:metrics.sock"]);
    assert!(ask(&socket, "/healthz").ends_with("\r\n\r\nonline\n"));
    assert!(fixture.cloud().revoke(&fixture.password));
    eventually("somebody has to act", || {
        let health = ask(&socket, "/healthz");
        health.starts_with("HTTP/1.1 503 ") && health.contains("ncfs problems")
    });
    mount.unmount_with(&["--timeout", "1s"]);
}

fn an_address_for_measurements_that_is_in_use_is_exit_code_2() {
    let fixture = Fixture::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = fixture.try_mount(&["--metrics-listen", &address]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&address) && text.contains("--metrics-listen"), "{text}");
    assert!(!fixture.is_mounted());
}
