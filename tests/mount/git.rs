//! A repository in the mount.

use std::path::Path;
use std::process::Command;

use crate::harness::{Fixture, noise, on_every_server, succeed};

on_every_server!(a_clone_in_the_mount_takes_commits_and_is_sound_on_the_server,);

/// git in a directory, with nothing of whoever runs the tests.
fn git(fixture: &Fixture, directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(directory).args(arguments);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", fixture.path("")).env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Alice");
        command.env(format!("GIT_{role}_EMAIL"), "alice@example.com");
    }
    String::from_utf8(succeed(&mut command).stdout).unwrap()
}

fn a_clone_in_the_mount_takes_commits_and_is_sound_on_the_server(fixture: Fixture) {
    let origin = fixture.path("origin");
    std::fs::create_dir(&origin).unwrap();
    git(&fixture, &origin, &["init", "--quiet", "--initial-branch", "main"]);
    for number in 0..30 {
        let directory = origin.join(format!("src{}", number % 3));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{number}.bin")), noise(number, 5000)).unwrap();
        git(&fixture, &origin, &["add", "."]);
        git(&fixture, &origin, &["commit", "--quiet", "-m", &format!("Commit {number}")]);
    }

    let mount = fixture.mount();
    let clone = mount.path("clone");
    git(&fixture, &fixture.mountpoint(), &["clone", "--quiet", "--no-local", "../origin", "clone"]);
    assert_eq!(git(&fixture, &clone, &["status", "--porcelain"]), "");
    std::fs::write(clone.join("src0/0.bin"), "changed").unwrap();
    std::fs::rename(clone.join("src1"), clone.join("renamed")).unwrap();
    git(&fixture, &clone, &["add", "--all"]);
    git(&fixture, &clone, &["commit", "--quiet", "-m", "Change and rename"]);
    git(&fixture, &clone, &["fsck", "--full", "--strict"]);
    assert_eq!(git(&fixture, &clone, &["status", "--porcelain"]), "");
    let log = git(&fixture, &clone, &["log", "--format=%H"]);
    assert_eq!(log.lines().count(), 31);
    mount.flush();

    let fetched = fixture.path("fetched");
    for (path, content) in fixture.server_tree("/clone") {
        let path = fetched.join(path);
        match content {
            None => std::fs::create_dir_all(path).unwrap(),
            Some(content) => {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
        }
    }
    git(&fixture, &fetched, &["fsck", "--full", "--strict"]);
    assert_eq!(git(&fixture, &fetched, &["log", "--format=%H"]), log);
    assert_eq!(git(&fixture, &fetched, &["status", "--porcelain"]), "");
}
