use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use futures_util::poll;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::fake::{FakeRemote, FakeServer, FakeTree, Fault, PIECE, content, etag, path};
use super::*;
use crate::content::{Basis, Staging};

const INO: Ino = Ino(2);
const ID: ContentId = ContentId(9);
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

struct Setup {
    server: Arc<FakeServer>,
    tree: Arc<FakeTree>,
    cache: Arc<Cache>,
    fetcher: Fetcher,
    size: u64,
    dir: TempDir,
}

fn setup(server: Arc<FakeServer>, size: u64) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("cache"), "me", ContentId(100), 64 * GIB).unwrap();
    let (cache, tree) = (Arc::new(cache), Arc::new(FakeTree::knowing(path("a"), size)));
    let remote = Arc::new(FakeRemote(server.clone()));
    let fetcher = Fetcher::new(remote, cache.clone(), tree.clone(), Handle::current());
    Setup { server, tree, cache, fetcher, size, dir }
}

fn running(size: u64) -> Setup {
    setup(FakeServer::new(size), size)
}

fn gated(size: u64) -> Setup {
    setup(FakeServer::gated(size), size)
}

impl Setup {
    async fn read(&self, range: ByteRange) -> Result<Bytes, FetchError> {
        self.fetcher.read(INO, ID, self.size, range).await
    }

    fn staged(&self, basis: Basis) -> Arc<StagedFile> {
        let staging = Staging::open(self.dir.path()).unwrap();
        staging.prepare(StagingId(1), basis).unwrap().activate().unwrap()
    }

    /// Waits until no request is on its way.
    async fn settled(&self) {
        let transfers = self.fetcher.shared.transfers.lock().unwrap().clone();
        for transfer in transfers.values() {
            transfer.idle().await;
        }
    }
}

#[tokio::test]
async fn a_range_is_fetched_once_however_many_wait_for_it() {
    let s = gated(4 * MIB);
    let range = ByteRange::at(MIB, 4096);
    let mut reads: Vec<_> = (0..8).map(|_| Box::pin(s.read(range))).collect();
    for read in &mut reads {
        assert!(poll!(read).is_pending());
    }
    s.server.gate.add_permits(1000);
    for bytes in join_all(reads).await {
        assert_eq!(bytes.unwrap(), content(range));
    }
    assert_eq!(s.server.ranges().len(), 1);
}

#[tokio::test]
async fn a_small_file_comes_whole_with_its_first_read() {
    let s = running(4 * MIB);
    s.read(ByteRange::at(3 * MIB, 10)).await.unwrap();
    s.settled().await;
    assert_eq!(s.server.ranges(), [ByteRange::new(0, 4 * MIB)]);
    assert!(s.cache.open_version(ID, s.size).unwrap().is_complete());
    let range = ByteRange::at(17, 100_000);
    let bytes = s.fetcher.try_read(INO, ID, s.size, range).unwrap();
    assert_eq!(bytes.unwrap(), content(range));
}

#[tokio::test]
async fn the_first_bytes_do_not_wait_for_the_rest() {
    let s = gated(4 * MIB);
    s.server.gate.add_permits(1);
    let range = ByteRange::new(0, 4096);
    assert_eq!(s.read(range).await.unwrap(), content(range));
    assert_eq!(s.server.sent.load(Ordering::SeqCst), PIECE);
}

#[tokio::test]
async fn a_read_goes_on_for_the_next_when_its_waiter_has_gone() {
    let s = gated(4 * MIB);
    let range = ByteRange::new(0, 4096);
    {
        let read = std::pin::pin!(s.read(range));
        assert!(poll!(read).is_pending());
    }
    s.server.gate.add_permits(1000);
    assert_eq!(s.read(range).await.unwrap(), content(range));
    assert_eq!(s.server.ranges().len(), 1);
}

#[tokio::test]
async fn every_request_names_the_version_it_wants() {
    let s = running(64 * MIB);
    for n in 0..100 {
        s.read(ByteRange::at(n * PIECE, PIECE)).await.unwrap();
    }
    let requests = s.server.requests.lock().unwrap();
    assert!(requests.len() > 2);
    assert!(requests.iter().all(|request| request.only == Some(etag("\"1\""))));
}

