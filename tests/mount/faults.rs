//! A server and a network that fail in the middle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use testcloud::{Action, Fault, Latency};

use crate::harness::{Fixture, Mount, for_both, local_tree, noise};

for_both!(
    a_lost_answer_is_no_conflict,
    a_server_that_refuses_for_a_while_gets_everything_in_the_end,
    a_cut_upload_destroys_nothing,
    a_cut_download_is_fetched_on,
    what_was_acknowledged_survives_kills_under_load,
);

/// Files and directories for [`change`].
fn fill(fixture: &Fixture) {
    for number in 0..3 {
        fixture.upload(&format!("/dir/{number}"), &noise(number, 3000));
    }
    for name in ["edited", "big edited", "moved", "deleted", "replaced"] {
        fixture.upload(&format!("/{name}"), name.as_bytes());
    }
}

/// One change of every kind, and what is there in the end.
fn change(mount: &Mount<'_>) -> BTreeMap<String, Option<Vec<u8>>> {
    fs::write(mount.path("edited"), "new content").unwrap();
    fs::write(mount.path("big edited"), noise(10, 300_000)).unwrap();
    fs::rename(mount.path("moved"), mount.path("moved away")).unwrap();
    fs::remove_file(mount.path("deleted")).unwrap();
    fs::write(mount.path("temporary"), "replacement").unwrap();
    fs::rename(mount.path("temporary"), mount.path("replaced")).unwrap();
    fs::rename(mount.path("dir"), mount.path("directory")).unwrap();
    fs::create_dir(mount.path("made")).unwrap();
    fs::write(mount.path("made/big"), noise(11, 200_000)).unwrap();
    fs::write(mount.path("made/empty"), "").unwrap();

    let mut expected = BTreeMap::new();
    let mut file = |name: &str, content: &[u8]| {
        expected.insert(name.to_owned(), Some(content.to_vec()));
    };
    file("edited", b"new content");
    file("big edited", &noise(10, 300_000));
    file("moved away", b"moved");
    file("replaced", b"replacement");
    for number in 0..3 {
        file(&format!("directory/{number}"), &noise(number, 3000));
    }
    file("made/big", &noise(11, 200_000));
    file("made/empty", b"");
    expected.insert("directory".to_owned(), None);
    expected.insert("made".to_owned(), None);
    expected
}

/// Makes all changes while the server does this, and wants exactly them on both sides.
#[track_caller]
fn assert_all_arrives(faults: impl IntoIterator<Item = Fault>) {
    let fixture = Fixture::new();
    fill(&fixture);
    let mount = fixture.mount();
    for fault in faults {
        fixture.cloud().fault(fault).unwrap();
    }
    let expected = change(&mount);
    mount.flush();
    let spoilt = fixture.cloud().requests().iter().filter(|request| request.faulted).count();
    assert!(spoilt > 0, "no request was spoilt");
    fixture.cloud().clear_faults();
    let server = fixture.server_tree("/");
    assert!(server == expected, "{:?}\n{}", server.keys(), fixture.log());
    let local = local_tree(&fixture.mountpoint());
    assert!(local == expected, "{:?}", local.keys());
    assert_eq!(mount.status().problems, []);
}

/// All that changes something.
const CHANGES: [&str; 5] = ["PUT", "MKCOL", "MOVE", "DELETE", "COPY"];

fn a_lost_answer_is_no_conflict() {
    assert_all_arrives(
        CHANGES.map(|method| Fault::on(method, "").times(2).action(Action::HangUpAfter)),
    );
}

fn a_server_that_refuses_for_a_while_gets_everything_in_the_end() {
    assert_all_arrives(CHANGES.map(|method| Fault::on(method, "").times(2).status(423)));
    assert_all_arrives(CHANGES.map(|method| Fault::on(method, "").times(2).status(500)));
    let busy = Fault::on("*", "").times(3).status(503).header("Retry-After", "1");
    assert_all_arrives([busy]);
}

/// A cut PUT over a file leaves a torn file on a Nextcloud, with a tag of its own.
fn a_cut_upload_destroys_nothing() {
    let cut = |bytes| Fault::on("PUT", "").times(3).action(Action::CutRequest { bytes });
    assert_all_arrives([cut(5), cut(70_000)]);
}

fn a_cut_download_is_fetched_on() {
    let fixture = Fixture::new();
    let content = noise(1, 3_000_000);
    fixture.upload("/data.bin", &content);
    let mount = fixture.mount();
    let cut = Fault::on("GET", r"data\.bin$").times(2);
    fixture.cloud().fault(cut.action(Action::CutResponse { bytes: 700_000 })).unwrap();
    assert!(fs::read(mount.path("data.bin")).unwrap() == content);
    fixture.cloud().wait_idle();
    let fetched = fixture.cloud().counters().bytes_out;
    assert!(fetched < 2 * 3_000_000, "{fetched}");
}

fn what_was_acknowledged_survives_kills_under_load() {
    let fixture = Fixture::new();
    fixture.cloud().set_latency(Latency { millis: 20, workers: None });
    let mount = fixture.mount();
    let mut acknowledged = BTreeMap::new();
    for round in 0..4 {
        for number in 0..25 {
            let name = format!("{} {}", round % 2, number);
            let content = noise(round * 100 + number, usize::try_from(number * 4000).unwrap());
            // Half of them are new, half replace what an earlier round wrote.
            save(&mount.path(&name), &content);
            acknowledged.insert(name, Some(content));
            if number % 5 == 4 {
                let (from, to) = (format!("{} {number}", round % 2), format!("moved {number}"));
                fs::rename(mount.path(&from), mount.path(&to)).unwrap();
                let content = acknowledged.remove(&from).unwrap();
                acknowledged.insert(to, content);
            }
        }
        // So that some are sent, some under way, and some not begun.
        std::thread::sleep(Duration::from_millis(150 * round));
        mount.kill();
    }
    let local = local_tree(&fixture.mountpoint());
    assert!(local == acknowledged, "{:?}", local.keys());
    mount.flush();
    let server = fixture.server_tree("/");
    assert!(server == acknowledged, "{:?}\n{}", server.keys(), fixture.log());
}

/// Through a temporary file for every other length.
fn save(path: &Path, content: &[u8]) {
    if content.len().is_multiple_of(8000) {
        fs::write(path, content).unwrap();
    } else {
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, path).unwrap();
    }
}
