//! Files that are too big to be moved without need.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};

use testcloud::Config;

use crate::harness::{Fixture, USER, for_both, noise};

for_both!(
    a_big_file_comes_back_after_a_remount_with_an_empty_cache,
    the_end_of_a_huge_file_is_read_without_the_rest,
);

const MIB: usize = 1 << 20;

fn a_big_file_comes_back_after_a_remount_with_an_empty_cache() {
    let fixture = Fixture::new();
    let content = noise(1, 64 * MIB);
    let mount = fixture.mount();
    fs::write(mount.path("big.bin"), &content).unwrap();
    mount.flush();
    assert!(fixture.cloud().read_file(USER, "/big.bin").unwrap() == content);
    mount.unmount();
    fixture.empty_cache();
    fixture.cloud().reset_requests();
    let mount = fixture.mount();
    assert!(fs::read(mount.path("big.bin")).unwrap() == content);
    let fetched = fixture.cloud().counters().bytes_out;
    assert!(fetched < 65 * MIB as u64, "{fetched} bytes fetched");
}

fn the_end_of_a_huge_file_is_read_without_the_rest() {
    let holder = tempfile::tempdir().unwrap();
    let directory = holder.path().join(USER).join("files");
    fs::create_dir_all(&directory).unwrap();
    let tail = noise(2, 64 * 1024);
    let mut file = File::create(directory.join("huge.bin")).unwrap();
    file.set_len(1024 * MIB as u64 - tail.len() as u64).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    std::io::Write::write_all(&mut file, &tail).unwrap();

    let fixture = Fixture::on(Config::default().dir(holder.path()));
    let mount = fixture.mount();
    fixture.cloud().reset_requests();
    let mut file = File::open(mount.path("huge.bin")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1024 * MIB as u64);
    file.seek(SeekFrom::End(-64 * 1024)).unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == tail);
    drop(file);
    fixture.cloud().wait_idle();
    let fetched = fixture.cloud().counters().bytes_out;
    assert!(fetched < 2 * MIB as u64, "{fetched} bytes fetched");
}
