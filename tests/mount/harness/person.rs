//! Who runs a test: root, or somebody without any rights.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::program;

/// `nobody`
const ORDINARY: libc::c_long = 65534;

/// Runs a test as root.
#[track_caller]
pub fn as_root(test: fn()) {
    require_root();
    program();
    test();
}

/// Runs a test with the rights of an ordinary user; threads and processes it starts have no others.
///
/// The raw system calls change one thread only; libc's functions would change all.
#[track_caller]
pub fn as_an_ordinary_user(test: fn()) {
    require_root();
    program();
    let ended = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let none = std::ptr::null::<libc::gid_t>();
            // SAFETY: the calls take integers, and an empty list; they change the rights of this
            // thread only.
            unsafe {
                assert_eq!(libc::syscall(libc::SYS_setgroups, 0, none), 0);
                assert_eq!(libc::syscall(libc::SYS_setresgid, ORDINARY, ORDINARY, ORDINARY), 0);
                assert_eq!(libc::syscall(libc::SYS_setresuid, ORDINARY, ORDINARY, ORDINARY), 0);
            }
            test();
        });
        thread.join()
    });
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// Makes one test for root and one for an ordinary user of each function.
macro_rules! for_both {
    ($($test:ident),* $(,)?) => {
        mod root {
            $(#[test]
            fn $test() {
                $crate::harness::as_root(super::$test);
            })*
        }
        mod ordinary_user {
            $(#[test]
            fn $test() {
                $crate::harness::as_an_ordinary_user(super::$test);
            })*
        }
    };
}
pub(crate) use for_both;

/// Makes tests of each function, which gets the fixture: on a testcloud for root and for an ordinary
/// user, on each of the plain WebDAV servers for root.
macro_rules! on_every_server {
    ($($test:ident),* $(,)?) => {
        mod testcloud {
            mod root {
                $(#[test]
                fn $test() {
                    $crate::harness::as_root(|| {
                        super::super::$test($crate::harness::Fixture::new())
                    });
                })*
            }
            mod ordinary_user {
                $(#[test]
                fn $test() {
                    $crate::harness::as_an_ordinary_user(|| {
                        super::super::$test($crate::harness::Fixture::new())
                    });
                })*
            }
        }
        $crate::harness::on_every_server!(@ apache Apache $($test)*);
        $crate::harness::on_every_server!(@ rclone Rclone $($test)*);
        $crate::harness::on_every_server!(@ newest_rclone NewestRclone $($test)*);
    };
    (@ $server:ident $kind:ident $($test:ident)*) => {
        mod $server {
            $(#[test]
            fn $test() {
                $crate::harness::as_root(|| {
                    super::$test($crate::harness::Fixture::plain(servers::Kind::$kind))
                });
            })*
        }
    };
}
pub(crate) use on_every_server;

#[track_caller]
fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "these tests need root: run them with make test");
}

/// Lets everybody enter.
pub fn open_to_all(directory: &Path) {
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Removes a directory when this process exits.
pub fn remove_at_exit(directory: PathBuf) {
    static DIRECTORIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    extern "C" fn remove() {
        if let Ok(directories) = DIRECTORIES.lock() {
            for directory in directories.iter() {
                let _ = std::fs::remove_dir_all(directory);
            }
        }
    }
    DIRECTORIES.lock().unwrap().push(directory);
    // SAFETY: the function neither unwinds nor uses anything that is gone at the exit.
    assert_eq!(unsafe { libc::atexit(remove) }, 0);
}
