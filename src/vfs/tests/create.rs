use super::*;

#[test]
fn a_new_file_belongs_to_its_maker_and_waits_to_be_sent() {
    let world = world();
    let before = world.vfs.getattr(Ino::ROOT).unwrap();
    let made = now(world.vfs.create(
        USER,
        Ino::ROOT,
        b"notes.txt",
        0o640,
        true,
        OpenMode::from_flags(libc::O_RDWR),
    ))
    .unwrap();
    assert_eq!((made.stat.attr.uid, made.stat.attr.gid, made.stat.attr.mode), (1000, 1000, 0o640));
    assert_eq!((made.stat.kind, made.stat.nlink), (Kind::File, 1));
    assert!(world.node(made.stat.ino).unwrap().is_dirty());
    let after = world.vfs.getattr(Ino::ROOT).unwrap();
    assert!(after.attr.mtime > before.attr.mtime && after.attr.ctime > before.attr.ctime);
}

#[test]
fn a_file_that_is_there_is_opened_unless_the_program_wants_a_new_one() {
    let world = world();
    let ino = remote_file(&world.tree, Ino::ROOT, "a");
    let create = |exclusive| {
        let open = OpenMode::from_flags(READ);
        now(world.vfs.create(USER, Ino::ROOT, b"a", 0o600, exclusive, open))
    };
    assert_eq!(create(false).unwrap().stat.ino, ino);
    assert_eq!(create(true).unwrap_err().errno(), libc::EEXIST);
}

#[test]
fn below_a_set_group_id_directory_all_has_its_group() {
    let world = world();
    let team = world.dir(Ino::ROOT, "team");
    let set = SetAttr { mode: Some(0o2775), gid: Some(77), ..SetAttr::default() };
    world.vfs.setattr(team, set).unwrap();
    let file = world.vfs.getattr(world.file(team, "file")).unwrap();
    let dir = world.vfs.getattr(world.dir(team, "dir")).unwrap();
    assert_eq!((file.attr.gid, file.attr.mode & 0o2000), (77, 0));
    assert_eq!((dir.attr.gid, dir.attr.mode & 0o2000), (77, 0o2000));
}

#[test]
fn fifos_and_sockets_are_kept_here_and_device_nodes_are_refused() {
    let world = world();
    for (name, kind) in [("fifo", libc::S_IFIFO), ("socket", libc::S_IFSOCK)] {
        let made = now(world.vfs.mknod(USER, Ino::ROOT, name.as_bytes(), kind | 0o600)).unwrap();
        assert!(!world.node(made.stat.unwrap().ino).unwrap().is_dirty(), "{name}");
    }
    for kind in [libc::S_IFCHR, libc::S_IFBLK] {
        let refused = now(world.vfs.mknod(USER, Ino::ROOT, b"device", kind | 0o600)).unwrap_err();
        assert_eq!(refused.errno(), libc::EPERM);
    }
}

#[test]
fn a_symbolic_link_tells_its_target_byte_for_byte() {
    let world = world();
    let target = b"../else\xff/where";
    let made = now(world.vfs.symlink(USER, Ino::ROOT, b"link", target)).unwrap().stat.unwrap();
    assert_eq!((made.kind, made.attr.size), (Kind::Symlink, target.len() as u64));
    assert_eq!(&*world.vfs.readlink(made.ino).unwrap(), target);
    let opened = world.vfs.open(made.ino, OpenMode::from_flags(READ));
    assert_eq!(opened.unwrap_err().errno(), libc::ELOOP);
}

#[test]
fn a_new_directory_is_known_to_be_empty() {
    let world = world();
    let dir = world.dir(Ino::ROOT, "new");
    assert_eq!(world.find(dir, "anything"), None);
    assert!(world.server.listed.lock().unwrap().is_empty());
}

#[test]
fn nothing_can_be_made_in_a_directory_that_was_removed() {
    let world = world();
    let dir = world.dir(Ino::ROOT, "gone");
    let handle = world.vfs.opendir(dir).unwrap();
    now(world.vfs.rmdir(Ino::ROOT, b"gone")).unwrap();
    let made = now(world.vfs.mkdir(USER, dir, b"x", 0o755));
    assert_eq!(made.unwrap_err().errno(), libc::ENOENT);
    world.vfs.releasedir(handle).unwrap();
    assert!(world.node(dir).is_none());
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let world = world_with(VfsOptions { uid: 0, gid: 0, umask: 0, read_only: true });
    let ino = remote_file(&world.tree, Ino::ROOT, "a");
    let vfs = &world.vfs;
    let (root, write) = (Ino::ROOT, OpenMode::from_flags(libc::O_WRONLY));
    let refused = [
        now(vfs.create(USER, root, b"b", 0o600, false, write)).err(),
        now(vfs.mkdir(USER, root, b"b", 0o700)).err(),
        now(vfs.symlink(USER, root, b"b", b"a")).err(),
        now(vfs.mknod(USER, root, b"b", libc::S_IFREG)).err(),
        now(vfs.unlink(root, b"a")).err(),
        now(vfs.rmdir(root, b"a")).err(),
        now(vfs.rename((root, b"a"), (root, b"b"), RenameRule::Replace)).err(),
        vfs.setattr(ino, SetAttr { mode: Some(0), ..SetAttr::default() }).err(),
        vfs.open(ino, write).err(),
        vfs.open(ino, OpenMode::from_flags(libc::O_TRUNC)).err(),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.map(|error| error.errno()), Some(libc::EROFS), "call {index}");
    }
    assert!(vfs.open(ino, OpenMode::from_flags(READ)).is_ok());
}
