use super::*;
use crate::types::{ContentId, Name, StagingId, Time};

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn file(parent: Ino, text: &str) -> Node {
    Node {
        ino: Ino(0),
        body: Body::File(Content::Staged {
            id: StagingId(9),
            base: Some(Base { content: ContentId(4), len: 77 }),
        }),
        local: Some(Place::new(parent, name(text))),
        attr: Attr {
            mode: 0o640,
            uid: 1,
            gid: 2,
            atime: Time(-5),
            mtime: Time(1_700_000_000_123_456_789),
            ctime: Time(3),
            size: u64::MAX >> 1,
        },
        synced: None,
        remote: None,
        mtime_set: true,
        push: Push { changed: Time(42), ..Push::default() },
    }
}

fn account(user: &str) -> Account {
    Account {
        origin: "https://cloud.example.org".into(),
        user_id: user.into(),
        remote_dir: RemotePath::root(),
    }
}

#[test]
fn a_node_is_the_same_after_the_process_died() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::open(dir.path(), &account("alice")).unwrap();
    let node = tree
        .transact(|tx| {
            let mut node = file(Ino::ROOT, "notebook.ipynb");
            node.synced = Some(Synced {
                place: Place::new(Ino::ROOT, name("old")),
                version: crate::types::Version {
                    file_id: Some(crate::types::FileId("12".into())),
                    etag: Some(crate::types::Etag("\"e\"".into())),
                    mtime: 5,
                    size: 6,
                    upload_time: None,
                    checksum: Some(None),
                },
                content: ContentId(3),
                permissions: Some("RGDNVW".into()),
                mount_root: false,
                racy: true,
                bumped: true,
            });
            node.push.sent = Some(Sent {
                place: Place::new(Ino::ROOT, name("older")),
                size: 1,
                mtime: 2,
                sum: crate::types::Sha1Sum([7; 20]),
            });
            tx.insert(node)
        })
        .unwrap();
    drop(tree);
    let tree = Tree::open(dir.path(), &account("alice")).unwrap();
    assert_eq!(tree.node(node.ino).unwrap().as_deref(), Some(&*node));
}

#[test]
fn a_failed_transaction_changes_nothing_here_or_in_the_cache() {
    let tree = Tree::in_memory().unwrap();
    let node = tree.transact(|tx| tx.insert(file(Ino::ROOT, "a"))).unwrap();
    let failed: Result<()> = tree.transact(|tx| {
        let mut changed = (*node).clone();
        changed.local = Some(Place::new(Ino::ROOT, name("b")));
        tx.put(changed)?;
        Err(TreeError::Full)
    });
    assert!(failed.is_err());
    assert!(tree.child(Ino::ROOT, &name("b").key()).unwrap().is_none());
    assert_eq!(tree.child(Ino::ROOT, &name("a").key()).unwrap().as_deref(), Some(&*node));
}

#[test]
fn two_spellings_of_one_name_cannot_live_side_by_side() {
    let tree = Tree::in_memory().unwrap();
    tree.transact(|tx| tx.insert(file(Ino::ROOT, "caf\u{e9}"))).unwrap();
    assert!(tree.transact(|tx| tx.insert(file(Ino::ROOT, "cafe\u{301}"))).is_err());
    assert_eq!(tree.view(|tx| tx.count()).unwrap(), 2, "the root and one file");
}

#[test]
fn an_open_orphan_lives_until_its_last_close_and_not_into_the_next_mount() {
    let tree = Tree::in_memory().unwrap();
    let empty = Node { body: Body::File(Content::Empty), ..file(Ino::ROOT, "a") };
    let node = tree.transact(|tx| tx.insert(empty)).unwrap();
    let pin = tree.pins().pin(node.ino, PinKind::Reader);
    let gone = Node { local: None, ..(*node).clone() };
    tree.transact(|tx| tx.put(gone)).unwrap();
    assert!(tree.node(node.ino).unwrap().is_some());
    let tree = {
        drop(pin);
        tree.reborn().unwrap()
    };
    assert!(tree.node(node.ino).unwrap().is_none());
}

#[test]
fn a_state_directory_is_one_accounts_and_one_daemons() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::open(dir.path(), &account("alice")).unwrap();
    assert!(matches!(Tree::open(dir.path(), &account("alice")), Err(TreeError::InUse(_))));
    drop(tree);
    let other = Tree::open(dir.path(), &account("bob"));
    assert!(matches!(other, Err(TreeError::OtherAccount { .. })));
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Tree::open(dir.path(), &account("alice")).unwrap());
    let db = Connection::open(dir.path().join("state.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let opened = Tree::open(dir.path(), &account("alice"));
    assert!(matches!(opened, Err(TreeError::NewerSchema { found: 99, .. })));
}

#[test]
fn numbers_for_contents_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3 {
        let tree = Tree::open(dir.path(), &account("alice")).unwrap();
        for _ in 0..1500 {
            assert!(seen.insert(tree.allocate_id().unwrap()));
        }
    }
}

