//! The metadata of one user's files, as Nextcloud's `filecache` table has it. No I/O.
//!
//! Invariants: every node but the root is in the `children` of its parent under its name; the size of
//! a folder is the sum over what is in it; whoever changes a node calls [`Tree::propagate`] where
//! FACTS 6 lists the change.

use std::collections::{BTreeMap, HashMap};

use crate::path::FilePath;
use crate::stamps::{Stamps, file_tag};
use crate::xml::Name;

pub(crate) type NodeId = u64;

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub id: NodeId,
    pub parent: Option<NodeId>,
    pub name: String,
    /// Whole seconds, never before 1970-01-02 when a client set it (FACTS 5).
    pub mtime: i64,
    /// Without quotes: 13 hex digits on folders, 32 on files.
    pub etag: String,
    pub created: i64,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Folder { children: BTreeMap<String, NodeId>, size: u64 },
    File(File),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    pub size: u64,
    pub uploaded: i64,
    /// As a client sent it: stored, never verified.
    pub checksums: Option<String>,
    /// Former contents by their mtime, with their sizes.
    pub versions: BTreeMap<i64, u64>,
    /// What an interrupted PUT left on disk and nobody has noticed yet.
    pub torn: Option<Torn>,
}

/// The disk disagrees with the metadata until somebody GETs the file (FACTS 0.2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Torn {
    pub size: u64,
    pub mtime: i64,
}

impl Node {
    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::Folder { size, .. } => *size,
            Kind::File(file) => file.size,
        }
    }

    pub(crate) fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(file) => Some(file),
            Kind::Folder { .. } => None,
        }
    }

    pub(crate) fn children(&self) -> Option<&BTreeMap<String, NodeId>> {
        match &self.kind {
            Kind::Folder { children, .. } => Some(children),
            Kind::File(_) => None,
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.children().is_some()
    }
}

/// Where a path ends too early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The first name that is not there.
    At(FilePath),
    /// A name on the way is a file.
    BelowFile(FilePath),
}

pub(crate) struct Tree {
    nodes: HashMap<NodeId, Node>,
    root: NodeId,
    /// Dead properties belong to a path, not to a node: that is how MOVE of a parent loses them
    /// (FACTS 7).
    dead: BTreeMap<FilePath, BTreeMap<Name, String>>,
}

impl Tree {
    pub(crate) fn new(stamps: &Stamps) -> Self {
        let root = stamps.next_id();
        let node = Node {
            id: root,
            parent: None,
            name: String::new(),
            mtime: stamps.now(),
            etag: stamps.folder_tag(),
            created: 0,
            kind: Kind::Folder { children: BTreeMap::new(), size: 0 },
        };
        Self { nodes: HashMap::from([(root, node)]), root, dead: BTreeMap::new() }
    }

    pub(crate) fn root(&self) -> Option<&Node> {
        self.nodes.get(&self.root)
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }

    pub(crate) fn find(&self, path: &FilePath) -> Result<&Node, Missing> {
        let mut node = self.root().ok_or_else(|| Missing::At(FilePath::default()))?;
        for (depth, name) in path.names().iter().enumerate() {
            let Some(children) = node.children() else {
                return Err(Missing::BelowFile(path.prefix(depth)));
            };
            node = children
                .get(name)
                .and_then(|id| self.nodes.get(id))
                .ok_or_else(|| Missing::At(path.prefix(depth + 1)))?;
        }
        Ok(node)
    }

    pub(crate) fn get(&self, path: &FilePath) -> Option<&Node> {
        self.find(path).ok()
    }

    pub(crate) fn path_of(&self, id: NodeId) -> Option<FilePath> {
        let mut names = Vec::new();
        let mut node = self.nodes.get(&id)?;
        while let Some(parent) = node.parent {
            names.push(node.name.as_str());
            node = self.nodes.get(&parent)?;
        }
        names.reverse();
        Some(FilePath::of(&names.join("/")))
    }

    /// The node and all below it, parents first.
    pub(crate) fn walk(&self, id: NodeId) -> Vec<NodeId> {
        let mut found = vec![id];
        let mut next = 0;
        while let Some(id) = found.get(next) {
            next += 1;
            if let Some(children) = self.nodes.get(id).and_then(Node::children) {
                found.extend(children.values());
            }
        }
        found
    }

    /// Puts a new, empty folder into `parent` and returns its id.
    pub(crate) fn add_folder(&mut self, parent: NodeId, name: &str, stamps: &Stamps) -> NodeId {
        let node = Node {
            id: stamps.next_id(),
            parent: None,
            name: String::new(),
            mtime: stamps.now(),
            etag: stamps.folder_tag(),
            created: 0,
            kind: Kind::Folder { children: BTreeMap::new(), size: 0 },
        };
        self.attach(node, parent, name)
    }

    /// Puts a new file into `parent` and returns its id.
    pub(crate) fn add_file(
        &mut self,
        parent: NodeId,
        name: &str,
        file: File,
        mtime: i64,
        stamps: &Stamps,
    ) -> NodeId {
        let id = stamps.next_id();
        let node = Node {
            id,
            parent: None,
            name: String::new(),
            mtime,
            etag: file_tag(mtime, id, file.size),
            created: 0,
            kind: Kind::File(file),
        };
        self.attach(node, parent, name)
    }

