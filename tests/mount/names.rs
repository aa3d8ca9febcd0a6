//! Names, as bytes here and as text there.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{mkfifo, mkfifoat, symlinkat};

use crate::harness::{Fixture, Mount, USER, eventually, for_both};

for_both!(
    a_name_that_the_server_cannot_hold_is_refused_at_once,
    a_name_is_found_by_either_spelling_and_listed_as_it_was_made,
    a_spelling_outlives_a_remount_and_the_server_has_its_own,
    a_path_that_is_too_long_for_the_server_is_refused_at_once,
    odd_names_arrive,
);

const COMPOSED: &str = "caf\u{e9}.txt";
const DECOMPOSED: &str = "cafe\u{301}.txt";

fn a_name_that_the_server_cannot_hold_is_refused_at_once() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    fs::write(mount.path("good"), "x").unwrap();
    mount.flush();
    fixture.cloud().reset_requests();
    refuses_what_the_server_cannot_hold(mount);
    mount.flush();
    assert_eq!(fixture.changes_sent(), [""; 0]);
    mount.unmount();
    let mount = fixture.mount();
    refuses_what_the_server_cannot_hold(mount);
}

/// In a mount that holds the file `good` and nothing else.
fn refuses_what_the_server_cannot_hold(mount: Mount<'_>) {
    let too_long = [b'x'; 255];
    let accents = "\u{e9}".repeat(126);
    let refused: [(&[u8], i32); 10] = [
        (b"x.part", libc::EINVAL),
        (b"X.PART", libc::EINVAL),
        (b"x.filepart", libc::EINVAL),
        (b".htaccess", libc::EINVAL),
        (b"back\\slash", libc::EINVAL),
        (b"new\nline", libc::EINVAL),
        (&too_long[..251], libc::ENAMETOOLONG),
        (&too_long, libc::ENAMETOOLONG),
        (accents.as_bytes(), libc::ENAMETOOLONG),
        (b"latin1-\xe9", libc::EILSEQ),
    ];
    for (name, errno) in refused {
        let path = mount.path("").join(OsStr::from_bytes(name));
        let attempts: [(&str, io::Result<()>); 5] = [
            ("create", fs::write(&path, "x")),
            ("mkdir", fs::create_dir(&path)),
            ("mkfifo", mkfifo(&path, Mode::S_IRUSR).map_err(io::Error::from)),
            ("rename", fs::rename(mount.path("good"), &path)),
            ("symlink", symlink("x", &path)),
        ];
        for (how, attempt) in attempts {
            let name = String::from_utf8_lossy(name);
            assert_eq!(attempt.unwrap_err().raw_os_error(), Some(errno), "{how} {name}");
        }
    }
    assert_eq!(fs::read_dir(mount.path("")).unwrap().count(), 1);
    // What a link leads to is no name on the server.
    for (target, _) in refused {
        let link = mount.path("link");
        symlink(OsStr::from_bytes(target), &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap().as_os_str().as_bytes(), target);
        fs::remove_file(&link).unwrap();
    }
}

