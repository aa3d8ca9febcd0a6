//! The worked scenarios of ANCHORS E.17, each as a history without faults: what programs do, and the
//! requests that change the server because of it.

use std::time::Duration;

use super::faults::{Fault, Weather};
use super::power;
use super::profile::{APACHE, BARE, NEXTCLOUD, Profile, RCLONE};
use super::program::Program;
use super::server::Server;
use super::{Life, World};
use crate::clock::Clock;
use crate::tree::Node;
use crate::types::RemotePath;

/// Requests that change something; looks and listings are counted elsewhere.
pub fn changes(server: &Server) -> Vec<String> {
    let looks = ["PROPFIND", "GET"];
    let mut requests = std::mem::take(&mut server.state().requests);
    requests.retain(|request| !looks.iter().any(|look| request.starts_with(look)));
    requests
}

pub fn path(text: &str) -> RemotePath {
    RemotePath(text.split('/').map(super::program::name).collect())
}

pub async fn settled(life: &Life) {
    life.quiesce().await.unwrap();
}

/// Runs `prepare`, lets everything be sent, then runs `act` and tells the changes that follow.
fn requests_of(prepare: impl Fn(&Program), act: impl AsyncFn(&Life)) -> Vec<String> {
    requests_on(NEXTCLOUD, prepare, act)
}

/// As [`requests_of`], with another server.
pub fn requests_on(
    profile: Profile,
    prepare: impl Fn(&Program),
    act: impl AsyncFn(&Life),
) -> Vec<String> {
    let mut world = World::new(1, profile);
    let mut told = Vec::new();
    world.live(async |life| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        prepare(&life.program);
        settled(&life).await;
        // Past the second in which the tags are racy.
        tokio::time::sleep(Duration::from_secs(30)).await;
        changes(&life.server);
        act(&life).await;
        settled(&life).await;
        told = changes(&life.server);
    });
    told
}

pub fn nothing(_: &Program) {}

pub fn a_file(program: &Program) {
    assert!(program.write("a", b"one"));
}

#[test]
fn a_jupyter_save_is_one_upload() {
    let requests = requests_of(a_file, async |life| {
        let program = &life.program;
        program.write(".~a", b"one");
        program.write("a", b"");
        program.write("a", b"two");
        program.remove(".~a");
    });
    assert_eq!(requests, ["PUT /a"]);
}

#[test]
fn a_first_save_makes_the_directory_of_checkpoints_and_the_checkpoint() {
    let requests = requests_of(nothing, async |life| {
        life.program.mkdir(".ipynb_checkpoints");
        life.program.write(".ipynb_checkpoints/a-checkpoint.ipynb", b"one");
    });
    assert_eq!(
        requests,
        ["MKCOL /.ipynb_checkpoints", "PUT /.ipynb_checkpoints/a-checkpoint.ipynb"]
    );
}

#[test]
fn a_save_by_vim_is_one_upload() {
    let requests = requests_of(a_file, async |life| {
        let program = &life.program;
        program.write("4913", b"");
        program.remove("4913");
        program.rename("a", "a~");
        program.write("a", b"two");
        program.remove("a~");
    });
    assert_eq!(requests, ["PUT /a"]);
}

#[test]
fn a_save_by_rename_over_is_one_upload_and_keeps_the_object() {
    let requests = requests_of(a_file, async |life| {
        life.program.write(".#tmp", b"two");
        life.program.rename(".#tmp", "a");
    });
    assert_eq!(requests, ["PUT /a"]);
}

#[test]
fn a_renamed_directory_with_changed_files_is_one_move_and_their_uploads() {
    let prepare = |program: &Program| {
        program.mkdir("dir1");
        for number in 0..5 {
            program.write(&format!("dir1/f{number}"), b"one");
        }
    };
    let requests = requests_of(prepare, async |life| {
        for number in 0..5 {
            life.program.write(&format!("dir1/f{number}"), b"two");
        }
        life.program.rename("dir1", "dir2");
    });
    let (moves, puts): (Vec<_>, Vec<_>) =
        requests.iter().partition(|request| request.starts_with("MOVE"));
    assert_eq!(moves, ["MOVE /dir1"]);
    assert_eq!(puts.len(), 5, "{requests:?}");
}

