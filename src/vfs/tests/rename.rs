use super::*;

/// What the matrix is made of.
const KINDS: [&str; 5] = ["nothing", "file", "symlink", "empty", "full"];

/// Makes a node of a kind and tells its number.
fn make(world: &World, kind: &str, name: &str) -> Option<Ino> {
    match kind {
        "nothing" => None,
        "file" => Some(world.file(Ino::ROOT, name)),
        "symlink" => {
            let made = now(world.vfs.symlink(USER, Ino::ROOT, name.as_bytes(), b"target"));
            Some(made.unwrap().stat.unwrap().ino)
        }
        "empty" => Some(world.dir(Ino::ROOT, name)),
        "full" => {
            let dir = world.dir(Ino::ROOT, name);
            world.file(dir, "child");
            Some(dir)
        }
        other => panic!("{other}"),
    }
}

/// rename(2), by kind of what moves and of what is there.
fn expected(moved: &str, target: &str) -> std::result::Result<(), i32> {
    match (moved, target) {
        ("nothing", _) => Err(libc::ENOENT),
        (_, "nothing") | ("file" | "symlink", "file" | "symlink") => Ok(()),
        ("file" | "symlink", "empty" | "full") => Err(libc::EISDIR),
        ("empty" | "full", "file" | "symlink") => Err(libc::ENOTDIR),
        ("empty" | "full", "empty") => Ok(()),
        ("empty" | "full", "full") => Err(libc::ENOTEMPTY),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rename_replaces_what_rename_2_says_and_nothing_else() {
    for moved in KINDS {
        for target in KINDS {
            let world = world();
            let (from, to) = (make(&world, moved, "from"), make(&world, target, "to"));
            let renamed = world.rename("from", "to");
            assert_eq!(renamed, expected(moved, target), "{moved} over {target}");
            if renamed.is_ok() {
                assert_eq!(world.find(Ino::ROOT, "to"), from, "{moved} over {target}");
                assert_eq!(world.find(Ino::ROOT, "from"), None);
                assert!(to.is_none_or(|ino| world.node(ino).is_none()), "the replaced row stays");
            } else {
                assert_eq!(world.find(Ino::ROOT, "to"), to);
                assert_eq!(world.find(Ino::ROOT, "from"), from);
            }
        }
    }
}

#[test]
fn with_noreplace_a_taken_name_stays_as_it_is() {
    let world = world();
    world.file(Ino::ROOT, "a");
    let b = world.file(Ino::ROOT, "b");
    let rename = |to: &[u8]| {
        let (from, to) = ((Ino::ROOT, &b"a"[..]), (Ino::ROOT, to));
        now(world.vfs.rename(from, to, RenameRule::KeepTarget))
    };
    assert_eq!(rename(b"b").unwrap_err().errno(), libc::EEXIST);
    assert_eq!(world.find(Ino::ROOT, "b"), Some(b));
    assert!(rename(b"c").is_ok());
}

#[test]
fn a_directory_does_not_move_into_itself() {
    let world = world();
    let a = world.dir(Ino::ROOT, "a");
    let b = world.dir(a, "b");
    let c = world.dir(b, "c");
    for inside in [a, b, c] {
        let moved = now(world.vfs.rename((Ino::ROOT, b"a"), (inside, b"x"), RenameRule::Replace));
        assert_eq!(moved.unwrap_err().errno(), libc::EINVAL);
    }
    // A directory above is never empty.
    let over = now(world.vfs.rename((b, b"c"), (Ino::ROOT, b"a"), RenameRule::Replace));
    assert_eq!(over.unwrap_err().errno(), libc::ENOTEMPTY);
}

#[test]
fn a_replaced_file_that_is_open_lives_on_without_a_name() {
    let world = world();
    let (new, old) = (world.file(Ino::ROOT, "new"), world.file(Ino::ROOT, "old"));
    let handle = world.vfs.open(old, OpenMode::from_flags(READ)).unwrap().handle;
    world.rename("new", "old").unwrap();
    assert_eq!(world.find(Ino::ROOT, "old"), Some(new));
    assert_eq!(world.vfs.getattr(old).unwrap().nlink, 0);
    world.vfs.release(handle).unwrap();
    assert!(world.node(old).is_none());
}

#[test]
fn the_servers_object_stays_known_under_its_name_when_it_is_replaced() {
    let world = world();
    let old = remote_file(&world.tree, Ino::ROOT, "doc");
    let new = world.file(Ino::ROOT, "doc.tmp");
    world.rename("doc.tmp", "doc").unwrap();
    assert_eq!(world.find(Ino::ROOT, "doc"), Some(new));
    assert!(world.node(old).unwrap().is_tombstone());
    assert!(world.node(new).unwrap().synced.is_none());
}

#[test]
fn a_rename_changes_the_times_of_both_directories_but_does_not_make_them_dirty() {
    let world = world();
    let from = remote_dir(&world.tree, Ino::ROOT, "from");
    let to = remote_dir(&world.tree, Ino::ROOT, "to");
    remote_file(&world.tree, from, "x");
    set_listed(&world.tree, to, true);
    let moved = now(world.vfs.rename((from, b"x"), (to, b"y"), RenameRule::Replace));
    moved.unwrap();
    for dir in [from, to] {
        let node = world.node(dir).unwrap();
        assert!(node.attr.mtime > Time::from_secs(5) && !node.is_dirty());
    }
}

#[test]
fn a_rename_there_and_back_leaves_nothing_to_do() {
    let world = world();
    let ino = remote_file(&world.tree, Ino::ROOT, "a");
    world.rename("a", "b").unwrap();
    assert!(world.node(ino).unwrap().is_dirty());
    world.rename("b", "a").unwrap();
    assert!(!world.node(ino).unwrap().is_dirty());
}

fn exchange(world: &World, from: (Ino, &str), to: (Ino, &str)) -> std::result::Result<(), i32> {
    let (from, to) = ((from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()));
    now(world.vfs.rename(from, to, RenameRule::Exchange)).map_err(|error| error.errno())
}

#[test]
fn an_exchange_gives_each_the_others_name_whatever_they_are() {
    for one in KINDS {
        for other in KINDS {
            let world = world();
            let dir = world.dir(Ino::ROOT, "dir");
            let first = make(&world, one, "one");
            let second = make(&world, other, "other");
            if second.is_some() {
                let into = ((Ino::ROOT, &b"other"[..]), (dir, &b"there"[..]));
                now(world.vfs.rename(into.0, into.1, RenameRule::Replace)).unwrap();
            }
            let done = exchange(&world, (Ino::ROOT, "one"), (dir, "there"));
            if first.is_none() || second.is_none() {
                assert_eq!(done, Err(libc::ENOENT), "{one} and {other}");
                assert_eq!(world.find(Ino::ROOT, "one"), first);
                assert_eq!(world.find(dir, "there"), second);
            } else {
                assert_eq!(done, Ok(()), "{one} and {other}");
                assert_eq!(world.find(Ino::ROOT, "one"), second);
                assert_eq!(world.find(dir, "there"), first);
            }
        }
    }
}

#[test]
fn an_exchange_of_a_directory_with_what_is_in_it_is_refused() {
    let world = world();
    let a = world.dir(Ino::ROOT, "a");
    let b = world.dir(a, "b");
    world.file(b, "c");
    let refused = Err(libc::EINVAL);
    assert_eq!(exchange(&world, (Ino::ROOT, "a"), (b, "c")), refused);
    assert_eq!(exchange(&world, (b, "c"), (Ino::ROOT, "a")), refused);
    assert_eq!(exchange(&world, (a, "b"), (Ino::ROOT, "a")), refused);
    assert_eq!(exchange(&world, (Ino::ROOT, "a"), (Ino::ROOT, "a")), Ok(()));
}

#[test]
fn an_exchange_keeps_both_objects_known_and_is_forgotten_when_it_is_undone() {
    let world = world();
    let (a, b) =
        (remote_file(&world.tree, Ino::ROOT, "a"), remote_dir(&world.tree, Ino::ROOT, "b"));
    exchange(&world, (Ino::ROOT, "a"), (Ino::ROOT, "b")).unwrap();
    for ino in [a, b] {
        let node = world.node(ino).unwrap();
        assert!(node.is_dirty() && node.synced.is_some());
    }
    exchange(&world, (Ino::ROOT, "b"), (Ino::ROOT, "a")).unwrap();
    assert!([a, b].iter().all(|ino| !world.node(*ino).unwrap().is_dirty()));
}

#[test]
fn an_exchange_of_nodes_that_only_this_machine_has_keeps_their_rows() {
    let world = world();
    let one = make(&world, "symlink", "one");
    let other = make(&world, "file", "other");
    exchange(&world, (Ino::ROOT, "one"), (Ino::ROOT, "other")).unwrap();
    assert_eq!((world.find(Ino::ROOT, "one"), world.find(Ino::ROOT, "other")), (other, one));
    assert_eq!(world.names(Ino::ROOT, 10).len(), 4);
}
