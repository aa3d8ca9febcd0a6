//! What programs expect of a file system.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, msync, munmap};
use nix::sys::statvfs::statvfs;

use crate::harness::{Fixture, USER, as_root, eventually, for_both, local_tree, noise, python};

for_both!(
    modes_symlinks_and_nanoseconds_survive_a_remount,
    truncating_exclusive_and_appending_opens_do_as_they_say,
    a_file_that_was_unlinked_while_open_can_be_read_and_written,
    a_file_that_was_never_read_can_be_unlinked_while_open,
    a_shared_mapping_writes_the_file,
    a_lock_keeps_another_process_out,
    the_quota_shows_as_the_size_of_the_file_system,
    what_does_not_fit_into_the_quota_is_kept_and_told,
    a_read_only_mount_refuses_every_change,
    renames_do_as_they_say,
    names_are_exchanged_whatever_has_them,
    a_part_of_a_file_that_is_not_here_is_written,
);

fn modes_symlinks_and_nanoseconds_survive_a_remount() {
    let fixture = Fixture::new();
    fixture.upload("/script.sh", b"#!/bin/sh\n");
    let mount = fixture.mount();
    fs::create_dir(mount.path("private")).unwrap();
    fs::write(mount.path("private/ours.txt"), "ours").unwrap();
    let modes = [("script.sh", 0o755), ("private", 0o700), ("private/ours.txt", 0o640)];
    for (name, mode) in modes {
        fs::set_permissions(mount.path(name), Permissions::from_mode(mode)).unwrap();
    }
    symlink("../elsewhere/not there", mount.path("private/link")).unwrap();
    let modified = UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    for name in ["script.sh", "private/ours.txt"] {
        let file = File::open(mount.path(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    }
    mount.flush();
    assert_eq!(fixture.cloud().tree(USER)["/private/ours.txt"].mtime, 1_600_000_000);
    mount.unmount();
    fixture.empty_cache();

    let mount = fixture.mount();
    for (name, mode) in modes {
        assert_eq!(fs::metadata(mount.path(name)).unwrap().mode() & 0o7777, mode, "{name}");
    }
    let target = fs::read_link(mount.path("private/link")).unwrap();
    assert_eq!(target.to_str(), Some("../elsewhere/not there"));
    for name in ["script.sh", "private/ours.txt"] {
        assert_eq!(fs::metadata(mount.path(name)).unwrap().modified().unwrap(), modified, "{name}");
    }
    assert_eq!(fs::read(mount.path("private/ours.txt")).unwrap(), b"ours");
}

#[test]
fn owners_survive_a_remount() {
    as_root(|| {
        let fixture = Fixture::new();
        fixture.upload("/theirs.txt", b"x");
        let mount = fixture.mount_with(&["--uid", "1234", "--gid", "5678"]);
        let owner = |name: &str| {
            let metadata = fs::symlink_metadata(mount.path(name)).unwrap();
            (metadata.uid(), metadata.gid())
        };
        assert_eq!(owner("theirs.txt"), (1234, 5678));
        fs::write(mount.path("given.txt"), "x").unwrap();
        std::os::unix::fs::chown(mount.path("given.txt"), Some(42), Some(43)).unwrap();
        assert_eq!(owner("given.txt"), (42, 43));
        mount.unmount();
        let mount = fixture.mount_with(&["--uid", "1234", "--gid", "5678"]);
        let metadata = fs::metadata(mount.path("given.txt")).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (42, 43));
    });
}

fn truncating_exclusive_and_appending_opens_do_as_they_say() {
    let fixture = Fixture::new();
    fixture.upload("/log.txt", b"begin\n");
    fixture.upload("/old.txt", b"a long content that goes");
    let mount = fixture.mount();

    let append = || OpenOptions::new().append(true).open(mount.path("log.txt")).unwrap();
    let (mut one, mut other) = (append(), append());
    for number in 0..5 {
        writeln!(one, "one {number}").unwrap();
        writeln!(other, "other {number}").unwrap();
    }
    drop((one, other));
    let mut lines = String::from("begin\n");
    for number in 0..5 {
        lines.push_str(&format!("one {number}\nother {number}\n"));
    }
    assert_eq!(fs::read_to_string(mount.path("log.txt")).unwrap(), lines);

    let mut new = OpenOptions::new();
    let new = new.write(true).create_new(true);
    assert_eq!(new.open(mount.path("old.txt")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    new.open(mount.path("new.txt")).unwrap().write_all(b"made").unwrap();

    let file = OpenOptions::new().write(true).truncate(true).open(mount.path("old.txt")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    file.write_all_at(b"end", 2).unwrap();
    drop(file);
    mount.flush();
    let expected = [("log.txt", lines.as_bytes()), ("new.txt", b"made"), ("old.txt", b"\0\0end")];
    let expected: BTreeMap<_, _> =
        expected.map(|(name, content)| (name.to_owned(), Some(content.to_vec()))).into();
    assert_eq!(fixture.server_tree("/"), expected);
    assert_eq!(local_tree(&fixture.mountpoint()), expected);
}

fn a_file_that_was_unlinked_while_open_can_be_read_and_written() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    let path = mount.path("scratch");
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all(b"before").unwrap();
    mount.flush();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    mount.flush();
    file.write_all(b" and after").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut content = String::new();
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, "before and after");
    assert_eq!(file.metadata().unwrap().len(), 16);
    drop(file);
    mount.flush();
    assert!(fixture.server_tree("/").is_empty());
}

fn a_file_that_was_never_read_can_be_unlinked_while_open() {
    let fixture = Fixture::new();
    let content = noise(1, 300_000);
    fixture.upload("/data.bin", &content);
    let mount = fixture.mount();
    let mut file = File::open(mount.path("data.bin")).unwrap();
    fs::remove_file(mount.path("data.bin")).unwrap();
    // However long it takes until the server is told.
    let _ = fixture.run(&["flush", "mnt", "--timeout", "2s"]);
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == content, "{} bytes", read.len());
    drop(file);
    mount.flush();
    assert!(fixture.server_tree("/").is_empty());
}

fn a_shared_mapping_writes_the_file() {
    const LENGTH: usize = 200_000;
    let fixture = Fixture::new();
    fixture.upload("/mapped.bin", &noise(1, LENGTH));
    let mount = fixture.mount();
    let file = OpenOptions::new().read(true).write(true).open(mount.path("mapped.bin")).unwrap();
    let mut expected = noise(1, LENGTH);
    let length = LENGTH.try_into().unwrap();
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the mapping is as long as the file, which nobody shortens; the slice of it ends
    // before the mapping does, and the file is read otherwise only after it was synced.
    unsafe {
        let at = mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0).unwrap();
        let bytes = std::slice::from_raw_parts_mut(at.cast::<u8>().as_ptr(), LENGTH);
        assert!(bytes == expected);
        for offset in [0, 5000, 123_456, LENGTH - 1] {
            bytes[offset] ^= 0xff;
            expected[offset] ^= 0xff;
        }
        msync(at, LENGTH, MsFlags::MS_SYNC).unwrap();
        munmap(at, LENGTH).unwrap();
    }
    drop(file);
    assert!(fs::read(mount.path("mapped.bin")).unwrap() == expected);
    mount.flush();
    assert!(fixture.download("/mapped.bin").unwrap() == expected);
}

