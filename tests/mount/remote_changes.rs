//! Somebody else works on the same files.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use ncfs::control::State;

use crate::harness::{Fixture, Mount, eventually, for_both, local_tree, noise, on_every_server};

on_every_server!(
    what_another_client_does_shows_up_within_two_intervals,
    when_both_sides_edit_a_file_there_are_two_contents,
    when_both_sides_make_a_file_there_are_two_contents,
    a_file_deleted_elsewhere_and_changed_here_is_kept,
    an_open_file_keeps_its_content_when_another_client_replaces_it,
    equal_edits_are_no_conflict,
    a_conflict_inside_a_repository_does_not_break_it,
    a_mounted_directory_that_vanishes_or_is_emptied_deletes_nothing_here,
);

for_both!(a_part_written_into_what_was_replaced_elsewhere_is_completed_from_its_former_content,);

/// Twice the interval that the harness sets, and one second for a machine that is busy.
const TWO_INTERVALS: Duration = Duration::from_secs(3);

/// The first use after a time without looks at once, so a mount in use is where the promise is.
fn use_it(mount: &Mount<'_>) {
    fs::read_dir(mount.path("")).unwrap().for_each(drop);
}

fn what_another_client_does_shows_up_within_two_intervals(fixture: Fixture) {
    for name in ["changed.txt", "deleted.txt", "renamed.txt", "dir/moved.txt"] {
        fixture.upload(&format!("/{name}"), format!("{name} before").as_bytes());
    }
    let mount = fixture.mount();
    assert_eq!(local_tree(&fixture.mountpoint()).len(), 5);

    let started = Instant::now();
    fixture.upload("/changed.txt", b"after, and longer");
    fixture.upload("/added.txt", b"new");
    fixture.upload("/deep/er/added.txt", b"new, too");
    fixture.delete("/deleted.txt");
    fixture.rename("/renamed.txt", "/other name.txt");
    fixture.rename("/dir", "/directory");
    eventually("the mount is as the server", || {
        use_it(&mount);
        let seen = |name: &str| fs::read(mount.path(name)).ok();
        seen("changed.txt").as_deref() == Some(b"after, and longer")
            && seen("added.txt").as_deref() == Some(b"new")
            && seen("deep/er/added.txt").as_deref() == Some(b"new, too")
            && seen("deleted.txt").is_none()
            && seen("renamed.txt").is_none()
            && seen("other name.txt").as_deref() == Some(b"renamed.txt before")
            && seen("directory/moved.txt").as_deref() == Some(b"dir/moved.txt before")
    });
    let took = started.elapsed();
    assert!(took < TWO_INTERVALS, "{took:?}");
    assert_eq!(local_tree(&fixture.mountpoint()), fixture.server_tree("/"));
    assert_eq!(mount.status().pending_files, 0);
}

/// Both contents are on both sides in the end, the server's under its name.
#[track_caller]
fn assert_two_contents(fixture: &Fixture, theirs: &[u8], ours: &[u8]) {
    eventually("both sides are equal", || {
        local_tree(&fixture.mountpoint()) == fixture.server_tree("/")
            && fixture.server_tree("/").len() == 2
    });
    let mut tree = fixture.server_tree("/");
    assert_eq!(tree.remove("report.txt").unwrap().unwrap(), theirs);
    let (name, content) = tree.pop_first().unwrap();
    assert!(
        name.starts_with("report (conflicted copy 2") && name.ends_with(").txt"),
        "the copy is called {name}"
    );
    assert_eq!(content.unwrap(), ours);
}

/// Writes on both sides while the program cannot reach the server.
fn edit_apart(fixture: &Fixture, mount: &Mount<'_>, theirs: &[u8], ours: &[u8]) {
    fixture.stop_server();
    fs::write(mount.path("report.txt"), ours).unwrap();
    fixture.upload("/report.txt", theirs);
    fixture.restart_server();
    mount.flush();
}

fn when_both_sides_edit_a_file_there_are_two_contents(fixture: Fixture) {
    fixture.upload("/report.txt", b"base");
    let id = fixture.file_id("/report.txt");
    let mount = fixture.mount();
    assert_eq!(fs::read(mount.path("report.txt")).unwrap(), b"base");
    edit_apart(&fixture, &mount, b"theirs, later", b"ours");
    assert_two_contents(&fixture, b"theirs, later", b"ours");
    assert_eq!(fixture.file_id("/report.txt"), id);
}

fn when_both_sides_make_a_file_there_are_two_contents(fixture: Fixture) {
    let mount = fixture.mount();
    edit_apart(&fixture, &mount, b"theirs, later", b"ours");
    assert_two_contents(&fixture, b"theirs, later", b"ours");
}

