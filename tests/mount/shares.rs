//! Received shares: what they forbid is refused at once, and to remove one is to leave it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Fixture, Mount, USER, eventually, for_both, succeed};

for_both!(
    a_read_only_share_refuses_every_change_at_once_and_after_a_remount,
    what_can_be_written_and_not_deleted_keeps_its_name,
    a_share_that_is_removed_is_left_and_its_owner_keeps_every_file,
    what_is_deleted_in_a_share_is_deleted_for_its_owner_by_a_flush,
    a_removal_that_is_interrupted_waits_before_it_deletes_anything,
    a_shared_file_is_written_for_its_owner_and_left_by_its_removal,
    a_permission_that_is_withdrawn_blocks_what_is_written_until_it_is_given_back,
    of_a_share_that_is_withdrawn_the_unsent_stays,
);

const ALL: u8 = 31;
const READ: u8 = 1;
const UPDATE: u8 = 2;

/// A folder of bob's with two files and a folder with one, shared with these permissions.
fn shared(permissions: u8) -> Fixture {
    let fixture = Fixture::new();
    let cloud = fixture.cloud();
    cloud.add_user("bob", "login password").unwrap();
    for name in ["a", "b", "dir/c"] {
        let path = format!("/work/{name}");
        cloud.put_file("bob", &path, name.as_bytes(), Some(1_600_000_000)).unwrap();
    }
    cloud.share("bob", "/work", USER, permissions).unwrap();
    drop(cloud);
    fixture
}

fn bobs(fixture: &Fixture, name: &str) -> Option<Vec<u8>> {
    fixture.cloud().read_file("bob", &format!("/work/{name}"))
}

