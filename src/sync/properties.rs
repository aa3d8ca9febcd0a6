//! Properties of the plan and its order: whatever programs did, the steps make the server equal to
//! what they see, none of them finds the server other than it needs it, and it ends.
//!
//! The server here is a map of paths that refuses what a real one refuses; nothing else changes it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::order;
use super::plan::{Decision, Step};
use super::settle::{self, Uploaded};
use crate::tree::{Body, Content, Node, Place, Push, Synced, Tree, TreeError};
use crate::types::{ContentId, FileId, Ino, Name, RemotePath, StagingId, Time, Version};

/// What programs do; names are indexes into a small set, so that they meet.
#[derive(Clone, Debug)]
enum Op {
    MakeDir(Vec<u8>),
    Write(Vec<u8>),
    Remove(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Exchange(Vec<u8>, Vec<u8>),
    /// `rm -r`.
    RemoveAll(Vec<u8>),
    /// The server shows a received share, a directory or a file.
    Share(Vec<u8>, bool),
    /// The server gets one node's next step.
    Push(u8),
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..3, 1..4)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        2 => path().prop_map(Op::MakeDir),
        3 => path().prop_map(Op::Write),
        2 => path().prop_map(Op::Remove),
        4 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => (path(), path()).prop_map(|(one, other)| Op::Exchange(one, other)),
        1 => path().prop_map(Op::RemoveAll),
        1 => (path(), any::<bool>()).prop_map(|(path, dir)| Op::Share(path, dir)),
        1 => any::<u8>().prop_map(Op::Push),
    ];
    prop::collection::vec(op, 1..40)
}

fn name(index: u8) -> Name {
    Name::new(vec![b'a' + index]).unwrap()
}

/// Directories are `None`, files the number of their content.
type Files = BTreeMap<RemotePath, Option<u64>>;

struct World {
    tree: Tree,
    server: Files,
    /// Where the server has the roots of received shares.
    shares: BTreeSet<RemotePath>,
    ids: u64,
}

impl World {
    fn new() -> Self {
        let tree = Tree::in_memory().unwrap();
        tree.transact(|tx| {
            let mut root = (*tx.node(Ino::ROOT)?.unwrap()).clone();
            root.body = Body::Dir { listed: true, tag: None };
            tx.put(root)
        })
        .unwrap();
        Self { tree, server: Files::new(), shares: BTreeSet::new(), ids: 0 }
    }

    fn find(&self, path: &[u8]) -> Option<Arc<Node>> {
        let mut node = self.tree.node(Ino::ROOT).unwrap()?;
        for index in path {
            node = self.tree.child(node.ino, &name(*index).key()).unwrap()?;
        }
        Some(node)
    }

    fn place(&self, path: &[u8]) -> Option<Place> {
        let (last, dir) = path.split_last()?;
        let dir = self.find(dir).filter(|dir| dir.is_dir())?;
        Some(Place::new(dir.ino, name(*last)))
    }

    fn act(&mut self, op: &Op) {
        match op {
            Op::MakeDir(path) if self.find(path).is_none() => {
                if let Some(place) = self.place(path) {
                    self.insert(place, Body::Dir { listed: true, tag: None });
                }
            }
            Op::Write(path) => {
                let id = StagingId(self.tree.allocate_id().unwrap());
                let body = Body::File(Content::Staged { id, base: None });
                match (self.find(path), self.place(path)) {
                    (Some(node), _) if node.is_file() => self.put(Node { body, ..(*node).clone() }),
                    (None, Some(place)) => {
                        self.insert(place, body);
                    }
                    _ => {}
                }
            }
            Op::Remove(path) => {
                if let Some(node) = self.find(path)
                    && !self.tree.view(|tx| tx.has_children(node.ino)).unwrap()
                {
                    self.put(Node { local: None, ..(*node).clone() });
                }
            }
            Op::Rename(from, to) => self.rename(from, to),
            Op::Exchange(one, other) => self.exchange(one, other),
            Op::RemoveAll(path) => {
                for index in 0..3 {
                    let below = [&path[..], &[index]].concat();
                    if self.find(&below).is_some() {
                        self.act(&Op::RemoveAll(below));
                    }
                }
                self.act(&Op::Remove(path.clone()));
            }
            Op::Share(path, dir) => self.share(path, *dir),
            Op::MakeDir(_) => {}
            Op::Push(which) => {
                let dirty = self.tree.view(|tx| tx.dirty()).unwrap();
                if !dirty.is_empty() {
                    self.push(dirty[*which as usize % dirty.len()].ino);
                }
            }
        }
    }