fn a_lock_keeps_another_process_out() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    let file = File::create(mount.path("lock")).unwrap();
    let other_gets_it = |what: &str| {
        let code = format!(
            "import fcntl, sys\nf = open(sys.argv[1], 'r+')\n\
             try: fcntl.{what}(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n\
             except BlockingIOError: sys.exit(9)"
        );
        let mut python = python();
        match python.arg("-c").arg(code).arg(mount.path("lock")).status().unwrap().code() {
            Some(0) => true,
            Some(9) => false,
            other => panic!("{what}: {other:?}"),
        }
    };
    file.lock().unwrap();
    assert!(!other_gets_it("flock"));
    file.unlock().unwrap();
    assert!(other_gets_it("flock"));

    let mut whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETLK(&whole)).unwrap();
    assert!(!other_gets_it("lockf"));
    whole.l_type = libc::F_UNLCK as libc::c_short;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETLK(&whole)).unwrap();
    assert!(other_gets_it("lockf"));
}

const MIB: usize = 1 << 20;

fn the_quota_shows_as_the_size_of_the_file_system() {
    let fixture = Fixture::new();
    fixture.upload("/used.bin", &noise(1, MIB));
    assert!(fixture.cloud().set_quota(USER, Some(8 * MIB as u64)));
    let mount = fixture.mount();
    eventually("the quota is known", || mount.status().quota_total.is_some());
    let status = mount.status();
    let (used, total) = (MIB as u64, 8 * MIB as u64);
    assert_eq!((status.quota_used, status.quota_total), (Some(used), Some(total)));
    let shown = statvfs(&mount.path("")).unwrap();
    let size = shown.fragment_size();
    assert_eq!((shown.blocks() * size, shown.blocks_available() * size), (total, total - used));
}

