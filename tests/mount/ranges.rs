//! What programs do to ranges of files beside reading and writing: room, zeros, holes, copies.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, copy_file_range, fallocate, posix_fallocate};
use nix::unistd::{Whence, lseek};

use testcloud::Latency;

use crate::harness::{Fixture, Mount, for_both, noise, python, succeed};

for_both!(
    room_is_reserved_and_refused_at_once,
    ranges_are_zeroed_and_punched_in_a_file_that_is_here,
    ranges_are_zeroed_and_punched_in_a_file_that_is_not_here,
    holes_are_told_of_files_written_here_and_nothing_is_fetched_for_them,
    what_is_stored_in_a_mapping_is_never_told_as_a_hole,
    ranges_are_copied_from_wherever_the_bytes_are,
    sparse_files_go_in_and_come_out_whole,
);

const MIB: usize = 1 << 20;
const PUNCH: FallocateFlags =
    FallocateFlags::FALLOC_FL_PUNCH_HOLE.union(FallocateFlags::FALLOC_FL_KEEP_SIZE);
const ZERO: FallocateFlags = FallocateFlags::FALLOC_FL_ZERO_RANGE;
const KEEP_SIZE: FallocateFlags = FallocateFlags::FALLOC_FL_KEEP_SIZE;

fn open(mount: &Mount<'_>, name: &str) -> File {
    OpenOptions::new().write(true).create(true).truncate(false).open(mount.path(name)).unwrap()
}

fn room_is_reserved_and_refused_at_once() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    let file = open(&mount, "room");
    file.write_all_at(b"abc", 0).unwrap();
    let reserve = |flags, len: usize| fallocate(&file, flags, 0, len as i64);
    reserve(KEEP_SIZE, MIB).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 3);
    reserve(FallocateFlags::empty(), MIB).unwrap();
    assert_eq!(file.metadata().unwrap().len(), MIB as u64);
    posix_fallocate(&file, MIB as i64, MIB as i64).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 2 * MIB as u64);
    // More than any disk has, so it is said before a byte is written.
    let refused = fallocate(&file, FallocateFlags::empty(), 0, 1 << 53).unwrap_err();
    assert!([Errno::ENOSPC, Errno::EFBIG].contains(&refused), "{refused}");
    let refused = fallocate(&file, FallocateFlags::FALLOC_FL_COLLAPSE_RANGE, 0, 4096);
    assert_eq!(refused, Err(Errno::EOPNOTSUPP));
    let reading = File::open(mount.path("room")).unwrap();
    assert_eq!(fallocate(&reading, KEEP_SIZE, 0, 10), Err(Errno::EBADF));
    drop((file, reading));
    succeed(Command::new("fallocate").args(["-l", "3M"]).arg(mount.path("room")));
    mount.flush();
    let mut expected = vec![0; 3 * MIB];
    expected[..3].copy_from_slice(b"abc");
    assert!(fixture.download("/room").unwrap() == expected);
    assert!(fs::read(mount.path("room")).unwrap() == expected);
}

/// Punches and zeroes, and tells what has to come of it.
fn cut_up(file: &File, content: &mut Vec<u8>) {
    let steps = [
        (PUNCH, 5000, 100_000),
        (ZERO, 300_000, 10),
        (PUNCH, content.len() - 100, 1000),
        (ZERO | KEEP_SIZE, content.len() - 5, 1000),
        (ZERO, content.len() - 50, 150),
    ];
    for (flags, offset, len) in steps {
        fallocate(file, flags, offset as i64, len as i64).unwrap();
        let end = offset + len;
        if flags == ZERO && end > content.len() {
            content.resize(end, 0);
        }
        let end = end.min(content.len());
        content[offset..end].fill(0);
        assert_eq!(file.metadata().unwrap().len(), content.len() as u64);
    }
}