    /// rename(2): over files and empty directories of the same kind.
    fn rename(&mut self, from: &[u8], to: &[u8]) {
        let (Some(node), Some(place)) = (self.find(from), self.place(to)) else { return };
        if to.starts_with(from) || from.starts_with(to) {
            return;
        }
        if let Some(over) = self.find(to) {
            let empty = !self.tree.view(|tx| tx.has_children(over.ino)).unwrap();
            if over.is_dir() != node.is_dir() || !empty {
                return;
            }
            self.put(Node { local: None, ..(*over).clone() });
        }
        self.put(Node { local: Some(place), ..(*node).clone() });
    }

    /// RENAME_EXCHANGE: of nodes of whatever kind, neither inside the other.
    fn exchange(&mut self, one: &[u8], other: &[u8]) {
        let (Some(first), Some(second)) = (self.find(one), self.find(other)) else { return };
        if one.starts_with(other) || other.starts_with(one) {
            return;
        }
        let exchanged = self.tree.transact(|tx| {
            tx.put_detached(Node { local: None, ..(*first).clone() })?;
            tx.put(Node { local: first.local.clone(), ..(*second).clone() })?;
            tx.put(Node { local: second.local.clone(), ..(*first).clone() })
        });
        exchanged.unwrap();
    }

    fn insert(&mut self, place: Place, body: Body) -> Ino {
        let node = Node {
            ino: Ino(0),
            body,
            local: Some(place),
            push: Push { changed: Time(1), ..Push::default() },
            ..Node::fresh_root()
        };
        self.tree.transact(|tx| tx.insert(node)).unwrap().ino
    }

    /// A received share under a name that is free on both sides: a file, or a directory with a file
    /// and a directory in it.
    fn share(&mut self, path: &[u8], dir: bool) {
        let Some(place) = self.place(path).filter(|_| self.find(path).is_none()) else { return };
        let there = self.tree.view(|tx| tx.remote_path(&place)).unwrap();
        let Some(there) = there.filter(|there| !self.server.contains_key(there)) else { return };
        self.shares.insert(there);
        let root = self.received(place, dir, true);
        if dir {
            let sub = self.received(Place::new(root, name(0)), true, false);
            self.received(Place::new(root, name(1)), false, false);
            self.received(Place::new(sub, name(2)), false, false);
        }
    }

    fn received(&mut self, place: Place, dir: bool, mount_root: bool) -> Ino {
        let content = ContentId(self.tree.allocate_id().unwrap());
        let body = match dir {
            true => Body::Dir { listed: true, tag: None },
            false => Body::File(Content::Remote(content)),
        };
        let there = self.paths(Ino::ROOT, Some(&place)).1.unwrap();
        self.server.insert(there, (!dir).then_some(content.0));
        let ino = self.insert(place.clone(), body);
        let version = self.version();
        let (permissions, racy, bumped) = (None, false, false);
        let synced = Synced { place, version, content, permissions, mount_root, racy, bumped };
        let node = self.tree.node(ino).unwrap().unwrap();
        self.put(Node { synced: Some(synced), ..(*node).clone() });
        ino
    }

    fn put(&mut self, node: Node) {
        self.tree.transact(|tx| tx.put(node)).unwrap();
    }

    /// Gives a node its next step, if it has one. Returns whether something was done.
    fn push(&mut self, ino: Ino) -> bool {
        let decision = self.tree.view(|tx| order::next(tx, ino)).unwrap();
        let Decision::Do(step) = decision else { return false };
        self.carry_out(&step);
        true
    }

    fn paths(&self, ino: Ino, to: Option<&Place>) -> (Option<RemotePath>, Option<RemotePath>) {
        self.tree
            .view(|tx| {
                let from = tx.synced_path(ino)?;
                Ok((from, to.map(|to| tx.remote_path(to)).transpose()?.flatten()))
            })
            .unwrap()
    }

