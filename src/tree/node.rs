//! A node: what programs see of it (_local_), what the server held when it and we last agreed
//! (_synced_), and, while both changed, what the server was last seen to hold (_remote_).

use crate::types::{ContentId, Etag, Ino, Name, NameKey, Sha1Sum, StagingId, Time, Version};

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub parent: Ino,
    pub name: Name,
}

impl Place {
    pub fn new(parent: Ino, name: Name) -> Self {
        Self { parent, name }
    }

    /// Whether both are one name on the server: spellings in NFC and NFD are.
    pub fn same(&self, other: &Place) -> bool {
        self.parent == other.parent && self.name.key() == other.name.key()
    }

    pub fn key(&self) -> (Ino, NameKey) {
        (self.parent, self.name.key())
    }
}

/// What stat(2) tells, but for what follows from the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Permission bits, 0 to 0o7777.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    /// Bytes of a file; 0 for everything else.
    pub size: u64,
}

/// Where the bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nowhere: the file is empty and was made or emptied here.
    Empty,
    /// They are those of a remote version: in the cache, or to be fetched.
    Remote(ContentId),
    /// In a staging file, which is authoritative.
    Staged {
        id: StagingId,
        /// What of an older content shows through where nothing was written here; `None` when the
        /// staging file is whole.
        base: Option<Base>,
    },
}

/// The older content below a staging file that is not whole yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    pub content: ContentId,
    /// How many bytes of it, from the start, were visible when the staging file was made.
    pub len: u64,
}

/// What a node is, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    File(Content),
    Dir {
        /// All children are known. An unlisted directory is unknown, never empty.
        listed: bool,
        /// The directory's tag when everything below was merged.
        tag: Option<Etag>,
    },
    /// Its target. Kept here only: the server has no symbolic links.
    Symlink(Box<[u8]>),
    /// Kept here only.
    Fifo,
    /// Kept here only.
    Socket,
}

/// What the server held when it and we last agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub place: Place,
    pub version: Version,
    /// The number under which this version's bytes are cached.
    pub content: ContentId,
    /// The letters of `oc:permissions`.
    pub permissions: Option<Box<str>>,
    /// The root of a received share or other mounted storage.
    pub mount_root: bool,
    /// The version was less than 2 s old by the server's clock when it was seen: its tag may also
    /// be that of a later content (FACTS 0.1).
    pub racy: bool,
    /// The mtime that we sent was not the true one but the next free second.
    pub bumped: bool,
}

/// A creation, upload or rename that was begun: how to recognise it on the server when no answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The name that it was sent to; the node may have lost or changed its own since.
    pub place: Place,
    /// Bytes; 0 where only a name was sent.
    pub size: u64,
    /// The mtime sent, seconds; 0 where only a name was sent.
    pub mtime: i64,
    /// Of the bytes; zeros where only a name was sent.
    pub sum: Sha1Sum,
}

/// No bytes have this sum, not even none.
const NO_BYTES: Sha1Sum = Sha1Sum([0; 20]);

impl Sent {
    /// A directory that is made, or a file that is renamed.
    pub fn name(place: Place) -> Self {
        Self { place, size: 0, mtime: 0, sum: NO_BYTES }
    }

    /// Whether only a name was sent, and no bytes.
    pub fn is_name(&self) -> bool {
        self.sum == NO_BYTES
    }

    /// Whether what the server holds is what was sent: the same size and mtime, and no other
    /// checksum than ours.
    pub fn is(&self, version: &Version) -> bool {
        version.size == self.size
            && version.mtime == self.mtime
            && version.checksum != Some(None)
            && version.checksum.flatten().is_none_or(|sum| sum == self.sum)
    }
}

/// How far pushing a node has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// When the node was last changed here.
    pub changed: Time,
    /// Since when it differs from the server; 0 while it does not.
    pub since: Time,
    /// Failed attempts since the last success.
    pub attempts: u32,
    /// No attempt before this time.
    pub not_before: Time,
    /// Why it cannot be sent until somebody does something; shown by `ncfs status`.
    pub blocked: Option<Box<str>>,
    /// The upload whose outcome is not known.
    pub sent: Option<Sent>,
}

