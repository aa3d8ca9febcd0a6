use super::*;

/// A directory that nobody has listed, with one child on the server.
fn unlisted(world: &World, name: &str) -> Ino {
    let dir = remote_dir(&world.tree, Ino::ROOT, name);
    world.server.children.lock().unwrap().insert(dir, vec!["there"]);
    dir
}

#[test]
fn absence_is_never_guessed_of_an_unlisted_directory() {
    let world = world();
    let dir = unlisted(&world, "d");
    assert!(world.find(dir, "there").is_some());
    assert_eq!(world.find(dir, "elsewhere"), None);
    assert_eq!(*world.server.listed.lock().unwrap(), [dir], "one listing answers both");
}

#[test]
fn a_known_child_of_an_unlisted_directory_is_answered_offline() {
    let world = world();
    let dir = remote_dir(&world.tree, Ino::ROOT, "d");
    let known = remote_file(&world.tree, dir, "known");
    world.server.offline.store(true, Ordering::Relaxed);
    assert_eq!(world.find(dir, "known"), Some(known));
    let absent = now(world.vfs.lookup(dir, b"other"));
    assert_eq!(absent.unwrap_err().errno(), libc::EIO);
    let handle = world.vfs.opendir(dir).unwrap();
    assert_eq!(now(world.vfs.readdir(handle, 0, 10)).err().unwrap().errno(), libc::EIO);
}

#[test]
fn nothing_is_made_over_a_name_that_the_server_turns_out_to_have() {
    let world = world();
    let dir = unlisted(&world, "d");
    let made = now(world.vfs.mkdir(USER, dir, b"there", 0o755));
    assert_eq!(made.unwrap_err().errno(), libc::EEXIST);
}

#[test]
fn a_directory_that_only_looks_empty_is_neither_removed_nor_replaced() {
    let world = world();
    let dir = unlisted(&world, "d");
    let removed = now(world.vfs.rmdir(Ino::ROOT, b"d"));
    assert_eq!(removed.unwrap_err().errno(), libc::ENOTEMPTY);
    assert_eq!(*world.server.listed.lock().unwrap(), [dir]);
    unlisted(&world, "e");
    world.dir(Ino::ROOT, "new");
    assert_eq!(world.rename("new", "e"), Err(libc::ENOTEMPTY));
}

#[test]
fn a_rename_between_unlisted_directories_lists_both() {
    let world = world();
    let (from, to) = (unlisted(&world, "from"), unlisted(&world, "to"));
    let moved = now(world.vfs.rename((from, b"there"), (to, b"other"), RenameRule::Replace));
    moved.unwrap();
    assert_eq!(world.names(to, 10), [".", "..", "other", "there"]);
    assert_eq!(*world.server.listed.lock().unwrap(), [from, to]);
}

/// Lists without ever making a directory listed.
struct Futile;

#[async_trait::async_trait]
impl Lister for Futile {
    async fn list(&self, _: Ino) -> std::result::Result<(), ListError> {
        Ok(())
    }
}

#[test]
fn a_directory_that_stays_unlisted_is_an_error_and_not_a_loop() {
    let mut world = world();
    world.vfs.lister = Arc::new(Futile);
    let dir = remote_dir(&world.tree, Ino::ROOT, "d");
    assert_eq!(now(world.vfs.lookup(dir, b"x")).unwrap_err().errno(), libc::EIO);
}
