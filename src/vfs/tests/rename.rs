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
