//! Bodies for the tests of the rooms above: on a temporary directory, with a server that has nothing.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::fetch::fake::{FakeRemote, FakeServer};
use super::{Bodies, Cache, Staging};
use crate::clock::Clock;
use crate::tree::Tree;
use crate::types::ContentId;

/// What has to live as long as the bodies.
pub struct Ground {
    dir: Option<TempDir>,
    runtime: Option<Runtime>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Also where waiting for its threads is not allowed: in an asynchronous test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Ground {
    /// What a crash of the process leaves.
    pub fn into_dir(mut self) -> TempDir {
        self.dir.take().unwrap()
    }
}

/// Bodies over a tree.
pub fn bodies(tree: &Arc<Tree>, clock: Arc<dyn Clock>) -> (Arc<Bodies>, Ground) {
    bodies_in(TempDir::new().unwrap(), tree, clock)
}

/// Bodies over a tree and the directory that others left.
pub fn bodies_in(dir: TempDir, tree: &Arc<Tree>, clock: Arc<dyn Clock>) -> (Arc<Bodies>, Ground) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let unused = ContentId(tree.unused_id());
    let cache = Cache::open(&dir.path().join("cache"), tree.identity(), unused, 1 << 30).unwrap();
    let staging = Staging::open(dir.path()).unwrap();
    let bodies = Bodies::new(
        Arc::clone(tree),
        Arc::new(cache),
        staging,
        Arc::new(FakeRemote(FakeServer::new(0))),
        clock,
        runtime.handle().clone(),
    );
    (bodies, Ground { dir: Some(dir), runtime: Some(runtime) })
}