#[test]
fn a_file_renamed_over_another_that_the_server_has_is_one_move() {
    let prepare = |program: &Program| {
        a_file(program);
        program.write("b", b"two");
    };
    let requests = requests_of(prepare, async |life| {
        life.program.rename("a", "b");
    });
    assert_eq!(requests, ["MOVE /a"]);
}

#[test]
fn a_rename_and_back_is_nothing() {
    let requests = requests_of(a_file, async |life| {
        life.program.rename("a", "b");
        life.program.rename("b", "a");
    });
    assert!(requests.is_empty(), "{requests:?}");
}

#[test]
fn two_swapped_names_are_three_moves() {
    let prepare = |program: &Program| {
        a_file(program);
        program.write("b", b"two");
        program.mkdir("d");
        program.write("d/f", b"three");
    };
    let by_renames = requests_of(prepare, async |life| {
        life.program.rename("a", "t");
        life.program.rename("b", "a");
        life.program.rename("t", "b");
    });
    let of_files = requests_of(prepare, async |life| assert!(life.program.exchange("a", "b")));
    let of_kinds = requests_of(prepare, async |life| assert!(life.program.exchange("a", "d")));
    for requests in [by_renames, of_files, of_kinds] {
        assert_eq!(requests.len(), 3, "{requests:?}");
        assert!(requests.iter().all(|request| request.starts_with("MOVE")), "{requests:?}");
    }
}

#[test]
fn a_version_that_is_exchanged_for_the_old_one_is_one_upload_and_keeps_the_object() {
    let requests = requests_of(a_file, async |life| {
        life.program.write("a.new", b"two");
        assert!(life.program.exchange("a.new", "a"));
        life.program.remove("a.new");
    });
    assert_eq!(requests, ["PUT /a"]);
}

#[test]
fn an_exchange_and_back_is_nothing() {
    let prepare = |program: &Program| {
        a_file(program);
        program.write("b", b"two");
    };
    let requests = requests_of(prepare, async |life| {
        assert!(life.program.exchange("a", "b") && life.program.exchange("a", "b"));
    });
    assert!(requests.is_empty(), "{requests:?}");
}

#[test]
fn a_tree_that_is_gone_before_its_turn_is_nothing() {
    let requests = requests_of(nothing, async |life| {
        let program = &life.program;
        program.mkdir("x");
        program.mkdir("x/y");
        program.write("x/y/f", b"one");
        program.remove("x/y/f");
        program.remove("x/y");
        program.remove("x");
    });
    assert!(requests.is_empty(), "{requests:?}");
}

pub fn a_project(program: &Program) {
    program.mkdir("proj");
    program.mkdir("proj/sub");
    for name in ["proj/a", "proj/b", "proj/sub/c"] {
        program.write(name, name.as_bytes());
    }
}

pub fn remove_project(program: &Program) {
    for name in ["proj/sub/c", "proj/sub", "proj/a", "proj/b", "proj"] {
        assert!(program.remove(name), "{name}");
    }
}

#[test]
fn a_removed_tree_is_one_delete() {
    let requests = requests_of(a_project, async |life| remove_project(&life.program));
    assert_eq!(requests, ["DELETE /proj"]);
}

#[test]
fn what_somebody_added_to_a_removed_tree_stays() {
    let requests = requests_of(a_project, async |life| {
        remove_project(&life.program);
        let now = life.clock.now().secs();
        assert!(life.server.state().other_writes(&path("proj/new"), b"theirs".to_vec(), now));
        settled(life).await;
        assert!(life.server.state().files().contains_key(&path("proj/new")));
        assert!(life.program.find("proj/new").is_some());
    });
    assert!(!requests.contains(&"DELETE /proj".to_owned()), "{requests:?}");
    assert!(requests.iter().all(|request| request.starts_with("DELETE /proj/")), "{requests:?}");
}

#[test]
fn lock_files_of_a_git_commit_never_reach_the_server() {
    let prepare = |program: &Program| {
        program.mkdir(".git");
        program.write(".git/index", b"one");
        program.write(".git/ref", b"1111");
    };
    let requests = requests_of(prepare, async |life| {
        let program = &life.program;
        program.write(".git/object", b"blob");
        program.write(".git/index.lock", b"two");
        program.rename(".git/index.lock", ".git/index");
        program.write(".git/ref.lock", b"2222");
        program.rename(".git/ref.lock", ".git/ref");
    });
    let mut requests = requests;
    requests.sort();
    assert_eq!(requests, ["PUT /.git/index", "PUT /.git/object", "PUT /.git/ref"]);
}

