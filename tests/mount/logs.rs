//! What a mount logs at `info`: enough for an operator, and no name of anybody's file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use testcloud::Fault;

use crate::harness::{Fixture, Mount, eventually, for_both};

for_both!(no_name_of_a_file_is_logged_at_info, a_log_in_json_is_one_object_a_line,);

/// Everything that the log has something to say about, on files with this word in their names.
fn live_through_everything(fixture: &Fixture, mount: &Mount<'_>, word: &str) {
    let path = |name: &str| mount.path(&format!("{word} {name}"));
    let cloud_path = |name: &str| format!("/{word} {name}");
    fs::create_dir(path("dir")).unwrap();
    fs::write(path("dir").join(format!("{word} file")), "content").unwrap();
    fs::rename(path("dir"), path("directory")).unwrap();
    fs::write(path("conflict.txt"), "both know this").unwrap();
    mount.flush();
    // The server's own words hold the name.
    let reason = format!(
        "<d:error xmlns:d=\"DAV:\" xmlns:s=\"http://sabredav.org/ns\"><s:exception>\
         Sabre\\DAV\\Exception\\Forbidden</s:exception><s:message>{word} is not \
         allowed</s:message></d:error>"
    );
    let answer = |status| testcloud::Action::Answer {
        status,
        headers: [("Content-Type".to_owned(), "application/xml".to_owned())].into(),
        body: reason.clone(),
    };
    let fault = |method: &str, name: &str, status| {
        let rule = Fault::on(method, &format!("{word} {name}")).forever().action(answer(status));
        fixture.cloud().fault(rule).unwrap();
    };
    fault("PUT", "blocked", 403);
    fault("GET", "unreadable", 500);
    fixture.upload(&cloud_path("unreadable"), b"content");
    fs::write(path("blocked"), "content").unwrap();
    eventually("it is blocked", || !mount.status().problems.is_empty());
    eventually("it is seen", || path("unreadable").exists());
    assert!(fs::read(path("unreadable")).is_err());
    fixture.stop_server();
    fs::write(path("conflict.txt"), "mine").unwrap();
    fixture.upload(&cloud_path("conflict.txt"), b"theirs, and longer");
    fs::remove_dir_all(path("directory")).unwrap();
    eventually("it is offline", || mount.status().offline_since_s.is_some());
    fixture.restart_server();
    eventually("the conflict is resolved", || mount.status().problems.len() == 2);
    let unavailable = Fault::on("*", "").forever().action(answer(503));
    fixture.cloud().fault(unavailable).unwrap();
    eventually("it is unavailable", || mount.status().offline_since_s.is_some());
}

fn no_name_of_a_file_is_logged_at_info() {
    let fixture = Fixture::new();
    let mount = fixture.mount_with(&["--log-level", "info"]);
    live_through_everything(&fixture, &mount, "secretplan");
    mount.unmount_with(&["--timeout", "1s"]);
    let log = fixture.log();
    for said in ["mounted", "does not take it", "both sides changed", "offline", "answers again"] {
        assert!(log.contains(said), "{said} is missing:\n{log}");
    }
    assert!(log.contains("a program got an I/O error"), "{log}");
    assert!(!log.contains("secretplan"), "{log}");
    let mode = fs::metadata(fixture.path("state/ncfs.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn a_log_in_json_is_one_object_a_line() {
    let fixture = Fixture::new();
    let mount = fixture.mount_with(&["--log-format", "json", "--log-level", "debug"]);
    fs::write(mount.path("a.txt"), "content").unwrap();
    mount.flush();
    mount.unmount();
    let log = fixture.log();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| {
        line["level"] == "INFO" && line["message"].as_str().unwrap().starts_with("mounted ")
    }));
    assert!(lines.iter().all(|line| line["timestamp"].is_string()), "{log}");
}
