//! Mounted as any file system is: by `mount -t ncfs`, and by the lines of fstab.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Output;

use crate::harness::{Fixture, Machine, ORDINARY, eventually, on_a_machine_of_its_own, succeed};

/// Options that keep a mount of this fixture to itself.
fn options(fixture: &Fixture) -> String {
    let path = |name: &str| fixture.path(name).display().to_string();
    format!(
        "credentials_file={},state_dir={},cache-dir={}",
        path("credentials.json"),
        path("state"),
        path("cache")
    )
}

/// The options that the kernel knows of the mount.
fn kernel_options(fixture: &Fixture) -> String {
    let table = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let mountpoint = fixture.mountpoint();
    let line = table.lines().find(|line| line.split(' ').nth(1) == mountpoint.to_str());
    line.unwrap().split(' ').nth(3).unwrap().to_owned()
}

#[track_caller]
fn assert_refused(fixture: &Fixture, output: &Output, code: i32, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with("mount.ncfs: ") && text.contains(words), "{text}");
    assert!(!fixture.is_mounted());
}

#[test]
fn root_mounts_by_type_and_umount_sends_what_is_pending() {
    on_a_machine_of_its_own(|_| {
        let fixture = Fixture::new();
        let mut mount = fixture.system("mount");
        mount.args(["-v", "-t", "ncfs", &fixture.cloud().url()]).arg(fixture.mountpoint());
        let output = succeed(mount.arg("-o").arg(options(&fixture) + ",umask=077,noatime"));
        assert!(String::from_utf8(output.stdout).unwrap().contains(" is mounted at "));
        let kernel = kernel_options(&fixture);
        assert!(kernel.starts_with("rw,nosuid,nodev,relatime"), "{kernel}");
        fs::write(fixture.mountpoint().join("last.txt"), "last").unwrap();
        succeed(fixture.system("umount").arg(fixture.mountpoint()));
        assert!(!fixture.is_mounted());
        // Of root's mounts umount(8) asks the kernel for the type, which it calls "fuse", so that it
        // does not come to our helper: the daemon sends the rest when the mount is gone.
        let there = || fixture.download("/last.txt").is_some_and(|bytes| bytes == b"last");
        eventually("what was pending is sent", there);
    });
}

#[test]
fn root_mounts_again_while_the_rest_is_still_being_sent() {
    on_a_machine_of_its_own(|_| {
        let fixture = Fixture::new();
        let names: Vec<_> = (0..60).map(|number| format!("file {number}")).collect();
        for round in ["first", "second", "third"] {
            let mut mount = fixture.system("mount");
            mount.args(["-t", "ncfs", &fixture.cloud().url()]).arg(fixture.mountpoint());
            succeed(mount.arg("-o").arg(options(&fixture)));
            for name in &names {
                fs::write(fixture.mountpoint().join(name), round).unwrap();
            }
            succeed(fixture.system("umount").arg(fixture.mountpoint()));
        }
        let third = |name: &String| (name.clone(), Some(b"third".to_vec()));
        let all = names.iter().map(third).collect();
        eventually("all is sent", || fixture.server_tree("") == all);
    });
}

