//! Programs at work on the local side, and their bytes: what the rooms above do, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};

use super::power::{self, Power, Synced};
use super::server::{Server, sum};
use super::story::{Story, text};
use crate::clock::Clock;
use crate::content::{Contents, ContentsError, Frozen};
use crate::remote::{Remote, Source};
use crate::sync::Lister;
use crate::tree::{Attr, Body, Content, Node, Place, Push, Tree, TreeError};
use crate::types::{ByteRange, ContentId, Ino, Name, StagingId};

/// The bytes on the local disk: they survive a crash.
#[derive(Default)]
pub struct Disk {
    /// The file whose bytes are being collected, or were last.
    pub freezing: Option<Ino>,
    pub staged: HashMap<StagingId, Vec<u8>>,
    pub cached: HashMap<ContentId, Vec<u8>>,
}

/// The content room of the simulation.
pub struct Bytes_ {
    pub tree: Arc<Tree>,
    pub server: Arc<Server>,
    pub disk: Arc<Mutex<Disk>>,
    pub power: Power,
    pub acknowledged: Acknowledged,
}

struct Memory(Vec<u8>);

impl Source for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: ByteRange) -> BoxStream<'static, std::io::Result<Bytes>> {
        let part = Bytes::copy_from_slice(&self.0[range.start as usize..range.end as usize]);
        stream::iter([Ok(part)]).boxed()
    }
}

impl Bytes_ {
    async fn bytes(&self, ino: Ino) -> Result<(Vec<u8>, u64), ContentsError> {
        let node = self.tree.node(ino)?.ok_or(ContentsError::Changed)?;
        match node.content() {
            Some(Content::Empty) => Ok((Vec::new(), 0)),
            Some(Content::Staged { id, .. }) => {
                let disk = self.disk.lock().unwrap();
                let bytes = disk.staged.get(id).cloned();
                Ok((bytes.ok_or_else(|| ContentsError::Lost("staging".into()))?, id.0))
            }
            Some(Content::Remote(content)) => {
                if let Some(bytes) = self.disk.lock().unwrap().cached.get(content) {
                    return Ok((bytes.clone(), 0));
                }
                let path = self.tree.view(|tx| tx.synced_path(ino))?;
                let tag = node.synced.as_ref().filter(|synced| synced.content == *content);
                let (Some(path), Some(tag)) = (path, tag) else {
                    return Err(ContentsError::BaseGone);
                };
                let mut body = self.server.read(&path, None, tag.version.etag.as_ref()).await?;
                let mut bytes = Vec::new();
                while let Some(part) = body.bytes.next().await {
                    bytes.extend_from_slice(&part?);
                }
                self.disk.lock().unwrap().cached.insert(*content, bytes.clone());
                Ok((bytes, 0))
            }
            None => Err(ContentsError::Changed),
        }
    }

    /// Brings rows, and bytes as told, to the disk.
    pub fn sync(&self, what: Synced) {
        power::sync(&self.power, &self.tree, &self.disk, &self.acknowledged, what);
    }

    /// What a program sees, if it can be told without the server.
    pub fn visible(&self, node: &Node) -> Option<Vec<u8>> {
        let disk = self.disk.lock().unwrap();
        match node.content()? {
            Content::Empty => Some(Vec::new()),
            Content::Staged { id, .. } => disk.staged.get(id).cloned(),
            Content::Remote(content) => disk.cached.get(content).cloned(),
        }
    }
}

#[async_trait]
impl Contents for Bytes_ {
    async fn freeze(&self, ino: Ino) -> Result<Frozen, ContentsError> {
        let (bytes, generation) = self.bytes(ino).await?;
        self.disk.lock().unwrap().freezing = Some(ino);
        // A checksum takes its time.
        self.server.collect(ino).await;
        let sum = sum(&bytes);
        Ok(Frozen { source: Arc::new(Memory(bytes)), sum, generation })
    }

    fn settle(
        &self,
        ino: Ino,
        frozen: &Frozen,
        content: ContentId,
        commit: &mut dyn FnMut(bool) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        let node = self.tree.node(ino)?;
        let (now, base) = match node.as_ref().and_then(|node| node.content()) {
            Some(Content::Staged { id, .. }) => (id.0, None),
            Some(Content::Remote(base)) => (0, Some(*base)),
            _ => (0, None),
        };
        let unchanged = now == frozen.generation;
        commit(unchanged)?;
        let mut disk = self.disk.lock().unwrap();
        if unchanged {
            let bytes = match base {
                Some(base) => disk.cached.get(&base).cloned(),
                None => disk.staged.remove(&StagingId(now)).or(Some(Vec::new())),
            };
            disk.cached.extend(bytes.map(|bytes| (content, bytes)));
        }
        Ok(())
    }

