use super::*;

const ROOT: Ino = Ino::ROOT;

/// Gives a node that the server has these letters.
fn allow(world: &World, ino: Ino, letters: &str, mount_root: bool) {
    let mut node = (*world.node(ino).unwrap()).clone();
    let synced = node.synced.as_mut().unwrap();
    synced.permissions = Some(letters.into());
    synced.mount_root = mount_root;
    world.tree.transact(|tx| tx.put(node)).unwrap();
}

/// A read-only share with a directory and a file in it.
fn read_only_share(world: &World) -> (Ino, Ino, Ino) {
    let share = remote_dir(&world.tree, ROOT, "share");
    let (dir, file) = (remote_dir(&world.tree, share, "dir"), remote_file(&world.tree, share, "f"));
    for (ino, letters, root) in [(share, "SGD", true), (dir, "SG", false), (file, "SG", false)] {
        allow(world, ino, letters, root);
    }
    for dir in [share, dir] {
        set_listed(&world.tree, dir, true);
    }
    (share, dir, file)
}

#[track_caller]
fn assert_refused<T>(result: Result<T>) {
    assert_eq!(result.map(drop).map_err(|error| error.errno()), Err(libc::EACCES));
}

#[test]
fn a_read_only_share_refuses_each_change_at_once() {
    let world = world();
    let (share, dir, file) = read_only_share(&world);
    let vfs = &world.vfs;
    for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_RDONLY | libc::O_TRUNC] {
        assert_refused(vfs.open(file, OpenMode::from_flags(flags)));
    }
    let write = OpenMode::from_flags(libc::O_WRONLY);
    assert_refused(now(vfs.create(USER, share, b"new", 0o644, false, write)));
    assert_refused(now(vfs.create(USER, share, b"f", 0o644, false, write)));
    assert_refused(now(vfs.mknod(USER, share, b"new", libc::S_IFREG | 0o644)));
    assert_refused(now(vfs.mkdir(USER, share, b"new", 0o755)));
    assert_refused(now(vfs.symlink(USER, share, b"new", b"f")));
    assert_refused(now(vfs.unlink(share, b"f")));
    assert_refused(now(vfs.rmdir(share, b"dir")));
    let rename = |from, to| now(vfs.rename(from, to, RenameRule::Replace));
    assert_refused(rename((share, b"f"), (share, b"g")));
    assert_refused(rename((share, b"f"), (dir, b"f")));
    assert_refused(rename((share, b"f"), (ROOT, b"out")));
    let own = world.file(ROOT, "own");
    assert_refused(rename((ROOT, b"own"), (share, b"in")));
    assert_refused(rename((ROOT, b"own"), (share, b"f")));
    assert_refused(vfs.setattr(file, SetAttr { size: Some(0), ..SetAttr::default() }));
    let mtime = Some(SetTime::Now);
    assert_refused(vfs.setattr(file, SetAttr { mtime, ..SetAttr::default() }));
    // Nothing of it was accepted.
    for ino in [share, dir, file] {
        assert!(!world.node(ino).unwrap().is_dirty());
    }
    assert_eq!(world.node(own).unwrap().local, Some(Place::new(ROOT, Name::new(*b"own").unwrap())));
    assert!(vfs.open(file, OpenMode::from_flags(READ)).is_ok());
}

#[test]
fn a_chmod_stays_and_does_not_show_what_the_server_forbids() {
    let world = world();
    let (.., file) = read_only_share(&world);
    let mode = |ino| world.vfs.getattr(ino).unwrap().attr.mode;
    assert_eq!(mode(file), 0o444);
    let chmod = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    assert_eq!(world.vfs.setattr(file, chmod).unwrap().attr.mode, 0o555);
    // The owner allows it again.
    allow(&world, file, "SRGDNVW", false);
    assert_eq!(mode(file), 0o777);
}

#[test]
fn the_root_of_a_read_only_share_can_be_renamed_and_when_it_is_empty_left() {
    let world = world();
    let (share, dir, file) = read_only_share(&world);
    world.rename("share", "elsewhere").unwrap();
    for ino in [dir, file] {
        let node = (*world.node(ino).unwrap()).clone();
        world.tree.transact(|tx| tx.put(Node { local: None, synced: None, ..node })).unwrap();
    }
    now(world.vfs.rmdir(ROOT, b"elsewhere")).unwrap();
    assert!(world.node(share).unwrap().is_tombstone());
}