fn a_part_written_into_what_was_replaced_elsewhere_is_completed_from_its_former_content() {
    let fixture = Fixture::new();
    let base = noise(1, 300_000);
    fixture.upload("/report.txt", &base);
    // The server's tags are those of seconds: what comes next has another one.
    std::thread::sleep(Duration::from_millis(2100));
    let mount = fixture.mount();
    fixture.stop_server();
    let file = OpenOptions::new().write(true).open(mount.path("report.txt")).unwrap();
    file.write_all_at(b"ours", 100).unwrap();
    drop(file);
    fixture.upload("/report.txt", b"theirs, later");
    fixture.restart_server();
    mount.flush();
    let mut ours = base;
    ours[100..104].copy_from_slice(b"ours");
    assert_two_contents(&fixture, b"theirs, later", &ours);
}

fn equal_edits_are_no_conflict(fixture: Fixture) {
    fixture.upload("/report.txt", b"base");
    let mount = fixture.mount();
    assert_eq!(fs::read(mount.path("report.txt")).unwrap(), b"base");
    edit_apart(&fixture, &mount, b"the same", b"the same");
    assert_eq!(fixture.server_tree("/").len(), 1);
    assert_eq!(local_tree(&fixture.mountpoint()), fixture.server_tree("/"));
    assert_eq!(fs::read(mount.path("report.txt")).unwrap(), b"the same");
}

fn a_file_deleted_elsewhere_and_changed_here_is_kept(fixture: Fixture) {
    fixture.upload("/report.txt", b"base");
    let mount = fixture.mount();
    assert_eq!(fs::read(mount.path("report.txt")).unwrap(), b"base");
    fixture.stop_server();
    let mut file = OpenOptions::new().append(true).open(mount.path("report.txt")).unwrap();
    file.write_all(b" and more").unwrap();
    drop(file);
    fixture.delete("/report.txt");
    fixture.restart_server();
    mount.flush();
    let tree = fixture.server_tree("/");
    let contents: Vec<_> = tree.values().flatten().collect();
    assert_eq!(contents, [b"base and more"]);
    eventually("both sides are equal", || local_tree(&fixture.mountpoint()) == tree);
}

fn an_open_file_keeps_its_content_when_another_client_replaces_it(fixture: Fixture) {
    fixture.upload("/log.txt", b"first version");
    let mount = fixture.mount();
    let mut file = File::open(mount.path("log.txt")).unwrap();
    let mut begin = [0; 5];
    file.read_exact(&mut begin).unwrap();
    fixture.upload("/log.txt", b"second version, which is longer");
    eventually("the name leads to the second version", || {
        use_it(&mount);
        fs::read(mount.path("log.txt")).unwrap() == b"second version, which is longer"
    });
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!((&begin, rest.as_str()), (b"first", " version"));
}

/// A stray file below `.git/refs` would be a broken branch.
fn a_conflict_inside_a_repository_does_not_break_it(fixture: Fixture) {
    fixture.upload("/repo/.git/refs/heads/main", b"base");
    let mount = fixture.mount();
    let branch = mount.path("repo/.git/refs/heads/main");
    assert_eq!(fs::read(&branch).unwrap(), b"base");
    fixture.stop_server();
    fs::write(&branch, "ours").unwrap();
    fixture.upload("/repo/.git/refs/heads/main", b"theirs, later");
    fixture.restart_server();
    mount.flush();
    eventually("both sides are equal", || {
        local_tree(&fixture.mountpoint()) == fixture.server_tree("/")
    });
    let tree = fixture.server_tree("/repo/.git");
    assert_eq!(tree["refs/heads/main"].as_deref(), Some(&b"theirs, later"[..]));
    assert_eq!(tree.keys().filter(|path| path.starts_with("refs/heads/")).count(), 1);
    let (_, ours) = tree.iter().find(|(path, _)| path.starts_with("ncfs-conflicts/")).unwrap();
    assert_eq!(ours.as_deref(), Some(&b"ours"[..]));
}

fn a_mounted_directory_that_vanishes_or_is_emptied_deletes_nothing_here(fixture: Fixture) {
    // The last of a few files may well be deleted on purpose.
    for number in 0..30 {
        fixture.upload(&format!("/home/{number}.txt"), b"precious");
    }
    let mount = fixture.mount_with(&["--remote-dir", "/home"]);
    let mine = local_tree(&fixture.mountpoint());
    assert_eq!(mine.len(), 30);
    let failed = || mount.status().state == State::Failed;
    let all_is_here = || assert!(local_tree(&fixture.mountpoint()) == mine);

    fixture.rename("/home", "/away");
    eventually("the loss is told", failed);
    all_is_here();
    assert_eq!(mount.status().problems.len(), 1);
    fixture.rename("/away", "/home");
    eventually("it goes on by itself", || !failed());
    all_is_here();

    // Between two looks.
    fixture.stop_server();
    fixture.delete("/home");
    fixture.make_dir("/home");
    fixture.restart_server();
    eventually("the loss is told", failed);
    all_is_here();
    fixture.upload("/home/another.txt", b"another");
    eventually("it goes on by itself", || !failed());
    eventually("it shows", || mount.path("another.txt").exists());
}
