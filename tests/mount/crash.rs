//! The server away, and the daemon killed.

use std::collections::BTreeMap;
use std::fs;

use ncfs::control::State;

use crate::harness::{Fixture, Mount, eventually, local_tree, noise, on_every_server};

on_every_server!(
    while_the_server_is_away_files_are_read_and_written_and_arrive_later,
    what_was_not_sent_survives_an_unmount_and_goes_out_at_the_next_mount,
    what_was_not_sent_survives_a_killed_daemon,
    what_was_not_sent_survives_a_killed_container,
);

/// Puts one file on the server, mounts, reads all there is, and takes the server away.
fn mounted_without_a_server(fixture: &Fixture) -> Mount<'_> {
    fixture.upload("/docs/known.bin", &noise(1, 10_000));
    let mount = fixture.mount();
    // Lists the directory, too: of one that was never listed nothing is known without the server.
    assert_eq!(local_tree(&fixture.mountpoint()), fixture.server_tree("/"));
    fixture.stop_server();
    mount
}

/// Changes of every kind.
fn change(mount: &Mount<'_>) {
    fs::write(mount.path("docs/written.bin"), noise(2, 70_000)).unwrap();
    fs::create_dir(mount.path("more")).unwrap();
    fs::rename(mount.path("docs/known.bin"), mount.path("more/moved.bin")).unwrap();
    fs::write(mount.path("more/empty"), b"").unwrap();
}

/// What everybody shall see after [`change`].
fn changed() -> BTreeMap<String, Option<Vec<u8>>> {
    let named = |(name, content): (&str, _)| (name.to_owned(), content);
    BTreeMap::from(
        [
            ("docs", None),
            ("docs/written.bin", Some(noise(2, 70_000))),
            ("more", None),
            ("more/empty", Some(Vec::new())),
            ("more/moved.bin", Some(noise(1, 10_000))),
        ]
        .map(named),
    )
}

#[track_caller]
fn assert_arrived(fixture: &Fixture, mount: &Mount<'_>) {
    assert!(local_tree(&fixture.mountpoint()) == changed());
    mount.flush();
    let server = fixture.server_tree("/");
    assert!(server == changed(), "{:?}", server.keys());
}

fn while_the_server_is_away_files_are_read_and_written_and_arrive_later(fixture: Fixture) {
    let mount = mounted_without_a_server(&fixture);
    let names = fs::read_dir(mount.path("docs")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["known.bin"]);
    assert!(fs::read(mount.path("docs/known.bin")).unwrap() == noise(1, 10_000));
    change(&mount);
    assert!(local_tree(&fixture.mountpoint()) == changed());
    eventually("status says offline", || mount.status().state == State::Offline);
    let status = mount.status();
    assert!(status.pending_files >= 4, "{status:?}");
    assert!(status.offline_reason.is_some(), "{status:?}");

    fixture.restart_server();
    assert_arrived(&fixture, &mount);
    eventually("status says online", || mount.status().state == State::Online);
    assert_eq!(mount.status().pending_files, 0);
}

fn what_was_not_sent_survives_an_unmount_and_goes_out_at_the_next_mount(fixture: Fixture) {
    let mount = mounted_without_a_server(&fixture);
    change(&mount);
    let output = mount.unmount_with(&["--timeout", "1s"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains("4 files") && text.contains("at the next mount"), "{text}");

    fixture.restart_server();
    let mount = fixture.mount();
    assert_arrived(&fixture, &mount);
    mount.unmount();
}

fn what_was_not_sent_survives_a_killed_daemon(fixture: Fixture) {
    let mount = mounted_without_a_server(&fixture);
    change(&mount);
    mount.kill();

    fixture.restart_server();
    assert_arrived(&fixture, &mount);
    mount.unmount();
}

fn what_was_not_sent_survives_a_killed_container(fixture: Fixture) {
    let mount = mounted_without_a_server(&fixture);
    change(&mount);
    mount.kill_all();

    fixture.restart_server();
    let mount = fixture.mount();
    assert_arrived(&fixture, &mount);
    mount.unmount();
}
