//! Scenarios with servers that are no Nextcloud: what is different there.

use std::time::Duration;

use super::faults::{Fault, Weather};
use super::profile::{APACHE, BARE, RCLONE};
use super::program::Program;
use super::scenarios::{
    a_file, a_project, changes, nothing, path, remove_project, requests_on, settled,
};
use super::{Life, World};
use crate::clock::Clock;
use crate::types::{Ino, RemotePath, Time};

fn now(life: &Life) -> i64 {
    life.clock.now().secs()
}

fn contents(life: &Life) -> Vec<(RemotePath, Option<Vec<u8>>)> {
    life.server.state().files().into_iter().collect()
}

/// Waits for at most this many seconds until `seen` is true.
async fn within(seconds: u64, seen: impl Fn() -> bool) {
    for _ in 0..seconds * 10 {
        if seen() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within {seconds} s");
}

#[test]
fn a_file_keeps_its_true_time_here_where_the_server_sets_its_own() {
    let mut world = World::new(2, APACHE);
    let written = Time::from_secs(1_600_000_000);
    world.live(async |life| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        life.program.write("a", b"one");
        life.program.touch("a", written.secs());
        settled(&life).await;
        assert_eq!(life.program.find("a").unwrap().attr.mtime, written);
    });
    world.live(async |life| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let node = life.program.find("a").unwrap();
        assert_eq!(node.attr.mtime, written);
        assert_ne!(node.synced.as_ref().unwrap().version.mtime, written.secs());
        assert_eq!(changes(&life.server), ["PUT /a"]);
    });
}

#[test]
fn a_time_that_a_program_sets_stays_here_and_makes_nothing_dirty() {
    let requests = requests_on(APACHE, a_file, async |life| {
        assert!(life.program.touch("a", 1_600_000_000));
        assert_eq!(life.engine.pending(None).unwrap().files, 0);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(life.program.find("a").unwrap().attr.mtime, Time::from_secs(1_600_000_000));
    });
    assert!(requests.is_empty(), "{requests:?}");
}

#[test]
fn an_old_file_beside_its_successor_is_a_move_and_an_upload_where_there_are_no_ids() {
    let requests = requests_on(APACHE, a_file, async |life| {
        life.program.rename("a", "a.1");
        life.program.write("a", b"two");
    });
    assert_eq!(requests, ["MOVE /a", "PUT /a"]);
}

#[test]
fn a_tree_is_looked_at_by_levels_before_it_is_deleted() {
    let requests = requests_on(APACHE, a_project, async |life| remove_project(&life.program));
    assert_eq!(requests, ["DELETE /proj"]);
}

#[test]
fn what_somebody_added_deep_in_a_removed_tree_stays_where_directories_have_no_tags() {
    requests_on(APACHE, a_project, async |life| {
        remove_project(&life.program);
        let now = now(life);
        assert!(life.server.state().other_writes(&path("proj/sub/new"), b"theirs".to_vec(), now));
        settled(life).await;
        let there: Vec<_> = contents(life).into_iter().map(|(path, _)| path).collect();
        assert_eq!(there, [path("proj"), path("proj/sub"), path("proj/sub/new")]);
        assert!(life.program.find("proj/sub/new").is_some());
    });
}

#[test]
fn a_rename_elsewhere_without_ids_keeps_unsent_changes_under_the_old_name() {
    requests_on(APACHE, a_file, async |life| {
        life.server.state().weather = Weather::only(Fault::Locked);
        life.program.write("a", b"ours");
        let now = now(life);
        assert!(life.server.state().other_renames(&path("a"), &path("b"), now));
        tokio::time::sleep(Duration::from_secs(20)).await;
        life.server.state().weather = Weather::CALM;
        settled(life).await;
        let there = contents(life);
        let expected = [(path("a"), Some(b"ours".to_vec())), (path("b"), Some(b"one".to_vec()))];
        assert_eq!(there, expected);
        assert_eq!(life.program.read("b").await, Some(b"one".to_vec()));
    });
}

