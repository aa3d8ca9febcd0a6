//! Mounts for real, as root and as an ordinary user, with nobody answering behind the descriptor.
//!
//! Needs root, `/dev/fuse` (for the tests with an ordinary user as udev makes it, mode 0666) and
//! `fusermount3`, as `make test` has them; without them a test fails.

#![allow(clippy::unwrap_used)]

use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use mount_helper::{MountError, Mounted, Options, Unmounted, mountinfo};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

const NOBODY: u32 = 65534;

#[track_caller]
fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "these tests need root: run them with make test");
}

fn options() -> Options {
    Options { source: "https://alice@cloud.example/a b,c".to_owned(), ..Options::default() }
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }
}

/// Runs a closure with the rights of an ordinary user.
///
/// The raw system calls change one thread only (libc's functions would change all), and a process
/// started by that thread inherits its rights.
fn as_nobody(body: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let id = libc::c_long::from(NOBODY);
            // SAFETY: both calls take integers and only change the rights of this thread.
            unsafe {
                assert_eq!(libc::syscall(libc::SYS_setresgid, id, id, id), 0);
                assert_eq!(libc::syscall(libc::SYS_setresuid, id, id, id), 0);
            }
            body();
        });
        thread.join().unwrap();
    });
}

fn mount(path: &Path, options: &Options) -> Mounted {
    let path = mount_helper::prepare(path, false).unwrap();
    mount_helper::mount(&path, options).unwrap()
}

fn mounts_at(path: &Path) -> Vec<mountinfo::Entry> {
    mountinfo::read().unwrap().into_iter().filter(|entry| entry.mountpoint == path).collect()
}

#[test]
fn root_mounts_with_the_source_as_given_and_unmounts() {
    require_root();
    let directory = Directory::new();
    let mounted = mount(&directory.path(), &options());
    let entry = &mounts_at(&directory.path())[0];
    assert_eq!(entry.fs_type, "fuse.ncfs");
    assert_eq!(entry.source, "https://alice@cloud.example/a b,c");
    assert!(mounted.device().unwrap().as_raw_fd() > 2);
    assert_eq!(mounted.unmount().unwrap(), Unmounted::Gone);
    assert_eq!(mounts_at(&directory.path()), []);
}

#[test]
fn an_ordinary_user_mounts_and_unmounts_through_fusermount3() {
    require_root();
    let directory = Directory::new();
    as_nobody(|| {
        let mounted = mount(&directory.path(), &options());
        let entry = &mounts_at(&directory.path())[0];
        assert_eq!(entry.fs_type, "fuse.ncfs");
        assert_eq!(entry.source, "https://alice@cloud.example/a b,c");
        assert_eq!(mounted.unmount().unwrap(), Unmounted::Gone);
        assert_eq!(mounts_at(&directory.path()), []);
    });
}

#[test]
fn an_ordinary_user_cannot_mount_on_a_directory_of_somebody_else() {
    require_root();
    let directory = Directory::new();
    chown(directory.path(), Some(0), Some(0)).unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    as_nobody(|| {
        let error = mount_helper::prepare(&directory.path(), false).unwrap_err();
        assert!(matches!(error, MountError::NotWritable(_)), "{error}");
    });
}

#[test]
fn a_mount_in_use_is_detached() {
    require_root();
    let directory = Directory::new();
    let mounted = mount(&directory.path(), &options());
    let user = open_without_asking(&directory.path());
    assert_eq!(mounted.unmount().unwrap(), Unmounted::Detached);
    drop(user);
    assert_eq!(mounts_at(&directory.path()), []);
}

#[test]
fn a_dead_mount_of_a_predecessor_is_detached_before_the_next() {
    require_root();
    let directory = Directory::new();
    leave_dead_mount(&directory.path());
    let error = std::fs::metadata(directory.path()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));

    let path = mount_helper::prepare(&directory.path(), false).unwrap();
    assert_eq!(mounts_at(&path), []);
}

#[test]
fn an_ordinary_user_gets_rid_of_a_dead_mount_too() {
    require_root();
    let directory = Directory::new();
    as_nobody(|| {
        leave_dead_mount(&directory.path());
        let path = mount_helper::prepare(&directory.path(), false).unwrap();
        assert_eq!(mounts_at(&path), []);
    });
}

