//! What only a Nextcloud has.

use super::*;
use crate::types::Sha1Sum;

macro_rules! on_a_nextcloud {
    ($(async fn $name:ident($remote:ident) $body:block)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (_place, $remote) = remote().await;
            $body
        }
    )*};
}

on_a_nextcloud! {
    async fn what_is_sent_with_a_file_is_listed(remote) {
        let at = path(&["caf\u{e9} + 100%.txt"]);
        let sum = Sha1Sum([7; 20]);
        let new = Upload { checksum: Some(sum), ..upload("hello", PutIf::Free, MTIME) };
        let written = remote.put(&at, new).await.unwrap();
        assert_eq!(written.mtime, MTIME);
        let version = remote.look(&at).await.unwrap().entry.version;
        assert!(version.upload_time.is_some());
        assert_eq!(version.checksum, Some(Some(sum)));
        let held = PutIf::Holds(written.etag.clone().unwrap());
        let big = Bytes::from(vec![b'x'; 100_000]);
        let new = remote.put(&at, upload(big, held, MTIME + 1)).await.unwrap();
        assert_eq!((new.file_id, new.mtime), (written.file_id, MTIME + 1));
    }

    async fn directories_have_an_id_and_a_tag_that_changes_with_what_is_below(remote) {
        let dir = path(&["dir"]);
        let id = remote.make_dir(&dir).await.unwrap();
        let before = remote.look(&dir).await.unwrap().entry.version;
        assert!(id.is_some() && before.file_id == id);
        remote.put(&path(&["dir", "f"]), upload("x", PutIf::Free, MTIME)).await.unwrap();
        assert_ne!(remote.look(&dir).await.unwrap().entry.version.etag, before.etag);
    }

    async fn everything_below_is_listed_in_one_answer(remote) {
        for dir in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
            remote.make_dir(&path(dir)).await.unwrap();
        }
        let file = path(&["a", "b", "c", "f"]);
        remote.put(&file, upload("x", PutIf::Free, MTIME)).await.unwrap();
        let all = listed(&*remote, &RemotePath::root(), Depth::Everything).await.unwrap();
        let paths: Vec<_> = all.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c", "/a/b/c/f"]);
        let tags: Vec<_> = all[..4].iter().map(|entry| &entry.version.etag).collect();
        assert!(tags.windows(2).all(|pair| pair[0] == pair[1]), "{tags:?}");
        let below = listed(&*remote, &path(&["a", "b"]), Depth::Everything).await.unwrap();
        assert_eq!(below.len(), 3);
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
        assert_eq!(content(&*remote, &composed).await.unwrap(), "one");
        let other = path(&["e\u{301}2"]);
        remote.rename(&decomposed, &other, None, MoveIf::Free).await.unwrap();
        let all = listed(&*remote, &RemotePath::root(), Depth::Children).await.unwrap();
        assert_eq!(all[1].path, path(&["\u{e9}2"]));
    }

    async fn the_account_tells_its_quota_and_the_layer_counts(remote) {
        remote.quota().await.unwrap();
        let metrics = remote.connection.metrics();
        let gets = metrics.methods.iter().find(|method| method.method == "GET").unwrap();
        assert!(gets.count() >= 3);
        assert_eq!(metrics.unanswered(), 0);
        assert!(remote.connection.identity().version.contains('.'));
    }
}
