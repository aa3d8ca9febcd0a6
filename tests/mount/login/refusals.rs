//! A login that does not come about ends with one sentence that says what to do, and stores nothing.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use ncfs::supervise::process::Killed;
use nix::sys::signal::Signal;
use testcloud::Fault;

use super::{Login, assert_ends, files};
use crate::harness::{Fixture, USER, as_an_ordinary_user, eventually, succeed};
use crate::refusals::some_web_server;

#[test]
fn a_login_that_is_denied_or_too_late_says_so() {
    as_an_ordinary_user(|| {
        let fixture = Fixture::new();
        let login = Login::start(&fixture, &[]);
        // To the client it is the same.
        fixture.cloud().expire_logins();
        assert_ends(&login.end(), 3, &["denied, or its time is over", "ncfs login"]);
        let login = Login::start(&fixture, &["--timeout", "100ms"]);
        assert_ends(&login.end(), 3, &["in time", "ncfs login"]);
        assert!(files(&fixture).is_empty());
    });
}

#[test]
fn a_login_that_is_stopped_says_so() {
    as_an_ordinary_user(|| {
        let fixture = Fixture::new();
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            fixture.cloud().reset_requests();
            let login = Login::start(&fixture, &[]);
            // Only then it surely listens to signals.
            eventually("it polls", || {
                fixture.cloud().requests().iter().any(|request| request.path.ends_with("/poll"))
            });
            login.signal(signal);
            assert_ends(&login.end(), 1, &["stopped, nothing was stored"]);
        }
        assert!(files(&fixture).is_empty());
    });
}

#[test]
fn a_server_that_is_away_for_a_while_does_not_end_a_login() {
    as_an_ordinary_user(|| {
        let fixture = Fixture::new();
        let login = Login::start(&fixture, &[]);
        fixture.cloud().set_maintenance(true);
        eventually("it asks in vain", || {
            fixture.cloud().requests().iter().any(|request| request.status == Some(503))
        });
        fixture.cloud().set_maintenance(false);
        login.grant(&fixture, USER);
        assert_eq!(files(&fixture).len(), 1);
    });
}

#[test]
fn a_server_that_cannot_be_used_is_told_by_its_reason() {
    as_an_ordinary_user(|| {
        let fixture = Fixture::new();
        let login = |url: &str| fixture.run(&["login", "--no-browser", url]);
        let url = fixture.cloud().url();

        fixture.cloud().set_maintenance(true);
        assert_ends(&login(&url), 9, &["maintenance", "try again later"]);
        fixture.cloud().set_maintenance(false);
        // RFC 6761: this name never exists.
        assert_ends(&login("https://cloud.invalid"), 4, &["cloud.invalid", "check the spelling"]);
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_ends(&login(&format!("http://{closed}")), 4, &["127.0.0.1", "check the address"]);
        let words = ["no Nextcloud", "check the address", "ncfs login --user NAME"];
        assert_ends(&login(&some_web_server()), 8, &words);
        assert_ends(&login("http://cloud.example.com"), 2, &["not encrypted", "--allow-http"]);

        fixture.cloud().announce(Some("https://evil.example"));
        assert_ends(&login(&url), 8, &["evil.example", "not asked for"]);
        fixture.cloud().announce(None);
        fixture.cloud().fault(Fault::on("POST", "/login/v2$").status(404)).unwrap();
        assert_ends(&login(&url), 8, &["no login in the browser", "ncfs login --user NAME"]);
        assert!(files(&fixture).is_empty());
    });
}

#[test]
fn a_certificate_that_is_not_trusted_can_be_given() {
    as_an_ordinary_user(|| {
        let fixture = Fixture::new();
        succeed(
            Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
                .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
                .args(["-addext", "subjectAltName=DNS:localhost"])
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(["-keyout", "key.pem", "-out", "ca.pem"])
                .current_dir(fixture.path("")),
        );
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-key", "key.pem", "-cert", "ca.pem"])
            .args(["-accept", &format!("127.0.0.1:{port}")])
            .current_dir(fixture.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let _server = Killed(server.unwrap());
        eventually("openssl listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let url = format!("https://localhost:{port}");
        assert_ends(&fixture.run(&["login", &url]), 4, &["certificate", "--ca-file"]);
        // Trusted, it is spoken to, and found to be something else.
        assert_ends(&fixture.run(&["login", "--ca-file", "ca.pem", &url]), 8, &["no Nextcloud"]);
    });
}