#[test]
fn an_ordinary_user_mounts_and_unmounts_an_entry_of_fstab() {
    on_a_machine_of_its_own(|machine: &Machine| {
        let fixture = Fixture::new();
        let home = fixture.path("");
        machine.give_home(&home);
        let (url, mountpoint) = (fixture.cloud().url(), fixture.mountpoint());
        machine.fstab(&format!(
            "{url} {} ncfs noauto,user,_netdev,cache_size=1G,credentials_file={} 0 0",
            mountpoint.display(),
            fixture.path("credentials.json").display()
        ));
        let as_user = |program: &str| {
            let mut command = fixture.system(program);
            command.arg(&mountpoint).uid(ORDINARY).gid(ORDINARY);
            command
        };
        succeed(&mut as_user("mount"));
        let kernel = kernel_options(&fixture);
        assert!(kernel.starts_with("rw,nosuid,nodev,noexec,"), "{kernel}");
        assert!(kernel.contains(&format!("user_id={ORDINARY}")), "{kernel}");
        // Neither mount(8) nor the boot tell a home, so the user's own was found.
        assert!(home.join(".local/state/ncfs").is_dir());
        let script = "echo last > \"$1/last.txt\"";
        let mut shell = fixture.system("sh");
        shell.args(["-c", script, "sh"]).arg(&mountpoint).uid(ORDINARY).gid(ORDINARY);
        succeed(&mut shell);
        succeed(&mut as_user("umount"));
        assert!(!fixture.is_mounted());
        assert_eq!(fixture.download("/last.txt").unwrap(), b"last\n");

        // Root takes it away too, though it is not in root's list.
        succeed(&mut as_user("mount"));
        succeed(fixture.system("umount").arg(&mountpoint).env_remove("NCFS_RUNTIME_DIR"));
        assert!(!fixture.is_mounted());
    });
}

#[test]
fn mount_all_knows_what_it_has_mounted() {
    on_a_machine_of_its_own(|machine: &Machine| {
        let fixture = Fixture::new();
        let (url, mountpoint) = (fixture.cloud().url(), fixture.mountpoint());
        let options = options(&fixture);
        machine.fstab(&format!("{url} {} ncfs {options},_netdev,ro 0 0", mountpoint.display()));
        succeed(fixture.system("mount").arg("-a"));
        assert!(kernel_options(&fixture).starts_with("ro,"));
        // A second mount would be refused.
        succeed(fixture.system("mount").arg("-a"));
        succeed(fixture.system("umount").arg(&url));
        assert!(!fixture.is_mounted());
    });
}

#[test]
fn what_cannot_be_mounted_ends_with_a_sentence_and_the_code_of_mount() {
    on_a_machine_of_its_own(|_| {
        let fixture = Fixture::new();
        let mount = |more: &str| {
            let mut mount = fixture.system("mount");
            mount.args(["-t", "ncfs", &fixture.cloud().url()]).arg(fixture.mountpoint());
            mount.arg("-o").arg(options(&fixture) + more).output().unwrap()
        };
        assert_refused(&fixture, &mount(",cachesize=1G"), 1, "no mount option cachesize");
        assert_refused(&fixture, &mount(",cache_size=big"), 1, "'cache_size <SIZE>'");
        assert_refused(&fixture, &mount(",sync"), 1, "mount option sync is refused");
        fixture.write_credentials("wrong", 0o600);
        assert_refused(&fixture, &mount(""), 32, "password");
        fixture.write_credentials(&fixture.password, 0o644);
        assert_refused(&fixture, &mount(""), 32, "chmod 600");
        fixture.write_credentials(&fixture.password, 0o600);
        fs::write(fixture.mountpoint().join("file"), "x").unwrap();
        assert_refused(&fixture, &mount(""), 32, "hide what is in it with allow_non_empty");
        assert!(mount(",allow_non_empty").status.success());
        let again = mount(",remount,ro");
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        assert!(String::from_utf8_lossy(&again.stderr).contains("umount it and mount it anew"));
    });
}

#[test]
fn a_forced_umount_does_not_wait_for_a_server_that_is_away() {
    on_a_machine_of_its_own(|_| {
        let fixture = Fixture::new();
        let mount = fixture.mount();
        fixture.stop_server();
        fs::write(mount.path("later.txt"), "later").unwrap();
        let output = fixture.system("umount").arg("-f").arg(fixture.mountpoint()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(text.contains("1 file (5 B)") && text.contains("at the next mount"), "{text}");
        assert!(!fixture.is_mounted());
        fixture.restart_server();
        fixture.mount().unmount();
        assert_eq!(fixture.download("/later.txt").unwrap(), b"later");
    });
}
