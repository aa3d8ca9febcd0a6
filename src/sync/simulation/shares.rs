//! Received shares without faults: what programs do in them, and the requests that follow.

use std::time::Duration;

use super::faults::{Fault, Weather};
use super::profile::NEXTCLOUD;
use super::scenarios::{changes, path, settled};
use super::{Life, World};
use crate::clock::Clock;

/// One life that begins with the received share `s`, which holds `b` and `a/c`; tells what `act`
/// returns.
fn with_a_share<T>(act: impl AsyncFnOnce(&Life) -> T) -> T {
    let mut world = World::new(1, NEXTCLOUD);
    let mut told = None;
    world.live(async |life| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = life.clock.now().secs();
        assert!(life.server.state().other_shares(&path("s"), b"theirs", now));
        life.quiesce().await.unwrap();
        // Past the second in which the tags are racy.
        tokio::time::sleep(Duration::from_secs(30)).await;
        changes(&life.server);
        told = Some(act(&life).await);
    });
    told.unwrap()
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

async fn remove_all(life: &Life, names: &[&str], pause: u64) {
    for name in names {
        assert!(life.program.remove(name), "{name}");
        seconds(pause).await;
    }
}

const ALL: [&str; 4] = ["s/a/c", "s/a", "s/b", "s"];

#[test]
fn a_share_that_is_removed_with_all_in_it_is_left_by_one_request() {
    let requests = with_a_share(async |life| {
        // Slowly: each pause is longer than any other deletion would wait.
        remove_all(life, &ALL, 10).await;
        settled(life).await;
        changes(&life.server)
    });
    assert_eq!(requests, ["DELETE /s"]);
}

#[test]
fn a_file_removed_in_a_share_is_deleted_half_a_minute_later() {
    let (before, after) = with_a_share(async |life| {
        remove_all(life, &["s/b"], 0).await;
        seconds(29).await;
        let before = changes(&life.server);
        seconds(3).await;
        (before, changes(&life.server))
    });
    assert_eq!((before.len(), after), (0, vec!["DELETE /s/b".to_owned()]));
}

#[test]
fn a_removal_that_was_interrupted_deletes_what_it_had_removed() {
    let requests = with_a_share(async |life| {
        remove_all(life, &["s/a/c", "s/a"], 0).await;
        settled(life).await;
        changes(&life.server)
    });
    assert_eq!(requests, ["DELETE /s/a"]);
}

#[test]
fn a_flush_sends_removals_in_a_share_at_once() {
    let requests = with_a_share(async |life| {
        remove_all(life, &["s/b"], 0).await;
        let limit = Some(Duration::from_secs(5));
        let left = life.engine.flush(None, limit, |_| {}).await.unwrap().left;
        assert_eq!(left.files, 0);
        changes(&life.server)
    });
    assert_eq!(requests, ["DELETE /s/b"]);
}

#[test]
fn removals_without_end_in_a_share_do_not_wait_for_ever() {
    let requests = with_a_share(async |life| {
        remove_all(life, &["s/b"], 0).await;
        for number in 0..16 {
            let name = format!("s/churn{number}");
            life.program.write(&name, b"x");
            seconds(20).await;
            life.program.remove(&name);
        }
        changes(&life.server)
    });
    assert!(requests.iter().any(|request| request == "DELETE /s/b"), "{requests:?}");
}

#[test]
fn a_directory_that_a_share_was_moved_into_goes_after_the_share_was_left() {
    let requests = with_a_share(async |life| {
        life.program.mkdir("own");
        life.program.rename("s", "own/in");
        settled(life).await;
        changes(&life.server);
        remove_all(life, &["own/in/a/c", "own/in/a", "own/in/b", "own/in", "own"], 0).await;
        settled(life).await;
        changes(&life.server)
    });
    assert_eq!(requests, ["DELETE /own/in", "DELETE /own"]);
}

#[test]
fn a_share_that_is_renamed_while_it_is_removed_is_left_under_its_new_name() {
    let requests = with_a_share(async |life| {
        remove_all(life, &["s/a/c", "s/a"], 1).await;
        life.program.rename("s", "t");
        seconds(5).await;
        remove_all(life, &["t/b", "t"], 1).await;
        settled(life).await;
        changes(&life.server)
    });
    assert_eq!(requests, ["MOVE /s", "DELETE /t"]);
}

#[test]
fn what_the_owner_adds_to_a_share_that_is_left_is_no_reason_to_stay() {
    let requests = with_a_share(async |life| {
        remove_all(life, &ALL, 0).await;
        let now = life.clock.now().secs();
        life.server.state().other_writes(&path("s/late"), b"late".to_vec(), now);
        settled(life).await;
        changes(&life.server)
    });
    assert_eq!(requests, ["DELETE /s"]);
}

#[test]
fn a_share_that_a_moment_long_could_not_be_found_is_left_all_the_same() {
    let requests = with_a_share(async |life| {
        remove_all(life, &ALL, 0).await;
        let now = life.clock.now().secs();
        life.server.state().other_writes(&path("s/late"), b"late".to_vec(), now);
        life.server.state().weather = Weather::only(Fault::Missing);
        seconds(2).await;
        life.server.state().weather = Weather::CALM;
        settled(life).await;
        changes(&life.server)
    });
    assert_eq!(requests, ["DELETE /s"]);
}

#[test]
fn of_a_share_that_was_withdrawn_only_what_was_changed_here_stays() {
    let files = with_a_share(async |life| {
        life.program.write("s/b", b"ours");
        life.server.state().other_deletes(&path("s"));
        settled(life).await;
        life.server.state().files()
    });
    let there: Vec<_> = files.keys().map(ToString::to_string).collect();
    assert_eq!(there, ["/s", "/s/b"]);
    assert_eq!(files[&path("s/b")].as_deref(), Some(&b"ours"[..]));
}

#[test]
fn a_share_that_is_none_any_more_gives_the_removed_directory_around_it_back() {
    let files = with_a_share(async |life| {
        life.program.mkdir("own");
        life.program.rename("s", "own/in");
        settled(life).await;
        seconds(30).await;
        remove_all(life, &["own/in/a/c", "own/in/a", "own/in/b", "own/in", "own"], 0).await;
        // Withdrawn, and somebody else's directory has the name.
        let now = life.clock.now().secs();
        {
            let mut state = life.server.state();
            state.other_deletes(&path("own/in"));
            assert!(state.other_makes_dir(&path("own/in"), now));
            assert!(state.other_writes(&path("own/in/new"), b"new".to_vec(), now));
        }
        settled(life).await;
        assert!(life.program.find("own/in/new").is_some());
        life.server.state().files()
    });
    assert!(files.contains_key(&path("own/in/new")));
}
