//! The daemon dies, and programs notice a pause.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use ncfs::control::State;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testcloud::Fault;

use crate::harness::{Fixture, eventually, for_both, noise, program};

for_both!(
    open_files_stay_open_and_directories_are_read_to_their_end,
    what_was_done_and_not_answered_is_answered_and_not_done_again,
    a_read_that_waits_for_the_server_goes_on,
    a_request_that_kills_gets_an_error_and_the_others_go_on,
    a_mount_that_nobody_can_serve_says_so_and_can_be_unmounted,
    an_upgrade_keeps_the_mount_and_a_broken_one_leaves_the_version_before,
    a_death_while_the_server_is_away_is_no_more_than_a_pause,
);

fn open_files_stay_open_and_directories_are_read_to_their_end() {
    const FILES: usize = 1500;
    let fixture = Fixture::new();
    fixture.upload("/known.bin", &noise(1, 300_000));
    let mount = fixture.mount();
    fs::create_dir(mount.path("many")).unwrap();
    for number in 0..FILES {
        File::create(mount.path(&format!("many/{number}"))).unwrap();
    }

    let mut read = File::open(mount.path("known.bin")).unwrap();
    let mut known = vec![0; 100_000];
    read.read_exact(&mut known).unwrap();
    let mut written = File::create(mount.path("written.txt")).unwrap();
    written.write_all(b"before ").unwrap();
    let mut gone = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(mount.path("gone.txt"))
        .unwrap();
    gone.write_all(b"still ").unwrap();
    fs::remove_file(mount.path("gone.txt")).unwrap();
    let removed = File::open(mount.path("many/7")).unwrap();
    fs::remove_file(mount.path("many/7")).unwrap();
    let mut directory = fs::read_dir(mount.path("many")).unwrap();
    let first = directory.by_ref().take(10).map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = first.collect();

    mount.kill();

    read.read_to_end(&mut known).unwrap();
    assert!(known == noise(1, 300_000));
    written.write_all(b"after").unwrap();
    written.sync_all().unwrap();
    gone.write_all(b"here").unwrap();
    gone.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    gone.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
    assert_eq!(removed.metadata().unwrap().len(), 0);
    names.extend(directory.map(|entry| entry.unwrap().file_name()));
    assert_eq!(names.len(), FILES - 1);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), FILES - 1);

    // Once more, with what was opened before both deaths.
    mount.kill();
    let status = mount.status();
    assert_eq!(status.restarts, 2);
    assert!(status.last_restart.unwrap().contains("signal 9"));
    written.write_all(b" all").unwrap();
    drop((written, gone, read));
    mount.flush();
    assert_eq!(fixture.download("/written.txt").unwrap(), b"before after all");
    assert_eq!(fixture.download("/gone.txt"), None);
    mount.unmount();
}

fn what_was_done_and_not_answered_is_answered_and_not_done_again() {
    let fixture = Fixture::new();
    fixture.upload("/removed", b"old");
    fixture.upload("/from", b"moved");
    let names = ["made", "dir", "link", "to", "removed"];
    let points: Vec<_> = names.iter().map(|name| format!("committed:{name}")).collect();
    let mount = fixture.mount_dying_at(&points.join(","));

    // Each of these would fail if it were done twice.
    mount.use_a_lot();
    let mut made = File::create_new(mount.path("made")).unwrap();
    made.write_all(b"written").unwrap();
    mount.use_a_lot();
    fs::create_dir(mount.path("dir")).unwrap();
    mount.use_a_lot();
    symlink("made", mount.path("link")).unwrap();
    mount.use_a_lot();
    fs::rename(mount.path("from"), mount.path("to")).unwrap();
    mount.use_a_lot();
    fs::remove_file(mount.path("removed")).unwrap();
    assert_eq!(mount.status().restarts, 5);

    drop(made);
    assert_eq!(fs::read(mount.path("link")).unwrap(), b"written");
    assert_eq!(fs::read(mount.path("to")).unwrap(), b"moved");
    mount.flush();
    let names: Vec<_> = fixture.server_tree("/").into_keys().collect();
    assert_eq!(names, ["dir", "made", "to"]);
    mount.unmount();
}

