//! Requests that the kernel sends again after the process died that had taken them.

use super::*;
use crate::request::RequestNumber;
use crate::tree::KernelSide;
use crate::types::FileHandle;

/// A process that serves, and what outlives it.
struct Process {
    world: World,
    memory: Arc<MountMemory>,
}

impl Process {
    fn first() -> Self {
        let memory = Arc::new(MountMemory::create().unwrap());
        let tree = Tree::in_memory().unwrap();
        Self { world: world_on(tree, Arc::clone(&memory)), memory }
    }

    /// Dies at once; gives the next one.
    fn die(self) -> Self {
        let Self { world, memory } = self;
        let World { vfs, tree, server, .. } = world;
        drop((vfs, server));
        let open = memory.open_handles().into_iter().map(|kept| kept.ino).collect();
        let tree = Arc::into_inner(tree).unwrap();
        let tree = tree.reborn_for(&KernelSide { connection: 0, open }).unwrap();
        Self { world: world_on(tree, Arc::clone(&memory)), memory }
    }
}

fn world_on(tree: Tree, memory: Arc<MountMemory>) -> World {
    world_of(tree, memory, VfsOptions { uid: 1000, gid: 1000, umask: 0o022, read_only: false })
}

/// Does a call for a request.
fn asked<T>(number: u64, again: bool, call: impl Future<Output = T>) -> T {
    RequestNumber { number, again }.during(|| now(call))
}

const WRITE: i32 = libc::O_RDWR | libc::O_CREAT;

#[test]
fn a_file_is_made_once_and_its_handle_is_the_same() {
    let create = |process: &Process, again| {
        let mode = OpenMode::from_flags(WRITE);
        let call = process.world.vfs.create(USER, Ino::ROOT, b"new", 0o644, true, mode);
        asked(24, again, call).unwrap()
    };
    let process = Process::first();
    let first = create(&process, false);
    process.world.vfs.write(first.opened.handle, 0, b"bytes").unwrap();

    let process = process.die();
    let again = create(&process, true);
    assert_eq!(again.stat.ino, first.stat.ino);
    assert_eq!(again.opened.handle, first.opened.handle);
    // It is open once: one close ends that.
    process.world.vfs.release(again.opened.handle).unwrap();
    assert!(!process.world.vfs.is_open(first.stat.ino));
    assert!(process.memory.open_handles().is_empty());
}

#[test]
fn names_are_changed_once() {
    let process = Process::first();
    let vfs = &process.world.vfs;
    let made = asked(2, false, vfs.mkdir(USER, Ino::ROOT, b"dir", 0o755)).unwrap();
    asked(4, false, vfs.rename((Ino::ROOT, b"dir"), (Ino::ROOT, b"other"), RenameRule::Replace))
        .unwrap();
    asked(6, false, vfs.mkdir(USER, Ino::ROOT, b"gone", 0o755)).unwrap();
    asked(8, false, vfs.rmdir(Ino::ROOT, b"gone")).unwrap();

    let process = process.die();
    let vfs = &process.world.vfs;
    let again = asked(2, true, vfs.mkdir(USER, Ino::ROOT, b"dir", 0o755)).unwrap();
    assert_eq!(again.stat.unwrap().ino, made.stat.unwrap().ino);
    asked(4, true, vfs.rename((Ino::ROOT, b"dir"), (Ino::ROOT, b"other"), RenameRule::Replace))
        .unwrap();
    asked(8, true, vfs.rmdir(Ino::ROOT, b"gone")).unwrap();
    // Another request is another matter.
    let other = asked(10, true, vfs.rmdir(Ino::ROOT, b"gone"));
    assert!(matches!(other, Err(VfsError::NotFound)));
}

#[test]
fn an_open_empties_a_file_once() {
    let process = Process::first();
    let vfs = &process.world.vfs;
    let mode = OpenMode::from_flags(WRITE);
    let made = now(vfs.create(USER, Ino::ROOT, b"file", 0o644, true, mode)).unwrap();
    let (ino, other) = (made.stat.ino, made.opened.handle);
    let empty = OpenMode::from_flags(libc::O_RDWR | libc::O_TRUNC);
    let first = RequestNumber { number: 24, again: false };
    let opened = first.during(|| vfs.open(ino, empty)).unwrap();
    vfs.write(other, 0, b"later").unwrap();
    vfs.flush(other).unwrap();

    let process = process.die();
    let vfs = &process.world.vfs;
    let again = RequestNumber { again: true, ..first };
    assert_eq!(again.during(|| vfs.open(ino, empty)).unwrap().handle, opened.handle);
    assert_eq!(vfs.getattr(ino).unwrap().attr.size, 5);
}

#[test]
fn a_file_without_a_name_lives_as_long_as_it_is_open() {
    let process = Process::first();
    let vfs = &process.world.vfs;
    let mode = OpenMode::from_flags(WRITE);
    let made = now(vfs.create(USER, Ino::ROOT, b"file", 0o644, true, mode)).unwrap();
    let (ino, handle) = (made.stat.ino, made.opened.handle);
    now(vfs.unlink(Ino::ROOT, b"file")).unwrap();

    let process = process.die();
    let vfs = &process.world.vfs;
    assert_eq!(vfs.getattr(ino).unwrap().nlink, 0);
    vfs.write(handle, 0, b"bytes").unwrap();
    vfs.release(handle).unwrap();
    assert!(matches!(vfs.getattr(ino), Err(VfsError::Stale)));
    // The close that comes again hits nobody.
    let next = vfs.opendir(Ino::ROOT).unwrap();
    assert!(matches!(vfs.release(handle), Err(VfsError::BadHandle)));
    assert_ne!(next, FileHandle(handle.0));
    assert!(now(vfs.readdir(next, 0, 10)).is_ok());
}
