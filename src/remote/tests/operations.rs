//! Every operation, its conditions and its errors: the same on every server.

use std::time::Duration;

use servers::Kind;

use super::*;

macro_rules! on_every_server {
    ($(async fn $name:ident($remote:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn on(place: Place) {
                let $remote = place.remote().await;
                $body
            }

            #[tokio::test]
            async fn on_a_nextcloud() {
                on(Place::any()).await;
            }

            #[tokio::test]
            async fn on_a_nextcloud_as_plain_webdav() {
                on(Place::disguised()).await;
            }

            #[tokio::test]
            async fn on_apache() {
                on(Place::plain(Kind::Apache)).await;
            }

            #[tokio::test]
            async fn on_rclone() {
                on(Place::plain(Kind::Rclone)).await;
            }

            #[tokio::test]
            async fn on_the_newest_rclone() {
                on(Place::plain(Kind::NewestRclone)).await;
            }
        }
    )*};
}

on_every_server! {
    async fn a_new_file_is_stored_listed_and_read(remote) {
        let at = path(&["caf\u{e9} + 100%.txt"]);
        let written = remote.put(&at, upload("hello", PutIf::Free, MTIME)).await.unwrap();
        assert_eq!(written.size, 5);
        assert!(written.mtime == MTIME || !remote.capabilities().sets_mtime);
        let look = remote.look(&at).await.unwrap();
        assert!(look.server_time.is_some() && !look.entry.is_dir);
        assert!(look.entry.version.agrees(&written), "{:?} {written:?}", look.entry);
        let entries = listed(&*remote, &RemotePath::root(), Depth::Children).await.unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1], look.entry);
        assert_eq!(content(&*remote, &at).await.unwrap(), "hello");
    }

    async fn a_name_that_is_taken_is_not_overwritten(remote) {
        let at = path(&["f"]);
        remote.put(&at, upload("one", PutIf::Free, MTIME)).await.unwrap();
        let error = remote.put(&at, upload("two", PutIf::Free, MTIME)).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
        assert_eq!(content(&*remote, &at).await.unwrap(), "one");
    }

    async fn a_small_file_is_overwritten_only_under_its_tag(remote) {
        let at = path(&["f"]);
        let old = remote.put(&at, upload("one", PutIf::Free, MTIME)).await.unwrap();
        let held = PutIf::Holds(old.etag.clone().unwrap());
        let new = remote.put(&at, upload("", held.clone(), MTIME + 1)).await.unwrap();
        assert_eq!(new.file_id, old.file_id);
        assert_ne!(new.etag, old.etag);
        let error = remote.put(&at, upload("late", held, MTIME + 2)).await.unwrap_err();
        match error {
            // Apache does not tell.
            RemoteError::PreconditionFailed { etag: None } => {}
            RemoteError::PreconditionFailed { etag } => assert_eq!(etag, new.etag),
            other => panic!("{other:?}"),
        }
        assert_eq!(content(&*remote, &at).await.unwrap(), "");
    }

    async fn a_big_file_is_overwritten_only_under_its_tag(remote) {
        let at = path(&["big #1"]);
        let old = remote.put(&at, upload("old", PutIf::Free, MTIME)).await.unwrap();
        let bytes = Bytes::from((0..40_000_000u32).map(|n| (n / 251) as u8).collect::<Vec<_>>());
        let held = PutIf::Holds(old.etag.clone().unwrap());
        let new = remote.put(&at, upload(bytes.clone(), held.clone(), MTIME + 1)).await.unwrap();
        assert_eq!(new.size, 40_000_000);
        assert!(remote.look(&at).await.unwrap().entry.version.agrees(&new));
        assert!(content(&*remote, &at).await.unwrap() == bytes);
        let late = upload(bytes.slice(..100_000), held, MTIME + 2);
        let error = remote.put(&at, late).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
        assert!(remote.look(&at).await.unwrap().entry.version.agrees(&new));
    }

    async fn a_source_that_fails_leaves_the_server_as_it_was(remote) {
        let at = path(&["f"]);
        for size in [10, 1_000_000] {
            let torn = Upload { source: Arc::new(Torn(size)), ..upload("", PutIf::Free, MTIME) };
            let error = remote.put(&at, torn).await.unwrap_err();
            assert!(matches!(error, RemoteError::Source(_)), "{error:?}");
            assert!(matches!(remote.look(&at).await, Err(RemoteError::NotFound)));
        }
        // The request that was cut may hold the lock for a moment (FACTS 18).
        let old = loop {
            match remote.put(&at, upload("one", PutIf::Free, MTIME)).await {
                Err(RemoteError::Locked) => tokio::time::sleep(Duration::from_millis(20)).await,
                outcome => break outcome.unwrap(),
            }
        };
        for size in [10, 1_000_000] {
            let held = PutIf::Holds(old.etag.clone().unwrap());
            let torn = Upload { source: Arc::new(Torn(size)), ..upload("", held, MTIME) };
            let error = remote.put(&at, torn).await.unwrap_err();
            assert!(matches!(error, RemoteError::Source(_)), "{error:?}");
            assert_eq!(content(&*remote, &at).await.unwrap(), "one");
        }
    }

    async fn ranges_are_read_under_a_tag(remote) {
        let at = path(&["f"]);
        let written = remote.put(&at, upload("0123456789", PutIf::Free, MTIME)).await.unwrap();
        let etag = written.etag.unwrap();
        let body = remote.read(&at, Some(ByteRange::new(2, 5)), Some(&etag)).await.unwrap();
        assert_eq!((body.range, body.etag.as_ref()), (ByteRange::new(2, 5), Some(&etag)));
        let pieces: Vec<Bytes> = body.bytes.try_collect().await.unwrap();
        assert_eq!(pieces.concat(), b"234");
        let body = remote.read(&at, Some(ByteRange::new(8, 99)), None).await.unwrap();
        assert_eq!(body.range, ByteRange::new(8, 10));
        let error = remote.read(&at, Some(ByteRange::new(10, 12)), None).await.err();
        assert!(matches!(error, Some(RemoteError::OutOfRange)), "{error:?}");
        let other = Etag("\"0123456789abcdef0123456789abcdef\"".into());
        let error = remote.read(&at, Some(ByteRange::new(0, 1)), Some(&other)).await.err();
        assert!(matches!(error, Some(RemoteError::PreconditionFailed { .. })), "{error:?}");
    }

    async fn empty_files_and_directories_are_told_apart_by_reading(remote) {
        let (file, dir) = (path(&["empty"]), path(&["dir"]));
        remote.put(&file, upload("", PutIf::Free, MTIME)).await.unwrap();
        remote.make_dir(&dir).await.unwrap();
        assert_eq!(content(&*remote, &file).await.unwrap(), "");
        let error = remote.read(&file, Some(ByteRange::new(0, 9)), None).await.err();
        assert!(matches!(error, Some(RemoteError::OutOfRange)), "{error:?}");
        assert!(matches!(content(&*remote, &dir).await, Err(RemoteError::Conflict(_))));
    }

    async fn directories_are_made_once_and_below_existing_ones(remote) {
        let dir = path(&["dir"]);
        remote.make_dir(&dir).await.unwrap();
        assert!(remote.look(&dir).await.unwrap().entry.is_dir);
        let error = remote.make_dir(&dir).await.unwrap_err();
        assert!(matches!(error, RemoteError::Exists), "{error:?}");
        let error = remote.make_dir(&path(&["no", "dir"])).await.unwrap_err();
        assert!(matches!(error, RemoteError::Conflict(_)), "{error:?}");
        let error = remote.put(&path(&["no", "f"]), upload("x", PutIf::Free, 0)).await.unwrap_err();
        let missing = matches!(error, RemoteError::NotFound | RemoteError::Conflict(_));
        assert!(missing, "{error:?}");
        let error = remote.put(&dir, upload("x", PutIf::Free, MTIME)).await.unwrap_err();
        let taken = matches!(error, RemoteError::PreconditionFailed { .. } | RemoteError::Conflict(_));
        assert!(taken, "{error:?}");
    }

    async fn listings_tell_what_is_missing_and_what_is_no_directory(remote) {
        remote.put(&path(&["f"]), upload("x", PutIf::Free, MTIME)).await.unwrap();
        let error = listed(&*remote, &path(&["f"]), Depth::Children).await.unwrap_err();
        assert!(matches!(error, RemoteError::NotADirectory), "{error:?}");
        let error = listed(&*remote, &path(&["g"]), Depth::Children).await.unwrap_err();
        assert!(matches!(error, RemoteError::NotFound), "{error:?}");
    }

    async fn renames_keep_the_file_and_respect_the_target(remote) {
        let (a, b, c) = (path(&["a"]), path(&["b \u{fc}"]), path(&["c"]));
        let one = remote.put(&a, upload("one", PutIf::Free, MTIME)).await.unwrap();
        let two = remote.put(&c, upload("two!", PutIf::Free, MTIME)).await.unwrap();
        let (tag_one, tag_two) = (one.etag.clone().unwrap(), two.etag.clone().unwrap());
        remote.rename(&a, &b, Some(&tag_one), MoveIf::Free).await.unwrap();
        assert!(remote.look(&b).await.unwrap().entry.version.agrees(&one));
        let error = remote.rename(&b, &c, Some(&tag_one), MoveIf::Free).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
        let error = remote.rename(&b, &a, Some(&tag_two), MoveIf::Free).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
        let stale = MoveIf::Holds(tag_one.clone());
        let error = remote.rename(&b, &c, Some(&tag_one), stale).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
        remote.rename(&b, &c, Some(&tag_one), MoveIf::Holds(tag_two)).await.unwrap();
        assert!(remote.look(&c).await.unwrap().entry.version.agrees(&one));
        assert!(matches!(remote.look(&b).await, Err(RemoteError::NotFound)));
        let error = remote.rename(&b, &a, None, MoveIf::Free).await.unwrap_err();
        assert!(matches!(error, RemoteError::NotFound), "{error:?}");
    }

    async fn a_directory_moves_with_all_in_it(remote) {
        remote.make_dir(&path(&["d"])).await.unwrap();
        remote.put(&path(&["d", "f"]), upload("x", PutIf::Free, MTIME)).await.unwrap();
        remote.rename(&path(&["d"]), &path(&["e"]), None, MoveIf::Free).await.unwrap();
        assert_eq!(content(&*remote, &path(&["e", "f"])).await.unwrap(), "x");
    }

    async fn a_copy_is_another_file_at_a_free_name(remote) {
        let (a, b) = (path(&["a"]), path(&["b"]));
        let one = remote.put(&a, upload("one", PutIf::Free, MTIME)).await.unwrap();
        remote.copy(&a, &b, one.etag.as_ref()).await.unwrap();
        let copy = remote.look(&b).await.unwrap().entry.version;
        assert!(copy.file_id != one.file_id || !remote.capabilities().file_ids);
        assert_eq!(copy.size, 3);
        let error = remote.copy(&a, &b, None).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
        let other = Etag("\"0123456789abcdef0123456789abcdef\"".into());
        let error = remote.copy(&a, &path(&["c"]), Some(&other)).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
    }

    async fn a_file_is_deleted_only_under_its_tag(remote) {
        let at = path(&["f"]);
        let old = remote.put(&at, upload("one", PutIf::Free, MTIME)).await.unwrap();
        let held = PutIf::Holds(old.etag.clone().unwrap());
        let new = remote.put(&at, upload("two", held, MTIME + 1)).await.unwrap();
        let error = remote.delete(&at, old.etag.as_ref()).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
        remote.delete(&at, new.etag.as_ref()).await.unwrap();
        let error = remote.delete(&at, None).await.unwrap_err();
        assert!(matches!(error, RemoteError::NotFound), "{error:?}");
    }
}