#[tokio::test]
async fn the_end_of_a_big_file_costs_less_than_two_mebibytes() {
    let s = running(GIB);
    let tail = ByteRange::new(GIB - PIECE, GIB);
    for start in (tail.start..tail.end).step_by(4096) {
        let range = ByteRange::at(start, 4096);
        assert_eq!(s.read(range).await.unwrap(), content(range));
    }
    s.settled().await;
    assert!(s.server.sent.load(Ordering::SeqCst) < 2 * MIB);
}

#[tokio::test]
async fn reading_in_order_needs_few_requests_and_no_byte_twice() {
    let s = running(64 * MIB);
    let step = 128 << 10;
    for start in (0..s.size).step_by(step) {
        let range = ByteRange::at(start, step as u64);
        let bytes = match s.fetcher.try_read(INO, ID, s.size, range).unwrap() {
            Some(bytes) => bytes,
            None => s.read(range).await.unwrap(),
        };
        assert!(bytes == content(range), "wrong bytes at {start}");
    }
    s.settled().await;
    assert_eq!(s.server.sent.load(Ordering::SeqCst), s.size);
    assert!(s.server.ranges().len() < 20, "{:?}", s.server.ranges());
    assert!(s.cache.open_version(ID, s.size).unwrap().is_complete());
}

#[tokio::test]
async fn a_seek_drops_what_was_asked_ahead() {
    let s = gated(GIB);
    s.server.gate.add_permits(4);
    s.read(ByteRange::new(0, 2 * PIECE)).await.unwrap();
    s.read(ByteRange::at(2 * PIECE, PIECE)).await.unwrap();
    s.server.gate.forget_permits(usize::MAX);
    assert_eq!(s.server.open.load(Ordering::SeqCst), 1);

    let far = ByteRange::at(GIB / 2, 4096);
    let mut read = Box::pin(s.read(far));
    while s.server.open.load(Ordering::SeqCst) != 1 || s.server.ranges().len() != 3 {
        assert!(poll!(&mut read).is_pending());
        tokio::task::yield_now().await;
    }
    s.server.gate.add_permits(1000);
    assert_eq!(read.await.unwrap(), content(far));
}

#[tokio::test]
async fn a_request_that_is_waited_for_survives_the_seek_of_another() {
    let s = gated(GIB);
    let (near, far) = (ByteRange::new(0, 4096), ByteRange::at(GIB / 2, 4096));
    let mut first = Box::pin(s.read(near));
    let mut second = Box::pin(s.read(far));
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    s.server.gate.add_permits(1000);
    assert_eq!(first.await.unwrap(), content(near));
    assert_eq!(second.await.unwrap(), content(far));
    assert_eq!(s.server.ranges().len(), 2);
}

#[tokio::test]
async fn a_cut_answer_counts_only_as_far_as_it_came() {
    let s = running(4 * MIB);
    s.server.fail(Fault::Cut(100_000));
    s.server.fail(Fault::Error(RemoteError::Forbidden("no".into())));
    let error = s.read(ByteRange::at(MIB, 10)).await.unwrap_err();
    assert!(matches!(error, FetchError::Server(RemoteError::Forbidden(_))), "{error:?}");
    let version = s.cache.open_version(ID, s.size).unwrap();
    assert_eq!(version.present(ByteRange::new(0, s.size)), [ByteRange::new(0, 100_000)]);
    assert_eq!(version.read(ByteRange::new(0, 100_000)).unwrap().unwrap(), {
        content(ByteRange::new(0, 100_000))
    });
}

#[tokio::test(start_paused = true)]
async fn a_cut_answer_is_taken_up_where_it_ended() {
    let s = running(4 * MIB);
    s.server.fail(Fault::Cut(100_000));
    let range = ByteRange::at(MIB, 10);
    assert_eq!(s.read(range).await.unwrap(), content(range));
    assert_eq!(s.server.ranges(), [ByteRange::new(0, s.size), ByteRange::new(100_000, s.size)]);
}

