use super::*;

const NFC: &str = "caf\u{e9}";
const NFD: &str = "cafe\u{301}";

#[test]
fn names_that_the_server_cannot_store_are_refused_at_once() {
    let world = world();
    world.file(Ino::ROOT, "a");
    let long = [b'x'; 251];
    let cases: [(&[u8], i32); 6] = [
        (b"\xff\xfe", libc::EILSEQ),
        (&long, libc::ENAMETOOLONG),
        (&[b'x'; 300], libc::ENAMETOOLONG),
        (b"back\\slash", libc::EINVAL),
        (b"half.part", libc::EINVAL),
        (b".htaccess", libc::EINVAL),
    ];
    let vfs = &world.vfs;
    let (root, open) = (Ino::ROOT, OpenMode::from_flags(libc::O_RDWR));
    for (name, errno) in cases {
        let refused = [
            now(vfs.create(USER, root, name, 0o600, false, open)).err(),
            now(vfs.mkdir(USER, root, name, 0o700)).err(),
            now(vfs.symlink(USER, root, name, b"a")).err(),
            now(vfs.mknod(USER, root, name, libc::S_IFIFO)).err(),
            now(vfs.rename((root, b"a"), (root, name), RenameRule::Replace)).err(),
        ];
        for refused in refused {
            assert_eq!(refused.map(|error| error.errno()), Some(errno), "{name:?}");
        }
    }
    assert_eq!(world.names(Ino::ROOT, 10), [".", "..", "a"]);
}

#[test]
fn looking_for_a_name_that_cannot_be_stored_finds_nothing() {
    let world = world();
    assert!(now(world.vfs.lookup(Ino::ROOT, b"x.part")).unwrap().stat.is_none());
    for length in [251, 300] {
        let long = now(world.vfs.lookup(Ino::ROOT, &vec![b'x'; length]));
        assert_eq!(long.unwrap_err().errno(), libc::ENAMETOOLONG);
    }
}

#[test]
fn both_spellings_lead_to_one_file_and_the_made_one_is_shown() {
    let world = world();
    let ino = world.file(Ino::ROOT, NFD);
    assert_eq!(world.find(Ino::ROOT, NFC), Some(ino));
    assert_eq!(world.find(Ino::ROOT, NFD), Some(ino));
    assert_eq!(world.names(Ino::ROOT, 10), [".", "..", NFD]);
    let again = now(world.vfs.mkdir(USER, Ino::ROOT, NFC.as_bytes(), 0o755));
    assert_eq!(again.unwrap_err().errno(), libc::EEXIST);
    now(world.vfs.unlink(Ino::ROOT, NFC.as_bytes())).unwrap();
    assert_eq!(world.find(Ino::ROOT, NFD), None);
}

#[test]
fn a_rename_to_another_spelling_changes_what_is_shown_and_nothing_on_the_server() {
    let world = world();
    let ino = remote_file(&world.tree, Ino::ROOT, NFC);
    world.rename(NFC, NFD).unwrap();
    assert_eq!(world.names(Ino::ROOT, 10), [".", "..", NFD]);
    assert_eq!(world.find(Ino::ROOT, NFC), Some(ino));
    assert!(!world.node(ino).unwrap().is_dirty());
}

#[test]
fn the_kernel_may_not_remember_names_that_have_two_spellings() {
    let world = world();
    world.file(Ino::ROOT, NFC);
    world.file(Ino::ROOT, "plain");
    let lasting = |name: &str| now(world.vfs.lookup(Ino::ROOT, name.as_bytes())).unwrap().lasting;
    assert!(lasting("plain") && lasting("absent"));
    assert!(!lasting(NFC) && !lasting(NFD) && !lasting("absent \u{e9}"));
}

#[test]
fn a_path_that_the_server_cannot_store_is_refused_at_once() {
    let world = world();
    let mut dir = Ino::ROOT;
    for _ in 0..15 {
        dir = world.dir(dir, &"d".repeat(249));
    }
    let (fits, too_long) = ("f".repeat(149), "f".repeat(150));
    let file = world.file(Ino::ROOT, "a");
    let vfs = &world.vfs;
    let open = OpenMode::from_flags(libc::O_RDWR);
    let long = too_long.as_bytes();
    let refused = [
        now(vfs.create(USER, dir, long, 0o600, false, open)).err(),
        now(vfs.mkdir(USER, dir, long, 0o700)).err(),
        now(vfs.symlink(USER, dir, long, b"a")).err(),
        now(vfs.mknod(USER, dir, long, libc::S_IFIFO)).err(),
        now(vfs.rename((Ino::ROOT, b"a"), (dir, long), RenameRule::Replace)).err(),
    ];
    for refused in refused {
        assert_eq!(refused.map(|error| error.errno()), Some(libc::ENAMETOOLONG));
    }
    assert_eq!(world.find(dir, &too_long), None);
    let moved = now(vfs.rename((Ino::ROOT, b"a"), (dir, fits.as_bytes()), RenameRule::Replace));
    moved.unwrap();
    assert_eq!(world.find(dir, &fits), Some(file));
}

#[test]
fn a_directory_gets_no_name_that_makes_a_path_below_it_too_long() {
    let world = world();
    let (short, longer) = ("s".repeat(150), "s".repeat(151));
    let top = world.dir(Ino::ROOT, &short);
    let mut dir = top;
    for _ in 0..14 {
        dir = world.dir(dir, &"d".repeat(249));
    }
    world.file(dir, &"f".repeat(248));
    let other = world.dir(Ino::ROOT, &longer);
    let errno = |result: Result<()>| result.map_err(|error| error.errno());
    for rule in [RenameRule::Replace, RenameRule::Exchange] {
        let renamed = now(world.vfs.rename(
            (Ino::ROOT, short.as_bytes()),
            (Ino::ROOT, longer.as_bytes()),
            rule,
        ));
        assert_eq!(errno(renamed), Err(libc::ENAMETOOLONG), "{rule:?}");
    }
    assert_eq!(world.find(Ino::ROOT, &short), Some(top));
    assert_eq!(world.find(Ino::ROOT, &longer), Some(other));
    world.rename(&short, &"t".repeat(150)).unwrap();
    world.rename(&"t".repeat(150), "t").unwrap();
    world.rename("t", &short).unwrap();
    assert_eq!(world.find(Ino::ROOT, &short), Some(top));
}
