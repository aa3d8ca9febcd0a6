//! What people do with files all day.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::harness::{Fixture, local_tree, noise, on_every_server};

on_every_server!(
    a_thousand_files_in_twenty_directories_reach_the_server,
    an_edited_file_keeps_its_identity_on_the_server,
    a_file_renamed_over_another_leaves_the_other_its_identity,
    directories_are_renamed_and_deleted,
    a_file_that_was_never_read_is_truncated,
);

fn a_thousand_files_in_twenty_directories_reach_the_server(fixture: Fixture) {
    let mount = fixture.mount();
    let mut expected = BTreeMap::new();
    for directory in 0..20 {
        expected.insert(format!("d{directory}"), None);
        fs::create_dir(mount.path(&format!("d{directory}"))).unwrap();
        for file in 0..50 {
            let content = noise(directory * 50 + file, usize::try_from(file * 97).unwrap());
            let name = format!("d{directory}/file {file}.dat");
            fs::write(mount.path(&name), &content).unwrap();
            expected.insert(name, Some(content));
        }
    }
    mount.flush();
    assert!(fixture.server_tree("/") == expected);
    assert!(local_tree(&fixture.mountpoint()) == expected);
    assert_eq!(fixture.download("/d7/file%2042.dat"), expected["d7/file 42.dat"]);
    mount.unmount();
}

fn an_edited_file_keeps_its_identity_on_the_server(fixture: Fixture) {
    fixture.upload("/notes.txt", b"one\ntwo\n");
    let id = fixture.file_id("/notes.txt");
    let mount = fixture.mount();
    let file = OpenOptions::new().write(true).open(mount.path("notes.txt")).unwrap();
    file.write_all_at(b"TWO!\n", 4).unwrap();
    drop(file);
    assert_eq!(fs::read(mount.path("notes.txt")).unwrap(), b"one\nTWO!\n");
    mount.flush();
    assert_eq!(fixture.download("/notes.txt").unwrap(), b"one\nTWO!\n");
    assert_eq!(fixture.file_id("/notes.txt"), id);
}

/// As editors save: a temporary file is written and takes the name.
fn a_file_renamed_over_another_leaves_the_other_its_identity(fixture: Fixture) {
    fixture.upload("/paper.md", b"draft");
    let id = fixture.file_id("/paper.md");
    let mount = fixture.mount();
    fs::write(mount.path(".paper.md.tmp"), b"final").unwrap();
    fs::rename(mount.path(".paper.md.tmp"), mount.path("paper.md")).unwrap();
    assert_eq!(fs::read(mount.path("paper.md")).unwrap(), b"final");
    mount.flush();
    let expected = BTreeMap::from([("paper.md".to_owned(), Some(b"final".to_vec()))]);
    assert_eq!(fixture.server_tree("/"), expected);
    assert_eq!(local_tree(&fixture.mountpoint()), expected);
    assert_eq!(fixture.file_id("/paper.md"), id);
}

fn directories_are_renamed_and_deleted(fixture: Fixture) {
    for number in 0..5 {
        fixture.upload(&format!("/old/deep/{number}.txt"), &noise(number, 1000));
        fixture.upload(&format!("/gone/{number}.txt"), b"x");
    }
    let id = fixture.file_id("/old/deep/3.txt");
    let mount = fixture.mount();
    fs::rename(mount.path("old"), mount.path("new")).unwrap();
    fs::remove_dir_all(mount.path("gone")).unwrap();
    assert!(!mount.path("old").exists() && !mount.path("gone").exists());
    assert_eq!(fs::read(mount.path("new/deep/3.txt")).unwrap(), noise(3, 1000));
    mount.flush();
    let tree = fixture.server_tree("/");
    assert_eq!(tree, local_tree(&fixture.mountpoint()));
    assert_eq!(tree.len(), 7, "{:?}", tree.keys());
    assert_eq!(fixture.file_id("/new/deep/3.txt"), id);
}

/// rclone leaves 65,536 bytes on the server.
fn a_file_that_was_never_read_is_truncated(fixture: Fixture) {
    let content = noise(1, 300_000);
    fixture.upload("/data.bin", &content);
    let mount = fixture.mount();
    let file = OpenOptions::new().write(true).open(mount.path("data.bin")).unwrap();
    file.set_len(1234).unwrap();
    drop(file);
    assert_eq!(fs::metadata(mount.path("data.bin")).unwrap().len(), 1234);
    assert!(fs::read(mount.path("data.bin")).unwrap() == content[..1234]);
    mount.flush();
    assert!(fixture.download("/data.bin").unwrap() == content[..1234]);
}