    fn is_dir(&self, path: &RemotePath) -> bool {
        path.0.is_empty() || self.server.get(path) == Some(&None)
    }

    fn assert_free(&self, path: &RemotePath, step: &Step) {
        assert!(!self.server.contains_key(path), "{path} is taken: {step:?}");
        assert!(self.is_dir(&path.parent().unwrap()), "{path} has no directory: {step:?}");
    }

    fn content(&self, ino: Ino) -> u64 {
        match self.tree.node(ino).unwrap().unwrap().content() {
            Some(Content::Staged { id, .. }) => id.0,
            Some(Content::Remote(content)) => content.0,
            other => panic!("{other:?}"),
        }
    }

    fn carry_out(&mut self, step: &Step) {
        match step {
            Step::MakeDir { ino } => {
                let place = self.tree.node(*ino).unwrap().unwrap().local.clone().unwrap();
                let path = self.paths(*ino, Some(&place)).1.expect("a directory to make it in");
                self.assert_free(&path, step);
                self.server.insert(path, None);
                self.settle(|tx| settle::made_dir(tx, *ino, &place, None));
            }
            Step::Create { ino } => {
                let place = self.tree.node(*ino).unwrap().unwrap().local.clone().unwrap();
                let path = self.paths(*ino, Some(&place)).1.expect("a directory to put it in");
                self.assert_free(&path, step);
                self.upload(*ino, &place, path);
            }
            Step::Replace { ino } => {
                let node = self.tree.node(*ino).unwrap().unwrap();
                let path = self.paths(*ino, None).0.unwrap();
                assert!(matches!(self.server.get(&path), Some(Some(_))), "{step:?}");
                self.upload(*ino, &node.synced.as_ref().unwrap().place, path);
            }
            Step::Move { ino, to, over } => self.rename_there(*ino, to, *over, step),
            Step::MoveAside { ino, to } => self.rename_there(*ino, to, None, step),
            Step::CopyAside { ino, to, heir } => {
                let (from, target) = self.paths(*ino, Some(to));
                let target = target.unwrap();
                self.assert_free(&target, step);
                let bytes = self.server[&from.unwrap()];
                self.server.insert(target, bytes);
                let version = self.version();
                self.settle(|tx| settle::copied_aside(tx, *ino, to, version, *heir));
            }
            Step::HandOver { from, to } => {
                self.settle(|tx| settle::handed_over(tx, *from, *to));
            }
            Step::Delete { ino } | Step::Leave { ino } => {
                let path = self.paths(*ino, None).0.unwrap();
                assert!(self.server.contains_key(&path), "{step:?}");
                self.assert_owners_keep_theirs(*ino, &path, step);
                self.shares.remove(&path);
                self.server.retain(|other, _| !other.0.starts_with(&path.0));
                // What programs still see anywhere must not have been below.
                for node in self.alive() {
                    let below = self.paths(node.ino, None).0;
                    let lost = below.is_some_and(|below| below.0.starts_with(&path.0));
                    assert!(!lost, "{step:?} took {:?} along", node.ino);
                }
                self.settle(|tx| settle::gone(tx, *ino));
            }
            Step::SetMtime { .. } | Step::Resolve { .. } | Step::Recall { .. } => {
                panic!("nothing calls for {step:?}")
            }
        }
    }

    /// What is in a share that is left as a whole is not deleted, and no share goes along with what
    /// is around it.
    fn assert_owners_keep_theirs(&self, ino: Ino, path: &RemotePath, step: &Step) {
        let inside = |share: &&RemotePath| share.0.starts_with(&path.0) && *share != path;
        assert_eq!(self.shares.iter().find(inside), None, "{step:?} takes a share along");
        let node = self.tree.node(ino).unwrap().unwrap();
        let is_left = matches!(step, Step::Leave { .. });
        assert_eq!(is_left, node.is_dir() && self.shares.contains(path), "{step:?}");
        if self.shares.contains(path) {
            return;
        }
        // What was taken out of the share before, with what is in it, is not left with it.
        let mut at = node.synced.as_ref().unwrap().place.parent;
        while let Some(dir) = self.tree.node(at).unwrap().filter(|dir| dir.is_tombstone()) {
            let share = self.shares.contains(&self.paths(at, None).0.unwrap());
            assert!(!share, "{step:?} deletes in a share that is left");
            at = dir.synced.as_ref().unwrap().place.parent;
        }
    }

