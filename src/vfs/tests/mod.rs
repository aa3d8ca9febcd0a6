//! The file system over a tree in memory, without a mount.

mod again;
mod attr;
mod create;
mod errors;
mod listing;
mod names;
mod readdir;
mod remove;
mod rename;
mod rights;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

use super::*;
use crate::mount_memory::MountMemory;
use crate::sync::ListError;
use crate::tree::{Attr, Body, Content, Place, Push, Synced};
use crate::types::{ContentId, Name, Version};

const USER: Caller = Caller { uid: 1000, gid: 1000 };
const READ: i32 = libc::O_RDONLY;

/// A clock that goes on by a second at each look.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Time {
        Time::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn chance(&self) -> f64 {
        0.5
    }
}

/// What the server has in directories that nobody has listed.
#[derive(Default)]
struct Server {
    tree: Mutex<Option<Arc<Tree>>>,
    children: Mutex<HashMap<Ino, Vec<&'static str>>>,
    listed: Mutex<Vec<Ino>>,
    offline: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl Lister for Server {
    async fn list(&self, dir: Ino) -> std::result::Result<(), ListError> {
        if self.offline.load(Ordering::Relaxed) {
            return Err(ListError::Offline);
        }
        self.listed.lock().unwrap().push(dir);
        let tree = self.tree.lock().unwrap().clone().unwrap();
        let children = self.children.lock().unwrap().remove(&dir).unwrap_or_default();
        for child in children {
            remote_file(&tree, dir, child);
        }
        set_listed(&tree, dir, true);
        Ok(())
    }
}

struct World {
    vfs: Vfs,
    tree: Arc<Tree>,
    server: Arc<Server>,
    quota: watch::Sender<Option<Quota>>,
    _ground: crate::content::testing::Ground,
}

/// A file system whose root is listed and empty.
fn world() -> World {
    world_with(VfsOptions { uid: 1000, gid: 1000, umask: 0o022, read_only: false })
}

fn world_with(options: VfsOptions) -> World {
    let memory = Arc::new(MountMemory::create().unwrap());
    world_of(Tree::in_memory().unwrap(), memory, options)
}

fn world_of(tree: Tree, memory: Arc<MountMemory>, options: VfsOptions) -> World {
    let tree = Arc::new(tree);
    let server = Arc::new(Server::default());
    *server.tree.lock().unwrap() = Some(Arc::clone(&tree));
    let (quota, seen) = watch::channel(None);
    let clock: Arc<dyn Clock> = Arc::new(Ticking(AtomicI64::new(1_000_000)));
    let (bodies, _ground) = crate::content::testing::bodies(&tree, Arc::clone(&clock));
    let handles = Handles::restore(memory, &tree).unwrap();
    let vfs = Vfs::new(Parts {
        tree: Arc::clone(&tree),
        bodies,
        lister: Arc::clone(&server) as Arc<dyn Lister>,
        names: NameRules::nextcloud(),
        clock,
        quota: seen,
        handles,
        options,
    })
    .unwrap();
    set_listed(&tree, Ino::ROOT, true);
    World { vfs, tree, server, quota, _ground }
}

fn set_listed(tree: &Tree, dir: Ino, to: bool) {
    tree.transact(|tx| {
        let mut node = (*tx.node(dir)?.unwrap()).clone();
        node.body = Body::Dir { listed: to, tag: None };
        tx.put(node)
    })
    .unwrap();
}

/// What a call gives that must not wait.
fn now<T>(call: impl Future<Output = T>) -> T {
    match std::pin::pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a call waits that has nothing to wait for"),
    }
}

/// A node that both sides agree on.
fn remote_node(tree: &Tree, parent: Ino, name: &str, body: Body) -> Ino {
    let place = Place::new(parent, Name::new(name.as_bytes()).unwrap());
    let version =
        Version { file_id: None, etag: None, mtime: 5, size: 3, upload_time: None, checksum: None };
    let synced = Synced {
        place: place.clone(),
        version,
        content: ContentId(77),
        permissions: None,
        mount_root: false,
        racy: false,
        bumped: false,
    };
    let attr = Attr {
        mode: 0o644,
        uid: 1,
        gid: 1,
        atime: Time::from_secs(5),
        mtime: Time::from_secs(5),
        ctime: Time::from_secs(5),
        size: 3,
    };
    let node = Node {
        ino: Ino(0),
        body,
        local: Some(place),
        attr,
        synced: Some(synced),
        remote: None,
        mtime_set: false,
        push: Push::default(),
    };
    tree.transact(|tx| tx.insert(node)).unwrap().ino
}

fn remote_file(tree: &Tree, parent: Ino, name: &str) -> Ino {
    remote_node(tree, parent, name, Body::File(Content::Remote(ContentId(77))))
}

fn remote_dir(tree: &Tree, parent: Ino, name: &str) -> Ino {
    remote_node(tree, parent, name, Body::Dir { listed: false, tag: None })
}

impl World {
    fn file(&self, parent: Ino, name: &str) -> Ino {
        let made = now(self.vfs.mknod(USER, parent, name.as_bytes(), libc::S_IFREG | 0o644));
        made.unwrap().stat.unwrap().ino
    }

    fn dir(&self, parent: Ino, name: &str) -> Ino {
        now(self.vfs.mkdir(USER, parent, name.as_bytes(), 0o755)).unwrap().stat.unwrap().ino
    }

    fn find(&self, parent: Ino, name: &str) -> Option<Ino> {
        let found = now(self.vfs.lookup(parent, name.as_bytes())).unwrap();
        found.stat.map(|stat| stat.ino)
    }

    fn node(&self, ino: Ino) -> Option<Arc<Node>> {
        self.tree.node(ino).unwrap()
    }

    fn rename(&self, from: &str, to: &str) -> std::result::Result<(), i32> {
        let root = Ino::ROOT;
        let (from, to) = ((root, from.as_bytes()), (root, to.as_bytes()));
        now(self.vfs.rename(from, to, RenameRule::Replace)).map_err(|error| error.errno())
    }

    /// All names in a directory, read `limit` at a time.
    fn names(&self, dir: Ino, limit: usize) -> Vec<String> {
        let handle = self.vfs.opendir(dir).unwrap();
        let (mut names, mut position) = (Vec::new(), 0);
        loop {
            let entries = now(self.vfs.readdir(handle, position, limit)).unwrap();
            let Some(last) = entries.last() else { break };
            position = last.position;
            names.extend(entries.iter().map(|e| String::from_utf8_lossy(e.name()).into_owned()));
        }
        self.vfs.releasedir(handle).unwrap();
        names
    }
}