fn ranges_are_zeroed_and_punched_in_a_file_that_is_here() {
    let fixture = Fixture::new();
    let mut content = noise(1, MIB);
    fixture.upload("/data.bin", &content);
    let mount = fixture.mount();
    assert!(fs::read(mount.path("data.bin")).unwrap() == content);
    let before = fs::metadata(mount.path("data.bin")).unwrap();
    let file = open(&mount, "data.bin");
    cut_up(&file, &mut content);
    let after = file.metadata().unwrap();
    assert!(after.modified().unwrap() > before.modified().unwrap());
    assert!((after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()));
    // The kernel's pages go, too.
    assert!(fs::read(mount.path("data.bin")).unwrap() == content);
    drop(file);
    mount.flush();
    assert!(fixture.download("/data.bin").unwrap() == content);
    mount.unmount();
    fixture.empty_cache();
    let mount = fixture.mount();
    assert!(fs::read(mount.path("data.bin")).unwrap() == content);
}

fn ranges_are_zeroed_and_punched_in_a_file_that_is_not_here() {
    let fixture = Fixture::new();
    let mut content = noise(1, MIB);
    fixture.upload("/data.bin", &content);
    let mount = fixture.mount();
    fixture.cloud().set_latency(Latency { millis: 300, workers: None });
    let file = open(&mount, "data.bin");
    cut_up(&file, &mut content);
    mount.kill();
    fixture.cloud().set_latency(Latency { millis: 0, workers: None });
    drop(file);
    assert!(fs::read(mount.path("data.bin")).unwrap() == content);
    mount.flush();
    assert!(fixture.download("/data.bin").unwrap() == content);
}

/// Data and holes by turns, as `lseek` tells them.
fn layout(file: &File) -> Vec<(u64, u64)> {
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        match lseek(file, at, Whence::SeekData) {
            Err(Errno::ENXIO) => return found,
            start => {
                let start = start.unwrap();
                at = lseek(file, start, Whence::SeekHole).unwrap();
                found.push((start as u64, at as u64));
            }
        }
    }
}

fn holes_are_told_of_files_written_here_and_nothing_is_fetched_for_them() {
    let fixture = Fixture::new();
    fixture.upload("/there.bin", &noise(1, 300_000));
    let mount = fixture.mount();
    fixture.cloud().reset_requests();
    let there = File::open(mount.path("there.bin")).unwrap();
    assert_eq!(layout(&there), [(0, 300_000)]);
    assert_eq!(lseek(&there, 300_000, Whence::SeekHole), Err(Errno::ENXIO));
    let requests = fixture.cloud().requests();
    assert!(!requests.iter().any(|request| request.path.ends_with("there.bin")), "{requests:?}");

    let writing = open(&mount, "sparse.bin");
    writing.set_len(4 * MIB as u64).unwrap();
    writing.write_all_at(&noise(2, MIB), MIB as u64).unwrap();
    let sparse = File::open(mount.path("sparse.bin")).unwrap();
    assert_eq!(layout(&sparse), [(MIB as u64, 2 * MIB as u64)]);
    fallocate(&writing, PUNCH, MIB as i64, MIB as i64 / 2).unwrap();
    assert_eq!(layout(&sparse), [(3 * MIB as u64 / 2, 2 * MIB as u64)]);
    assert_eq!(layout(&writing), layout(&sparse));
    drop(writing);
    mount.flush();
    let mut content = vec![0; 4 * MIB];
    content[3 * MIB / 2..2 * MIB].copy_from_slice(&noise(2, MIB)[MIB / 2..]);
    assert!(fixture.download("/sparse.bin").unwrap() == content);
}

fn what_is_stored_in_a_mapping_is_never_told_as_a_hole() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    let code = "
import mmap, os, subprocess, sys
path = sys.argv[1]
with open(path, 'w+b') as file:
    file.truncate(1 << 20)
    mapping = mmap.mmap(file.fileno(), 0)
# What was read once is kept by the kernel, which then writes nothing back when it is opened again.
with open(path, 'rb') as file:
    file.read()
mapping[500_000:500_004] = b'here'
with open(path, 'rb') as file:
    assert os.lseek(file.fileno(), 0, os.SEEK_DATA) <= 500_000
subprocess.run(['cp', '--sparse=auto', path, path + '.copy'], check=True)
";
    succeed(python().args(["-c", code]).arg(mount.path("mapped")));
    assert_eq!(&fs::read(mount.path("mapped.copy")).unwrap()[500_000..500_004], b"here");
}