fn a_read_that_waits_for_the_server_goes_on() {
    let fixture = Fixture::new();
    fixture.upload("/far.bin", &noise(3, 200_000));
    let mount = fixture.mount();
    let slow = Fault::on("GET", "/far.bin").delay(Duration::from_secs(60));
    fixture.cloud().fault(slow).unwrap();
    let path = mount.path("far.bin");
    let reading = std::thread::spawn(move || fs::read(path).unwrap());
    eventually("the read waits", || mount.status().oldest_request_s.is_some());
    mount.kill();
    assert!(reading.join().unwrap() == noise(3, 200_000));
    mount.unmount();
}

fn a_request_that_kills_gets_an_error_and_the_others_go_on() {
    let fixture = Fixture::new();
    let mount = fixture.mount_dying_at("looked-up:poison");
    let error = fs::metadata(mount.path("poison")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(mount.status().restarts, 2);
    fs::write(mount.path("other"), b"goes on").unwrap();
    assert_eq!(fs::read(mount.path("other")).unwrap(), b"goes on");
    mount.unmount();
}

fn a_mount_that_nobody_can_serve_says_so_and_can_be_unmounted() {
    let fixture = Fixture::new();
    let mount = fixture.mount_dying_at("took-over:all");
    fs::write(mount.path("kept"), b"kept").unwrap();
    mount.flush();
    let mut open = File::create(mount.path("open")).unwrap();
    let [daemon, _] = mount.processes();
    kill(Pid::from_raw(daemon), Signal::SIGKILL).unwrap();

    eventually("the mount is given up", || mount.status().state == State::Failed);
    let status = mount.status();
    assert_eq!(status.restarts, 5);
    assert!(status.problems[0].reason.contains("signal 9"), "{status:?}");
    let refused = |error: io::Error| error.raw_os_error() == Some(libc::EIO);
    assert!(refused(fs::metadata(mount.path("unknown")).unwrap_err()));
    assert!(refused(open.write_all(b"x").unwrap_err()));
    drop(open);
    mount.unmount();

    let mount = fixture.mount();
    assert_eq!(fs::read(mount.path("kept")).unwrap(), b"kept");
    mount.unmount();
}

fn an_upgrade_keeps_the_mount_and_a_broken_one_leaves_the_version_before() {
    let fixture = Fixture::new();
    let installed = fixture.path("installed");
    fs::copy(program(), &installed).unwrap();
    let mount = fixture.mount_with_program(fixture.ncfs_at(&installed));
    let mut open = File::create(mount.path("open")).unwrap();
    open.write_all(b"before ").unwrap();

    install(&fixture, &installed, &fs::read(program()).unwrap());
    let output = fixture.run(&["upgrade", "mnt"]);
    assert!(output.status.success(), "{output:?}\n{}", fixture.log());
    open.write_all(b"after").unwrap();
    if nix::unistd::geteuid().is_root() {
        // Else /proc does not tell: the process is closed to others, itself of the same user.
        let executed = fs::read_link(format!("/proc/{}/exe", mount.processes()[0]));
        assert_eq!(executed.unwrap(), installed);
    }

    install(&fixture, &installed, b"#!/bin/false\n");
    let output = fixture.run(&["upgrade", "mnt"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("could not serve"), "{text}");
    open.write_all(b" all").unwrap();
    drop(open);
    assert_eq!(fs::read(mount.path("open")).unwrap(), b"before after all");
    assert_eq!(mount.status().restarts, 3);
    mount.unmount();
}

/// Puts a program in the place of another one, as package managers do.
fn install(fixture: &Fixture, path: &Path, bytes: &[u8]) {
    let draft = fixture.path("draft");
    fs::write(&draft, bytes).unwrap();
    fs::set_permissions(&draft, PermissionsExt::from_mode(0o755)).unwrap();
    fs::rename(draft, path).unwrap();
}

fn a_death_while_the_server_is_away_is_no_more_than_a_pause() {
    let fixture = Fixture::new();
    fixture.upload("/known", b"known");
    let mount = fixture.mount();
    assert_eq!(fs::read(mount.path("known")).unwrap(), b"known");
    let file = File::create(mount.path("file")).unwrap();
    fixture.stop_server();
    mount.kill();
    file.write_all_at(b"offline", 0).unwrap();
    assert_eq!(fs::read(mount.path("known")).unwrap(), b"known");
    let missing = fs::read(mount.path("missing")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    eventually("status says offline", || mount.status().state == State::Offline);
    drop(file);
    fixture.restart_server();
    mount.flush();
    assert_eq!(fixture.download("/file").unwrap(), b"offline");
    mount.unmount();
}