    fn attach(&mut self, mut node: Node, parent: NodeId, name: &str) -> NodeId {
        let (id, size) = (node.id, node.size());
        node.parent = Some(parent);
        name.clone_into(&mut node.name);
        self.nodes.insert(id, node);
        if let Some(Kind::Folder { children, .. }) =
            self.nodes.get_mut(&parent).map(|node| &mut node.kind)
        {
            children.insert(name.to_owned(), id);
        }
        self.grow(parent, size.cast_signed());
        id
    }

    fn detach(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let size = node.size();
        let Some(parent) = node.parent.take() else {
            return;
        };
        let name = node.name.clone();
        if let Some(Kind::Folder { children, .. }) =
            self.nodes.get_mut(&parent).map(|node| &mut node.kind)
        {
            children.remove(&name);
        }
        self.grow(parent, -size.cast_signed());
    }

    /// Removes a node and all below it; returns the ids that are gone. The root stays.
    pub(crate) fn remove(&mut self, id: NodeId) -> Vec<NodeId> {
        let Some(path) = self.path_of(id).filter(|path| !path.is_root()) else {
            return Vec::new();
        };
        self.forget_dead(&path);
        let gone = self.walk(id);
        self.detach(id);
        for id in &gone {
            self.nodes.remove(id);
        }
        gone
    }

    /// Gives a node another place; ids, tags and times stay.
    pub(crate) fn relocate(&mut self, id: NodeId, parent: NodeId, name: &str) {
        let from = self.path_of(id);
        self.detach(id);
        if let Some(node) = self.nodes.remove(&id) {
            self.attach(node, parent, name);
        }
        if let (Some(from), Some(to)) = (from, self.path_of(id)) {
            let own = self.dead.remove(&from);
            self.forget_dead(&from);
            if let Some(own) = own {
                self.dead.insert(to, own);
            }
        }
    }

    /// Takes a node with all below it out, to be given to another tree; it comes first.
    pub(crate) fn take(&mut self, id: NodeId) -> Vec<Node> {
        let nodes: Vec<Node> =
            self.walk(id).iter().filter_map(|id| self.node(*id)).cloned().collect();
        self.remove(id);
        nodes
    }

    /// Puts in what was taken out of another tree: ids, tags and times stay.
    pub(crate) fn give(&mut self, nodes: Vec<Node>, parent: NodeId, name: &str) {
        let mut nodes = nodes.into_iter();
        let top = nodes.next();
        self.nodes.extend(nodes.map(|node| (node.id, node)));
        if let Some(top) = top {
            self.attach(top, parent, name);
        }
    }

    /// A copy of a node and all below it, for [`Self::give`]: new ids, the same tags and times, no
    /// checksums, no dead properties, no versions (FACTS 6).
    pub(crate) fn copy_of(&self, id: NodeId, stamps: &Stamps) -> Vec<Node> {
        let originals = self.walk(id);
        let ids: HashMap<NodeId, NodeId> =
            originals.iter().map(|id| (*id, stamps.next_id())).collect();
        let new = |id: &NodeId| ids.get(id).copied().unwrap_or(*id);
        let nodes = originals.iter().filter_map(|id| self.node(*id));
        nodes
            .map(|node| {
                let mut copy = node.clone();
                copy.id = new(&node.id);
                copy.parent = node.parent.as_ref().map(new);
                match &mut copy.kind {
                    Kind::File(file) => {
                        file.checksums = None;
                        file.versions.clear();
                    }
                    Kind::Folder { children, .. } => {
                        children.values_mut().for_each(|child| *child = new(child));
                    }
                }
                copy
            })
            .collect()
    }

    /// Sets the size of a file and with it that of every folder above.
    pub(crate) fn resize(&mut self, id: NodeId, size: u64) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let parent = node.parent;
        if let Kind::File(file) = &mut node.kind {
            let grown = size.cast_signed() - file.size.cast_signed();
            file.size = size;
            if let Some(parent) = parent {
                self.grow(parent, grown);
            }
        }
    }

    fn grow(&mut self, folder: NodeId, by: i64) {
        let mut next = Some(folder);
        while let Some(node) = next.and_then(|id| self.nodes.get_mut(&id)) {
            if let Kind::Folder { size, .. } = &mut node.kind {
                *size = size.saturating_add_signed(by);
            }
            next = node.parent;
        }
    }

    /// Tells every folder above `id` that something changed: one new tag for all of them (FACTS 6).
    pub(crate) fn propagate(&mut self, id: NodeId, stamps: &Stamps) {
        let parent = self.nodes.get(&id).and_then(|node| node.parent);
        if let Some(parent) = parent {
            self.touch_up(parent, stamps);
        }
    }

    /// As [`Self::propagate`], from a folder that lost a child.
    pub(crate) fn touch_up(&mut self, folder: NodeId, stamps: &Stamps) {
        let (tag, now) = (stamps.folder_tag(), stamps.now());
        let mut next = Some(folder);
        while let Some(node) = next.and_then(|id| self.nodes.get_mut(&id)) {
            node.etag.clone_from(&tag);
            node.mtime = node.mtime.max(now);
            next = node.parent;
        }
    }

    pub(crate) fn dead(&self, path: &FilePath) -> Option<&BTreeMap<Name, String>> {
        self.dead.get(path)
    }

    pub(crate) fn dead_mut(&mut self, path: &FilePath) -> &mut BTreeMap<Name, String> {
        self.dead.entry(path.clone()).or_default()
    }

    fn forget_dead(&mut self, path: &FilePath) {
        self.dead.retain(|other, _| other != path && !other.is_below(path));
    }
}
