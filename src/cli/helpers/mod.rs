//! The programs that mount(8) and umount(8) start for the type `ncfs`: this one, under the names
//! `mount.ncfs` and `umount.ncfs`.
//!
//! They translate what those two pass on into what `ncfs mount` and `ncfs unmount` are told, and back
//! into the exit codes of mount(8). An ordinary user's `mount DIR` comes here with that user's rights,
//! not root's: mount(8) has dropped them before (util-linux, libmount/src/context_mount.c).

mod mount;
mod options;
mod umount;

use std::ffi::OsStr;
use std::path::Path;

use clap::Parser;

use crate::failure::{ExitCode, Failure};
use crate::remote::Secret;

pub use mount::MountHelperArgs;
pub use options::{GENERIC, Generic, accepted, in_mount_words};
pub use umount::UmountHelperArgs;

/// Under which name this program was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    Mount,
    Umount,
}

impl Helper {
    /// The helper that a program's name, its first argument, asks for.
    pub fn named(program: &OsStr) -> Option<Self> {
        match Path::new(program).file_name()?.to_str()? {
            // mount(8) of a type in /proc/mounts, fuse.ncfs, looks for the longer names.
            "mount.ncfs" | "mount.fuse.ncfs" => Some(Self::Mount),
            "umount.ncfs" | "umount.fuse.ncfs" => Some(Self::Umount),
            _ => None,
        }
    }

    /// Does what the command line says. Must be called before this process has a second thread.
    pub fn run(self, password: Option<Secret>) -> std::process::ExitCode {
        adopt_home();
        let code = match self {
            Self::Mount => answer("mount.ncfs", |args| mount::run(args, password)),
            Self::Umount => answer("umount.ncfs", umount::run),
        };
        code.into()
    }
}

/// Runs a helper with its command line, and gives its exit code.
fn answer<Args: Parser>(name: &str, run: impl FnOnce(Args) -> Result<ExitCode, Failure>) -> u8 {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(told) => {
            // Nothing can be done if this cannot be printed either.
            let _ = told.print();
            return if told.use_stderr() { WRONG_CALL } else { 0 };
        }
    };
    match run(args) {
        Ok(code) => code_of(code),
        Err(failure) => {
            eprintln!("{name}: {failure}");
            code_of(failure.exit_code)
        }
    }
}

const WRONG_CALL: u8 = 1;

/// The exit codes of mount(8) and umount(8) that these helpers give, with what they mean.
pub const EXIT_CODES: [(u8, &str); 5] = [
    (0, "done"),
    (WRONG_CALL, "wrong options, or not permitted"),
    (2, "this machine cannot mount: no /dev/fuse, no fusermount3"),
    (32, "not mounted, or not unmounted"),
    (
        64,
        "unmounted, but changes are left that the server does not have; the next mount sends them",
    ),
];

fn code_of(code: ExitCode) -> u8 {
    match code {
        ExitCode::Success => 0,
        ExitCode::Usage => WRONG_CALL,
        ExitCode::NoFuse => 2,
        ExitCode::Unsent => 64,
        _ => 32,
    }
}

/// At the boot there is no HOME, and what is kept below it must be found again by the next mount from
/// a shell: the directory of this user in passwd is taken.
fn adopt_home() {
    if std::env::var_os("HOME").is_some_and(|home| !home.is_empty()) {
        return;
    }
    if let Ok(Some(user)) = nix::unistd::User::from_uid(nix::unistd::geteuid()) {
        // SAFETY: there is one thread, so nobody else reads or changes the environment meanwhile.
        unsafe { std::env::set_var("HOME", user.dir) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_decides_and_only_the_four_names() {
        let named = |name: &str| Helper::named(OsStr::new(name));
        assert_eq!(named("/sbin/mount.ncfs"), Some(Helper::Mount));
        assert_eq!(named("mount.fuse.ncfs"), Some(Helper::Mount));
        assert_eq!(named("umount.ncfs"), Some(Helper::Umount));
        assert_eq!(named("/usr/sbin/umount.fuse.ncfs"), Some(Helper::Umount));
        for other in ["ncfs", "/usr/bin/ncfs", "mount", "mount.ncfs.old", ""] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