#[test]
fn a_living_mount_is_not_mounted_over() {
    require_root();
    let directory = Directory::new();
    let mounted = mount(&directory.path(), &options());
    let answered = answer_once(&mounted);
    let error = mount_helper::prepare(&directory.path(), true).unwrap_err();
    assert!(matches!(error, MountError::AlreadyMounted(_)), "{error}");
    drop(mounted);
    answered.join().unwrap();
}

#[test]
fn a_mount_point_that_holds_files_is_refused_unless_allowed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "x").unwrap();
    let error = mount_helper::prepare(directory.path(), false).unwrap_err();
    assert!(matches!(error, MountError::NotEmpty(_)), "{error}");
    mount_helper::prepare(directory.path(), true).unwrap();
}

#[test]
fn a_missing_mount_point_and_a_file_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let error = mount_helper::prepare(&file, false).unwrap_err();
    assert!(matches!(error, MountError::Missing(_)), "{error}");
    std::fs::write(&file, "x").unwrap();
    let error = mount_helper::prepare(&file, false).unwrap_err();
    assert!(matches!(error, MountError::NotADirectory(_)), "{error}");
}

#[test]
fn a_mount_that_is_dropped_leaves_nothing_mounted() {
    require_root();
    let directory = Directory::new();
    drop(mount(&directory.path(), &options()));
    assert_eq!(mounts_at(&directory.path()), []);
}

/// The kernel gives the number of a file system that is gone to the next one at once.
#[test]
fn a_mount_that_took_the_place_of_ours_is_left_alone() {
    require_root();
    let directory = Directory::new();
    let ours = mount(&directory.path(), &options());
    umount2(&directory.path(), MntFlags::empty()).unwrap();
    let successor = mount(&directory.path(), &options());
    let answered = answer_once(&successor);
    assert_eq!(ours.unmount().unwrap(), Unmounted::Already);
    assert_eq!(mounts_at(&directory.path()).len(), 1);
    assert_eq!(successor.unmount().unwrap(), Unmounted::Gone);
    answered.join().unwrap();
}

/// `umount -f` of a mount in use ends the connection and leaves the mount.
#[test]
fn a_mount_whose_connection_was_aborted_is_unmounted() {
    require_root();
    let directory = Directory::new();
    let mounted = mount(&directory.path(), &options());
    let user = open_without_asking(&directory.path());
    let refused = umount2(&directory.path(), MntFlags::MNT_FORCE).unwrap_err();
    assert_eq!(refused, Errno::EBUSY);
    assert!(mount_helper::is_dead(&directory.path()));
    assert_eq!(mounted.unmount().unwrap(), Unmounted::Detached);
    drop(user);
    assert_eq!(mounts_at(&directory.path()), []);
}

/// O_PATH needs no answer of the daemon.
fn open_without_asking(path: &Path) -> std::fs::File {
    std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).unwrap()
}

/// Mounts and closes the descriptor without unmounting, as kill -9 does.
fn leave_dead_mount(path: &Path) {
    let mounted = mount(path, &options());
    let device = mounted.device().unwrap().as_raw_fd();
    std::mem::forget(mounted);
    nix::unistd::close(device).unwrap();
}

/// Answers FUSE_INIT, and every request after it with ENOSYS, until the mount ends.
fn answer_once(mounted: &Mounted) -> std::thread::JoinHandle<()> {
    let device = mounted.device().unwrap().try_clone_to_owned().unwrap();
    std::thread::spawn(move || {
        let mut request = vec![0u8; 1 << 20];
        while let Ok(length) = nix::unistd::read(&device, &mut request) {
            if length < 40 {
                return;
            }
            let is_init = request[4..8] == 26u32.to_ne_bytes();
            let mut body = vec![0u8; if is_init { 64 } else { 0 }];
            if is_init {
                body[0..4].copy_from_slice(&7u32.to_ne_bytes());
                body[4..8].copy_from_slice(&31u32.to_ne_bytes());
                body[20..24].copy_from_slice(&4096u32.to_ne_bytes());
            }
            let error = if is_init { 0 } else { -libc::ENOSYS };
            let mut reply = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
            reply.extend_from_slice(&error.to_ne_bytes());
            reply.extend_from_slice(&request[8..16]);
            reply.extend_from_slice(&body);
            let _ = nix::unistd::write(&device, &reply);
        }
    })
}