#[test]
fn a_database_written_again_and_again_is_sent_once_a_settle_time_and_its_journal_never() {
    let requests = requests_of(a_file, async |life| {
        for number in 0..20 {
            life.program.write("a-journal", b"journal");
            life.program.write("a", format!("{number}").as_bytes());
            life.program.remove("a-journal");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!(requests, ["PUT /a"]);
}

#[test]
fn an_edit_of_what_was_edited_elsewhere_keeps_both() {
    let requests = requests_of(a_file, async |life| {
        let now = life.clock.now().secs();
        life.server.state().other_writes(&path("a"), b"theirs".to_vec(), now);
        life.program.write("a", b"ours");
        settled(life).await;
        let contents: Vec<_> = life.server.state().files().into_values().flatten().collect();
        assert_eq!(contents, [b"theirs".to_vec(), b"ours".to_vec()], "theirs keeps the name");
    });
    assert!(requests.iter().any(|request| request.contains("conflicted copy")), "{requests:?}");
}

#[test]
fn the_same_edit_on_both_sides_is_no_conflict() {
    requests_of(a_file, async |life| {
        let now = life.clock.now().secs();
        life.server.state().other_writes(&path("a"), b"same".to_vec(), now);
        life.program.write("a", b"same");
        settled(life).await;
        assert_eq!(life.server.state().files().len(), 1);
    });
}

#[test]
fn an_upload_whose_answer_a_crash_swallowed_is_not_a_conflict() {
    let mut world = World::new(3, NEXTCLOUD);
    world.live(async |life| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        life.program.write("a", b"one");
        settled(&life).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        life.program.write("a", b"two");
        // The crash comes as soon as the server has it, before the answer is here.
        let there = || life.server.state().files()[&path("a")].clone();
        while there() != Some(b"two".to_vec()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    world.live(async |life| {
        life.program.write("a", b"three");
        settled(&life).await;
        let files = life.server.state().files();
        assert_eq!(files.into_values().collect::<Vec<_>>(), [Some(b"three".to_vec())]);
    });
}

#[test]
fn a_save_within_the_second_of_the_last_one_changes_the_tag() {
    requests_of(a_file, async |life| {
        life.program.write("a", b"two");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let first = life.server.state().tag(&path("a"));
        life.program.write("a", b"six");
        settled(life).await;
        assert_ne!(life.server.state().tag(&path("a")), first);
    });
}

/// Waits until an upload of this name is under way.
async fn under_way(life: &Life, request: &str) {
    while !life.server.state().requests.iter().any(|seen| seen == request) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_draft_renamed_over_a_file_while_its_bytes_are_collected_replaces_that_file() {
    let requests = requests_of(a_file, async |life| {
        life.program.write("draft", b"two");
        let draft = life.program.find("draft").unwrap().ino;
        while life.program.bytes.disk.lock().unwrap().freezing != Some(draft) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        life.program.rename("draft", "a");
    });
    assert_eq!(requests, ["PUT /a"]);
}

#[test]
fn what_is_written_while_the_content_of_somebody_else_is_taken_is_kept() {
    for millis in (0..1_000).step_by(2) {
        let mut files = Vec::new();
        World::new(1, NEXTCLOUD).live(async |life| {
            tokio::time::sleep(Duration::from_secs(2)).await;
            a_file(&life.program);
            settled(&life).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            let now = life.clock.now().secs();
            life.server.state().other_writes(&path("a"), b"theirs".to_vec(), now);
            // As a step that met it leaves it behind: what the row knows of the server is outdated.
            let node = life.program.find("a").unwrap();
            let remote = node.synced.as_ref().map(|synced| synced.version.clone());
            life.program.tree().transact(|tx| tx.put(Node { remote, ..(*node).clone() })).unwrap();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            life.program.write("a", b"mine");
            settled(&life).await;
            files = life.server.state().files().into_values().flatten().collect();
        });
        assert!(files.contains(&b"mine".to_vec()), "written after {millis} ms: {files:?}");
    }
}

#[test]
fn a_file_removed_while_it_is_created_is_gone_on_the_server_too() {
    requests_of(nothing, async |life| {
        life.program.write("f", b"one");
        under_way(life, "PUT /f").await;
        life.program.remove("f");
        settled(life).await;
        assert!(life.server.state().files().is_empty());
    });
}

#[test]
fn a_directory_removed_while_it_is_created_is_gone_on_the_server_too() {
    requests_of(nothing, async |life| {
        life.program.mkdir("d");
        under_way(life, "MKCOL /d").await;
        life.program.remove("d");
        settled(life).await;
        assert!(life.server.state().files().is_empty());
    });
}

#[test]
fn what_has_the_name_of_a_directory_that_was_removed_while_it_was_created_stays_on_the_server() {
    let prepare = |program: &Program| assert!(program.mkdir("d"));
    requests_of(prepare, async |life| {
        let now = life.clock.now().secs();
        assert!(life.server.state().other_writes(&path("d/x"), b"theirs".to_vec(), now));
        life.program.mkdir("d/x");
        under_way(life, "MKCOL /d/x").await;
        assert!(life.program.remove("d/x") && life.program.remove("d"));
        settled(life).await;
        let there = life.server.state().files();
        assert_eq!(there.get(&path("d/x")), Some(&Some(b"theirs".to_vec())));
        assert!(life.program.find("d/x").is_some_and(|node| node.is_file()));
    });
}

#[test]
fn a_file_replaced_while_it_is_created_is_no_conflict() {
    let requests = requests_of(nothing, async |life| {
        life.program.write("f", b"one");
        under_way(life, "PUT /f").await;
        life.program.write("g", b"two");
        life.program.rename("g", "f");
    });
    assert_eq!(requests, ["PUT /f", "PUT /f"]);
}

#[test]
fn a_file_replaced_while_the_answer_to_its_creation_is_lost_is_no_conflict() {
    let mut world = World::new(4, NEXTCLOUD);
    world.live(async |life| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        life.program.write("f", b"one");
        while life.server.state().files().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        life.program.write("g", b"two");
        life.program.rename("g", "f");
    });
    world.live(async |life| {
        settled(&life).await;
        let files = life.server.state().files();
        assert_eq!(files.into_iter().collect::<Vec<_>>(), [(path("f"), Some(b"two".to_vec()))]);
    });
}

/// Lets `prepare` be sent, runs `act` and crashes; then all is sent, and this is what the server has.
fn after_a_crash(
    prepare: impl Fn(&Program),
    act: impl AsyncFn(&Life),
) -> Vec<(RemotePath, Option<Vec<u8>>)> {
    let mut world = World::new(4, NEXTCLOUD);
    world.live(async |life| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        prepare(&life.program);
        settled(&life).await;
        // Past the second in which the tags are racy.
        tokio::time::sleep(Duration::from_secs(30)).await;
        act(&life).await;
    });
    let mut files = Vec::new();
    world.live(async |life| {
        settled(&life).await;
        files = life.server.state().files().into_iter().collect();
    });
    files
}

#[test]
fn a_draft_renamed_over_a_file_while_the_answer_to_its_upload_is_lost_replaces_that_file() {
    let files = after_a_crash(a_file, async |life| {
        life.program.write("draft", b"two");
        while !life.server.state().files().contains_key(&path("draft")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        life.program.rename("draft", "a");
    });
    assert_eq!(files, [(path("a"), Some(b"two".to_vec()))]);
}

#[test]
fn a_file_saved_anew_while_the_answer_to_a_rename_over_it_is_lost_is_no_conflict() {
    let prepare = |program: &Program| {
        a_file(program);
        program.write("draft", b"two");
    };
    let files = after_a_crash(prepare, async |life| {
        life.program.rename("draft", "a");
        while life.server.state().files().contains_key(&path("draft")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        life.program.write("new", b"three");
        life.program.rename("new", "a");
    });
    assert_eq!(files, [(path("a"), Some(b"three".to_vec()))]);
}

#[test]
fn a_directory_removed_while_the_answer_to_a_creation_in_it_is_lost_does_not_come_back() {
    let prepare = |program: &Program| {
        program.mkdir("d");
    };
    let files = after_a_crash(prepare, async |life| {
        life.program.mkdir("d/e");
        while !life.server.state().files().contains_key(&path("d/e")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        life.program.remove("d/e");
        life.program.remove("d");
    });
    assert_eq!(files, []);
}

#[test]
fn an_installed_package_is_made_by_levels_and_its_temporary_files_never_arrive() {
    let requests = requests_of(nothing, async |life| {
        let program = &life.program;
        for dir in ["env", "env/lib", "env/lib/pkg"] {
            program.mkdir(dir);
        }
        for number in 0..30 {
            let name = format!("env/lib/pkg/m{number}.py");
            program.write(&format!("{name}.tmp"), name.as_bytes());
            program.rename(&format!("{name}.tmp"), &name);
        }
    });
    assert_eq!(requests[..3], ["MKCOL /env", "MKCOL /env/lib", "MKCOL /env/lib/pkg"]);
    assert_eq!(requests.len(), 3 + 30, "{requests:?}");
    assert!(requests[3..].iter().all(|put| put.starts_with("PUT ") && put.ends_with(".py")));
}

#[test]
fn a_log_that_is_kept_open_is_sent_every_half_minute() {
    let requests = requests_of(a_file, async |life| {
        let tree = &life.program.bytes.tree;
        let log = life.program.find("a").unwrap().ino;
        let open = tree.pins().pin(log, crate::tree::PinKind::Writer);
        for line in 0..24 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            life.program.write("a", format!("{line} lines").as_bytes());
        }
        drop(open);
        life.program.write("a", b"closed");
    });
    assert!((4..=6).contains(&requests.len()), "in two minutes: {requests:?}");
}

#[test]
fn what_others_wrote_under_a_name_that_was_taken_here_shows_when_the_name_is_free_again() {
    let prepare = |program: &Program| {
        program.mkdir("a");
        program.write("a/b", b"one");
        program.mkdir("b");
    };
    requests_on(NEXTCLOUD, prepare, async |life| {
        life.server.state().weather = Weather::only(Fault::Offline);
        // A directory gets the name of a file that was changed elsewhere; and is renamed elsewhere.
        assert!(life.program.exchange("a/b", "b"));
        assert!(life.program.write("b", b"ours"));
        let now = life.clock.now().secs();
        assert!(life.server.state().other_writes(&path("a/b"), b"theirs".to_vec(), now));
        assert!(life.server.state().other_renames(&path("b"), &path("c"), now));
        tokio::time::sleep(Duration::from_secs(1)).await;
        life.server.state().weather = Weather::CALM;
        settled(life).await;
        assert_eq!(life.program.read("a/b").await, Some(b"theirs".to_vec()));
    });
}

#[test]
fn a_backup_that_is_restored_while_a_change_is_looked_at_is_seen() {
    requests_of(a_file, async |life| {
        let now = life.clock.now().secs();
        life.server.state().back_up();
        assert!(life.server.state().other_writes(&path("b"), b"two".to_vec(), now));
        life.engine.refresh();
        while life.program.find("b").is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What was there is there again, with the tags that it had.
        assert!(life.server.state().restore(now));
        settled(life).await;
        assert!(life.program.find("b").is_none() && life.program.find("a").is_some());
    });
}

#[test]
fn an_upload_that_a_power_cut_ends_in_the_middle_is_finished_after_it() {
    for profile in [NEXTCLOUD, APACHE, RCLONE, BARE] {
        let mut world = World::new(6, profile);
        world.power = power::on();
        world.live(async |life| {
            tokio::time::sleep(Duration::from_secs(2)).await;
            a_file(&life.program);
            settled(&life).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            changes(&life.server);
            life.program.write("a", b"what was written last");
            life.server.state().tear = true;
            under_way(&life, "PUT /a").await;
        });
        world.cut_power();
        world.live(async |life| {
            settled(&life).await;
            let files = life.server.state().files();
            let whole = Some(b"what was written last".to_vec());
            assert_eq!(files.into_values().collect::<Vec<_>>(), [whole], "{}", profile.name);
        });
    }
}

#[test]
fn a_removed_directory_of_which_no_answer_told_is_tried_again_when_somebody_asks_for_it() {
    requests_of(nothing, async |life| {
        life.server.state().weather = Weather::only(Fault::CutAfter);
        life.program.mkdir("d");
        under_way(life, "MKCOL /d").await;
        life.server.state().weather = Weather::only(Fault::Forbidden);
        life.program.remove("d");
        while life.engine.pending(None).unwrap().blocked == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        life.server.state().weather = Weather::CALM;
        assert_eq!(life.engine.retry(crate::types::Ino::ROOT).unwrap().len(), 1);
        settled(life).await;
        assert!(life.server.state().files().is_empty());
    });
}
