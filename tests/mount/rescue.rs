//! Unsent files come out of a state directory without a server and without a mount.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Fixture, for_both, local_tree, noise};

for_both!(unsent_files_come_out_of_the_state_of_a_daemon_that_was_killed);

fn unsent_files_come_out_of_the_state_of_a_daemon_that_was_killed() {
    let fixture = Fixture::new();
    fixture.upload("/old.bin", &noise(1, 20_000_000));
    fixture.upload("/moved.txt", b"is there");
    let mount = fixture.mount();
    mount.flush();
    fixture.stop_server();
    fs::create_dir(mount.path("dir")).unwrap();
    fs::write(mount.path("dir/new.bin"), noise(2, 300_000)).unwrap();
    fs::rename(mount.path("moved.txt"), mount.path("away.txt")).unwrap();
    symlink("dir/new.bin", mount.path("link")).unwrap();
    // The rest of it cannot be fetched.
    let part = fs::OpenOptions::new().write(true).open(mount.path("old.bin")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&part, b"written here", 1_000_000).unwrap();
    drop(part);

    let in_use = fixture.run(&["rescue", "state", "out"]);
    assert_eq!(in_use.status.code(), Some(6), "{in_use:?}");
    assert!(!fixture.path("out").exists());
    mount.kill_all();
    let before = local_tree(&fixture.path("state"));
    let output = fixture.run(&["rescue", "state", "out", "--json"]);
    assert_eq!(output.status.code(), Some(13), "{output:?}");
    assert!(local_tree(&fixture.path("state")) == before, "the state directory was changed");

    assert_eq!(fs::read(fixture.path("out/dir/new.bin")).unwrap(), noise(2, 300_000));
    assert_eq!(fs::read_link(fixture.path("out/link")).unwrap().to_str(), Some("dir/new.bin"));
    let partial = fs::read(fixture.path("out/old.bin.partial")).unwrap();
    assert_eq!(partial.len(), 20_000_000);
    assert_eq!(&partial[1_000_000..1_000_012], b"written here");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let items = report["items"].as_array().unwrap();
    let item = |path: &str| items.iter().find(|item| item["path"] == path).unwrap();
    assert_eq!(item("old.bin")["parts"], serde_json::json!([[1_000_000, 1_000_012]]));
    assert_eq!(item("away.txt")["outcome"], "on_server");
    assert!(report["account"].as_str().unwrap().starts_with("alice at "), "{report}");
    let list = fs::read_to_string(fixture.path("out/RESCUED.txt")).unwrap();
    assert!(list.contains("as old.bin.partial") && list.contains("1000000..1000012"), "{list}");
    // Nothing is taken away by it.
    fixture.restart_server();
    let mount = fixture.mount();
    mount.flush();
    assert_eq!(fixture.download("/dir/new.bin").unwrap(), noise(2, 300_000));
}
