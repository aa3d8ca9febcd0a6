//! What `make install` puts where, and that shells, man and systemd can read it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ncfs");

/// The result of `make install` in a directory of its own.
struct Installed(tempfile::TempDir);

impl Installed {
    fn new() -> Self {
        let installed = Self(tempfile::tempdir().unwrap());
        installed.make("install", &[]);
        installed
    }

    /// Runs make as a package does it.
    #[track_caller]
    fn make(&self, target: &str, variables: &[String]) {
        let root = format!("DESTDIR={}", self.0.path().display());
        let mut make = Command::new("make");
        // Of a make that runs these tests nothing is inherited.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        make.current_dir(env!("CARGO_MANIFEST_DIR")).arg(target);
        succeed(make.arg(format!("NCFS={PROGRAM}")).arg(root).args(variables));
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn files(&self) -> BTreeSet<String> {
        fn walk(root: &Path, directory: &Path, found: &mut BTreeSet<String>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(self.0.path(), self.0.path(), &mut found);
        found
    }
}

#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// The commands that the help shows.
fn commands() -> Vec<String> {
    let help = succeed(Command::new(PROGRAM).arg("--help")).stdout;
    let help = String::from_utf8(help).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = listed.lines().filter_map(|line| line.strip_prefix("  "));
    names
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn everything_is_installed_where_it_is_looked_for_and_removed_again() {
    let installed = Installed::new();
    let mut expected: BTreeSet<String> = [
        "usr/local/bin/ncfs",
        "usr/local/lib/systemd/user/ncfs@.service",
        "usr/local/share/bash-completion/completions/ncfs",
        "usr/local/share/fish/vendor_completions.d/ncfs.fish",
        "usr/local/share/man/man1/ncfs.1",
        "usr/local/share/man/man8/mount.ncfs.8",
        "usr/local/share/man/man8/umount.ncfs.8",
        "usr/local/share/zsh/site-functions/_ncfs",
        "usr/sbin/mount.fuse.ncfs",
        "usr/sbin/mount.ncfs",
        "usr/sbin/umount.fuse.ncfs",
        "usr/sbin/umount.ncfs",
    ]
    .map(str::to_owned)
    .into();
    for command in commands() {
        expected.insert(format!("usr/local/share/man/man1/ncfs-{command}.1"));
    }
    assert_eq!(installed.files(), expected);
    let program = installed.path("usr/local/bin/ncfs").canonicalize().unwrap();
    assert_eq!(installed.path("usr/sbin/mount.ncfs").canonicalize().unwrap(), program);
    installed.make("uninstall", &[]);
    assert_eq!(installed.files(), BTreeSet::new());
}

#[test]
fn without_helpers_nothing_is_installed_outside_the_prefix() {
    let installed = Installed(tempfile::tempdir().unwrap());
    let prefix = ["HELPERDIR=".to_owned(), "PREFIX=/home/alice/.local".to_owned()];
    installed.make("install", &prefix);
    assert!(installed.files().iter().all(|file| file.starts_with("home/alice/.local/")));
    let unit = installed.path("home/alice/.local/lib/systemd/user/ncfs@.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    assert!(unit.contains("ExecStart=/home/alice/.local/bin/ncfs mount"), "{unit}");
    installed.make("uninstall", &prefix);
    assert_eq!(installed.files(), BTreeSet::new());
}

#[test]
fn the_manual_pages_tell_every_option_and_every_exit_code() {
    let installed = Installed::new();
    let page = |name: &str| {
        let text = std::fs::read_to_string(installed.path("usr/local/share/man").join(name));
        text.unwrap().replace("\\-", "-")
    };
    let (mount, helper) = (page("man1/ncfs-mount.1"), page("man8/mount.ncfs.8"));
    let help = succeed(Command::new(PROGRAM).args(["mount", "--help"])).stdout;
    let help = String::from_utf8(help).unwrap();
    let options: Vec<_> = help
        .lines()
        .filter_map(|line| line.trim_start().split(' ').find_map(|word| word.strip_prefix("--")))
        .filter(|option| help.contains(&format!("      --{option} ")))
        .collect();
    assert!(options.len() > 10, "{options:?}");
    for option in options {
        assert!(mount.contains(&format!("--{option}")), "{option} is not in ncfs-mount.1");
    }
    for option in ["cache_size", "credentials_file", "allow_other", "username"] {
        assert!(helper.contains(&format!("\\fB{option}")), "{option} is not in mount.ncfs.8");
    }
    assert!(page("man1/ncfs.1").contains(".SH \"EXIT CODES\"\n.nf\n 0  done"), "the exit codes");
}

#[test]
fn bash_completes_commands_and_options() {
    let installed = Installed::new();
    let script = installed.path("usr/local/share/bash-completion/completions/ncfs");
    let complete = |words: &str, at: u32, word: &str| {
        let code = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={at}; _ncfs ncfs '{word}' x; \
             echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        String::from_utf8(succeed(Command::new("bash").arg("-c").arg(code)).stdout).unwrap()
    };
    assert_eq!(complete("ncfs unm", 1, "unm").trim(), "unmount");
    assert_eq!(complete("ncfs mount --cache-s", 2, "--cache-s").trim(), "--cache-size");
    let commands = complete("ncfs ''", 1, "");
    assert!(!commands.contains("supervise"), "{commands}");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let installed = Installed(tempfile::tempdir().unwrap());
    // With a prefix that exists, as systemd looks whether the program is there.
    let prefix = tempfile::tempdir().unwrap();
    let variables =
        [format!("PREFIX={}", prefix.path().display()), "HELPERDIR=".into(), "DESTDIR=".into()];
    installed.make("install", &variables);
    let unit = prefix.path().join("lib/systemd/user/ncfs@.service");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "--man=no", "verify"]).arg(unit);
    let output = succeed(verify.env("XDG_RUNTIME_DIR", prefix.path()));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