fn copy(from: (&File, usize), to: (&File, usize), len: usize) -> io::Result<()> {
    let (mut source, mut target) = (from.1 as i64, to.1 as i64);
    let mut left = len;
    while left > 0 {
        match copy_file_range(from.0, Some(&mut source), to.0, Some(&mut target), left)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            copied => left -= copied,
        }
    }
    Ok(())
}

fn ranges_are_copied_from_wherever_the_bytes_are() {
    let fixture = Fixture::new();
    let (there, other) = (noise(1, 3 * MIB), noise(2, MIB));
    fixture.upload("/there.bin", &there);
    fixture.upload("/half.bin", &there);
    let mount = fixture.mount();
    fs::write(mount.path("dirty.bin"), &other).unwrap();
    let half = OpenOptions::new().read(true).write(true).open(mount.path("half.bin")).unwrap();
    half.write_all_at(&other[..1000], 10).unwrap();
    let mut expected_half = there.clone();
    expected_half[10..1010].copy_from_slice(&other[..1000]);

    // From the server, from a file that is dirty, from one that is half here.
    let remote = File::open(mount.path("there.bin")).unwrap();
    let dirty = File::open(mount.path("dirty.bin")).unwrap();
    let target = open(&mount, "copy.bin");
    copy((&remote, 100), (&target, 0), 2 * MIB).unwrap();
    copy((&dirty, 0), (&target, 2 * MIB - 7), MIB).unwrap();
    copy((&half, 5), (&target, 3 * MIB), MIB).unwrap();
    let mut expected = there[100..2 * MIB + 100].to_vec();
    expected.truncate(2 * MIB - 7);
    expected.extend(&other);
    expected.resize(3 * MIB, 0);
    expected.extend(&expected_half[5..MIB + 5]);
    assert!(fs::read(mount.path("copy.bin")).unwrap() == expected);

    // Within one file, and onto itself.
    copy((&half, 0), (&half, 2 * MIB), 4096).unwrap();
    expected_half.copy_within(0..4096, 2 * MIB);
    let onto_itself = copy((&half, 0), (&half, 100), 4096).unwrap_err();
    assert_eq!(onto_itself.raw_os_error(), Some(libc::EINVAL));
    assert!(fs::read(mount.path("half.bin")).unwrap() == expected_half);
    // At the end of the source there is nothing.
    let end = copy((&dirty, MIB), (&target, 0), 10).unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    let reading = copy((&dirty, 0), (&remote, 0), 10).unwrap_err();
    assert_eq!(reading.raw_os_error(), Some(libc::EBADF));
    drop((half, target));
    mount.flush();
    assert!(fixture.download("/copy.bin").unwrap() == expected);
    assert!(fixture.download("/half.bin").unwrap() == expected_half);
    assert!(fixture.download("/there.bin").unwrap() == there);
}

fn sparse_files_go_in_and_come_out_whole() {
    let fixture = Fixture::new();
    let mount = fixture.mount();
    let image = fixture.path("image");
    let file = File::create(&image).unwrap();
    file.set_len(8 * MIB as u64).unwrap();
    for at in [MIB, 5 * MIB] {
        file.write_all_at(&noise(at as u64, 300_000), at as u64).unwrap();
    }
    drop(file);
    let content = fs::read(&image).unwrap();
    let (inside, again) = (mount.path("image"), mount.path("again"));
    succeed(Command::new("cp").arg("--sparse=always").args([&image, &inside]));
    succeed(Command::new("cp").arg("--sparse=always").args([&inside, &again]));
    succeed(
        Command::new("tar")
            .arg("-SC")
            .arg(mount.path(""))
            .args(["-cf", "archive", "image"])
            .current_dir(fixture.path("")),
    );
    succeed(
        Command::new("tar")
            .arg("-SC")
            .arg(mount.path(""))
            .args(["-xf", "archive"])
            .current_dir(fixture.path("")),
    );
    assert_eq!(File::open(&again).unwrap().metadata().unwrap().len(), content.len() as u64);
    for path in [&inside, &again] {
        assert!(fs::read(path).unwrap() == content, "{path:?}");
    }
    mount.flush();
    assert!(fixture.download("/image").unwrap() == content);
    assert!(fixture.download("/again").unwrap() == content);
}
