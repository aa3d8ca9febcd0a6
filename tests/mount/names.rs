//! Names, as bytes here and as text there.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::harness::{Fixture, USER, eventually, for_both};

for_both!(
    a_name_that_the_server_cannot_hold_is_refused_at_once,
    a_name_is_found_by_either_spelling_and_listed_as_it_was_made,
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
    let too_long = [b'x'; 251];
    let refused: [(&[u8], i32); 6] = [
        (b"x.part", libc::EINVAL),
        (b".htaccess", libc::EINVAL),
        (b"back\\slash", libc::EINVAL),
        (b"new\nline", libc::EINVAL),
        (&too_long, libc::ENAMETOOLONG),
        (b"latin1-\xe9", libc::EILSEQ),
    ];
    for (name, errno) in refused {
        let path = fixture.mountpoint().join(OsStr::from_bytes(name));
        let attempts: [(&str, io::Result<()>); 4] = [
            ("create", fs::write(&path, "x")),
            ("mkdir", fs::create_dir(&path)),
            ("rename", fs::rename(mount.path("good"), &path)),
            ("symlink", symlink("x", &path)),
        ];
        for (how, attempt) in attempts {
            let name = String::from_utf8_lossy(name);
            assert_eq!(attempt.unwrap_err().raw_os_error(), Some(errno), "{how} {name}");
        }
    }
    assert_eq!(fs::read_dir(mount.path("")).unwrap().count(), 1);
    mount.flush();
    assert_eq!(fixture.changes_sent(), [""; 0]);
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
