use std::collections::HashSet;
use std::os::unix::fs::FileExt;

use futures_util::TryStreamExt;
use proptest::prelude::*;
use tempfile::TempDir;

use super::log::Record;
use super::*;
use crate::remote::Source;
use crate::types::Time;

const ID: StagingId = StagingId(3);

fn staging() -> (TempDir, Staging) {
    let dir = tempfile::tempdir().unwrap();
    let staging = Staging::open(dir.path()).unwrap();
    (dir, staging)
}

fn empty(staging: &Staging, id: StagingId) -> Arc<StagedFile> {
    staging.prepare(id, Basis::Empty).unwrap().activate().unwrap()
}

fn partial(staging: &Staging, size: u64) -> Arc<StagedFile> {
    staging.prepare(ID, Basis::Partial { size, base_len: size }).unwrap().activate().unwrap()
}

fn data(file: &StagedFile, start: u64, end: u64) -> Vec<u8> {
    match file.read(ByteRange::new(start, end)).unwrap() {
        ReadOutcome::Data(bytes) => bytes.to_vec(),
        ReadOutcome::Missing(gaps) => panic!("missing {gaps:?}"),
    }
}

fn names(staging: &Staging) -> Vec<String> {
    let entries = fs::read_dir(&staging.dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn bytes_of_the_base_are_missing_until_they_are_filled_and_written_ones_are_not() {
    let (_dir, staging) = staging();
    let file = partial(&staging, 10);
    file.write(4, b"new").unwrap();
    let gaps = vec![ByteRange::new(0, 4), ByteRange::new(7, 10)];
    assert_eq!(file.read(ByteRange::new(0, 10)).unwrap(), ReadOutcome::Missing(gaps));
    assert_eq!(data(&file, 4, 7), b"new");
    file.fill(0, b"0123456789").unwrap();
    assert_eq!(data(&file, 0, 99), b"0123new789");
    assert!(file.is_whole());
}

#[test]
fn what_a_cut_took_from_the_base_does_not_come_back() {
    let (_dir, staging) = staging();
    let file = partial(&staging, 10);
    file.truncate(4).unwrap();
    file.truncate(8).unwrap();
    assert_eq!(file.gaps(), [ByteRange::new(0, 4)]);
    file.fill(0, b"0123456789").unwrap();
    assert_eq!(data(&file, 0, 99), b"0123\0\0\0\0");
}

#[test]
fn a_fill_is_no_change() {
    let (_dir, staging) = staging();
    let file = partial(&staging, 10);
    file.set_mtime(Time(-1_500_000_000)).unwrap();
    let generation = file.generation();
    file.fill(0, b"0123456789").unwrap();
    assert_eq!((file.generation(), file.mtime().unwrap()), (generation, Time(-1_500_000_000)));
    file.write(0, b"x").unwrap();
    assert_ne!(file.generation(), generation);
    assert!(file.mtime().unwrap() > Time(0));
}

#[test]
fn all_users_of_a_file_see_one() {
    let (_dir, staging) = staging();
    let file = empty(&staging, ID);
    assert!(Arc::ptr_eq(&file, &staging.reopen(ID, false).unwrap()));
    let generation = file.generation();
    drop(file);
    assert_ne!(staging.reopen(ID, false).unwrap().generation(), generation);
}

#[test]
fn a_file_whose_last_step_was_not_made_is_found() {
    let (_dir, staging) = staging();
    let prepared = staging.prepare(ID, Basis::Empty).unwrap();
    assert_eq!(names(&staging), ["3.new"]);
    // The row is committed, and the process dies.
    let id = prepared.id();
    staging.reopen(id, false).unwrap().write(0, b"abc").unwrap();
    assert_eq!(names(&staging), ["3"]);
    staging.retire(id).unwrap();
    assert_eq!(names(&staging), ["3.old"]);
    assert_eq!(data(&staging.reopen(id, false).unwrap(), 0, 9), b"abc");
    assert_eq!(names(&staging), ["3"]);
}

#[test]
fn a_row_without_a_file_is_lost_and_not_empty() {
    let (_dir, staging) = staging();
    assert!(matches!(staging.reopen(ID, false), Err(StagingError::Lost(ID))));
}

#[test]
fn a_partial_file_without_its_log_is_lost_and_not_zeros() {
    let (_dir, staging) = staging();
    drop(partial(&staging, 10));
    fs::write(staging.log(ID), b"").unwrap();
    assert!(matches!(staging.reopen(ID, true), Err(StagingError::Lost(ID))));
    fs::remove_file(staging.log(ID)).unwrap();
    assert!(matches!(staging.reopen(ID, true), Err(StagingError::Lost(ID))));
}

#[test]
fn a_taken_file_is_whole() {
    let (_dir, staging) = staging();
    fs::write(staging.landing(ID), b"content").unwrap();
    let file = staging.prepare(ID, Basis::Taken).unwrap().activate().unwrap();
    assert!(file.is_whole());
    assert_eq!(data(&file, 0, 99), b"content");
}

#[test]
fn a_settled_file_is_whole_after_a_restart_whatever_its_row_says_of_it() {
    let (_dir, staging) = staging();
    let file = partial(&staging, 4);
    assert!(!file.settle().unwrap());
    file.fill(0, b"base").unwrap();
    assert!(file.settle().unwrap());
    file.write(2, b"ked!").unwrap();
    drop(file);
    let file = staging.reopen(ID, true).unwrap();
    assert!(file.is_whole());
    assert_eq!(data(&file, 0, 99), b"baked!");
    drop(file);
    assert_eq!(data(&staging.reopen(ID, false).unwrap(), 0, 99), b"baked!");
    assert_eq!(names(&staging), ["3"]);
}

#[test]
fn a_write_over_filled_bytes_is_not_lost_with_them() {
    let (_dir, staging) = staging();
    let file = partial(&staging, 8);
    file.fill(0, b"basebase").unwrap();
    file.write(2, b"xx").unwrap();
    drop(file);
    let file = staging.reopen(ID, true).unwrap();
    assert_eq!(file.gaps(), [ByteRange::new(0, 2), ByteRange::new(4, 8)]);
    assert_eq!(data(&file, 2, 4), b"xx");
}

#[test]
fn rewriting_the_same_place_does_not_grow_the_log() {
    let (_dir, staging) = staging();
    let file = partial(&staging, 100);
    file.write(0, b"0123456789").unwrap();
    let len = fs::metadata(staging.log(ID)).unwrap().len();
    (0..100).for_each(|n| file.write(n % 5, b"abc").unwrap());
    assert_eq!(fs::metadata(staging.log(ID)).unwrap().len(), len);
}

#[test]
fn a_sealed_file_takes_no_changes() {
    let (_dir, staging) = staging();
    let file = empty(&staging, ID);
    let before = file.generation();
    file.write(0, b"abc").unwrap();
    assert!(matches!(file.seal(before), Err(StagingError::Changed)));
    file.seal(file.generation()).unwrap();
    assert!(matches!(file.write(0, b"x"), Err(StagingError::Sealed)));
    assert!(matches!(file.truncate(0), Err(StagingError::Sealed)));
    file.unseal();
    file.write(0, b"x").unwrap();
}

#[test]
fn strays_with_bytes_go_to_lost_and_found_and_unfinished_ones_away() {
    let (dir, staging) = staging();
    empty(&staging, StagingId(1)).write(0, b"known").unwrap();
    empty(&staging, StagingId(2)).write(0, b"stray").unwrap();
    partial(&staging, 10).write(5, b"x").unwrap();
    let _ = staging.prepare(StagingId(4), Basis::Partial { size: 9, base_len: 9 }).unwrap();
    empty(&staging, StagingId(5)).write(0, b"settled").unwrap();
    staging.retire(StagingId(5)).unwrap();
    let _ = staging.prepare(StagingId(6), Basis::Empty).unwrap();
    drop(staging);

    let staging = Staging::open(dir.path()).unwrap();
    let known = HashSet::from([StagingId(1), StagingId(6)]);
    let mut strays = staging.strays(&known).unwrap();

    strays.sort_by_key(|stray| stray.id);
    assert_eq!(names(&staging), ["1", "6.new"]);
    let [stray, partial] = &strays[..] else { panic!("{strays:?}") };
    assert_eq!((stray.id, stray.size), (StagingId(2), 5));
    assert_eq!(stray.path, dir.path().join("lost+found/unsent file 2"));
    assert_eq!(fs::read(&stray.path).unwrap(), b"stray");
    assert_eq!(partial.id, ID);
    assert!(dir.path().join("lost+found/unsent file 3.log").exists());
}

#[test]
fn a_salvaged_file_never_replaces_another() {
    let (_dir, staging) = staging();
    let paths = [1, 2].map(|id| {
        empty(&staging, StagingId(id)).write(0, &[id as u8]).unwrap();
        staging.salvage(StagingId(id), "home/notes.txt").unwrap()
    });
    assert_eq!(paths.map(|path| fs::read(path).unwrap()), [vec![1], vec![2]]);
}

async fn collect(source: &StagedSource, range: ByteRange) -> io::Result<Vec<u8>> {
    let pieces: Vec<_> = source.read(range).try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn a_source_gives_the_bytes_of_any_range() {
    let (_dir, staging) = staging();
    let file = empty(&staging, ID);
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| n as u8).collect();
    file.write(0, &bytes).unwrap();
    let source = file.source(file.generation()).unwrap();
    assert_eq!(source.size(), 2_000_000);
    assert!(collect(&source, ByteRange::new(0, 2_000_000)).await.unwrap() == bytes);
    let middle = ByteRange::new(400_000, 1_600_001);
    assert!(collect(&source, middle).await.unwrap() == bytes[400_000..1_600_001]);
    assert!(collect(&source, ByteRange::new(5, 5)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_change_ends_an_upload_before_its_last_piece() {
    let (_dir, staging) = staging();
    for change in [StagedFile::truncate as fn(&StagedFile, u64) -> _, |file, _| file.write(0, b"x")]
    {
        let file = empty(&staging, ID);
        file.write(0, &vec![7; 600 * 1024]).unwrap();
        let source = file.source(file.generation()).unwrap();
        let mut stream = source.read(ByteRange::new(0, source.size()));
        assert!(stream.try_next().await.unwrap().is_some());
        change(&file, 3).unwrap();
        assert!(stream.try_next().await.is_err());
        assert!(stream.try_next().await.unwrap().is_none());
        drop((stream, source, file));
        staging.remove(ID).unwrap();
    }
}

#[test]
fn room_for_more_than_the_disk_has_is_refused_and_changes_nothing() {
    let (_dir, staging) = staging();
    let file = empty(&staging, ID);
    file.write(0, b"abc").unwrap();
    for keep_size in [false, true] {
        // More than any disk has: full, or not addressable there.
        let range = ByteRange::new(0, i64::MAX as u64);
        file.allocate(range, Allocation::Reserve { keep_size }).unwrap_err();
        assert_eq!(data(&file, 0, 100), b"abc");
    }
    drop(file);
    assert_eq!(staging.reopen(ID, false).unwrap().size(), 3);
}

#[test]
fn holes_are_found_in_a_file_that_is_whole_and_in_no_other() {
    const MIB: u64 = 1 << 20;
    let (_dir, staging) = staging();
    let file = empty(&staging, ID);
    file.write(MIB, b"data").unwrap();
    file.truncate(2 * MIB).unwrap();
    assert_eq!(file.seek(0, Seek::Data).unwrap(), Some(MIB));
    assert_eq!(file.seek(0, Seek::Hole).unwrap(), Some(0));
    assert_eq!(file.seek(2 * MIB - 1, Seek::Data).unwrap(), None);
    assert_eq!(file.seek(2 * MIB, Seek::Hole).unwrap(), None);
    file.allocate(ByteRange::new(MIB, 2 * MIB), Allocation::Punch).unwrap();
    assert_eq!(file.seek(0, Seek::Data).unwrap(), None);
    drop(file);
    staging.remove(ID).unwrap();

    let file = partial(&staging, 2 * MIB);
    file.allocate(ByteRange::new(0, MIB), Allocation::Punch).unwrap();
    assert_eq!(file.seek(7, Seek::Data).unwrap(), Some(7));
    assert_eq!(file.seek(7, Seek::Hole).unwrap(), Some(2 * MIB));
    file.allocate(ByteRange::new(MIB, 2 * MIB), Allocation::Punch).unwrap();
    assert!(file.settle().unwrap());
    assert_eq!(file.seek(7, Seek::Data).unwrap(), None);
}

#[tokio::test]
async fn an_empty_file_that_grew_is_not_sent_as_empty() {
    let (_dir, staging) = staging();
    let file = empty(&staging, ID);
    let source = file.source(file.generation()).unwrap();
    file.write(0, b"x").unwrap();
    assert!(collect(&source, ByteRange::new(0, 0)).await.is_err());
}

#[tokio::test]
async fn a_file_with_gaps_has_no_source_and_no_checksum() {
    let (_dir, staging) = staging();
    let file = partial(&staging, 10);
    let generation = file.generation();
    assert!(matches!(file.source(generation), Err(StagingError::NotWhole { .. })));
    assert!(matches!(file.sha1(generation).await, Err(StagingError::NotWhole { .. })));
    assert!(matches!(file.snapshot(), Err(StagingError::NotWhole { .. })));
}

#[tokio::test]
async fn the_checksum_is_of_the_generation_asked_for() {
    let (_dir, staging) = staging();
    let file = empty(&staging, ID);
    file.write(0, b"abc").unwrap();
    let generation = file.generation();
    let sum = file.sha1(generation).await.unwrap();
    assert_eq!(sum.to_string(), "a9993e364706816aba3e25717850c26c9cd0d89d");
    file.write(0, b"x").unwrap();
    assert!(matches!(file.sha1(generation).await, Err(StagingError::Changed)));
}

/// What happens to a file in the property test. Offsets and lengths are in units that make them
/// overlap often.
#[derive(Clone, Debug)]
enum Step {
    Write {
        offset: u64,
        len: usize,
        byte: u8,
    },
    Truncate(u64),
    Allocate {
        offset: u64,
        len: u64,
        how: Allocation,
    },
    /// From another file of 30 bytes.
    CopyIn {
        offset: u64,
        start: u64,
        len: u64,
    },
    Fill {
        offset: usize,
        len: usize,
    },
    /// The process dies after so many bytes of the next record were written, or after the data of
    /// a write without its record, or after the record of a cut without the cut.
    Crash {
        torn: usize,
        unlogged: bool,
        uncut: Option<u64>,
    },
    Settle,
}

fn allocation() -> impl Strategy<Value = Allocation> {
    prop_oneof![
        any::<bool>().prop_map(|keep_size| Allocation::Reserve { keep_size }),
        any::<bool>().prop_map(|keep_size| Allocation::Zero { keep_size }),
        Just(Allocation::Punch),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..80_u64, 1..20_usize, 1..=255_u8)
            .prop_map(|(offset, len, byte)| Step::Write { offset, len, byte }),
        2 => (0..90_u64).prop_map(Step::Truncate),
        3 => (0..80_u64, 1..20_u64, allocation())
            .prop_map(|(offset, len, how)| Step::Allocate { offset, len, how }),
        2 => (0..80_u64, 0..30_u64, 1..20_u64)
            .prop_map(|(offset, start, len)| Step::CopyIn { offset, start, len }),
        3 => (0..BASE, 1..30_usize).prop_map(|(offset, len)| Step::Fill { offset, len }),
        2 => (0..24_usize, any::<bool>(), prop::option::of(0..70_u64))
            .prop_map(|(torn, unlogged, uncut)| Step::Crash { torn, unlogged, uncut }),
        1 => Just(Step::Settle),
    ]
}

const BASE: usize = 60;

proptest! {
    #[test]
    fn a_file_is_its_base_with_its_changes_whatever_is_filled_and_however_often_it_dies(
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let (_dir, staging) = staging();
        let base: Vec<u8> = (0..BASE as u8).map(|n| n | 0x80).collect();
        let other = tempfile::tempfile().unwrap();
        let others: Vec<u8> = (0..30).collect();
        other.write_all_at(&others, 0).unwrap();
        let mut file = partial(&staging, BASE as u64);
        let mut model = base.clone();
        for step in steps {
            match step {
                Step::Write { offset, len, byte } => {
                    file.write(offset, &vec![byte; len]).unwrap();
                    let end = offset as usize + len;
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].fill(byte);
                }
                Step::Truncate(size) => {
                    file.truncate(size).unwrap();
                    model.resize(size as usize, 0);
                }
                Step::Allocate { offset, len, how } => {
                    file.allocate(ByteRange::at(offset, len), how).unwrap();
                    let (start, end) = (offset as usize, (offset + len) as usize);
                    let kept = model.len();
                    if !matches!(how, Allocation::Reserve { .. }) {
                        model[start.min(kept)..end.min(kept)].fill(0);
                    }
                    if let Allocation::Reserve { keep_size: false }
                        | Allocation::Zero { keep_size: false } = how
                    {
                        model.resize(kept.max(end), 0);
                    }
                }
                Step::CopyIn { offset, start, len } => {
                    let copied = file.copy_in(offset, &other, start, len).unwrap() as usize;
                    let bytes = &others[start as usize..(start + len).min(30) as usize];
                    prop_assert_eq!(copied, bytes.len());
                    let end = offset as usize + copied;
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].copy_from_slice(bytes);
                }
                Step::Fill { offset, len } => {
                    let end = BASE.min(offset + len);
                    file.fill(offset as u64, &base[offset..end]).unwrap();
                }
                Step::Crash { torn, unlogged, uncut } => {
                    drop(file);
                    let log = staging.log(ID);
                    let (mut open, replayed) = Log::open(&log, ID).unwrap().unwrap();
                    if let Some(size) = uncut.filter(|_| !replayed.whole)
                        && size < model.len() as u64
                    {
                        open.append(Record::Truncate(size)).unwrap();
                        model.truncate(size as usize);
                    } else if unlogged && !replayed.whole {
                        let data = File::options().write(true).open(staging.data(ID)).unwrap();
                        data.write_all_at(b"unanswered", model.len() as u64).unwrap();
                    }
                    let end = fs::metadata(&log).unwrap().len();
                    let log = File::options().write(true).open(log).unwrap();
                    log.write_all_at(&vec![2; torn], end).unwrap();
                    file = staging.reopen(ID, true).unwrap();
                }
                Step::Settle => {
                    prop_assert_eq!(file.settle().unwrap(), file.is_whole());
                }
            }
            prop_assert_eq!(file.size(), model.len() as u64);
            let whole = ByteRange::new(0, file.size());
            for gap in file.gaps() {
                let gap = gap.start as usize..gap.end as usize;
                prop_assert_eq!(&model[gap.clone()], &base[gap]);
            }
            let mut at = 0;
            for gap in file.gaps().into_iter().chain([ByteRange::new(whole.end, whole.end)]) {
                prop_assert_eq!(data(&file, at, gap.start), &model[at as usize..gap.start as usize]);
                at = gap.end;
            }
        }
        file.fill(0, &base).unwrap();
        prop_assert!(file.settle().unwrap());
        prop_assert_eq!(data(&file, 0, 1000), &model[..]);
        drop(file);
        let file = staging.reopen(ID, false).unwrap();
        prop_assert_eq!(file.snapshot().unwrap().1, model);
    }
}
