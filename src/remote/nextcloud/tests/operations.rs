//! Every operation, its conditions and its errors.

use std::time::Duration;

use super::*;

macro_rules! on_a_server {
    ($(async fn $name:ident($remote:ident) $body:block)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (_place, $remote) = remote().await;
            $body
        }
    )*};
}

on_a_server! {
    async fn a_new_file_is_stored_listed_and_read(remote) {
        let at = path(&["caf\u{e9} + 100%.txt"]);
        let sum = Sha1Sum([7; 20]);
        let new = Upload { checksum: Some(sum), ..upload("hello", PutIf::Free, MTIME) };
        let written = remote.put(&at, new).await.unwrap();
        assert_eq!((written.mtime, written.size), (MTIME, 5));
        let look = remote.look(&at).await.unwrap();
        assert!(look.server_time.is_some() && !look.entry.is_dir);
        assert!(look.entry.version.agrees(&written), "{:?} {written:?}", look.entry);
        assert!(look.entry.version.upload_time.is_some());
        assert_eq!(look.entry.version.checksum, Some(Some(sum)));
        let entries = listed(&remote, &RemotePath::root(), Depth::Children).await.unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1], look.entry);
        assert_eq!(content(&remote, &at).await.unwrap(), "hello");
    }

    async fn a_name_that_is_taken_is_not_overwritten(remote) {
        let at = path(&["f"]);
        remote.put(&at, upload("one", PutIf::Free, MTIME)).await.unwrap();
        let error = remote.put(&at, upload("two", PutIf::Free, MTIME)).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
        assert_eq!(content(&remote, &at).await.unwrap(), "one");
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
            RemoteError::PreconditionFailed { etag } => assert_eq!(etag, new.etag),
            other => panic!("{other:?}"),
        }
        assert_eq!(content(&remote, &at).await.unwrap(), "");
    }

    async fn a_big_file_is_overwritten_in_parts_only_under_its_tag(remote) {
        let at = path(&["big #1"]);
        let old = remote.put(&at, upload("old", PutIf::Free, MTIME)).await.unwrap();
        let bytes = Bytes::from((0..40_000_000u32).map(|n| (n / 251) as u8).collect::<Vec<_>>());
        let held = PutIf::Holds(old.etag.clone().unwrap());
        let new = remote.put(&at, upload(bytes.clone(), held.clone(), MTIME + 1)).await.unwrap();
        assert_eq!((new.file_id.clone(), new.mtime), (old.file_id, MTIME + 1));
        assert!(remote.look(&at).await.unwrap().entry.version.agrees(&new));
        assert!(content(&remote, &at).await.unwrap() == bytes);
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
            assert_eq!(content(&remote, &at).await.unwrap(), "one");
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
        assert_eq!(content(&remote, &file).await.unwrap(), "");
        let error = remote.read(&file, Some(ByteRange::new(0, 9)), None).await.err();
        assert!(matches!(error, Some(RemoteError::OutOfRange)), "{error:?}");
        assert!(matches!(content(&remote, &dir).await, Err(RemoteError::Conflict(_))));
    }

    async fn directories_are_made_once_and_below_existing_ones(remote) {
        let dir = path(&["dir"]);
        let id = remote.make_dir(&dir).await.unwrap();
        assert_eq!(remote.look(&dir).await.unwrap().entry.version.file_id, id);
        let error = remote.make_dir(&dir).await.unwrap_err();
        assert!(matches!(error, RemoteError::Exists), "{error:?}");
        let error = remote.make_dir(&path(&["no", "dir"])).await.unwrap_err();
        assert!(matches!(error, RemoteError::Conflict(_)), "{error:?}");
        let error = remote.put(&path(&["no", "f"]), upload("x", PutIf::Free, 0)).await.unwrap_err();
        assert!(matches!(error, RemoteError::NotFound), "{error:?}");
        let error = remote.put(&dir, upload("x", PutIf::Free, MTIME)).await.unwrap_err();
        let taken = matches!(error, RemoteError::PreconditionFailed { .. } | RemoteError::Conflict(_));
        assert!(taken, "{error:?}");
    }

    async fn listings_tell_what_is_missing_and_what_is_no_directory(remote) {
        remote.put(&path(&["f"]), upload("x", PutIf::Free, MTIME)).await.unwrap();
        let error = listed(&remote, &path(&["f"]), Depth::Children).await.unwrap_err();
        assert!(matches!(error, RemoteError::NotADirectory), "{error:?}");
        let error = listed(&remote, &path(&["g"]), Depth::Children).await.unwrap_err();
        assert!(matches!(error, RemoteError::NotFound), "{error:?}");
    }

    async fn everything_below_is_listed_in_one_answer(remote) {
        for dir in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
            remote.make_dir(&path(dir)).await.unwrap();
        }
        let file = path(&["a", "b", "c", "f"]);
        remote.put(&file, upload("x", PutIf::Free, MTIME)).await.unwrap();
        let all = listed(&remote, &RemotePath::root(), Depth::Everything).await.unwrap();
        let paths: Vec<_> = all.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c", "/a/b/c/f"]);
        let tags: Vec<_> = all[..4].iter().map(|entry| &entry.version.etag).collect();
        assert!(tags.windows(2).all(|pair| pair[0] == pair[1]), "{tags:?}");
        let below = listed(&remote, &path(&["a", "b"]), Depth::Everything).await.unwrap();
        assert_eq!(below.len(), 3);
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
        assert_eq!(content(&remote, &path(&["e", "f"])).await.unwrap(), "x");
    }

    async fn a_copy_is_another_file_at_a_free_name(remote) {
        let (a, b) = (path(&["a"]), path(&["b"]));
        let one = remote.put(&a, upload("one", PutIf::Free, MTIME)).await.unwrap();
        remote.copy(&a, &b, one.etag.as_ref()).await.unwrap();
        let copy = remote.look(&b).await.unwrap().entry.version;
        assert_ne!(copy.file_id, one.file_id);
        assert_eq!((copy.size, copy.mtime), (3, MTIME));
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

    async fn the_modification_time_is_set_under_the_tag(remote) {
        let at = path(&["f"]);
        let old = remote.put(&at, upload("one", PutIf::Free, 5)).await.unwrap();
        assert_eq!(old.mtime, 86_401);
        remote.set_mtime(&at, MTIME, old.etag.as_ref()).await.unwrap();
        let new = remote.look(&at).await.unwrap().entry.version;
        assert_eq!(new.mtime, MTIME);
        assert_ne!(new.etag, old.etag);
        let error = remote.set_mtime(&at, 7, old.etag.as_ref()).await.unwrap_err();
        assert!(matches!(error, RemoteError::PreconditionFailed { .. }), "{error:?}");
        let error = remote.set_mtime(&path(&["g"]), 7, None).await.unwrap_err();
        assert!(matches!(error, RemoteError::NotFound), "{error:?}");
    }

    async fn names_that_the_server_refuses_come_with_its_reason(remote) {
        let error = remote.make_dir(&path(&[".htaccess"])).await.unwrap_err();
        assert!(matches!(&error, RemoteError::Refused(why) if why.contains("reserved")), "{error:?}");
        let refused = remote.capabilities().names.check(&Name::new(&b"x.part"[..]).unwrap());
        assert!(refused.is_err());
    }

    async fn both_spellings_of_a_name_are_one_file(remote) {
        let (composed, decomposed) = (path(&["\u{e9}"]), path(&["e\u{301}"]));
        remote.put(&decomposed, upload("one", PutIf::Free, MTIME)).await.unwrap();
        assert_eq!(remote.look(&decomposed).await.unwrap().entry.path, decomposed);
        assert_eq!(content(&remote, &composed).await.unwrap(), "one");
        let other = path(&["e\u{301}2"]);
        remote.rename(&decomposed, &other, None, MoveIf::Free).await.unwrap();
        let all = listed(&remote, &RemotePath::root(), Depth::Children).await.unwrap();
        assert_eq!(all[1].path, path(&["\u{e9}2"]));
    }

    async fn the_account_tells_its_quota_and_the_layer_counts(remote) {
        remote.quota().await.unwrap();
        let metrics = remote.metrics();
        assert!(metrics.requests.iter().any(|(verb, count)| *verb == "GET" && *count >= 3));
        assert_eq!(metrics.unanswered, 0);
        assert!(remote.identity().version.contains('.'));
    }
}
