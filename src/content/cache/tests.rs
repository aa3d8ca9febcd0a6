use std::os::unix::fs::FileExt;

use tempfile::TempDir;

use super::*;

const KIB: u64 = 1 << 10;

fn open(dir: &TempDir, limit: u64) -> Cache {
    open_in(dir, "me", "boot", limit)
}

fn open_in(dir: &TempDir, owner: &str, boot: &str, limit: u64) -> Cache {
    let (unused, boot) = (ContentId(1000), Some(boot.to_owned()));
    let mut cache = Cache::open_in_boot(dir.path(), owner, unused, limit, boot).unwrap();
    // Whatever the disk of the machine that tests.
    cache.floor = 0;
    cache
}

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Stores a complete version of so many bytes of the value of its id.
fn fill(cache: &Cache, id: u64, size: u64) -> Arc<CachedVersion> {
    let version = cache.open_version(ContentId(id), size).unwrap();
    version.store(0, &vec![id as u8; size as usize]).unwrap();
    version
}

fn is_here(cache: &Cache, id: u64) -> bool {
    cache.peek(ContentId(id)).is_some_and(|version| version.is_complete())
}

#[test]
fn only_bytes_that_were_stored_are_read() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    let version = cache.open_version(ContentId(1), 100).unwrap();
    version.store(10, b"hello").unwrap();
    assert_eq!(version.read(ByteRange::new(10, 15)).unwrap().unwrap(), &b"hello"[..]);
    assert_eq!(version.read(ByteRange::new(9, 15)).unwrap(), None);
    let gaps = [ByteRange::new(0, 10), ByteRange::new(15, 100)];
    assert_eq!(version.missing(ByteRange::new(0, 200)), gaps);
    assert!(!version.is_complete());
}

#[test]
fn a_complete_version_survives_a_restart_and_a_partial_one_does_not() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    fill(&cache, 1, 5000);
    cache.open_version(ContentId(2), 5000).unwrap().store(0, b"x").unwrap();
    assert_eq!(cache.used(), 8192 + 4096);
    drop(cache);

    let cache = open(&dir, 1 << 30);
    assert_eq!(cache.used(), 8192);
    let version = cache.open_version(ContentId(1), 5000).unwrap();
    assert_eq!(version.read(ByteRange::new(0, 5000)).unwrap().unwrap(), vec![1; 5000]);
    assert!(cache.peek(ContentId(2)).is_none());
}

#[test]
fn a_partial_version_is_remembered_while_the_process_lives() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    cache.open_version(ContentId(1), 100).unwrap().store(0, b"abc").unwrap();
    for id in 2..2 + 2 * IDLE_OPEN as u64 {
        fill(&cache, id, 1);
    }
    assert!(!cache.lock().open.contains_key(&ContentId(1)));
    let version = cache.open_version(ContentId(1), 100).unwrap();
    assert_eq!(version.read(ByteRange::new(0, 3)).unwrap().unwrap(), &b"abc"[..]);
    assert_eq!(version.read(ByteRange::new(0, 4)).unwrap(), None);
}

#[test]
fn a_version_of_no_bytes_is_complete() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    assert!(cache.open_version(ContentId(1), 0).unwrap().is_complete());
    assert!(cache.take(ContentId(1), &dir.path().join("taken")).unwrap());
}

#[test]
fn contents_of_another_owner_are_deleted() {
    let dir = temp();
    fill(&open(&dir, 1 << 30), 1, 10);
    let cache = open_in(&dir, "somebody else", "boot", 1 << 30);
    assert_eq!(cache.used(), 0);
    assert!(cache.peek(ContentId(1)).is_none());
}

#[test]
fn a_machine_that_went_down_leaves_only_what_was_closed() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    fill(&cache, 1, 10);
    cache.close().unwrap();
    drop(cache);

    let cache = open_in(&dir, "me", "second boot", 1 << 30);
    assert!(is_here(&cache, 1));
    drop(cache);

    let cache = open_in(&dir, "me", "third boot", 1 << 30);
    assert!(!is_here(&cache, 1));
}

#[test]
fn foreign_and_unissued_entries_are_deleted_at_the_start() {
    let dir = temp();
    fill(&open(&dir, 1 << 30), 1, 10);
    let shelf = dir.path().join("01");
    let junk = [shelf.join("junk"), shelf.join("0000000000000002"), shelf.join("000000000000ff01")];
    for path in &junk {
        fs::write(path, b"x").unwrap();
    }
    fs::write(dir.path().join("README"), b"not ours").unwrap();
    let cache = open(&dir, 1 << 30);
    assert_eq!(cache.used(), 4096);
    assert!(is_here(&cache, 1));
    assert!(junk.iter().all(|path| !path.exists()));
    assert!(dir.path().join("README").exists());
}

#[test]
fn an_entry_of_the_wrong_size_is_replaced() {
    let dir = temp();
    fill(&open(&dir, 1 << 30), 1, 10);
    let cache = open(&dir, 1 << 30);
    let version = cache.open_version(ContentId(1), 11).unwrap();
    assert_eq!(version.missing(ByteRange::new(0, 11)), [ByteRange::new(0, 11)]);
    assert_eq!(cache.used(), 0);
}

#[test]
fn a_second_process_is_refused() {
    let dir = temp();
    let _cache = open(&dir, 1 << 30);
    let second = Cache::open(dir.path(), "me", ContentId(1000), 1 << 30);
    assert!(matches!(second, Err(CacheError::InUse(_))));
}

