use super::*;

#[test]
fn a_directory_is_read_in_pieces_of_any_size() {
    let world = world();
    let dir = world.dir(Ino::ROOT, "d");
    let mut expected = vec![".".to_owned(), "..".to_owned()];
    for index in 0..20 {
        world.file(dir, &format!("f{index}"));
        expected.push(format!("f{index}"));
    }
    for limit in [1, 2, 3, 7, 100] {
        assert_eq!(world.names(dir, limit), expected, "{limit} at a time");
    }
}

#[test]
fn entries_neither_repeat_nor_vanish_while_others_come_and_go() {
    let world = world();
    let dir = world.dir(Ino::ROOT, "d");
    for index in 0..100 {
        world.file(dir, &format!("stays{index}"));
        world.file(dir, &format!("goes{index}"));
    }
    let handle = world.vfs.opendir(dir).unwrap();
    let (mut seen, mut position) = (Vec::new(), 0);
    for round in 0.. {
        let entries = now(world.vfs.readdir(handle, position, 3)).unwrap();
        let Some(last) = entries.last() else { break };
        position = last.position;
        seen.extend(entries.iter().map(|e| String::from_utf8_lossy(e.name()).into_owned()));
        if round < 100 {
            now(world.vfs.unlink(dir, format!("goes{round}").as_bytes())).unwrap();
            world.file(dir, &format!("new{round}"));
            let (from, to) = (format!("stays{round}"), format!("renamed{round}"));
            let (from, to) = ((dir, from.as_bytes()), (dir, to.as_bytes()));
            now(world.vfs.rename(from, to, RenameRule::Replace)).unwrap();
        }
    }
    for index in 0..100 {
        let (old, new) = (format!("stays{index}"), format!("renamed{index}"));
        let times = seen.iter().filter(|name| **name == old || **name == new).count();
        assert_eq!(times, 1, "{old}");
    }
}

#[test]
fn a_reader_sees_each_entry_once_while_another_thread_changes_the_directory() {
    let world = world();
    let dir = world.dir(Ino::ROOT, "d");
    for index in 0..200 {
        world.file(dir, &format!("stays{index}"));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for index in 0..200 {
                let name = format!("passes{index}");
                world.file(dir, &name);
                now(world.vfs.unlink(dir, name.as_bytes())).unwrap();
            }
        });
        for _ in 0..10 {
            let names = world.names(dir, 5);
            let stays = names.iter().filter(|name| name.starts_with("stays")).count();
            let unique: std::collections::HashSet<_> = names.iter().collect();
            assert_eq!((stays, unique.len()), (200, names.len()));
        }
    });
}

#[test]
fn a_removed_directory_that_is_open_has_no_entries() {
    let world = world();
    let dir = world.dir(Ino::ROOT, "d");
    let handle = world.vfs.opendir(dir).unwrap();
    now(world.vfs.rmdir(Ino::ROOT, b"d")).unwrap();
    assert!(now(world.vfs.readdir(handle, 0, 10)).unwrap().is_empty());
    world.vfs.releasedir(handle).unwrap();
}

#[test]
fn dot_and_dot_dot_are_the_directory_and_the_one_above() {
    let world = world();
    let above = world.dir(Ino::ROOT, "above");
    let dir = world.dir(above, "d");
    let handle = world.vfs.opendir(dir).unwrap();
    let entries = now(world.vfs.readdir(handle, 0, 10)).unwrap();
    assert_eq!(entries.iter().map(DirEntry::ino).collect::<Vec<_>>(), [dir, above]);
    assert!(entries.iter().all(|entry| entry.kind() == Kind::Directory && !entry.lasting()));
}

#[test]
fn handles_of_files_and_directories_are_not_mistaken_for_each_other() {
    let world = world();
    let file = world.file(Ino::ROOT, "f");
    let errno = |result: Result<()>| result.unwrap_err().errno();
    assert_eq!(errno(world.vfs.opendir(file).map(drop)), libc::ENOTDIR);
    let open = OpenMode::from_flags(READ);
    assert_eq!(errno(world.vfs.open(Ino::ROOT, open).map(drop)), libc::EISDIR);
    let opened = world.vfs.open(file, open).unwrap();
    assert_eq!(errno(now(world.vfs.readdir(opened.handle, 0, 1)).map(drop)), libc::EBADF);
    let dir = world.vfs.opendir(Ino::ROOT).unwrap();
    assert_eq!(errno(now(world.vfs.read(dir, 0, 1)).map(drop)), libc::EBADF);
    assert_eq!(errno(world.vfs.write(opened.handle, 0, b"x")), libc::EBADF);
    world.vfs.release(opened.handle).unwrap();
    assert_eq!(errno(world.vfs.release(opened.handle)), libc::EBADF);
}

#[tokio::test]
async fn names_are_on_the_disk_after_fsync_of_their_directory() {
    let world = world();
    let handle = world.vfs.opendir(Ino::ROOT).unwrap();
    world.vfs.fsyncdir(handle).await.unwrap();
}