    async fn keep(&self, ino: Ino) -> Result<(), ContentsError> {
        let (bytes, _) = self.bytes(ino).await?;
        let Some(node) = self.tree.node(ino)?.filter(|node| node.local.is_some()) else {
            return Ok(());
        };
        if matches!(node.content(), Some(Content::Remote(_))) {
            let id = StagingId(self.tree.allocate_id()?);
            self.disk.lock().unwrap().staged.insert(id, bytes);
            let body = Body::File(Content::Staged { id, base: None });
            self.tree.transact(|tx| tx.put(Node { body, ..(*node).clone() }))?;
        }
        Ok(())
    }

    async fn secure(&self, ino: Ino) -> Result<(), ContentsError> {
        self.sync(Synced::File(ino));
        Ok(())
    }

    fn is_here(&self, node: &Node) -> bool {
        self.visible(node).is_some()
    }

    fn forget(&self, content: ContentId) {
        self.disk.lock().unwrap().cached.remove(&content);
    }
}

/// A program: each call is one acknowledged system call.
pub struct Program {
    pub bytes: Arc<Bytes_>,
    pub clock: Arc<dyn Clock>,
    /// Hears of directories that are used.
    pub lister: Arc<dyn Lister>,
    pub story: Story,
}

/// The last acknowledged content of every file that the programs still have; several where a crash
/// came before the reply to a write: one of them.
pub type Acknowledged = Arc<Mutex<HashMap<Ino, Vec<Vec<u8>>>>>;

pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

impl Program {
    pub fn tree(&self) -> &Tree {
        &self.bytes.tree
    }