#[test]
fn conflict_copies_are_found_by_their_index_and_only_where_programs_see_them() {
    let tree = Tree::in_memory().unwrap();
    let copy = "a (conflicted copy 1994-11-06 084937).txt";
    tree.transact(|tx| {
        tx.insert(file(Ino::ROOT, copy))?;
        tx.insert(file(Ino::ROOT, "a.txt"))?;
        let removed = tx.insert(file(Ino::ROOT, "b (conflicted copy 1994-11-06 084937).txt"))?;
        tx.put_detached(Node { local: None, ..(*removed).clone() })
    })
    .unwrap();
    let found = tree.view(|tx| tx.conflict_copies(10)).unwrap();
    let names: Vec<_> = found.iter().map(|node| node.local.clone().unwrap().name).collect();
    assert_eq!(names, [name(copy)]);
    let plan: String = tree
        .db()
        .query_row(
            &format!("EXPLAIN QUERY PLAN SELECT ino FROM node WHERE {}", schema::IS_CONFLICT_COPY),
            [],
            |row| row.get(3),
        )
        .unwrap();
    assert!(plan.contains("node_conflict_copy"), "{plan}");
}

#[test]
fn a_database_of_an_older_program_gets_the_indexes_that_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Tree::open(dir.path(), &account("alice")).unwrap();
    let indexes = |tree: &Tree| -> Vec<String> {
        let db = tree.db();
        let mut names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'index'").unwrap();
        names.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
    };
    let tree = open();
    let all = indexes(&tree);
    tree.db().execute_batch("DROP INDEX node_stale; DROP INDEX node_conflict_copy").unwrap();
    drop(tree);
    assert_eq!(indexes(&open()), all);
}

#[test]
fn a_snapshot_holds_what_is_in_the_log_and_refuses_a_newer_schema() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::open(dir.path(), &account("alice")).unwrap();
    tree.transact(|tx| tx.insert(file(Ino::ROOT, "a")).map(drop)).unwrap();
    let room = tempfile::tempdir().unwrap();
    let in_use = Snapshot::open(dir.path(), room.path()).err();
    assert!(matches!(in_use, Some(TreeError::InUse(_))), "{in_use:?}");
    // As a crash leaves it: the log is not in the database yet.
    let copy = tempfile::tempdir().unwrap();
    for name in ["state.db", "state.db-wal", "state.lock"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let snapshot = Snapshot::open(copy.path(), room.path()).unwrap();
    assert_eq!(snapshot.tree.view(|tx| tx.dirty()).unwrap().len(), 1);
    let lock = lock(copy.path());
    assert!(matches!(lock, Err(TreeError::InUse(_))), "a daemon could use it meanwhile");

    tree.db().pragma_update(None, "user_version", 999).unwrap();
    drop(tree);
    let room = tempfile::tempdir().unwrap();
    let newer = Snapshot::open(dir.path(), room.path()).err();
    assert!(matches!(newer, Some(TreeError::NewerSchema { found: 999, .. })), "{newer:?}");
}

#[test]
fn who_is_told_of_a_change_finds_it() {
    const CHANGES: i64 = 5_000;
    let tree = std::sync::Arc::new(Tree::in_memory().unwrap());
    let insert = |tx: &mut Tx<'_>| Ok::<_, TreeError>(tx.insert(file(Ino::ROOT, "f"))?.ino);
    let ino = tree.transact(insert).unwrap();
    let (changes, mut told) = tokio::sync::mpsc::unbounded_channel();
    tree.notify(changes);
    let seen = std::sync::Arc::clone(&tree);
    let scheduler = std::thread::spawn(move || {
        let mut is_old = |number: &i64| {
            told.blocking_recv().unwrap();
            seen.node(ino).unwrap().unwrap().attr.ctime.0 < *number
        };
        (1..=CHANGES).filter(&mut is_old).count()
    });
    for number in 1..=CHANGES {
        tree.transact(|tx| {
            let mut node = (*tx.node(ino)?.unwrap()).clone();
            node.attr.ctime = Time(number);
            tx.put(node)
        })
        .unwrap();
    }
    assert_eq!(scheduler.join().unwrap(), 0);
}

#[test]
fn on_the_same_connection_open_orphans_and_carried_out_requests_stay_known() {
    let tree = Tree::in_memory().unwrap();
    let make = |text: &str, request: u64| {
        let made = tree.transact(|tx| {
            let empty = Node { body: Body::File(Content::Empty), ..file(Ino::ROOT, text) };
            let node = tx.insert(empty)?;
            tx.carries_out(request)?;
            Ok::<_, TreeError>(node.ino)
        });
        made.unwrap()
    };
    let (open, closed) = (make("open", 2), make("closed", 4));
    let pins = [open, closed].map(|ino| tree.pins().pin(ino, PinKind::Writer));
    for (ino, request) in [(open, 6), (closed, 8)] {
        tree.transact(|tx| {
            let node = (*tx.node(ino)?.unwrap()).clone();
            tx.put(Node { local: None, ..node })?;
            tx.carries_out(request)
        })
        .unwrap();
    }
    // One that changes nothing is not noted: it can be done again.
    tree.transact(|tx| tx.carries_out(10)).unwrap();
    drop(pins);

    let kernel = KernelSide { connection: 0, open: HashSet::from([open]) };
    let tree = tree.reborn_for(&kernel).unwrap();
    assert_eq!(tree.open_orphans(), [open]);
    assert!(tree.node(open).unwrap().is_some() && tree.node(closed).unwrap().is_none());
    assert_eq!(tree.answered(2), Some(Some(open)));
    assert_eq!(tree.answered(8), Some(None));
    assert_eq!(tree.answered(10), None);

    let tree = tree.reborn_for(&KernelSide { connection: 1, ..kernel }).unwrap();
    assert!(tree.open_orphans().is_empty() && tree.node(open).unwrap().is_none());
    assert_eq!(tree.answered(2), None);
}
