//! What a file's row and its staging file are to each other while others look at them, and after a
//! crash.

use super::*;
use crate::clock::SystemClock;
use crate::content::testing::{bodies, bodies_in};
use crate::content::{Contents, ContentsError};
use crate::tree::{PinKind, Place, Push, Synced};
use crate::types::{ByteRange, ContentId, Name, Version};

/// A file with these bytes, which nobody has sent.
fn file(tree: &Tree, bodies: &Arc<Bodies>, name: &str, bytes: &[u8]) -> Ino {
    let attr = Attr { mode: 0o644, size: 0, ..Node::fresh_root().attr };
    let place = Place::new(Ino::ROOT, Name::new(name.as_bytes()).unwrap());
    let node = Node {
        ino: Ino(0),
        body: Body::File(Content::Empty),
        local: Some(place),
        attr,
        synced: None,
        remote: None,
        mtime_set: false,
        push: Push::default(),
    };
    let ino = tree.transact(|tx| tx.insert(node)).unwrap().ino;
    bodies.write(ino, 0, bytes).unwrap();
    bodies.persist(ino).unwrap();
    ino
}

#[test]
fn who_collects_bytes_while_the_file_is_written_anew_does_not_bring_back_the_old_ones() {
    let tree = Arc::new(Tree::in_memory().unwrap());
    let (bodies, _ground) = bodies(&tree, Arc::new(SystemClock));
    let ino = file(&tree, &bodies, "a", b"old");
    let _pin = tree.pins().pin(ino, PinKind::Writer);

    let gate = bodies.gate(ino);
    let mut live = lock(&gate);
    let collecting = {
        let bodies = Arc::clone(&bodies);
        let handle = bodies.runtime.clone();
        std::thread::spawn(move || handle.block_on(async { bodies.freeze(ino).await.map(drop) }))
    };
    // The map's, ours, and that of who waits at the gate.
    while Arc::strong_count(&gate) < 3 {
        std::thread::yield_now();
    }
    let now = SystemClock.now();
    bodies.empty(ino, &mut live, now).unwrap();
    bodies.stage(ino, &mut live, Some(now)).unwrap().write(0, b"the new bytes").unwrap();
    live.written = Some(now);
    drop(live);
    match collecting.join().unwrap() {
        Ok(()) | Err(ContentsError::Changed) => {}
        Err(error) => panic!("{error}"),
    }

    bodies.persist(ino).unwrap();
    let node = tree.node(ino).unwrap().unwrap();
    assert_eq!((node.attr.size, bodies.attr(&node).size), (13, 13));
    assert_eq!(bodies.recover().unwrap(), [], "the old bytes are a file without a row");
}

#[test]
fn of_a_file_that_was_removed_a_moment_before_a_crash_nothing_is_found_afterwards() {
    let tree = Arc::new(Tree::in_memory().unwrap());
    let (bodies, ground) = bodies(&tree, Arc::new(SystemClock));
    let [gone, kept] = ["gone", "kept"].map(|name| file(&tree, &bodies, name, b"bytes"));
    let node = (*tree.node(gone).unwrap().unwrap()).clone();
    tree.transact(|tx| tx.put(Node { local: None, ..node })).unwrap();
    drop(bodies);

    let tree = Arc::new(Arc::into_inner(tree).unwrap().reborn().unwrap());
    let (bodies, _ground) = bodies_in(ground.into_dir(), &tree, Arc::new(SystemClock));
    assert_eq!(bodies.recover().unwrap(), []);
    assert_eq!(tree.node(gone).unwrap(), None);
    let read = bodies.runtime.block_on(bodies.read(kept, ByteRange::new(0, 9))).unwrap();
    assert_eq!(read, &b"bytes"[..]);
}

#[test]
fn what_was_written_over_a_version_is_not_taken_for_it_after_a_crash() {
    let tree = Arc::new(Tree::in_memory().unwrap());
    let (bodies, ground) = bodies(&tree, Arc::new(SystemClock));
    let ino = file(&tree, &bodies, "a", b"written over");
    let content = ContentId(tree.allocate_id().unwrap());
    let mut node = (*tree.node(ino).unwrap().unwrap()).clone();
    let Some(Content::Staged { id, .. }) = node.content().cloned() else { panic!("{node:?}") };
    node.synced = Some(Synced {
        place: node.local.clone().unwrap(),
        version: Version {
            etag: None,
            size: 12,
            mtime: 0,
            checksum: None,
            file_id: None,
            upload_time: None,
        },
        content,
        permissions: None,
        mount_root: false,
        racy: false,
        bumped: false,
    });
    tree.transact(|tx| tx.put(node)).unwrap();
    // The first write gave the cached file its second name, and the daemon died after the commit.
    bodies.cache.adopt(content, &bodies.staging.locate(id).unwrap().unwrap()).unwrap();
    drop(bodies);

    let tree = Arc::new(Arc::into_inner(tree).unwrap().reborn().unwrap());
    let (bodies, _ground) = bodies_in(ground.into_dir(), &tree, Arc::new(SystemClock));
    assert!(bodies.cache.peek(content).is_some());
    bodies.recover().unwrap();
    assert!(bodies.cache.peek(content).is_none());
    assert_eq!(
        &bodies.runtime.block_on(bodies.read(ino, ByteRange::new(0, 12))).unwrap()[..],
        b"written over"
    );
}