    fn rename_there(&mut self, ino: Ino, to: &Place, over: Option<Ino>, step: &Step) {
        let (from, target) = self.paths(ino, Some(to));
        let (from, target) = (from.unwrap(), target.unwrap());
        assert!(!target.0.starts_with(&from.0), "into itself: {step:?}");
        match over {
            Some(_) => assert!(matches!(self.server.remove(&target), Some(Some(_))), "{step:?}"),
            None => self.assert_free(&target, step),
        }
        let moved: Vec<RemotePath> =
            self.server.keys().filter(|path| path.0.starts_with(&from.0)).cloned().collect();
        assert!(!moved.is_empty(), "{step:?}");
        self.shares.remove(&target);
        for share in std::mem::take(&mut self.shares) {
            let moved = share.0.starts_with(&from.0);
            let names = [&target.0[..], &share.0[from.0.len().min(share.0.len())..]].concat();
            self.shares.insert(if moved { RemotePath(names) } else { share });
        }
        for path in moved {
            let bytes = self.server.remove(&path).unwrap();
            let names = [&target.0[..], &path.0[from.0.len()..]].concat();
            self.server.insert(RemotePath(names), bytes);
        }
        self.settle(|tx| settle::moved(tx, ino, to, over));
    }

    fn upload(&mut self, ino: Ino, place: &Place, path: RemotePath) {
        // The bytes keep their number: it names them in the server's map, too.
        let content = self.content(ino);
        self.server.insert(path, Some(content));
        let version = self.version();
        let content = ContentId(content);
        let answer = Uploaded { version, content, unchanged: true, bumped: false };
        self.settle(|tx| settle::uploaded(tx, ino, place, answer));
    }

    fn version(&mut self) -> Version {
        self.ids += 1;
        Version {
            file_id: Some(FileId(self.ids.to_string().into())),
            etag: None,
            mtime: 1,
            size: 1,
            upload_time: None,
            checksum: None,
        }
    }

    fn settle(&self, change: impl FnOnce(&mut crate::tree::Tx<'_>) -> Result<(), TreeError>) {
        self.tree.transact(change).unwrap();
    }

    fn alive(&self) -> Vec<Arc<Node>> {
        let mut alive = Vec::new();
        let mut dirs = vec![Ino::ROOT];
        while let Some(dir) = dirs.pop() {
            for child in self.tree.view(|tx| tx.children(dir, Ino(0), 1000)).unwrap() {
                dirs.extend(child.is_dir().then_some(child.ino));
                alive.push(child);
            }
        }
        alive
    }

    fn seen(&self) -> Files {
        let path = |node: &Node| self.tree.view(|tx| tx.local_path(node.ino)).unwrap().unwrap();
        let alive = self.alive();
        alive
            .iter()
            .map(|node| (path(node), node.is_file().then(|| self.content(node.ino))))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_steps_make_the_server_equal_to_what_programs_see(ops in ops(), first in any::<bool>()) {
        let mut world = World::new();
        for op in &ops {
            world.act(op);
        }
        // Each node has at most a handful of steps; each round must get somewhere.
        let mut steps = 0;
        loop {
            let mut dirty = world.tree.view(|tx| tx.dirty()).unwrap();
            if dirty.is_empty() {
                break;
            }
            if first {
                dirty.reverse();
            }
            let done = dirty.iter().filter(|node| world.push(node.ino)).count();
            prop_assert!(done > 0, "everybody waits: {dirty:#?}");
            steps += done;
            prop_assert!(steps < 400, "it does not end");
        }
        prop_assert_eq!(&world.server, &world.seen());
        let distinct: HashSet<_> = world.server.values().flatten().collect();
        prop_assert_eq!(distinct.len(), world.server.values().flatten().count());
    }
}