/// A file, directory or other object: one row of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub ino: Ino,
    pub body: Body,
    /// Where programs see it. `None`: removed (a tombstone while `synced` is there, an orphan while
    /// it is still open), and for the root.
    pub local: Option<Place>,
    pub attr: Attr,
    pub synced: Option<Synced>,
    /// What the server holds under the synced name, when it changed while the content here differs
    /// from `synced`, too. A conflict until it is resolved.
    pub remote: Option<Version>,
    /// The mtime was set here and is not on the server yet.
    pub mtime_set: bool,
    pub push: Push,
}

/// Where a node stands between this machine and the server. Drawn in `docs/architecture.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Local equals synced.
    Clean,
    /// Local differs; its turn comes.
    Dirty,
    /// An upload was sent and no answer came: the server is looked at before anything else.
    Unknown,
    /// The server will not take it as things are.
    Blocked,
    /// Both sides changed.
    Conflict,
}

impl Node {
    /// The root of a tree that nobody has looked into yet.
    pub fn fresh_root() -> Node {
        let never = Time::default();
        Node {
            ino: Ino::ROOT,
            body: Body::Dir { listed: false, tag: None },
            local: None,
            attr: Attr {
                mode: 0o755,
                uid: 0,
                gid: 0,
                atime: never,
                mtime: never,
                ctime: never,
                size: 0,
            },
            synced: None,
            remote: None,
            mtime_set: false,
            push: Push::default(),
        }
    }

    pub fn is_root(&self) -> bool {
        self.ino == Ino::ROOT
    }

    pub fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir { .. })
    }

    pub fn is_file(&self) -> bool {
        matches!(self.body, Body::File(_))
    }

    /// Whether the server can hold this kind at all.
    pub fn is_syncable(&self) -> bool {
        self.is_file() || self.is_dir()
    }

    /// Whether all children of the directory are known.
    pub fn is_listed(&self) -> bool {
        matches!(self.body, Body::Dir { listed: true, .. })
    }

    pub fn tag(&self) -> Option<&Etag> {
        match &self.body {
            Body::Dir { tag, .. } => tag.as_ref(),
            _ => None,
        }
    }

    /// Forgets a directory's tag, so that the next walk lists it.
    pub fn forget_tag(&mut self) {
        if let Body::Dir { tag, .. } = &mut self.body {
            *tag = None;
        }
    }

    pub fn content(&self) -> Option<&Content> {
        match &self.body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }

    /// Removed here, still on the server.
    pub fn is_tombstone(&self) -> bool {
        self.local.is_none() && self.synced.is_some() && !self.is_root()
    }

    /// Neither here nor there, nor maybe there: the row lives only as long as somebody has it open, or
    /// as it names a staging file.
    pub fn is_dead(&self) -> bool {
        self.local.is_none() && self.synced.is_none() && self.push.sent.is_none() && !self.is_root()
    }

    /// Whether the bytes are in a staging file.
    pub fn is_staged(&self) -> bool {
        matches!(self.content(), Some(Content::Staged { .. }))
    }

    /// Whether the bytes differ from what the server held.
    pub fn content_differs(&self) -> bool {
        match (&self.body, &self.synced) {
            (Body::File(content), Some(synced)) => *content != Content::Remote(synced.content),
            (Body::File(_), None) => true,
            _ => false,
        }
    }

    /// Whether the name differs from the one on the server.
    pub fn place_differs(&self) -> bool {
        match (&self.local, &self.synced) {
            (Some(local), Some(synced)) => !local.same(&synced.place),
            (local, synced) => local.is_some() != synced.is_some(),
        }
    }

    /// Whether anything has to be told to the server.
    pub fn is_dirty(&self) -> bool {
        if self.is_root() || !self.is_syncable() || self.is_dead() {
            return false;
        }
        self.place_differs()
            || self.push.sent.is_some()
            || self.remote.is_some()
            || (self.local.is_some() && (self.content_differs() || self.mtime_set))
    }

    /// Where the node stands.
    pub fn state(&self) -> State {
        if !self.is_dirty() {
            State::Clean
        } else if self.push.blocked.is_some() {
            State::Blocked
        } else if self.push.sent.is_some() {
            State::Unknown
        } else if self.remote.is_some() {
            State::Conflict
        } else {
            State::Dirty
        }
    }
}
