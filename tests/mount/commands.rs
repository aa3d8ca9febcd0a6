//! The commands beside mount, on a mount.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use ncfs::control::State;
use testcloud::Fault;

use crate::harness::{Fixture, USER, eventually, for_both, local_tree, python, succeed};

for_both!(
    a_flush_of_a_path_waits_for_that_path_only,
    the_status_counts_what_is_pending,
    an_unmount_sends_what_is_pending,
    the_end_signal_sends_what_is_pending,
    a_directory_of_the_account_is_mounted_and_made,
    a_new_password_is_taken_from_the_file,
    directories_that_were_made_by_hand_let_nobody_else_in_any_more,
    the_demo_runs_a_command_and_leaves_nothing,
    no_secret_is_written_anywhere,
);

fn a_flush_of_a_path_waits_for_that_path_only() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    fixture.cloud().fault(Fault::on("PUT", r"/stuck\.txt$").forever().status(503)).unwrap();
    fs::create_dir(mount.path("dir")).unwrap();
    fs::write(mount.path("stuck.txt"), "stuck").unwrap();
    fs::write(mount.path("dir/free.txt"), "free").unwrap();
    let flush = |path: &str| fixture.run(&["flush", path, "--timeout", "3s"]);
    let output = flush("mnt/dir/free.txt");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fixture.download("/dir/free.txt").unwrap(), b"free");
    let output = flush("mnt/dir");
    assert!(output.status.success(), "{output:?}");
    let output = flush("mnt");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains("1 file (5 B) could not be sent"), "{text}");
    fixture.cloud().clear_faults();
    mount.flush();
    assert_eq!(fixture.download("/stuck.txt").unwrap(), b"stuck");
}

fn the_status_counts_what_is_pending() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    let status = mount.status();
    assert_eq!((status.state, status.pending_files, status.version), (State::Online, 0, 1));
    assert_eq!((status.user.as_str(), status.remote_dir.as_str()), (USER, "/"));
    assert_eq!(status.server.trim_end_matches('/'), fixture.cloud().url());
    assert_eq!(status.mountpoint, fixture.mountpoint().to_str().unwrap());
    assert_eq!(status.problems, []);
    fixture.stop_server();
    fs::write(mount.path("one"), [1; 1000]).unwrap();
    fs::write(mount.path("two"), [2; 500]).unwrap();
    let status = mount.status();
    assert_eq!((status.pending_files, status.pending_bytes), (2, 1500));
    assert!(status.oldest_pending_s.is_some());
    let text = succeed(fixture.ncfs().args(["status", "mnt"])).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("2 files, 1.5 KiB"), "{text}");
}

fn an_unmount_sends_what_is_pending() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    fs::write(mount.path("last.txt"), "last").unwrap();
    mount.unmount();
    assert_eq!(fixture.download("/last.txt").unwrap(), b"last");
    let again = fixture.run(&["unmount", "mnt"]);
    assert_eq!(again.status.code(), Some(10), "{again:?}");
}