    pub fn find(&self, path: &str) -> Option<Arc<Node>> {
        let mut at = Ino::ROOT;
        let mut found = self.tree().node(at).unwrap();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            self.lister.used(at);
            found = self.tree().child(at, &name(part).key()).unwrap();
            at = found.as_ref()?.ino;
        }
        found
    }

    /// All that programs see, and whether it is a directory.
    pub fn paths(&self) -> Vec<(String, bool)> {
        let mut found = Vec::new();
        let mut dirs = vec![(Ino::ROOT, String::new())];
        while let Some((dir, above)) = dirs.pop() {
            for child in self.tree().view(|tx| tx.children(dir, Ino(0), 1000)).unwrap() {
                let Some(place) = &child.local else { continue };
                let path = format!("{above}{}", place.name);
                if child.is_dir() {
                    dirs.push((child.ino, format!("{path}/")));
                }
                found.push((path, child.is_dir()));
            }
        }
        found
    }

    fn place(&self, path: &str) -> Option<Place> {
        let (dir, last) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.find(dir)?;
        dir.is_listed().then(|| Place::new(dir.ino, name(last)))
    }

    fn blank(&self, place: Place, body: Body) -> Node {
        let now = self.clock.now();
        Node {
            ino: Ino(0),
            body,
            local: Some(place),
            attr: Attr { mode: 0o644, uid: 0, gid: 0, atime: now, mtime: now, ctime: now, size: 0 },
            synced: None,
            remote: None,
            mtime_set: false,
            push: Push { changed: now, ..Push::default() },
        }
    }

    /// The program knows what it is about to overwrite or remove.
    fn has_seen(&self, node: &Node) {
        let path = self.tree().view(|tx| tx.synced_path(node.ino)).unwrap();
        let mut state = self.bytes.server.state();
        if let Some(bytes) = self.bytes.visible(node) {
            state.permitted.insert(bytes);
        }
        if let (Some(Content::Remote(content)), Some(synced)) = (node.content(), &node.synced)
            && *content == synced.content
            && let Some(path) = path
        {
            state.permit(&path, &synced.version);
        }
    }

    pub fn mkdir(&self, path: &str) -> bool {
        let Some(place) = self.place(path).filter(|_| self.find(path).is_none()) else {
            return false;
        };
        self.story.tell(format_args!("a program makes the directory /{path}"));
        let dir = self.blank(place, Body::Dir { listed: true, tag: None });
        self.tree().transact(|tx| tx.insert(dir)).is_ok()
    }

    /// Creates or overwrites a whole file.
    pub fn write(&self, path: &str, bytes: &[u8]) -> bool {
        let Some(place) = self.place(path) else { return false };
        let old = self.find(path);
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            return false;
        }
        self.story.tell(format_args!("a program writes {} into /{path}", text(bytes)));
        let id = StagingId(self.tree().allocate_id().unwrap());
        self.bytes.disk.lock().unwrap().staged.insert(id, bytes.to_vec());
        let now = self.clock.now();
        if let Some(old) = &old {
            self.has_seen(old);
        }
        self.bytes.server.state().whole.insert(bytes.to_vec());
        let written = self.tree().transact(|tx| {
            let mut node = match &old {
                Some(old) => (**old).clone(),
                None => {
                    let empty = self.blank(place.clone(), Body::File(Content::Empty));
                    (*tx.insert(empty)?).clone()
                }
            };
            node.body = Body::File(Content::Staged { id, base: None });
            node.attr.size = bytes.len() as u64;
            node.attr.mtime = now;
            node.push.changed = now;
            tx.put(node.clone())?;
            Ok::<_, TreeError>(node)
        });
        let mut acknowledged = self.bytes.acknowledged.lock().unwrap();
        match (&written, &old) {
            (Ok(node), _) => drop(acknowledged.insert(node.ino, vec![bytes.to_vec()])),
            (Err(_), Some(old)) => {
                if let Some(either) = acknowledged.get_mut(&old.ino) {
                    either.push(bytes.to_vec());
                }
            }
            (Err(_), None) => {}
        }
        written.is_ok()
    }

    /// fsync.
    pub fn sync(&self, path: &str) -> bool {
        let Some(node) = self.find(path) else { return false };
        self.story.tell(format_args!("a program syncs /{path}"));
        self.bytes.sync(Synced::File(node.ino));
        true
    }

    /// What the content room does at a start: files whose bytes are lost are blocked, and say so.
    pub fn recover(&self) {
        for node in self.lost() {
            let mut node = (*node).clone();
            node.push.not_before = crate::types::Time::default();
            node.push.blocked = Some("its unsent content was lost on this machine".into());
            self.tree().transact(|tx| tx.put(node)).unwrap();
        }
    }

    fn lost(&self) -> Vec<Arc<Node>> {
        let mut staged = self.tree().view(|tx| tx.staged()).unwrap();
        staged.retain(|node| self.bytes.visible(node).is_none());
        staged
    }

    /// Somebody removes the files of which nothing but the name is left.
    pub fn give_up_lost(&self) {
        for node in self.lost().iter().filter(|node| node.local.is_some()) {
            self.story.tell("somebody removes a file whose content was lost");
            self.gone(node);
        }
    }

    /// Reads a whole file. Where bytes come from the server it may fail, as a program's read does.
    pub async fn read(&self, path: &str) -> Option<Vec<u8>> {
        let node = self.find(path)?;
        let (bytes, _) = self.bytes.bytes(node.ino).await.ok()?;
        self.story.tell(format_args!("a program has read {} from /{path}", text(&bytes)));
        self.bytes.server.state().permitted.insert(bytes.clone());
        Some(bytes)
    }

    /// Not a program but the cache: it is too full.
    pub fn evict(&self, path: &str) -> bool {
        let node = self.find(path);
        let Some(Content::Remote(content)) = node.as_ref().and_then(|node| node.content()) else {
            return false;
        };
        self.bytes.disk.lock().unwrap().cached.remove(content).is_some()
    }

    pub fn remove(&self, path: &str) -> bool {
        let Some(node) = self.find(path).filter(|node| !node.is_root()) else { return false };
        let empty = !self.tree().view(|tx| tx.has_children(node.ino)).unwrap();
        if node.is_dir() && !(node.is_listed() && empty) {
            return false;
        }
        self.story.tell(format_args!("a program removes /{path}"));
        self.has_seen(&node);
        if let Some(synced) = &node.synced {
            self.bytes.server.state().removed_alone(&synced.version);
        }
        self.gone(&node)
    }

    fn gone(&self, node: &Node) -> bool {
        self.bytes.acknowledged.lock().unwrap().remove(&node.ino);
        self.tree().transact(|tx| tx.put(self.removed(node))).is_ok()
    }

    fn removed(&self, node: &Node) -> Node {
        let mut node = node.clone();
        node.local = None;
        node.push.changed = self.clock.now();
        node
    }

    /// rename(2) of files and directories, over existing files too.
    pub fn rename(&self, from: &str, to: &str) -> bool {
        let (Some(node), Some(place)) = (self.find(from), self.place(to)) else { return false };
        if node.is_root() || to.starts_with(&format!("{from}/")) || from == to {
            return false;
        }
        let over = self.find(to);
        if over.as_ref().is_some_and(|over| !over.is_file() || !node.is_file()) {
            return false;
        }
        self.story.tell(format_args!("a program renames /{from} to /{to}"));
        if let Some(over) = &over {
            self.has_seen(over);
            self.bytes.acknowledged.lock().unwrap().remove(&over.ino);
        }
        self.tree()
            .transact(|tx| {
                if let Some(over) = &over {
                    tx.put(self.removed(over))?;
                }
                let mut node = (*node).clone();
                node.local = Some(place);
                node.push.changed = self.clock.now();
                tx.put(node)
            })
            .is_ok()
    }

    /// renameat2(2) with RENAME_EXCHANGE, of whatever two nodes.
    pub fn exchange(&self, one: &str, other: &str) -> bool {
        let (Some(first), Some(second)) = (self.find(one), self.find(other)) else { return false };
        let inside = |inner: &str, outer: &str| inner.starts_with(&format!("{outer}/"));
        if first.ino == second.ino || inside(one, other) || inside(other, one) {
            return false;
        }
        self.story.tell(format_args!("a program exchanges /{one} and /{other}"));
        let now = self.clock.now();
        self.tree()
            .transact(|tx| {
                tx.put_detached(Node { local: None, ..(*first).clone() })?;
                for (node, place) in [(&second, &first.local), (&first, &second.local)] {
                    let mut node = Node { local: place.clone(), ..(**node).clone() };
                    node.push.changed = now;
                    tx.put(node)?;
                }
                Ok::<_, TreeError>(())
            })
            .is_ok()
    }

    /// The roots of received shares that programs see.
    pub fn shares(&self) -> Vec<Arc<Node>> {
        let mut roots = Vec::new();
        let mut dirs = vec![Ino::ROOT];
        while let Some(dir) = dirs.pop() {
            for child in self.tree().view(|tx| tx.children(dir, Ino(0), 1000)).unwrap() {
                dirs.extend(child.is_dir().then_some(child.ino));
                if child.is_dir() && child.synced.as_ref().is_some_and(|synced| synced.mount_root) {
                    roots.push(child);
                }
            }
        }
        roots
    }

    /// `rm -r` of a received share, one name after the other. What is in it is the owner's to keep
    /// if that comes to the end.
    pub async fn remove_share(&self, root: &Node, pause: Duration) -> bool {
        let id = root.synced.as_ref().and_then(|synced| synced.version.file_id.clone());
        let mut contents = Vec::new();
        // Directories twice: on the way down, and when they are empty.
        let mut rest = vec![(root.ino, false)];
        while let Some((ino, emptied)) = rest.pop() {
            let Some(node) = self.tree().node(ino).unwrap().filter(|node| node.local.is_some())
            else {
                continue;
            };
            if node.is_dir() && !emptied {
                rest.push((ino, true));
                let children = self.tree().view(|tx| tx.children(ino, Ino(0), 1000)).unwrap();
                rest.extend(children.iter().map(|child| (child.ino, false)));
                continue;
            }
            let path = self.tree().view(|tx| tx.local_path(ino)).unwrap().unwrap();
            contents.extend(self.bytes.visible(&node));
            if let Some(synced) = &node.synced {
                contents.extend(self.bytes.server.state().contents(&synced.version));
            }
            if !self.remove(path.to_string().trim_start_matches('/')) {
                return false;
            }
            tokio::time::sleep(pause).await;
        }
        if let Some(id) = id.and_then(|id| id.0.parse().ok()) {
            self.bytes.server.state().removed_with_share(id, contents);
        }
        true
    }

    pub fn touch(&self, path: &str, secs: i64) -> bool {
        let Some(node) = self.find(path).filter(|node| node.is_file()) else { return false };
        self.story.tell(format_args!("a program sets the time of /{path} to {secs}"));
        let mut node = (*node).clone();
        node.attr.mtime = crate::types::Time::from_secs(secs);
        node.mtime_set = true;
        node.push.changed = self.clock.now();
        self.tree().transact(|tx| tx.put(node)).is_ok()
    }
}
