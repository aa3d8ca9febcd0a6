//! System files for one test: its own mount helpers, fstab and passwd, which nobody else sees.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Fixture, as_root, program, succeed};

/// `nobody`, as Debian knows it.
pub const ORDINARY: u32 = 65534;

/// What lies over the real system files while a test runs.
pub struct Machine(TempDir);

/// Runs a test as root in a mount namespace in which mount(8) finds ncfs, and where fstab and passwd
/// may be changed.
#[track_caller]
pub fn on_a_machine_of_its_own(test: fn(&Machine)) {
    // The namespace belongs to one thread and what it starts.
    let ended = std::thread::spawn(move || {
        as_root(|| {});
        // SAFETY: the call takes an integer, and changes what this thread sees only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        succeed(Command::new("mount").args(["--make-rprivate", "/"]));
        test(&Machine::new());
    });
    if let Err(panic) = ended.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::Builder::new().prefix("ncfs-machine-").tempdir().unwrap());
        super::person::open_to_all(machine.0.path());
        let helpers = machine.0.path().join("sbin");
        fs::create_dir(&helpers).unwrap();
        for name in ["mount.ncfs", "mount.fuse.ncfs", "umount.ncfs", "umount.fuse.ncfs"] {
            std::os::unix::fs::symlink(program(), helpers.join(name)).unwrap();
        }
        machine.lay_over("sbin", &Path::new("/sbin").canonicalize().unwrap());
        machine.write("fstab", "");
        // Some containers have none.
        drop(OpenOptions::new().append(true).create(true).open("/etc/fstab").unwrap());
        machine.lay_over("fstab", Path::new("/etc/fstab"));
        // mount(8) notes there who may unmount.
        fs::create_dir_all("/run/mount").unwrap();
        succeed(Command::new("mount").args(["-t", "tmpfs", "none", "/run/mount"]));
        machine
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn lay_over(&self, name: &str, path: &Path) {
        let source = self.0.path().join(name);
        succeed(Command::new("mount").arg("--bind").arg(source).arg(path));
    }

    /// Makes this the only line of fstab.
    pub fn fstab(&self, line: &str) {
        self.write("fstab", &format!("{line}\n"));
    }

    /// Gives the ordinary user a home, and all that is in it.
    pub fn give_home(&self, home: &Path) {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let others = passwd.lines().filter(|line| !line.starts_with("nobody:"));
        let mut lines: Vec<_> = others.map(str::to_owned).collect();
        lines.push(format!("nobody:x:{ORDINARY}:{ORDINARY}::{}:/bin/sh", home.display()));
        self.write("passwd", &(lines.join("\n") + "\n"));
        self.lay_over("passwd", Path::new("/etc/passwd"));
        succeed(Command::new("chown").arg("-R").arg(format!("{ORDINARY}:{ORDINARY}")).arg(home));
    }
}

impl Fixture {
    /// `mount` or `umount`, with as little from the environment as at the boot.
    pub fn system(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command.env("NCFS_RUNTIME_DIR", self.path("run"));
        command
    }
}