fn what_does_not_fit_into_the_quota_is_kept_and_told() {
    let fixture = Fixture::new();
    assert!(fixture.cloud().set_quota(USER, Some(MIB as u64)));
    let mount = fixture.mount();
    let content = noise(1, 2 * MIB);
    // It may be refused here already; what was taken must not be lost.
    match fs::write(mount.path("big.bin"), &content) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull),
        Ok(()) => {
            let output = fixture.run(&["flush", "mnt", "--timeout", "10s"]);
            assert_eq!(output.status.code(), Some(7), "{output:?}");
            let status = mount.status();
            assert_eq!(status.problems.len(), 1, "{status:?}");
            assert_eq!(status.problems[0].path, "big.bin");
            assert!(fs::read(mount.path("big.bin")).unwrap() == content);
            let output = mount.unmount_with(&["--timeout", "1s"]);
            assert_eq!(output.status.code(), Some(7), "{output:?}");
            assert!(fixture.cloud().set_quota(USER, None));
            let mount = fixture.mount();
            mount.flush();
            assert!(fixture.download("/big.bin").unwrap() == content);
        }
    }
}

fn a_read_only_mount_refuses_every_change() {
    let fixture = Fixture::new();
    fixture.upload("/dir/file.txt", b"read me");
    let mount = fixture.mount_with(&["--read-only"]);
    let file = mount.path("dir/file.txt");
    assert_eq!(fs::read(&file).unwrap(), b"read me");
    let refused = [
        fs::write(&file, "x"),
        fs::write(mount.path("new"), "x"),
        fs::create_dir(mount.path("new")),
        fs::remove_file(&file),
        fs::rename(&file, mount.path("moved")),
        fs::set_permissions(&file, Permissions::from_mode(0o600)),
        symlink("x", mount.path("link")),
    ];
    for (index, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EROFS), "change {index}");
    }
    assert!(mount.status().read_only);
    mount.unmount();
    assert_eq!(fixture.changes_sent(), [""; 0]);
}

fn renames_do_as_they_say() {
    let fixture = Fixture::new();
    for name in ["a.txt", "b.txt", "full/x.txt", "dir/y.txt"] {
        fixture.upload(&format!("/{name}"), name.as_bytes());
    }
    fixture.cloud().make_folder(USER, "/empty").unwrap();
    let mount = fixture.mount();
    let rename = |from: &str, to: &str| fs::rename(mount.path(from), mount.path(to));
    let errno = |result: std::io::Result<()>| result.unwrap_err().raw_os_error().unwrap();
    assert_eq!(errno(rename("dir", "full")), libc::ENOTEMPTY);
    assert_eq!(errno(rename("a.txt", "dir")), libc::EISDIR);
    assert_eq!(errno(rename("dir", "a.txt")), libc::ENOTDIR);
    assert_eq!(errno(rename("missing", "a.txt")), libc::ENOENT);
    assert_eq!(errno(rename("dir", "dir/below")), libc::EINVAL);
    assert_eq!(errno(fs::remove_dir(mount.path("full"))), libc::ENOTEMPTY);
    // With RENAME_NOREPLACE, and an exit code that depends on the version.
    let mut no_replace = Command::new("mv");
    no_replace.arg("-n").args([mount.path("a.txt"), mount.path("b.txt")]);
    drop(no_replace.output().unwrap());
    assert_eq!(fs::read(mount.path("b.txt")).unwrap(), b"b.txt");
    rename("dir", "empty").unwrap();
    rename("a.txt", "empty/b.txt").unwrap();
    rename("b.txt", "a.txt").unwrap();
    mount.flush();
    let expected = [
        ("a.txt", Some("b.txt")),
        ("empty", None),
        ("empty/b.txt", Some("a.txt")),
        ("empty/y.txt", Some("dir/y.txt")),
        ("full", None),
        ("full/x.txt", Some("full/x.txt")),
    ];
    let expected: BTreeMap<_, _> =
        expected.map(|(name, text)| (name.to_owned(), text.map(|t| t.as_bytes().to_vec()))).into();
    assert_eq!(fixture.server_tree("/"), expected);
    assert_eq!(local_tree(&fixture.mountpoint()), expected);
}

