use super::*;

#[test]
fn the_root_of_a_fresh_tree_belongs_to_whom_the_options_say() {
    let world = world_with(VfsOptions { uid: 7, gid: 8, umask: 0o077, read_only: false });
    let root = world.vfs.getattr(Ino::ROOT).unwrap();
    assert_eq!((root.attr.uid, root.attr.gid, root.attr.mode), (7, 8, 0o700));
    assert_eq!(root.kind, Kind::Directory);
}

#[test]
fn mode_owner_and_times_are_kept_to_the_nanosecond_and_only_the_mtime_is_sent() {
    let world = world();
    let ino = remote_file(&world.tree, Ino::ROOT, "a");
    let set = SetAttr { mode: Some(0o104_711), uid: Some(5), gid: Some(6), ..SetAttr::default() };
    let stat = world.vfs.setattr(ino, set).unwrap();
    assert_eq!((stat.attr.mode, stat.attr.uid, stat.attr.gid), (0o4711, 5, 6));
    assert!(!world.node(ino).unwrap().is_dirty());
    let (atime, mtime) = (Time(-1), Time(1_234_567_890_123_456_789));
    let set = SetAttr {
        atime: Some(SetTime::At(atime)),
        mtime: Some(SetTime::At(mtime)),
        ..SetAttr::default()
    };
    let stat = world.vfs.setattr(ino, set).unwrap();
    assert_eq!((stat.attr.atime, stat.attr.mtime), (atime, mtime));
    assert!(stat.attr.ctime > Time::from_secs(5));
    let node = world.node(ino).unwrap();
    assert!(node.mtime_set && node.is_dirty());
}

#[test]
fn what_is_left_out_stays_and_now_is_the_time_of_the_call() {
    let world = world();
    let ino = remote_file(&world.tree, Ino::ROOT, "a");
    let set = SetAttr { atime: Some(SetTime::Now), ..SetAttr::default() };
    let stat = world.vfs.setattr(ino, set).unwrap();
    assert_eq!(stat.attr.atime, stat.attr.ctime);
    assert_eq!((stat.attr.mtime, stat.attr.mode), (Time::from_secs(5), 0o644));
}

#[test]
fn the_times_of_a_directory_never_make_it_dirty() {
    let world = world();
    let dir = remote_dir(&world.tree, Ino::ROOT, "d");
    let set = SetAttr { mtime: Some(SetTime::At(Time(3))), ..SetAttr::default() };
    assert_eq!(world.vfs.setattr(dir, set).unwrap().attr.mtime, Time(3));
    assert!(!world.node(dir).unwrap().is_dirty());
}

#[test]
fn only_a_file_has_a_size_that_can_be_set() {
    let world = world();
    let fifo = now(world.vfs.mknod(USER, Ino::ROOT, b"fifo", libc::S_IFIFO)).unwrap();
    let set = |ino, size| {
        let set = SetAttr { size: Some(size), ..SetAttr::default() };
        world.vfs.setattr(ino, set).unwrap_err().errno()
    };
    assert_eq!(set(Ino::ROOT, 0), libc::EISDIR);
    assert_eq!(set(fifo.stat.unwrap().ino, 0), libc::EINVAL);
    assert_eq!(set(world.file(Ino::ROOT, "f"), u64::MAX), libc::EFBIG);
}

#[test]
fn a_directory_counts_its_subdirectories_once_they_are_known() {
    let world = world();
    let unlisted = remote_dir(&world.tree, Ino::ROOT, "d");
    assert_eq!(world.vfs.getattr(unlisted).unwrap().nlink, 1);
    assert_eq!(world.vfs.getattr(Ino::ROOT).unwrap().nlink, 3);
    let empty = world.dir(Ino::ROOT, "empty");
    world.file(empty, "file");
    assert_eq!(world.vfs.getattr(empty).unwrap().nlink, 2);
}

#[test]
fn statfs_tells_the_quota_of_the_account() {
    let world = world();
    let unlimited = world.vfs.statfs();
    assert!(unlimited.free > 1 << 30 && unlimited.name_max == 250);
    world.quota.send_replace(Some(Quota { used: 4097, available: Some(8191) }));
    let told = world.vfs.statfs();
    assert_eq!((told.blocks, told.free), (3, 1));
    world.quota.send_replace(Some(Quota { used: 0, available: Some(0) }));
    assert_eq!(world.vfs.statfs().free, 0);
}

#[test]
fn the_kernel_keeps_its_pages_only_while_the_content_is_the_same() {
    let world = world();
    let ino = remote_file(&world.tree, Ino::ROOT, "a");
    let open = || world.vfs.open(ino, OpenMode::from_flags(READ)).unwrap();
    let first = open();
    assert!(!first.keep_pages, "nothing is known yet");
    assert!(!open().keep_pages, "the kernel may not have seen the first answer yet");
    world.vfs.release(first.handle).unwrap();
    assert!(open().keep_pages);
    world
        .tree
        .transact(|tx| {
            let mut node = (*tx.node(ino)?.unwrap()).clone();
            node.body = Body::File(Content::Remote(ContentId(78)));
            tx.put(node)
        })
        .unwrap();
    assert!(!open().keep_pages);
}
