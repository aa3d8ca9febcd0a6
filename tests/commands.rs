//! What the commands say and how they end when something is wrong, before any server is asked.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(fixture.path("m")).unwrap();
        fixture.write_credentials(0o600);
        fixture
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write_credentials(&self, mode: u32) {
        let path = self.path("c.json");
        let text = r#"{"server":"http://127.0.0.1:9","login_name":"a","app_password":"hunter2"}"#;
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn ncfs(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ncfs"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.0.path())
            .env("NCFS_RUNTIME_DIR", self.path("run"))
            .output()
            .unwrap()
    }
}

/// Checks the exit code, that there is one sentence with these words, and that no secret is in it.
#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with("ncfs: ") && text.contains(words), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

const URL: &str = "http://127.0.0.1:9";

#[test]
fn a_mount_point_that_is_missing_or_not_empty_is_exit_code_5() {
    let fixture = Fixture::new();
    let credentials = ["mount", "--credentials-file", "c.json", URL];
    let at = |mountpoint| fixture.ncfs(&[&credentials[..], &[mountpoint]].concat());
    assert_refused(&at("missing"), 5, "does not exist; create it first: mkdir -p missing");
    std::fs::write(fixture.path("m/file"), "x").unwrap();
    assert_refused(&at("m"), 5, "is not empty");
    assert_refused(&at("c.json"), 5, "is not a directory");
}

#[test]
fn credentials_that_are_missing_exposed_or_for_another_server_are_exit_code_3() {
    let fixture = Fixture::new();
    assert_refused(&fixture.ncfs(&["mount", URL, "m"]), 3, "log in first: ncfs login");
    let file = ["mount", "--credentials-file", "c.json"];
    let other = fixture.ncfs(&[&file[..], &["http://127.0.0.1:10", "m"]].concat());
    assert_refused(&other, 3, "holds credentials for http://127.0.0.1:9, and not for");
    fixture.write_credentials(0o644);
    let exposed = fixture.ncfs(&[&file[..], &[URL, "m"]].concat());
    assert_refused(&exposed, 3, "chmod 600");
}

#[test]
fn http_to_another_machine_needs_to_be_allowed() {
    let fixture = Fixture::new();
    let output =
        fixture.ncfs(&["mount", "--credentials-file", "c.json", "http://cloud.example.com", "m"]);
    assert_refused(&output, 2, "is not encrypted");
}

#[test]
fn a_state_directory_below_the_mount_point_is_exit_code_6() {
    let fixture = Fixture::new();
    let output = fixture.ncfs(&[
        "mount",
        "--credentials-file",
        "c.json",
        "--state-dir",
        "m/state",
        URL,
        "m",
    ]);
    assert_refused(&output, 6, "is below the mount point");
}

#[test]
fn directories_that_would_lie_in_each_other_are_refused() {
    let fixture = Fixture::new();
    let refused = |state: &str, cache: &str, code, words: &str| {
        let directories = ["--state-dir", state, "--cache-dir", cache];
        let mount = ["mount", "--credentials-file", "c.json"];
        let output = fixture.ncfs(&[&mount[..], &directories, &[URL, "m"]].concat());
        assert_refused(&output, code, words);
    };
    refused("s", "s", 6, "is in the cache directory");
    refused("c/s", "c", 6, "is in the cache directory");
    refused(".", "c", 5, "is in the state directory");
    refused("s", ".", 5, "is in the cache directory");
}

#[test]
fn commands_for_a_directory_that_is_not_mounted_are_exit_code_10() {
    let fixture = Fixture::new();
    for command in ["status", "flush", "unmount", "problems", "retry", "explain", "refresh"] {
        assert_refused(&fixture.ncfs(&[command, "m"]), 10, "nothing is mounted at");
        assert_refused(&fixture.ncfs(&[command, "no/such"]), 10, "does not exist");
    }
}

#[test]
fn without_mounts_status_says_so_and_its_json_is_an_empty_array() {
    let fixture = Fixture::new();
    let output = fixture.ncfs(&["status"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nothing is mounted\n");
    let output = fixture.ncfs(&["status", "--json"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[]\n");
    assert!(output.status.success());
}

#[test]
fn where_mounts_cannot_be_looked_for_nobody_says_that_there_are_none() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("run")).unwrap();
    std::fs::set_permissions(fixture.path("run"), PermissionsExt::from_mode(0o755)).unwrap();
    for command in ["status", "problems", "flush", "accounts"] {
        assert_refused(&fixture.ncfs(&[command]), 2, "others have access to it (chmod 700)");
    }
}

#[test]
fn the_help_lists_every_exit_code() {
    let fixture = Fixture::new();
    for arguments in [&["--help"][..], &["mount", "--help"], &["unmount", "--help"]] {
        let output = fixture.ncfs(arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(" 7  changes are left that the server does not have"), "{text}");
    }
}