#[tokio::test]
async fn another_version_on_the_server_is_stale_and_none_of_its_bytes_are_kept() {
    let s = running(4 * MIB);
    *s.server.etag.lock().unwrap() = etag("\"2\"");
    let error = s.read(ByteRange::new(0, 10)).await.unwrap_err();
    assert!(matches!(error, FetchError::Stale), "{error:?}");
    assert_eq!(s.server.ranges().len(), 1);
    let version = s.cache.open_version(ID, s.size).unwrap();
    assert_eq!(version.present(ByteRange::new(0, s.size)), []);
}

#[tokio::test]
async fn another_tag_in_the_answer_is_stale_even_if_the_condition_was_ignored() {
    let s = running(4 * MIB);
    *s.server.etag.lock().unwrap() = etag("\"2\"");
    s.server.ignores_conditions.store(true, Ordering::SeqCst);
    let error = s.read(ByteRange::new(0, 10)).await.unwrap_err();
    assert!(matches!(error, FetchError::Stale), "{error:?}");
    let version = s.cache.open_version(ID, s.size).unwrap();
    assert_eq!(version.present(ByteRange::new(0, s.size)), []);
}

#[tokio::test]
async fn a_file_shorter_than_its_version_is_stale() {
    let s = setup(FakeServer::new(4 * MIB), 5 * MIB);
    let error = s.read(ByteRange::new(0, 10)).await.unwrap_err();
    assert!(matches!(error, FetchError::Stale), "{error:?}");
    let version = s.cache.open_version(ID, s.size).unwrap();
    assert_eq!(version.present(ByteRange::new(0, s.size)), []);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_renamed_meanwhile_is_read_at_its_new_place() {
    let s = gated(MIB);
    let range = ByteRange::new(0, 10);
    let mut read = Box::pin(s.read(range));
    s.server.fail(Fault::Cut(0));
    while s.server.ranges().is_empty() {
        assert!(poll!(&mut read).is_pending());
        tokio::task::yield_now().await;
    }
    *s.server.path.lock().unwrap() = path("b");
    s.tree.0.lock().unwrap().as_mut().unwrap().path = path("b");
    s.server.gate.add_permits(1000);
    assert_eq!(read.await.unwrap(), content(range));
    let requests = s.server.requests.lock().unwrap();
    assert_eq!(requests.first().unwrap().path, path("a"));
    assert_eq!(requests.last().unwrap().path, path("b"));
}

#[tokio::test]
async fn content_without_an_origin_is_gone() {
    let s = running(MIB);
    *s.tree.0.lock().unwrap() = None;
    let error = s.read(ByteRange::new(0, 10)).await.unwrap_err();
    assert!(matches!(error, FetchError::Gone), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn offline_is_told_at_once() {
    let s = running(MIB);
    s.server.fail(Fault::Error(RemoteError::Offline("no route".into())));
    let begun = Instant::now();
    let error = s.read(ByteRange::new(0, 10)).await.unwrap_err();
    assert!(matches!(error, FetchError::Offline), "{error:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_locked_file_is_tried_again() {
    let s = running(MIB);
    for _ in 0..3 {
        s.server.fail(Fault::Error(RemoteError::Locked));
    }
    let range = ByteRange::new(0, 10);
    assert_eq!(s.read(range).await.unwrap(), content(range));
    assert_eq!(s.server.ranges().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_locked_ends_the_read() {
    let s = running(MIB);
    for _ in 0..100 {
        s.server.fail(Fault::Error(RemoteError::Locked));
    }
    let error = s.read(ByteRange::new(0, 10)).await.unwrap_err();
    assert!(matches!(error, FetchError::Server(RemoteError::Locked)), "{error:?}");
    assert!(s.server.ranges().len() < 10);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_again_and_never_waited_for_longer_than_the_deadline() {
    let s = running(MIB);
    for _ in 0..100 {
        s.server.fail(Fault::Silence);
    }
    let begun = Instant::now();
    let error = s.read(ByteRange::new(0, 10)).await.unwrap_err();
    assert!(matches!(error, FetchError::Server(RemoteError::NoAnswer(_))), "{error:?}");
    assert!(begun.elapsed() <= DEADLINE);
    assert!(s.server.ranges().len() > 1);
}

#[tokio::test]
async fn a_version_that_was_taken_is_fetched_anew() {
    let s = running(MIB);
    let range = ByteRange::new(0, MIB);
    let held = s.fetcher.whole(INO, ID, s.size).await.unwrap();
    assert!(s.cache.take(ID, &s.dir.path().join("elsewhere")).unwrap());
    assert_eq!(held.read(range).unwrap(), None);
    assert_eq!(s.read(range).await.unwrap(), content(range));
    assert_eq!(s.server.ranges().len(), 2);
}

#[tokio::test]
async fn a_whole_big_file_comes_in_large_requests() {
    let s = running(50 * MIB);
    let version = s.fetcher.whole(INO, ID, s.size).await.unwrap();
    assert!(version.is_complete());
    let sizes: Vec<_> = s.server.ranges().iter().map(|range| range.len() / MIB).collect();
    assert_eq!(sizes, [16, 16, 16, 2]);
}

#[tokio::test]
async fn a_dirty_file_gets_only_what_it_lacks_and_what_the_cache_lacks() {
    let s = running(40 * MIB);
    let base = ByteRange::new(0, s.size);
    s.read(ByteRange::new(0, PIECE)).await.unwrap();
    s.settled().await;
    let cached = s.server.sent.load(Ordering::SeqCst);
    let staged = s.staged(Basis::Partial { size: s.size, base_len: s.size });
    staged.write(10 * MIB, &vec![1; MIB as usize]).unwrap();
    staged.truncate(30 * MIB).unwrap();
    let generation = staged.generation();

    s.fetcher.hydrate(INO, ID, staged.clone()).await.unwrap();

    assert!(staged.is_whole());
    assert_eq!(staged.generation(), generation);
    assert_eq!(s.server.sent.load(Ordering::SeqCst), 29 * MIB);
    assert!(cached > 0);
    let mut expected = content(base);
    expected.truncate(30 * MIB as usize);
    expected[10 * MIB as usize..11 * MIB as usize].fill(1);
    assert!(staged.snapshot().unwrap().1 == expected);
}

#[tokio::test]
async fn many_small_gaps_are_one_request() {
    let s = running(4 * MIB);
    let staged = s.staged(Basis::Partial { size: s.size, base_len: s.size });
    for at in (0..s.size).step_by(40_000) {
        staged.write(at, b"x").unwrap();
    }
    s.fetcher.hydrate(INO, ID, staged.clone()).await.unwrap();
    assert!(staged.is_whole());
    assert_eq!(s.server.ranges().len(), 1);
    assert_eq!(
        staged.snapshot().unwrap().1[39_999..40_002],
        [content(ByteRange::at(39_999, 1))[0], b'x', content(ByteRange::at(40_001, 1))[0]]
    );
}

#[tokio::test]
async fn a_read_of_a_dirty_file_brings_the_base_around_what_was_written() {
    let s = running(40 * MIB);
    let staged = s.staged(Basis::Partial { size: s.size, base_len: s.size });
    staged.write(5, b"xyz").unwrap();
    let bytes = s.fetcher.read_staged(INO, ID, &staged, ByteRange::new(0, 10)).await.unwrap();
    let mut expected = content(ByteRange::new(0, 10));
    expected[5..8].copy_from_slice(b"xyz");
    assert_eq!(bytes, expected);
    assert!(!staged.is_whole());
}

#[tokio::test]
async fn a_file_cut_while_its_base_is_on_the_way_is_read_as_cut() {
    let s = gated(4 * MIB);
    let staged = s.staged(Basis::Partial { size: s.size, base_len: s.size });
    let range = ByteRange::new(0, 100);
    let mut read = Box::pin(s.fetcher.read_staged(INO, ID, &staged, range));
    while s.server.ranges().is_empty() {
        assert!(poll!(&mut read).is_pending());
        tokio::task::yield_now().await;
    }
    staged.truncate(0).unwrap();
    staged.truncate(50).unwrap();
    s.server.gate.add_permits(1000);
    assert_eq!(read.await.unwrap(), vec![0; 50]);
}
