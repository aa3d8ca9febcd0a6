//! Exchanged names, and crashes in the middle of what that is on the server.

use std::time::Duration;

use super::profile::{APACHE, BARE, NEXTCLOUD, Profile, RCLONE};
use super::scenarios::{path, settled};
use super::{Life, World};
use crate::clock::Clock;
use crate::types::RemotePath;

/// Two files of somebody's are exchanged here; the daemon dies as soon as the server has put one of
/// them aside, before the answer is here.
fn crash_in_the_middle(seed: u64, profile: Profile) {
    let mut world = World::new(seed, profile);
    world.live(async |life| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = life.clock.now().secs();
        life.server.state().other_writes(&path("a"), b"one".to_vec(), now);
        life.server.state().other_writes(&path("b"), b"other".to_vec(), now);
        settled(&life).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(life.program.exchange("a", "b"));
        let is_aside = || {
            let paths = life.server.state().paths(false);
            paths.iter().any(|path| path.to_string().contains(".ncfs-moving"))
        };
        while !is_aside() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    world.live(async |life| {
        settled(&life).await;
        let told = format!("{} seed {seed}", profile.name);
        assert_eq!(life.program.read("a").await.as_deref(), Some(&b"other"[..]), "{told}");
        assert_eq!(life.program.read("b").await.as_deref(), Some(&b"one"[..]), "{told}");
        assert_eq!(life.server.state().paths(false), [path("a"), path("b")], "{told}");
    });
}

#[test]
fn a_crash_in_the_middle_of_an_exchange_changes_no_name() {
    for profile in [NEXTCLOUD, APACHE, RCLONE, BARE] {
        for seed in 0..40 {
            crash_in_the_middle(seed, profile);
        }
    }
}

/// Runs `act` when `a` and `b` are on both sides.
fn with_two_files(act: impl AsyncFnOnce(&Life)) {
    World::new(1, NEXTCLOUD).live(async |life| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(life.program.write("a", b"one") && life.program.write("b", b"other"));
        settled(&life).await;
        act(&life).await;
    });
}

fn aside_of(life: &Life, name: &str) -> RemotePath {
    path(&format!(".ncfs-moving-{}", life.program.find(name).unwrap().ino.0))
}

#[test]
fn an_exchange_goes_on_where_somebody_has_the_names_to_put_aside() {
    with_two_files(async |life| {
        let now = life.clock.now().secs();
        for name in ["a", "b"] {
            let taken = aside_of(life, name);
            assert!(life.server.state().other_writes(&taken, name.into(), now));
        }
        assert!(life.program.exchange("a", "b"));
        settled(life).await;
        let files = life.server.state().files();
        assert_eq!(files[&path("a")].as_deref(), Some(&b"other"[..]));
        assert_eq!(files[&path("b")].as_deref(), Some(&b"one"[..]));
        assert_eq!(files.len(), 4);
    });
}

#[test]
fn what_another_machine_put_aside_is_shown_as_it_is() {
    with_two_files(async |life| {
        let (aside, now) = (aside_of(life, "a"), life.clock.now().secs());
        assert!(life.server.state().other_renames(&path("a"), &aside, now));
        settled(life).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(life.server.state().paths(false), [aside, path("b")]);
    });
}
