//! What holds on plain WebDAV servers only, and how they are found.

use servers::Kind;

use super::*;

const KINDS: [Kind; 3] = [Kind::Apache, Kind::Rclone, Kind::NewestRclone];

/// The root of a server of its own.
async fn on_disk(kind: Kind) -> (servers::Server, Reach) {
    let place = Place::plain(kind);
    let config = ConnectConfig { remote_dir: RemotePath::root(), ..config(place.url.clone(), "x") };
    let remote = connect(config, Arc::new(place.credential)).await.unwrap();
    (place.server.unwrap(), remote)
}

#[tokio::test]
async fn a_webdav_directory_is_found_at_exactly_its_address() {
    for kind in KINDS {
        let (server, remote) = on_disk(kind).await;
        let identity = remote.connection.identity();
        assert_eq!((&*identity.origin, &*identity.user_id), (&*server.url(), servers::USER));
        // Debian's rclone does not say what it is.
        let product = ["Apache", "WebDAV", "rclone"][kind as usize];
        assert_eq!(identity.product, product);
        let capabilities = remote.capabilities();
        assert_eq!(capabilities.vendor, Vendor::Webdav);
        assert!(!capabilities.file_ids && !capabilities.tags_propagate);
        assert_eq!(capabilities.conditions == Conditions::ALL, kind == Kind::Apache);
        assert_eq!(capabilities.sets_mtime, kind == Kind::NewestRclone);
    }
}