fn the_end_signal_sends_what_is_pending() {
    let fixture = Fixture::new();
    let mut command = fixture.ncfs();
    command.args(["mount", "--foreground", "--credentials-file", "credentials.json"]);
    command.args(["--state-dir", "state", "--cache-dir", "cache", &fixture.cloud().url(), "mnt"]);
    let mut supervisor = command.stderr(Stdio::null()).spawn().unwrap();
    eventually("it is mounted", || fixture.run(&["status", "mnt"]).status.success());
    fs::write(fixture.mountpoint().join("last.txt"), "last").unwrap();
    let pid = nix::unistd::Pid::from_raw(supervisor.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(supervisor.wait().unwrap().success());
    assert!(!fixture.is_mounted());
    assert_eq!(fixture.download("/last.txt").unwrap(), b"last");
}

fn a_directory_of_the_account_is_mounted_and_made() {
    let fixture = Fixture::new();
    fixture.upload("/outside.txt", b"x");
    let mount = fixture.mount_with(&["--remote-dir", "/Jupyter/home \u{e9}"]);
    assert_eq!(fs::read_dir(mount.path("")).unwrap().count(), 0);
    fs::write(mount.path("inside.txt"), "inside").unwrap();
    mount.unmount();
    let content = fixture.cloud().read_file(USER, "/Jupyter/home \u{e9}/inside.txt");
    assert_eq!(content.as_deref(), Some(&b"inside"[..]));
    assert_eq!(fixture.cloud().read_file(USER, "/outside.txt").as_deref(), Some(&b"x"[..]));
}

fn directories_that_were_made_by_hand_let_nobody_else_in_any_more() {
    let fixture = Fixture::new();
    for name in ["state", "cache"] {
        fs::create_dir(fixture.path(name)).unwrap();
        fs::set_permissions(fixture.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let _mount = fixture.mount();
    for name in ["state", "cache"] {
        let mode = fixture.path(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
}

fn a_new_password_is_taken_from_the_file() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    assert!(fixture.cloud().revoke(&fixture.password));
    fs::write(mount.path("waits.txt"), "waits").unwrap();
    eventually("the refusal shows", || mount.status().state == State::Failed);
    let status = mount.status();
    assert!(status.problems[0].reason.contains("password"), "{status:?}");
    assert_eq!(fs::read(mount.path("waits.txt")).unwrap(), b"waits");
    let password = fixture.cloud().add_app_password(USER);
    fixture.write_credentials(&password, 0o600);
    mount.flush();
    let content = fixture.cloud().read_file(USER, "/waits.txt");
    assert_eq!(content.as_deref(), Some(&b"waits"[..]));
    eventually("all is well", || mount.status().state == State::Online);
}

fn the_demo_runs_a_command_and_leaves_nothing() {
    let fixture = Fixture::new();
    let temporary = fixture.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let script = r#"
        test -f "$NCFS_DEMO_DIR/Read me.md" && echo hello > "$NCFS_DEMO_DIR/hello.txt" || exit 1
        echo "$NCFS_DEMO_USER:$NCFS_DEMO_PASSWORD $NCFS_DEMO_URL"
        exit 42"#;
    let mut command = fixture.ncfs();
    command.args(["demo", "mydemo", "--exec", script]).env("TMPDIR", &temporary);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("demo:") && text.contains("/remote.php/dav/files/demo"), "{text}");
    assert!(!fixture.path("mydemo").exists());
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);

    // What was there before is left there.
    fs::create_dir(fixture.path("mydemo")).unwrap();
    let ok = fixture.ncfs().args(["demo", "mydemo", "--exec", "true"]).output().unwrap();
    assert!(ok.status.success(), "{ok:?}");
    assert!(fixture.path("mydemo").exists());
}

/// Neither what others see of the processes nor what is on the disk holds the password.
fn no_secret_is_written_anywhere() {
    let fixture = Fixture::new();
    let mut command = fixture.ncfs();
    command.args(["mount", "--log-level", "trace", "--state-dir", "state", "--cache-dir", "cache"]);
    command.args([&fixture.cloud().url(), "mnt"]);
    command.env("NCFS_USER", USER).env("NCFS_PASSWORD", &fixture.password);
    succeed(&mut command);
    let mount = fixture.mounted();
    fs::write(mount.path("file.txt"), "content").unwrap();
    mount.flush();
    // As it is sent.
    let code = "import base64, sys; print(base64.b64encode(sys.argv[1].encode()).decode(), end='')";
    let pair = format!("{USER}:{}", fixture.password);
    let encoded = succeed(python().args(["-c", code, &pair])).stdout;
    let encoded = String::from_utf8(encoded).unwrap();
    let is_clean = |bytes: &[u8]| {
        let holds = |secret: &str| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
        !holds(&fixture.password) && !holds(&encoded)
    };
    for pid in mount.processes() {
        for file in ["cmdline", "environ"] {
            // A process that protects itself shows its environment to root only.
            match fs::read(format!("/proc/{pid}/{file}")) {
                Ok(bytes) => assert!(is_clean(&bytes), "{file} of {pid}"),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
            }
        }
        assert!(fs::read(format!("/proc/{pid}/cmdline")).is_ok());
    }
    assert!(fixture.log().contains("file.txt"), "the log is not where it was looked for");
    mount.unmount();
    for directory in ["state", "cache"] {
        for (name, content) in local_tree(&fixture.path(directory)) {
            assert!(is_clean(&content.unwrap_or_default()), "{directory}/{name}");
        }
    }
}