#[test]
fn a_file_that_became_a_directory_elsewhere_is_one_here_and_the_reverse() {
    let prepare = |program: &Program| {
        a_file(program);
        program.mkdir("d");
        program.write("d/f", b"two");
    };
    requests_on(APACHE, prepare, async |life| {
        let now = now(life);
        {
            let mut state = life.server.state();
            state.other_deletes(&path("a"));
            state.other_makes_dir(&path("a"), now);
            state.other_writes(&path("a/inside"), b"three".to_vec(), now);
            state.other_deletes(&path("d"));
            state.other_writes(&path("d"), b"four".to_vec(), now);
        }
        settled(life).await;
        assert_eq!(life.program.read("a/inside").await, Some(b"three".to_vec()));
        assert_eq!(life.program.read("d").await, Some(b"four".to_vec()));
    });
}

#[test]
fn a_name_that_one_listing_leaves_out_is_not_deleted() {
    requests_on(APACHE, a_project, async |life| {
        for left_out in ["proj", "proj/a"] {
            life.server.state().left_out = Some(path(left_out));
            life.program.find("proj/a");
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert!(life.server.state().left_out.is_none(), "it was left out of a listing");
            assert!(life.program.find("proj/a").is_some());
        }
    });
}

#[test]
fn a_new_file_that_was_cut_in_the_middle_is_finished() {
    let requests = requests_on(RCLONE, nothing, async |life| {
        life.server.state().tear = true;
        life.program.write("a", b"a whole content");
        settled(life).await;
        assert_eq!(contents(life), [(path("a"), Some(b"a whole content".to_vec()))]);
    });
    assert_eq!(requests, ["PUT /a", "PUT /a"]);
}

#[test]
fn an_overwrite_that_was_cut_in_the_middle_is_finished() {
    let requests = requests_on(BARE, a_file, async |life| {
        life.server.state().tear = true;
        life.program.write("a", b"a whole content");
        settled(life).await;
        assert_eq!(contents(life), [(path("a"), Some(b"a whole content".to_vec()))]);
    });
    assert_eq!(requests, ["PUT /a", "PUT /a"]);
}

#[test]
fn an_upload_whose_answer_is_lost_is_recognised_by_its_content() {
    let mut world = World::new(3, BARE);
    world.live(async |life| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        life.program.write("a", b"one");
        // The crash comes as soon as the server has it, before the answer is here.
        while life.server.state().files().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    world.live(async |life| {
        settled(&life).await;
        assert_eq!(changes(&life.server), ["PUT /a"], "sent once");
        assert_eq!(contents(&life), [(path("a"), Some(b"one".to_vec()))]);
    });
}

fn many_directories(life: &Life, count: usize) {
    let now = now(life);
    let mut state = life.server.state();
    for number in 0..count {
        state.other_makes_dir(&path(&format!("d{number:04}")), now);
    }
}

#[test]
fn a_poll_costs_a_few_requests_however_many_directories_there_are() {
    requests_on(APACHE, nothing, async |life| {
        many_directories(life, 400);
        settled(life).await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        life.server.state().requests.clear();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let requests = life.server.state().requests.len();
        // Twelve polls: the root looked at and listed, and four others.
        assert!((10..=12 * 6 + 6).contains(&requests), "{requests}");
    });
}

#[test]
fn a_change_shows_in_a_directory_in_use_at_once_and_everywhere_in_the_end() {
    requests_on(APACHE, nothing, async |life| {
        many_directories(life, 100);
        settled(life).await;
        tokio::time::sleep(Duration::from_secs(200)).await;
        let now = now(life);
        for dir in ["d0007", "d0077"] {
            let new = path(&format!("{dir}/new"));
            assert!(life.server.state().other_writes(&new, dir.into(), now));
        }
        let shown = |dir: &str| {
            let tree = &life.program.bytes.tree;
            let dir = tree.child(Ino::ROOT, &super::program::name(dir).key()).unwrap().unwrap();
            tree.child(dir.ino, &super::program::name("new").key()).unwrap().is_some()
        };
        life.program.find("d0007/new");
        within(3, || shown("d0007")).await;
        within(600, || shown("d0077")).await;
    });
}

#[test]
fn a_first_load_by_levels_lists_everything_several_directories_at_once() {
    let mut world = World::new(5, APACHE);
    world.live(async |life| {
        many_directories(&life, 1_200);
        let tree = &life.program.bytes.tree;
        let listed = || tree.view(|tx| tx.unlisted(Ino::default(), 1)).unwrap().is_empty();
        let began = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_secs(2)).await;
        within(120, listed).await;
        let one_by_one = Duration::from_millis(150) * 1_200;
        assert!(began.elapsed() < one_by_one / 3, "{:?}", began.elapsed());
    });
}