#[track_caller]
fn assert_bob_has_everything(fixture: &Fixture) {
    for name in ["a", "b", "dir/c"] {
        assert_eq!(bobs(fixture, name).as_deref(), Some(name.as_bytes()), "{name}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[track_caller]
fn assert_refused<T>(result: std::io::Result<T>) {
    assert_eq!(result.map(drop).map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
}

fn assert_nothing_can_be_changed(mount: Mount) {
    let file = mount.path("work/a");
    assert_eq!(fs::read(&file).unwrap(), b"a");
    assert_eq!([mode(&file) & 0o222, mode(&mount.path("work")) & 0o222], [0, 0]);
    assert_refused(fs::File::options().append(true).open(&file));
    assert_refused(fs::File::options().read(true).write(true).open(&file));
    assert_refused(fs::write(&file, "x"));
    assert_refused(fs::write(mount.path("work/new"), "x"));
    assert_refused(fs::create_dir(mount.path("work/new")));
    assert_refused(std::os::unix::fs::symlink("a", mount.path("work/new")));
    assert_refused(fs::remove_file(mount.path("work/dir/c")));
    assert_refused(fs::rename(&file, mount.path("work/z")));
    assert_refused(fs::rename(&file, mount.path("out")));
    fs::write(mount.path("own"), "own").unwrap();
    assert_refused(fs::rename(mount.path("own"), &file));
    assert!(!Command::new("touch").arg(&file).output().unwrap().status.success());
    // What cannot be granted is not shown.
    fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(mode(&file), 0o444);
}

fn a_read_only_share_refuses_every_change_at_once_and_after_a_remount() {
    let fixture = shared(READ);
    let mount = fixture.mount();
    assert_nothing_can_be_changed(mount);
    mount.unmount();
    let mount = fixture.mount();
    assert_nothing_can_be_changed(mount);
    fs::rename(mount.path("work"), mount.path("theirs")).unwrap();
    mount.flush();
    assert_eq!(fixture.cloud().received(USER), ["/theirs"]);
    assert_bob_has_everything(&fixture);
    assert_eq!(fixture.cloud().tree("bob")["/work/a"].mtime, 1_600_000_000);
}

fn what_can_be_written_and_not_deleted_keeps_its_name() {
    let fixture = shared(READ | UPDATE);
    let mount = fixture.mount();
    let [a, b] = ["work/a", "work/b"].map(|name| mount.path(name));
    assert_refused(fs::rename(&a, mount.path("work/z")));
    assert_refused(fs::rename(&a, &b));
    assert_refused(fs::rename(&a, mount.path("out")));
    assert_refused(fs::remove_file(&a));
    fs::write(&a, "written").unwrap();
    mount.flush();
    assert_eq!(bobs(&fixture, "a").unwrap(), b"written");
    assert_eq!(bobs(&fixture, "b").unwrap(), b"b");
}

fn a_share_that_is_removed_is_left_and_its_owner_keeps_every_file() {
    let fixture = shared(ALL);
    let mount = fixture.mount();
    fixture.cloud().reset_requests();
    succeed(Command::new("rm").arg("-r").arg(mount.path("work")));
    eventually("the share is left", || fixture.cloud().received(USER).is_empty());
    mount.flush();
    let deletes = ["DELETE /remote.php/dav/files/alice/work Some(204)"];
    assert_eq!(fixture.changes_sent(), deletes);
    assert_bob_has_everything(&fixture);
}

fn what_is_deleted_in_a_share_is_deleted_for_its_owner_by_a_flush() {
    let fixture = shared(ALL);
    let mount = fixture.mount();
    fs::remove_file(mount.path("work/a")).unwrap();
    mount.flush();
    assert_eq!([bobs(&fixture, "a"), bobs(&fixture, "b")], [None, Some(b"b".to_vec())]);
}

fn a_removal_that_is_interrupted_waits_before_it_deletes_anything() {
    let fixture = shared(ALL);
    let mount = fixture.mount();
    succeed(Command::new("rm").arg("-r").arg(mount.path("work/dir")));
    fs::write(mount.path("other"), "sent meanwhile").unwrap();
    eventually("other things are sent", || fixture.download("/other").is_some());
    assert_bob_has_everything(&fixture);
    mount.kill();
    succeed(Command::new("rm").arg("-r").arg(mount.path("work")));
    eventually("the share is left", || fixture.cloud().received(USER).is_empty());
    assert_bob_has_everything(&fixture);
}

fn a_shared_file_is_written_for_its_owner_and_left_by_its_removal() {
    let fixture = Fixture::new();
    let cloud = fixture.cloud();
    cloud.add_user("bob", "login password").unwrap();
    cloud.put_file("bob", "/single", b"theirs", Some(1_600_000_000)).unwrap();
    cloud.share("bob", "/single", USER, 3).unwrap();
    let single = || fixture.cloud().read_file("bob", "/single").unwrap();
    let mount = fixture.mount();
    fs::write(mount.path("single"), "written by alice").unwrap();
    mount.flush();
    assert_eq!(single(), b"written by alice");
    fs::remove_file(mount.path("single")).unwrap();
    mount.flush();
    assert!(fixture.cloud().received(USER).is_empty());
    assert_eq!(single(), b"written by alice");
}

fn a_permission_that_is_withdrawn_blocks_what_is_written_until_it_is_given_back() {
    let fixture = shared(ALL);
    let mount = fixture.mount();
    let path = mount.path("work/a");
    let mut writer = fs::File::options().append(true).open(&path).unwrap();
    fixture.cloud().share("bob", "/work", USER, READ).unwrap();
    eventually("the mode shows it", || mode(&path) & 0o222 == 0);
    writer.write_all(b" and more").unwrap();
    drop(writer);
    eventually("it is blocked", || mount.status().problems.len() == 1);
    assert!(mount.status().problems[0].reason.contains("the share /work"));
    assert_bob_has_everything(&fixture);
    fixture.cloud().share("bob", "/work", USER, ALL).unwrap();
    eventually("it is sent", || bobs(&fixture, "a").unwrap() == b"a and more");
}

fn of_a_share_that_is_withdrawn_the_unsent_stays() {
    let fixture = shared(ALL);
    let mount = fixture.mount();
    // Nothing of the old content is needed, which goes with the share.
    let mut writer = fs::File::create(mount.path("work/a")).unwrap();
    writer.write_all(b"mine").unwrap();
    assert!(fixture.cloud().unshare("bob", "/work", USER));
    eventually("the rest is gone", || !mount.path("work/b").exists());
    drop(writer);
    mount.flush();
    assert_eq!(fixture.download("/work/a").unwrap(), b"mine");
    assert_bob_has_everything(&fixture);
}