fn names_are_exchanged_whatever_has_them() {
    let fixture = Fixture::new();
    for name in ["a.txt", "b.txt", "one/x.txt", "two/below/y.txt", "dir/z.txt"] {
        fixture.upload(&format!("/{name}"), name.as_bytes());
    }
    let id = |name: &str| fixture.cloud().tree(USER)[name].id;
    let (a, b, one) = (id("/a.txt"), id("/b.txt"), id("/one"));
    let mount = fixture.mount();
    fs::write(mount.path("file"), "behind a link").unwrap();
    symlink("file", mount.path("link")).unwrap();
    let exchange = |one: &str, other: &str| {
        let (one, other) = (mount.path(one), mount.path(other));
        renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE)
    };
    assert_eq!(exchange("a.txt", "missing"), Err(nix::errno::Errno::ENOENT));
    assert_eq!(exchange("two", "two/below/y.txt"), Err(nix::errno::Errno::EINVAL));
    assert_eq!(exchange("two/below/y.txt", "two"), Err(nix::errno::Errno::EINVAL));
    exchange("a.txt", "b.txt").unwrap();
    exchange("one", "two").unwrap();
    exchange("dir/z.txt", "dir").unwrap_err();
    exchange("dir", "one/below/y.txt").unwrap();
    exchange("file", "link").unwrap();
    assert_eq!(fs::read_link(mount.path("file")).unwrap().to_str(), Some("file"));
    mount.flush();
    let expected = [
        ("a.txt", Some("b.txt")),
        ("b.txt", Some("a.txt")),
        ("dir", Some("two/below/y.txt")),
        ("link", Some("behind a link")),
        ("one", None),
        ("one/below", None),
        ("one/below/y.txt", None),
        ("one/below/y.txt/z.txt", Some("dir/z.txt")),
        ("two", None),
        ("two/x.txt", Some("one/x.txt")),
    ];
    let mut expected: BTreeMap<_, _> =
        expected.map(|(name, text)| (name.to_owned(), text.map(|t| t.as_bytes().to_vec()))).into();
    assert_eq!(fixture.server_tree("/"), expected);
    assert_eq!((id("/b.txt"), id("/a.txt"), id("/two")), (a, b, one), "the objects move along");
    fs::remove_file(mount.path("file")).unwrap();
    mount.unmount();
    let mount = fixture.mount();
    assert_eq!(local_tree(&fixture.mountpoint()), expected);
    // A new version is put in the place of the old one at once, and the object keeps the name.
    fs::write(mount.path("a.new"), "new").unwrap();
    let (new, old) = (mount.path("a.new"), mount.path("a.txt"));
    renameat2(AT_FDCWD, &new, AT_FDCWD, &old, RenameFlags::RENAME_EXCHANGE).unwrap();
    fs::remove_file(&new).unwrap();
    mount.flush();
    expected.insert("a.txt".into(), Some(b"new".to_vec()));
    assert_eq!(fixture.server_tree("/"), expected);
    assert_eq!(id("/a.txt"), b);
}

fn a_part_of_a_file_that_is_not_here_is_written() {
    let fixture = Fixture::new();
    let mut expected = noise(1, 1_000_000);
    fixture.upload("/data.bin", &expected);
    let mount = fixture.mount();
    let file = OpenOptions::new().write(true).open(mount.path("data.bin")).unwrap();
    for offset in [0_usize, 65_530, 400_000, 999_990] {
        file.write_all_at(b"0123456789", offset as u64).unwrap();
        expected[offset..offset + 10].copy_from_slice(b"0123456789");
    }
    drop(file);
    mount.flush();
    assert!(fixture.download("/data.bin").unwrap() == expected);
    assert!(fs::read(mount.path("data.bin")).unwrap() == expected);
}