#[tokio::test]
async fn an_address_beside_the_directory_is_told_as_such() {
    let place = Place::plain(Kind::Apache);
    let url = place.url.replace("/dav", "/else");
    let error = connect(config(url, "x"), Arc::new(place.credential)).await.err().unwrap();
    assert!(matches!(error, ConnectError::NoServer { .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such() {
    for kind in KINDS {
        let place = Place::plain(kind);
        let wrong = Credential { app_password: Secret::new("wrong"), ..place.credential };
        let error = connect(config(place.url, "x"), Arc::new(wrong)).await.err().unwrap();
        assert!(matches!(error, ConnectError::WrongPassword), "{error}");
    }
}

#[tokio::test]
async fn who_says_nextcloud_gets_no_plain_server() {
    let place = Place::plain(Kind::Rclone);
    let config =
        ConnectConfig { vendor: Some(Vendor::Nextcloud), ..config(place.url.clone(), "x") };
    let error = connect(config, Arc::new(place.credential)).await.err().unwrap();
    assert!(matches!(error, ConnectError::OtherVendor { .. }), "{error}");
}

#[tokio::test]
async fn what_is_written_is_what_the_server_shows_and_nothing_else_is_left_there() {
    for kind in KINDS {
        let (server, remote) = on_disk(kind).await;
        for content in ["", "small", &"big".repeat(100_000)] {
            let name = format!("of {} bytes", content.len());
            let at = path(&[&name]);
            let new = upload(content.to_owned(), PutIf::Free, MTIME);
            let written = remote.put(&at, new).await.unwrap();
            assert_eq!(written, remote.look(&at).await.unwrap().entry.version);
            assert_eq!(std::fs::read(server.files().join(&name)).unwrap(), content.as_bytes());
            let held = PutIf::Holds(written.etag.unwrap());
            let other = content.to_uppercase();
            remote.put(&at, upload(other.clone(), held, MTIME + 2)).await.unwrap();
            assert_eq!(std::fs::read(server.files().join(&name)).unwrap(), other.as_bytes());
        }
        let all = listed(&*remote, &RemotePath::root(), Depth::Children).await.unwrap();
        assert_eq!(all.len(), 4, "{all:?}");
        let gathered = std::fs::read_dir(server.files().join(".ncfs-uploads"));
        assert!(gathered.is_err() || gathered.unwrap().next().is_none());
    }
}

#[tokio::test]
async fn a_change_behind_our_back_is_never_overwritten_deleted_or_moved() {
    for kind in KINDS {
        let (server, remote) = on_disk(kind).await;
        let at = path(&["f"]);
        let seen = remote.put(&at, upload("seen", PutIf::Free, MTIME)).await.unwrap();
        let seen = seen.etag.unwrap();
        server.write("f", "changed by somebody").unwrap();
        let failed = |outcome: Result<()>| {
            let failed = matches!(outcome, Err(RemoteError::PreconditionFailed { .. }));
            assert!(failed, "{kind:?} {outcome:?}");
        };
        for size in [3, 100_000] {
            let ours = Bytes::from(vec![b'x'; size]);
            let held = upload(ours.clone(), PutIf::Holds(seen.clone()), MTIME + 2);
            failed(remote.put(&at, held).await.map(drop));
            failed(remote.put(&at, upload(ours, PutIf::Free, MTIME + 2)).await.map(drop));
        }
        failed(remote.delete(&at, Some(&seen)).await);
        failed(remote.rename(&at, &path(&["g"]), Some(&seen), MoveIf::Free).await);
        failed(remote.copy(&at, &path(&["g"]), Some(&seen)).await);
        failed(remote.read(&at, None, Some(&seen)).await.map(drop));
        remote.put(&path(&["h"]), upload("h", PutIf::Free, MTIME)).await.unwrap();
        let over = MoveIf::Holds(seen.clone());
        failed(remote.rename(&path(&["h"]), &at, None, over).await);
        failed(remote.rename(&path(&["h"]), &at, None, MoveIf::Free).await);
        let on_disk = std::fs::read_to_string(server.files().join("f")).unwrap();
        assert_eq!(on_disk, "changed by somebody");
    }
}

#[tokio::test]
async fn a_file_of_this_very_second_can_be_replaced_moved_and_deleted_at_once() {
    for kind in KINDS {
        let (_server, remote) = on_disk(kind).await;
        let (a, b) = (path(&["a \u{e9} 100%"]), path(&["d e", "b"]));
        remote.make_dir(&path(&["d e"])).await.unwrap();
        let mut tag = remote.put(&a, upload("0", PutIf::Free, MTIME)).await.unwrap().etag.unwrap();
        for round in 1..4 {
            let next = upload(round.to_string(), PutIf::Holds(tag), MTIME + round);
            tag = remote.put(&a, next).await.unwrap().etag.unwrap();
        }
        let other = remote.put(&b, upload("b", PutIf::Free, MTIME)).await.unwrap().etag.unwrap();
        remote.rename(&a, &b, Some(&tag), MoveIf::Holds(other)).await.unwrap();
        assert_eq!(content(&*remote, &b).await.unwrap(), "3");
        assert_eq!(remote.look(&b).await.unwrap().entry.version.etag.as_ref(), Some(&tag));
        remote.read(&b, Some(ByteRange::new(0, 1)), Some(&tag)).await.unwrap();
        remote.delete(&b, Some(&tag)).await.unwrap();
    }
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_what_was_there() {
    for kind in KINDS {
        let (server, remote) = on_disk(kind).await;
        let at = path(&["f"]);
        let old = remote.put(&at, upload("old", PutIf::Free, MTIME)).await.unwrap();
        let held = PutIf::Holds(old.etag.unwrap());
        let torn = Upload { source: Arc::new(Torn(3_000_000)), ..upload("", held, MTIME + 2) };
        let error = remote.put(&at, torn).await.unwrap_err();
        assert!(matches!(error, RemoteError::Source(_)), "{error:?}");
        assert_eq!(std::fs::read_to_string(server.files().join("f")).unwrap(), "old");
    }
}

#[tokio::test]
async fn names_go_to_the_disk_as_they_are() {
    for kind in KINDS {
        let (server, remote) = on_disk(kind).await;
        let rules = remote.capabilities().names.clone();
        for name in
            ["a b", "x#y?z", "100%", "a\\b", "a:b*c<>|", "caf\u{e9}", "end ", "dot.", "\"q\""]
        {
            assert!(rules.check(&Name::new(name.as_bytes()).unwrap()).is_ok());
            let written =
                remote.put(&path(&[name]), upload("x", PutIf::Free, MTIME)).await.unwrap();
            assert!(server.files().join(name).exists(), "{kind:?} {name}");
            let new = path(&[&format!("{name}2")]);
            remote.rename(&path(&[name]), &new, written.etag.as_ref(), MoveIf::Free).await.unwrap();
            remote.delete(&new, written.etag.as_ref()).await.unwrap();
        }
    }
}