#[test]
fn the_least_recently_used_go_first_and_a_tenth_more_than_needed() {
    let dir = temp();
    let cache = open(&dir, 40 * KIB);
    for id in 1..=10 {
        fill(&cache, id, 4 * KIB);
    }
    cache.open_version(ContentId(1), 4 * KIB).unwrap();
    assert_eq!(cache.evict().unwrap(), 0);
    fill(&cache, 11, 4 * KIB);
    assert!(cache.is_crowded());

    assert_eq!(cache.evict().unwrap(), 8 * KIB);

    assert_eq!(cache.used(), 36 * KIB);
    let here: Vec<_> = (1..=11).filter(|id| is_here(&cache, *id)).collect();
    assert_eq!(here, [1, 4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn the_order_of_uses_survives_a_restart() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    for (id, used) in [(1, 30), (2, 10), (3, 20)] {
        fill(&cache, id, 4 * KIB);
        let file = File::open(cache.layout.path(ContentId(id))).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(used)).unwrap();
    }
    drop(cache);
    let cache = open(&dir, 5 * KIB);
    cache.evict().unwrap();
    let here: Vec<_> = [1, 2, 3].into_iter().filter(|id| is_here(&cache, *id)).collect();
    assert_eq!(here, [1]);
}

#[test]
fn a_version_in_use_is_never_evicted() {
    let dir = temp();
    let cache = open(&dir, 4 * KIB);
    let pinned: Vec<_> = (1..=3).map(|id| fill(&cache, id, 4 * KIB)).collect();
    let partial = cache.open_version(ContentId(4), 9 * KIB).unwrap();
    partial.store(0, b"x").unwrap();
    fill(&cache, 5, 4 * KIB);
    cache.evict().unwrap();
    assert!((1..=3).all(|id| is_here(&cache, id)));
    assert!(!is_here(&cache, 5));
    assert!(partial.read(ByteRange::new(0, 1)).unwrap().is_some());

    drop((pinned, partial));
    cache.evict().unwrap();
    assert_eq!(cache.used(), 0);
}

#[test]
fn too_little_free_space_evicts_below_the_limit() {
    let dir = temp();
    let mut cache = open(&dir, 1 << 30);
    fill(&cache, 1, 4 * KIB);
    cache.floor = u64::MAX / 2;
    cache.evict().unwrap();
    assert_eq!(cache.used(), 0);
}

#[test]
fn a_complete_version_is_taken_with_its_bytes_and_its_readers_see_no_other() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    let held = fill(&cache, 1, 10);
    let into = dir.path().join("taken");
    assert!(cache.take(ContentId(1), &into).unwrap());
    assert_eq!(fs::read(&into).unwrap(), vec![1; 10]);
    assert_eq!(cache.used(), 0);

    File::options().write(true).open(&into).unwrap().write_all_at(b"new", 0).unwrap();
    assert_eq!(held.read(ByteRange::new(0, 3)).unwrap(), None);
    held.store(0, b"old").unwrap();
    assert_eq!(fs::read(&into).unwrap()[..3], *b"new");
    assert!(!cache.take(ContentId(1), &into).unwrap());
}

#[test]
fn a_version_that_was_taken_is_there_after_a_crash_until_it_is_forgotten() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    let into = dir.path().join("taken");
    for id in [1, 2] {
        fill(&cache, id, 10);
        assert!(cache.take(ContentId(id), &into).unwrap());
        fs::remove_file(&into).unwrap();
    }
    cache.forget(ContentId(2)).unwrap();
    drop(cache);
    let cache = open(&dir, 1 << 30);
    let version = cache.peek(ContentId(1)).unwrap();
    assert_eq!(version.read(ByteRange::new(0, 10)).unwrap().unwrap(), vec![1; 10]);
    assert!(cache.peek(ContentId(2)).is_none());
}

#[test]
fn a_version_with_gaps_is_not_taken() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    cache.open_version(ContentId(1), 10).unwrap().store(0, b"123456789").unwrap();
    assert!(!cache.take(ContentId(1), &dir.path().join("taken")).unwrap());
    assert!(cache.peek(ContentId(1)).is_some());
}

#[test]
fn an_adopted_file_is_a_complete_version_and_stays_where_it_was() {
    let (dir, elsewhere) = (temp(), temp());
    let cache = open(&dir, 1 << 30);
    // What was begun of it, in use or not, gives way.
    let begun = cache.open_version(ContentId(1), 7).unwrap();
    begun.store(0, b"old").unwrap();
    let from = elsewhere.path().join("settled");
    fs::write(&from, b"content").unwrap();

    cache.adopt(ContentId(1), &from).unwrap();

    let version = cache.open_version(ContentId(1), 7).unwrap();
    assert_eq!(version.read(ByteRange::new(0, 7)).unwrap().unwrap(), &b"content"[..]);
    assert!(from.exists());
    assert_eq!(cache.used(), 4096);
    begun.store(0, b"oldoldo").unwrap();
    assert_eq!(version.read(ByteRange::new(0, 7)).unwrap().unwrap(), &b"content"[..]);
    assert_eq!(cache.used(), 4096);
}

#[test]
fn a_forgotten_version_can_still_be_read_by_who_has_it() {
    let dir = temp();
    let cache = open(&dir, 1 << 30);
    let held = cache.open_version(ContentId(1), 6).unwrap();
    held.store(0, b"abc").unwrap();
    cache.forget(ContentId(1)).unwrap();
    let other = cache.open_version(ContentId(1), 6).unwrap();
    held.store(3, b"def").unwrap();
    assert_eq!(held.read(ByteRange::new(0, 6)).unwrap().unwrap(), &b"abcdef"[..]);
    assert_eq!(other.missing(ByteRange::new(0, 6)), [ByteRange::new(0, 6)]);
    other.store(0, b"ABCDEF").unwrap();
    drop((held, other));
    assert_eq!(cache.used(), 4096);
    assert!(is_here(&cache, 1));
}