#[test]
fn what_a_mode_cannot_say_is_refused_too() {
    let world = world();
    let share = remote_dir(&world.tree, ROOT, "share");
    let file = remote_file(&world.tree, share, "f");
    set_listed(&world.tree, share, true);
    // Files may be added, and nothing else.
    allow(&world, share, "SGDC", true);
    allow(&world, file, "SG", false);
    assert_eq!(world.vfs.getattr(share).unwrap().attr.mode & 0o200, 0o200);
    let new = world.file(share, "new");
    assert_refused(now(world.vfs.mkdir(USER, share, b"dir", 0o755)));
    assert_refused(now(world.vfs.unlink(share, b"f")));
    // What the server does not have yet is one's own.
    assert!(world.vfs.open(new, OpenMode::from_flags(libc::O_WRONLY)).is_ok());
    now(world.vfs.unlink(share, b"new")).unwrap();
}

#[test]
fn who_has_a_file_open_may_go_on_when_the_server_forbids_it() {
    let world = world();
    let file = remote_file(&world.tree, ROOT, "f");
    let write = OpenMode::from_flags(libc::O_WRONLY | libc::O_TRUNC);
    let handle = world.vfs.open(file, write).unwrap().handle;
    allow(&world, file, "SG", false);
    world.vfs.write(handle, 0, b"kept").unwrap();
    world.vfs.setattr(file, SetAttr { size: Some(2), ..SetAttr::default() }).unwrap();
    assert_refused(world.vfs.open(file, write));
    world.vfs.release(handle).unwrap();
    assert_eq!(world.vfs.getattr(file).unwrap().attr.size, 2);
}

#[test]
fn what_exists_only_here_can_be_taken_out_of_a_share_that_became_read_only() {
    let world = world();
    let share = remote_dir(&world.tree, ROOT, "share");
    set_listed(&world.tree, share, true);
    world.file(share, "new");
    allow(&world, share, "SGD", true);
    let writable = || world.vfs.getattr(share).unwrap().attr.mode & 0o200 != 0;
    assert!(writable());
    now(world.vfs.rename((share, b"new"), (ROOT, b"out"), RenameRule::Replace)).unwrap();
    assert!(!writable());
}

/// A share with these letters of its root and of the files `f` and `g` in it.
fn share_with(world: &World, root: &str, files: &str) -> Ino {
    let share = remote_dir(&world.tree, ROOT, "share");
    allow(world, share, root, true);
    for name in ["f", "g"] {
        let file = remote_file(&world.tree, share, name);
        allow(world, file, files, false);
    }
    set_listed(&world.tree, share, true);
    share
}

#[test]
fn what_can_be_written_and_not_deleted_keeps_its_name() {
    let world = world();
    let share = share_with(&world, "SGDNV", "SGNVW");
    let rename = |from, to| now(world.vfs.rename(from, to, RenameRule::Replace));
    assert_refused(rename((share, b"f"), (share, b"new")));
    assert_refused(rename((share, b"f"), (share, b"g")));
    assert_refused(rename((share, b"f"), (ROOT, b"out")));
    // A symlink cannot have the object, which would be deleted.
    now(world.vfs.symlink(USER, ROOT, b"link", b"f")).unwrap();
    assert_refused(rename((ROOT, b"link"), (share, b"f")));
    // A new file is what the object gets to hold.
    world.file(ROOT, "own");
    rename((ROOT, b"own"), (share, b"f")).unwrap();
}

#[test]
fn nothing_is_replaced_by_a_move_into_a_share_that_takes_no_new_names() {
    let world = world();
    let share = share_with(&world, "SGDNV", "SGDNVW");
    remote_file(&world.tree, ROOT, "own");
    let rename = |from, to| now(world.vfs.rename(from, to, RenameRule::Replace));
    assert_refused(rename((ROOT, b"own"), (share, b"f")));
    rename((share, b"f"), (share, b"g")).unwrap();
}

#[test]
fn an_exchange_needs_what_its_renames_need() {
    let exchange = |world: &World, from, to| now(world.vfs.rename(from, to, RenameRule::Exchange));
    let read_only = world();
    let (share, dir, file) = read_only_share(&read_only);
    let own = remote_file(&read_only.tree, ROOT, "own");
    assert_refused(exchange(&read_only, (share, b"f"), (share, b"dir")));
    assert_refused(exchange(&read_only, (share, b"f"), (ROOT, b"own")));
    assert_refused(exchange(&read_only, (ROOT, b"own"), (share, b"f")));
    read_only.file(ROOT, "new");
    assert_refused(exchange(&read_only, (ROOT, b"new"), (share, b"f")));
    for ino in [share, dir, file, own] {
        assert!(!read_only.node(ino).unwrap().is_dirty());
    }

    let editable = world();
    let share = share_with(&editable, "SGDNV", "SGNVW");
    assert_refused(exchange(&editable, (share, b"f"), (share, b"g")));
    // A new version for an old one is only sent as the content of its object.
    editable.file(ROOT, "new");
    exchange(&editable, (share, b"f"), (ROOT, b"new")).unwrap();
}
