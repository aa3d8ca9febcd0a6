use super::*;

#[test]
fn a_file_that_never_left_this_machine_is_gone_with_its_name() {
    let world = world();
    let ino = world.file(Ino::ROOT, "a");
    now(world.vfs.unlink(Ino::ROOT, b"a")).unwrap();
    assert_eq!(world.find(Ino::ROOT, "a"), None);
    assert!(world.node(ino).is_none());
    assert_eq!(world.vfs.getattr(ino).unwrap_err().errno(), libc::ESTALE);
}

#[test]
fn a_file_that_the_server_has_stays_as_a_tombstone() {
    let world = world();
    let ino = remote_file(&world.tree, Ino::ROOT, "a");
    now(world.vfs.unlink(Ino::ROOT, b"a")).unwrap();
    assert_eq!(world.find(Ino::ROOT, "a"), None);
    let node = world.node(ino).unwrap();
    assert!(node.is_tombstone() && node.is_dirty());
}

#[test]
fn an_unlinked_file_lives_until_its_last_close() {
    let world = world();
    let ino = world.file(Ino::ROOT, "a");
    let first = world.vfs.open(ino, OpenMode::from_flags(READ)).unwrap().handle;
    let second = world.vfs.open(ino, OpenMode::from_flags(READ)).unwrap().handle;
    now(world.vfs.unlink(Ino::ROOT, b"a")).unwrap();
    assert_eq!(world.vfs.getattr(ino).unwrap().nlink, 0);
    let set = SetAttr { mode: Some(0o400), ..SetAttr::default() };
    assert_eq!(world.vfs.setattr(ino, set).unwrap().attr.mode, 0o400);
    world.vfs.release(first).unwrap();
    assert!(world.node(ino).is_some());
    world.vfs.release(second).unwrap();
    assert!(world.node(ino).is_none());
}

#[test]
fn the_name_of_an_unlinked_open_file_is_free_at_once() {
    let world = world();
    let old = world.file(Ino::ROOT, "a");
    let handle = world.vfs.open(old, OpenMode::from_flags(READ)).unwrap().handle;
    now(world.vfs.unlink(Ino::ROOT, b"a")).unwrap();
    let new = world.file(Ino::ROOT, "a");
    assert_ne!(old, new);
    assert_eq!(world.find(Ino::ROOT, "a"), Some(new));
    world.vfs.release(handle).unwrap();
}

#[test]
fn only_what_they_are_for_is_removed_by_unlink_and_rmdir() {
    let world = world();
    world.file(Ino::ROOT, "file");
    let dir = world.dir(Ino::ROOT, "dir");
    world.file(dir, "child");
    let errno = |result: Result<()>| result.unwrap_err().errno();
    assert_eq!(errno(now(world.vfs.unlink(Ino::ROOT, b"dir"))), libc::EISDIR);
    assert_eq!(errno(now(world.vfs.rmdir(Ino::ROOT, b"file"))), libc::ENOTDIR);
    assert_eq!(errno(now(world.vfs.rmdir(Ino::ROOT, b"dir"))), libc::ENOTEMPTY);
    assert_eq!(errno(now(world.vfs.unlink(Ino::ROOT, b"none"))), libc::ENOENT);
    now(world.vfs.unlink(dir, b"child")).unwrap();
    now(world.vfs.rmdir(Ino::ROOT, b"dir")).unwrap();
    assert_eq!(world.names(Ino::ROOT, 10), [".", "..", "file"]);
}

#[test]
fn a_removed_name_gives_what_blocked_it_another_chance() {
    let world = world();
    let ino = remote_file(&world.tree, Ino::ROOT, "a");
    world
        .tree
        .transact(|tx| {
            let mut node = (*tx.node(ino)?.unwrap()).clone();
            node.mtime_set = true;
            node.push.blocked = Some("forbidden".into());
            node.push.not_before = Time::from_secs(9_000_000_000);
            tx.put(node)
        })
        .unwrap();
    now(world.vfs.unlink(Ino::ROOT, b"a")).unwrap();
    let push = world.node(ino).unwrap().push.clone();
    assert_eq!((push.blocked, push.not_before), (None, Time::default()));
}
