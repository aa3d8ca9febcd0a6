//! What people see when something needs them, and what they can do about it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ncfs::control::{Explanation, Problem, ProblemKind, Problems, State};
use nix::unistd::Uid;
use testcloud::Fault;

use crate::harness::{Fixture, as_root, eventually, for_both};

for_both!(
    a_file_that_the_server_refuses_is_told_explained_and_sent_by_a_retry,
    a_conflict_is_told_until_one_of_the_two_is_gone,
    a_conflict_is_settled_by_saying_what_to_keep,
    a_refused_password_is_tried_again_by_a_retry,
    a_refresh_tells_what_changed_and_fails_while_the_server_is_away,
    a_removed_file_is_explained_until_the_server_knows,
);

impl Fixture {
    #[track_caller]
    fn problems(&self, code: i32) -> Vec<Problem> {
        let output = self.run(&["problems", "mnt", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let told: Problems = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told.mountpoint, self.mountpoint().to_str().unwrap());
        told.problems
    }

    #[track_caller]
    fn explain(&self, arguments: &[&str]) -> Explanation {
        let output = self.run(&[&["explain", "--json"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The exit code and all that was said.
    fn said(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }
}

fn a_file_that_the_server_refuses_is_told_explained_and_sent_by_a_retry() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    assert_eq!(fixture.problems(0), []);
    let forbidden = Fault::on("PUT", r"/refused\.txt$").forever().status(403);
    fixture.cloud().fault(forbidden).unwrap();
    fs::create_dir(mount.path("dir")).unwrap();
    fs::write(mount.path("dir/refused.txt"), "kept").unwrap();
    eventually("it is blocked", || !mount.status().problems.is_empty());

    let [problem] = &fixture.problems(13)[..] else { panic!("{:?}", fixture.problems(13)) };
    assert_eq!((problem.kind, problem.path.as_str()), (ProblemKind::Blocked, "dir/refused.txt"));
    assert_eq!(mount.status().problems, std::slice::from_ref(problem));
    assert_eq!(mount.status().state, State::Online);
    let (code, text) = fixture.said(&["problems", "mnt"]);
    assert_eq!(code, Some(13));
    assert!(text.contains("dir/refused.txt: ") && text.contains("What to do: "), "{text}");
    let (_, text) = fixture.said(&["status", "mnt"]);
    assert!(text.contains("problems  1; what to do: ncfs problems"), "{text}");

    let told = fixture.explain(&["mnt/dir/refused.txt"]);
    assert_eq!((told.state.as_str(), told.size, told.bytes_here), ("blocked", 4, 4));
    assert_eq!((told.bytes.as_str(), told.synced.is_none()), ("staging", true));
    assert!(told.retry_in_s.is_some_and(|wait| wait > 3000), "{told:?}");
    let by_ino = fixture.explain(&["--ino", &told.ino.to_string(), "mnt"]);
    assert_eq!((by_ino.path, by_ino.state, by_ino.blocked), (told.path, told.state, told.blocked));

    let (code, text) = fixture.said(&["retry", "mnt/dir"]);
    assert_eq!(code, Some(7), "{text}");
    assert!(text.contains("0 of 1 file sent, 1 refused again"), "{text}");
    let elsewhere = fixture.said(&["retry", "mnt/dir/other.txt"]);
    assert!(elsewhere.1.contains("nothing is known of /dir/other.txt"), "{elsewhere:?}");
    fixture.cloud().clear_faults();
    let (code, text) = fixture.said(&["retry", "mnt"]);
    assert_eq!((code, text.contains("1 of 1 file sent")), (Some(0), true), "{text}");
    assert_eq!(fixture.download("/dir/refused.txt").unwrap(), b"kept");
    assert_eq!(fixture.problems(0), []);
    let told = fixture.explain(&["mnt/dir/refused.txt"]);
    assert_eq!((told.state.as_str(), told.bytes.as_str()), ("clean", "cache"));
    assert_eq!(told.synced.map(|synced| synced.size), Some(4));
}

fn a_conflict_is_told_until_one_of_the_two_is_gone() {
    let fixture = Fixture::new();
    fixture.upload("/note.txt", b"both know this");
    let mount = fixture.mount();
    fixture.stop_server();
    fs::write(mount.path("note.txt"), "mine").unwrap();
    fixture.upload("/note.txt", b"theirs, and longer");
    fixture.restart_server();
    eventually("the conflict is told", || {
        mount.status().problems.iter().any(|problem| problem.kind == ProblemKind::Conflict)
    });
    mount.flush();
    // It is remembered by the two files, whatever becomes of the daemon.
    mount.unmount();
    let mount = fixture.mount();
    let [conflict] = &fixture.problems(13)[..] else { panic!("{:?}", fixture.problems(13)) };
    assert!(conflict.path.starts_with("note (conflicted copy "), "{conflict:?}");
    assert!(conflict.reason.ends_with("the other is note.txt"), "{conflict:?}");
    assert_eq!(fs::read(mount.path(&conflict.path)).unwrap(), b"mine");
    fs::rename(mount.path(&conflict.path), mount.path("note.txt")).unwrap();
    assert_eq!(fixture.problems(0), []);
}

fn a_conflict_is_settled_by_saying_what_to_keep() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    let copy = |second: u32| format!("note (conflicted copy 2026-11-22 06000{second}).txt");
    let begin = || {
        fs::write(mount.path("note.txt"), "theirs").unwrap();
        fs::write(mount.path(&copy(1)), "mine").unwrap();
        assert_eq!(fixture.problems(13).len(), 1);
    };
    let resolve = |name: &str, keep: &str| {
        let told = fixture.said(&["resolve", &format!("mnt/{name}"), keep]);
        assert_eq!(told.0, Some(0), "{}", told.1);
        assert_eq!(fixture.problems(0), []);
        told.1
    };
    begin();
    resolve("note.txt", "--keep-mine");
    assert_eq!(fs::read(mount.path("note.txt")).unwrap(), b"mine");
    begin();
    resolve(&copy(1), "--keep-theirs");
    assert_eq!(fs::read(mount.path("note.txt")).unwrap(), b"theirs");
    begin();
    fs::write(mount.path("note (2).txt"), "a file of its own").unwrap();
    let told = resolve(&copy(1), "--keep-both");
    assert!(told.contains("is now note (3).txt"), "{told}");
    assert_eq!(fs::read(mount.path("note (3).txt")).unwrap(), b"mine");
    assert_eq!(fs::read(mount.path("note (2).txt")).unwrap(), b"a file of its own");

    // What is not clear is refused, and nothing changes.
    begin();
    fs::write(mount.path(&copy(2)), "mine, too").unwrap();
    let refused = |name: &str, words: &str| {
        let (code, text) = fixture.said(&["resolve", &format!("mnt/{name}"), "--keep-mine"]);
        assert!(code == Some(2) && text.contains(words), "{code:?} {text}");
    };
    refused("note.txt", "several copies");
    refused("note (2).txt", "no conflict copy");
    assert_eq!(fixture.problems(13).len(), 2);
    let (code, text) = fixture.said(&["resolve", "mnt/note.txt"]);
    assert!(code == Some(2) && text.contains("--keep-both"), "{code:?} {text}");
}

fn a_refused_password_is_tried_again_by_a_retry() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    let refusing = Fault::on("*", "").forever().status(401);
    fixture.cloud().fault(refusing).unwrap();
    eventually("it is refused", || mount.status().state == State::Failed);
    assert_eq!(fixture.problems(13)[0].kind, ProblemKind::Password);
    fs::write(mount.path("waits.txt"), "waits").unwrap();
    let (code, text) = fixture.said(&["retry", "mnt"]);
    assert_eq!(
        (code, text.contains("refused the user name or password")),
        (Some(3), true),
        "{text}"
    );
    fixture.cloud().clear_faults();
    let (code, text) = fixture.said(&["retry", "mnt"]);
    assert_eq!(code, Some(0), "{text}");
    mount.flush();
    assert_eq!(fixture.download("/waits.txt").unwrap(), b"waits");
    assert_eq!(fixture.problems(0), []);
}

fn a_refresh_tells_what_changed_and_fails_while_the_server_is_away() {
    let fixture = Fixture::new();
    fixture.upload("/dir/old.txt", b"old");
    // Nothing shows by itself.
    let mount = fixture.mount_with(&["--poll-interval", "1h"]);
    assert_eq!(fs::read(mount.path("dir/old.txt")).unwrap(), b"old");
    eventually("all is loaded", || {
        fixture.said(&["refresh", "mnt"]).1.contains("nothing changed on the server")
    });
    fixture.upload("/dir/new.txt", b"new");
    fixture.upload("/dir/old.txt", b"other content");
    let (code, text) = fixture.said(&["refresh", "mnt/dir"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 name appeared, vanished or changed; 1 file has other"), "{text}");
    assert_eq!(fs::read(mount.path("dir/old.txt")).unwrap(), b"other content");
    assert_eq!(fs::read(mount.path("dir/new.txt")).unwrap(), b"new");

    fixture.stop_server();
    let (code, text) = fixture.said(&["refresh", "mnt"]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("the server could not be looked at: "), "{text}");
    let problems = fixture.problems(13);
    assert!(matches!(&problems[..], [only] if only.kind == ProblemKind::Offline), "{problems:?}");
    let (code, text) = fixture.said(&["retry", "mnt", "--no-wait"]);
    assert_eq!((code, text.contains("nothing can be sent just now")), (Some(0), true), "{text}");
}

fn a_removed_file_is_explained_until_the_server_knows() {
    let fixture = Fixture::new();
    fixture.upload("/dir/file.txt", b"content");
    let mount = fixture.mount();
    assert_eq!(fs::read(mount.path("dir/file.txt")).unwrap(), b"content");
    fixture.stop_server();
    fs::remove_dir_all(mount.path("dir")).unwrap();
    let told = fixture.explain(&["mnt/dir/file.txt"]);
    assert!(told.removed && told.synced.is_some(), "{told:?}");
    assert_eq!((told.path.as_str(), told.state.as_str()), ("/dir/file.txt", "dirty"));
    assert_eq!(told.not_yet.last().unwrap(), "the directory /dir comes first");
    let (code, text) = fixture.said(&["explain", "mnt/dir"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("removed here") && text.contains("it is deleted on the server"),
        "{text}"
    );
    fixture.restart_server();
    mount.flush();
    let (code, text) = fixture.said(&["explain", "mnt/dir/file.txt"]);
    assert_eq!((code, text.contains("nothing is known of")), (Some(1), true), "{text}");
}

/// What the mount's socket answers to these lines.
fn answers(fixture: &Fixture, lines: &[u8]) -> Vec<serde_json::Value> {
    answers_of(&socket(fixture), lines)
}

fn answers_of(socket: &Path, lines: &[u8]) -> Vec<serde_json::Value> {
    let mut stream = UnixStream::connect(socket).unwrap();
    // The rest of what is too long may be refused by a closed connection.
    let _ = stream.write_all(lines);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
}

fn socket(fixture: &Fixture) -> PathBuf {
    let entries = fs::read_dir(fixture.path("run")).unwrap();
    let mut sockets = entries.map(|entry| entry.unwrap().path());
    sockets.find(|path| path.extension().is_some_and(|extension| extension == "sock")).unwrap()
}

#[test]
fn the_socket_answers_what_it_does_not_know_and_goes_on() {
    as_root(|| {
        let fixture = Fixture::new();
        let _mount = fixture.mount();
        let told = answers(
            &fixture,
            b"{\"version\":1,\"command\":\"dance\"}\n{\"version\":1,\"command\":\"problems\"}\n",
        );
        let error = told[0]["error"].as_str().unwrap();
        assert!(error.contains("version 1") && error.contains("\"dance\""), "{error}");
        assert!(told[1]["problems"]["problems"].is_array(), "{told:?}");
        let told = answers(&fixture, b"{\"version\":2,\"command\":\"status\"}\n");
        assert!(told[0]["error"].as_str().unwrap().contains("only version 1"), "{told:?}");
        let long = [b"{\"version\":1,\"command\":\"", &[b'x'; 300_000][..], b"\"}\n"].concat();
        let told = answers(&fixture, &long);
        assert!(told.len() <= 1, "what is too long is not read to its end");
        let told = answers(&fixture, b"{\"version\":1,\"command\":\"flush\",\"path\":\"../x\"}\n");
        assert!(told[0]["error"].is_string(), "{told:?}");
    });
}

#[test]
fn the_socket_answers_nobody_but_the_owner_and_root() {
    as_root(|| {
        let fixture = Fixture::new();
        let _mount = fixture.mount();
        // Even where the permissions of files would let others in.
        for path in [fixture.path("").as_path(), &fixture.path("run"), &socket(&fixture)] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let socket = socket(&fixture);
        let stranger = std::thread::scope(|scope| {
            let asking = || {
                // SAFETY: the call takes integers and changes the rights of this thread only.
                let dropped = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
                assert_eq!((dropped, Uid::effective().as_raw()), (0, 65534));
                answers_of(&socket, b"{\"version\":1,\"command\":\"status\"}\n")
            };
            scope.spawn(asking).join().unwrap()
        });
        assert!(stranger.iter().all(|answer| answer["status"].is_null()), "{stranger:?}");
        assert!(stranger[0]["error"].as_str().unwrap().contains("another user"), "{stranger:?}");
        let owner = answers(&fixture, b"{\"version\":1,\"command\":\"status\"}\n");
        assert!(owner[0]["status"].is_object(), "{owner:?}");
    });
}
