//! What does not work ends at once, with a sentence, an exit code, and nothing left mounted.

use std::fs;
use std::net::TcpListener;
use std::process::Output;

use testcloud::{Config, Testcloud};

use crate::harness::{Fixture, USER, for_both};

for_both!(
    a_wrong_or_revoked_password_is_exit_code_3,
    an_exposed_credentials_file_is_exit_code_3,
    an_unknown_host_and_a_closed_port_are_exit_code_4,
    something_that_is_no_nextcloud_is_exit_code_8,
    maintenance_is_exit_code_9,
    a_mount_point_that_cannot_be_used_is_exit_code_5,
    the_state_of_another_account_or_in_use_is_exit_code_6,
    a_remote_directory_that_is_a_file_is_exit_code_11,
    commands_tell_a_dead_mount_from_one_that_they_may_not_ask,
);

/// One sentence that holds these words, this exit code, and no mount.
#[track_caller]
fn assert_refused(fixture: &Fixture, output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("ncfs: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
    assert!(!text.contains(&fixture.password), "{text}");
    assert!(!fixture.is_mounted());
    let left: Vec<_> = fs::read_dir(fixture.path("run")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

fn a_wrong_or_revoked_password_is_exit_code_3() {
    let fixture = Fixture::new();
    fixture.write_credentials("wrong", 0o600);
    let words = ["password", "app password"];
    assert_refused(&fixture, &fixture.try_mount(&[]), 3, &words);
    fixture.write_credentials(&fixture.password, 0o600);
    fixture.mount().unmount();
    assert!(fixture.cloud().revoke(&fixture.password));
    assert_refused(&fixture, &fixture.try_mount(&[]), 3, &words);
}

fn an_exposed_credentials_file_is_exit_code_3() {
    let fixture = Fixture::new();
    fixture.write_credentials(&fixture.password, 0o644);
    assert_refused(&fixture, &fixture.try_mount(&[]), 3, &["credentials.json", "chmod 600"]);
}

fn an_unknown_host_and_a_closed_port_are_exit_code_4() {
    let fixture = Fixture::new();
    // Its credentials are for testcloud, so another way to give them is taken.
    let at = |url: &str| {
        let mut command = fixture.ncfs();
        command.args(["mount", "--state-dir", "state", "--cache-dir", "cache", url, "mnt"]);
        command.env("NCFS_USER", USER).env("NCFS_PASSWORD", &fixture.password);
        command.output().unwrap()
    };
    // RFC 6761: this name never exists.
    let unknown = at("https://cloud.invalid");
    assert_refused(&fixture, &unknown, 4, &["cloud.invalid"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = at(&format!("http://{closed}"));
    assert_refused(&fixture, &refused, 4, &["127.0.0.1"]);
}

/// Answers every request with a page of its own.
pub fn some_web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let page = "<html>It works!</html>";
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    format!("http://{address}")
}

fn something_that_is_no_nextcloud_is_exit_code_8() {
    let fixture = Fixture::new();
    let url = some_web_server();
    let mut command = fixture.ncfs();
    command.args(["mount", "--state-dir", "state", "--cache-dir", "cache", &url, "mnt"]);
    command.env("NCFS_USER", USER).env("NCFS_PASSWORD", &fixture.password);
    assert_refused(&fixture, &command.output().unwrap(), 8, &["Nextcloud"]);
}

fn maintenance_is_exit_code_9() {
    let fixture = Fixture::new();
    fixture.cloud().set_maintenance(true);
    assert_refused(&fixture, &fixture.try_mount(&[]), 9, &["maintenance"]);
    fixture.cloud().set_maintenance(false);
    fixture.mount().unmount();
}

fn a_mount_point_that_cannot_be_used_is_exit_code_5() {
    let fixture = Fixture::new();
    fs::remove_dir(fixture.mountpoint()).unwrap();
    assert_refused(&fixture, &fixture.try_mount(&[]), 5, &["does not exist", "mkdir"]);
    fs::create_dir(fixture.mountpoint()).unwrap();
    fs::write(fixture.mountpoint().join("file"), "x").unwrap();
    assert_refused(&fixture, &fixture.try_mount(&[]), 5, &["not empty"]);
    fs::remove_file(fixture.mountpoint().join("file")).unwrap();
    let mount = fixture.mount();
    let again = fixture.try_mount(&["--state-dir", "other-state", "--cache-dir", "other-cache"]);
    assert_eq!(again.status.code(), Some(5), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("already mounted"), "{again:?}");
    // The first goes on.
    fs::write(mount.path("works"), "still").unwrap();
    mount.unmount();
    assert_eq!(fixture.download("/works").unwrap(), b"still");
}

fn the_state_of_another_account_or_in_use_is_exit_code_6() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    fs::create_dir(fixture.path("second")).unwrap();
    let mut second = fixture.ncfs();
    second.args(["mount", "--credentials-file", "credentials.json", "--state-dir", "state"]);
    second.args(["--cache-dir", "other-cache", &fixture.cloud().url(), "second"]);
    let output = second.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(text.contains("in use"), "{text}");
    mount.unmount();

    let others = Testcloud::start(Config::default().user("bob", "login password")).unwrap();
    let password = others.add_app_password("bob");
    let mut command = fixture.ncfs();
    command.args(["mount", "--state-dir", "state", "--cache-dir", "cache"]);
    command.args([&others.url(), "mnt"]);
    command.env("NCFS_USER", "bob").env("NCFS_PASSWORD", &password);
    let output = command.output().unwrap();
    assert_refused(&fixture, &output, 6, &["alice", "--state-dir"]);
}

fn a_remote_directory_that_is_a_file_is_exit_code_11() {
    let fixture = Fixture::new();
    fixture.upload("/file.txt", b"x");
    let output = fixture.try_mount(&["--remote-dir", "/file.txt"]);
    assert_refused(&fixture, &output, 11, &["file.txt"]);
}

fn commands_tell_a_dead_mount_from_one_that_they_may_not_ask() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    fs::create_dir(fixture.path("second")).unwrap();
    let mut nested = fixture.ncfs();
    nested.args(["mount", "--credentials-file", "credentials.json", "--state-dir", "mnt/state"]);
    let nested = nested.args([&fixture.cloud().url(), "second"]).output().unwrap();
    let text = String::from_utf8_lossy(&nested.stderr);
    assert_eq!(nested.status.code(), Some(6), "{text}");
    assert!(text.contains("is in the ncfs mount"), "{text}");

    let mut elsewhere = fixture.ncfs();
    elsewhere.args(["status", "mnt"]).env("NCFS_RUNTIME_DIR", fixture.path("other run"));
    let elsewhere = elsewhere.output().unwrap();
    let text = String::from_utf8_lossy(&elsewhere.stderr);
    assert_eq!(elsewhere.status.code(), Some(10), "{text}");
    assert!(text.contains("NCFS_RUNTIME_DIR") && !text.contains("has ended"), "{text}");

    mount.kill_all();
    for arguments in [["status", "mnt"], ["flush", "mnt"], ["explain", "mnt/file"]] {
        let output = fixture.run(&arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(10), "{text}");
        assert!(text.contains("has ended") && text.contains("ncfs unmount"), "{text}");
    }
}