fn listed(fixture: &Fixture) -> Vec<String> {
    let entries = fs::read_dir(fixture.mountpoint()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn a_name_is_found_by_either_spelling_and_listed_as_it_was_made() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    fs::write(mount.path(DECOMPOSED), "one").unwrap();
    assert_eq!(fs::read(mount.path(COMPOSED)).unwrap(), b"one");
    assert_eq!(listed(&fixture), [DECOMPOSED]);
    fs::write(mount.path(COMPOSED), "two").unwrap();
    assert_eq!(fs::read(mount.path(DECOMPOSED)).unwrap(), b"two");
    mount.flush();
    assert_eq!(fixture.server_tree("/").into_keys().collect::<Vec<_>>(), [COMPOSED]);
    assert_eq!(listed(&fixture), [DECOMPOSED]);

    // The same name for the server, so there is nothing to replace.
    fs::rename(mount.path(DECOMPOSED), mount.path("plain.txt")).unwrap();
    fs::remove_file(mount.path("plain.txt")).unwrap();
    assert!(!mount.path(COMPOSED).exists() && !mount.path(DECOMPOSED).exists());
    mount.flush();
    assert!(fixture.server_tree("/").is_empty());

    fixture.upload(&format!("/{COMPOSED}"), b"three");
    eventually("it shows", || listed(&fixture) == [COMPOSED]);
    assert_eq!(fs::read(mount.path(DECOMPOSED)).unwrap(), b"three");
}

fn a_spelling_outlives_a_remount_and_the_server_has_its_own() {
    let fixture = Fixture::new();
    let elsewhere = ["cr\u{e8}me", "cre\u{300}me"];
    let mount = fixture.mount();
    fs::create_dir(mount.path(DECOMPOSED)).unwrap();
    mount.flush();
    // Made by another client, in the other spelling.
    fixture.upload(&format!("/{}", elsewhere[1]), b"four");
    eventually("it shows", || mount.path(elsewhere[0]).exists());
    mount.unmount();
    fixture.empty_cache();
    let mount = fixture.mount();
    let mut names = listed(&fixture);
    names.sort();
    // The server composes what it is given.
    assert_eq!(names, [DECOMPOSED, elsewhere[0]]);
    fs::write(mount.path(COMPOSED).join("inside"), "five").unwrap();
    assert_eq!(fs::read(mount.path(DECOMPOSED).join("inside")).unwrap(), b"five");
    for name in elsewhere {
        assert_eq!(fs::read(mount.path(name)).unwrap(), b"four");
    }
    mount.flush();
    assert_eq!(fixture.server_tree("/").len(), 3);
}

fn a_path_that_is_too_long_for_the_server_is_refused_at_once() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    fs::create_dir(mount.path("top")).unwrap();
    fs::write(mount.path("good"), "x").unwrap();
    let mut dir = open_dir(None, &mount.path("top"));
    // Paths of that length are beyond PATH_MAX for programs too: they go down step by step.
    for _ in 0..15 {
        let below = PathBuf::from("d".repeat(249));
        mkdirat(&dir, &below, Mode::S_IRWXU).unwrap();
        dir = open_dir(Some(&dir), &below);
    }
    // The user's id and "/top" are 9 bytes, the directories 3750: 141 are left.
    let (fits, too_long) = ("f".repeat(140), "f".repeat(141));
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY;
    let refused = Some(Errno::ENAMETOOLONG);
    for _ in ["not sent", "sent"] {
        let create = openat(&dir, &*too_long, flags, Mode::S_IRWXU);
        assert_eq!(create.err(), refused);
        assert_eq!(mkdirat(&dir, &*too_long, Mode::S_IRWXU).err(), refused);
        assert_eq!(symlinkat("x", &dir, &*too_long).err(), refused);
        assert_eq!(mkfifoat(&dir, &*too_long, Mode::S_IRWXU).err(), refused);
        let good = mount.path("good");
        assert_eq!(renameat(AT_FDCWD, &good, &dir, &*too_long).err(), refused);
        drop(openat(&dir, &*fits, flags, Mode::S_IRWXU).unwrap());
        let renamed = fs::rename(mount.path("top"), mount.path("tops")).unwrap_err();
        assert_eq!(renamed.raw_os_error(), Some(libc::ENAMETOOLONG));
        mount.flush();
    }
    fs::rename(mount.path("top"), mount.path("pot")).unwrap();
    mount.flush();
    assert_eq!(fixture.server_tree("/").keys().map(String::len).max(), Some(3 + 15 * 250 + 141));
}

fn open_dir(parent: Option<&OwnedFd>, name: &Path) -> OwnedFd {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
    match parent {
        Some(parent) => openat(parent, name, flags, Mode::empty()),
        None => openat(AT_FDCWD, name, flags, Mode::empty()),
    }
    .unwrap()
}

fn odd_names_arrive() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    let longest = "\u{1f600}".repeat(62) + "xx";
    let names =
        ["100%", "a&b=c?d#e", "what's \"this\"", " leading", "trailing ", "a:b*c", "...", &longest];
    for name in names {
        fs::create_dir(mount.path(&format!("in {name}").chars().take(60).collect::<String>()))
            .unwrap();
        fs::write(mount.path(name), name).unwrap();
    }
    mount.flush();
    for name in names {
        let content = fixture.cloud().read_file(USER, &format!("/{name}"));
        assert_eq!(content.as_deref(), Some(name.as_bytes()), "{name}");
    }
    mount.unmount();
    fixture.empty_cache();
    let mount = fixture.mount();
    for name in names {
        assert_eq!(fs::read(mount.path(name)).unwrap(), name.as_bytes(), "{name}");
    }
}
