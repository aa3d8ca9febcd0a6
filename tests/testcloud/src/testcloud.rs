//! The handle: starts and stops the server, and acts on it as another client would.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::cloud::Cloud;
use crate::config::Config;
use crate::error::DavError;
use crate::faults::Fault;
use crate::files::always;
use crate::latency::Latency;
use crate::path::{FilePath, encode};
use crate::requests::{Counters, RequestRecord};
use crate::server::serve;
use crate::write::{Claims, Writing};

/// Threads that serve: enough for requests that overlap.
const WORKERS: usize = 2;

/// A server in a thread of its own, with its own runtime: usable from plain threads and inside any
/// runtime. No call waits for the network; [`Self::stop`] waits for the server's thread.
///
/// Dropping it stops the server.
pub struct Testcloud {
    cloud: Arc<Cloud>,
    address: SocketAddr,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What is known about one path of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// `oc:fileid`
    pub id: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Bytes; of a folder the sum below it.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Without quotes.
    pub etag: String,
    /// `OC-Checksum` as stored.
    pub checksums: Option<String>,
}

impl Testcloud {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// If the address is taken, or the directory cannot be used.
    pub fn start(config: Config) -> io::Result<Self> {
        let cloud = Arc::new(Cloud::new(&config)?);
        let mut testcloud = Self { cloud, address: config.listen, running: None };
        testcloud.restart()?;
        Ok(testcloud)
    }

    /// Closes the listener and all connections at once, as a server that is killed: requests under way
    /// end where they are. Data stay.
    pub fn stop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            // The thread may have gone already; either way it is over.
            let _ = stop.send(());
            drop(thread.join());
        }
    }

    /// Serves again on the same address after [`Self::stop`]; nothing if it runs.
    ///
    /// # Errors
    ///
    /// If somebody else has taken the port.
    pub fn restart(&mut self) -> io::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("testcloud")
            .enable_all()
            .build()?;
        // SO_REUSEADDR is set by std: connections of before may linger.
        let listener = TcpListener::bind(self.address)?;
        listener.set_nonblocking(true)?;
        self.address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let cloud = Arc::clone(&self.cloud);
        let thread = std::thread::Builder::new().name("testcloud".to_owned()).spawn(move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => tokio::select! {
                        () = serve(cloud, listener) => {}
                        _ = stopped => {}
                    },
                    Err(error) => tracing::error!(%error, "cannot serve"),
                }
            });
        })?;
        self.running = Some(Running { stop, thread });
        Ok(())
    }

    /// `http://127.0.0.1:8080`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:8080/remote.php/dav/files/alice`
    pub fn files_url(&self, user: &str) -> String {
        format!("{}/remote.php/dav/files/{}", self.url(), encode(user))
    }

    /// Makes a user; an existing one starts anew with what is on disk.
    ///
    /// # Errors
    ///
    /// If the id cannot be a directory's name, or the directory cannot be read.
    pub fn add_user(&self, user: &str, password: &str) -> io::Result<()> {
        self.cloud.add_user(user, password)
    }

    /// Gives a user an e-mail address, which works as a login name with the login password.
    pub fn set_email(&self, user: &str, email: &str) {
        if let Some(account) = self.cloud.state().accounts.get_mut(user) {
            account.email = Some(email.to_owned());
        }
    }

    /// Makes an app password whose login name is the user id.
    pub fn add_app_password(&self, user: &str) -> String {
        self.cloud.state().add_app_password(user, user, "")
    }

    /// The names of a user's app passwords, sorted: the `User-Agent`s of those who asked for them.
    pub fn app_passwords(&self, user: &str) -> Vec<String> {
        self.cloud.app_passwords(user)
    }

    /// Grants a login flow as a person does in the browser; `link` is what the client shows them.
    /// False if it is over.
    pub fn grant_login(&self, link: &str, user: &str, login: &str) -> bool {
        let token = link.rsplit('/').next().unwrap_or_default();
        self.cloud.grant_flow(token, user, login)
    }

    /// Ends all login flows as if their 20 minutes were over.
    pub fn expire_logins(&self) {
        self.cloud.expire_flows();
    }

    /// Tells clients of another address than the one they used, as a server behind a proxy may:
    /// without the port, or of another host.
    pub fn announce(&self, url: Option<&str>) {
        self.cloud.state().announced = url.map(ToOwned::to_owned);
    }

    /// Ends an app password and its sessions at once; false if there is none.
    pub fn revoke(&self, app_password: &str) -> bool {
        self.cloud.revoke(app_password)
    }

    /// Sets `oc:data-fingerprint`, as an admin does after having restored a backup.
    pub fn set_data_fingerprint(&self, fingerprint: &str) {
        fingerprint.clone_into(&mut self.cloud.state().fingerprint);
    }

    /// Answers 503 to everything but `status.php`, or ends it.
    pub fn set_maintenance(&self, on: bool) {
        self.cloud.maintenance.store(on, Ordering::Relaxed);
    }

    /// Bytes for all files of a user; none is unlimited. False if there is no such user.
    pub fn set_quota(&self, user: &str, bytes: Option<u64>) -> bool {
        self.cloud.set_quota(user, bytes)
    }

    /// Sets what every request costs from now on.
    pub fn set_latency(&self, latency: Latency) {
        self.cloud.throttle.set(latency);
    }

    /// Stops the server's clock at a second, or lets it run again. The `Date` header follows.
    pub fn freeze_clock(&self, second: Option<i64>) {
        self.cloud.stamps.freeze(second);
    }

    /// Adds a fault; see [`Fault`].
    ///
    /// # Errors
    ///
    /// If the path is not a regular expression.
    pub fn fault(&self, fault: Fault) -> io::Result<()> {
        self.cloud
            .faults
            .add(fault)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// The faults with what is left of their counts.
    pub fn faults(&self) -> Vec<Fault> {
        self.cloud.faults.list()
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.cloud.faults.clear();
    }

    /// All requests since the start or [`Self::reset_requests`], in the order of their arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.cloud.requests.list()
    }

    /// Sums over [`Self::requests`].
    pub fn counters(&self) -> Counters {
        self.cloud.requests.counters()
    }

    /// Waits until no request is being carried out: a request goes on when its client has hung up.
    pub fn wait_idle(&self) {
        self.cloud.running.wait_idle();
    }

    /// Forgets the requests.
    pub fn reset_requests(&self) {
        self.cloud.requests.reset();
    }

    /// Writes a file as another client's PUT does; missing folders are made. No `mtime` is now.
    ///
    /// # Errors
    ///
    /// What the client would be told, e.g. [`io::ErrorKind::WouldBlock`] for 423.
    pub fn put_file(
        &self,
        user: &str,
        path: &str,
        content: &[u8],
        mtime: Option<i64>,
    ) -> io::Result<()> {
        let path = FilePath::of(path);
        self.cloud.make_folders(user, &path.parent()).map_err(told)?;
        let length = u64::try_from(content.len()).ok();
        let writing = Writing::put(&self.cloud, user, &path, length, &always).map_err(told)?;
        fs::write(writing.file(), content)?;
        let claims = Claims { mtime: mtime.map(|mtime| mtime.to_string()), ..Claims::default() };
        writing.commit(&claims).map(drop).map_err(told)
    }

    /// Makes a folder and those above it.
    ///
    /// # Errors
    ///
    /// What the client would be told.
    pub fn make_folder(&self, user: &str, path: &str) -> io::Result<()> {
        let path = FilePath::of(path);
        self.cloud.make_folders(user, &path).map_err(told)
    }

    /// Deletes a file or a folder.
    ///
    /// # Errors
    ///
    /// What the client would be told.
    pub fn delete(&self, user: &str, path: &str) -> io::Result<()> {
        let path = FilePath::of(path);
        self.cloud.delete(user, &path, &always).map_err(told)
    }

    /// Moves a file or a folder; what is at `to` is replaced.
    ///
    /// # Errors
    ///
    /// What the client would be told.
    pub fn rename(&self, user: &str, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (FilePath::of(from), FilePath::of(to));
        let moved = self.cloud.relocate((user, &from), (user, &to), &always);
        moved.map(drop).map_err(told)
    }

    /// Sets an mtime as PROPPATCH does.
    ///
    /// # Errors
    ///
    /// What the client would be told.
    pub fn set_mtime(&self, user: &str, path: &str, mtime: i64) -> io::Result<()> {
        let path = FilePath::of(path);
        self.cloud.set_mtime(user, &path, mtime).map_err(told)
    }

    /// Shares a file or folder with another user, who finds it among their files; again, with other
    /// permissions, changes those. They are the sum of 1 (read), 2 (update), 4 (create), 8 (delete)
    /// and 16 (share).
    ///
    /// # Errors
    ///
    /// If there is no such file or user.
    pub fn share(
        &self,
        owner: &str,
        path: &str,
        receiver: &str,
        permissions: u8,
    ) -> io::Result<()> {
        let path = FilePath::of(path);
        self.cloud.state().share(owner, &path, receiver, permissions).map_err(told)
    }

    /// Withdraws a share; false if there is none.
    pub fn unshare(&self, owner: &str, path: &str, receiver: &str) -> bool {
        let mut state = self.cloud.state();
        let node = state.accounts.get(owner).and_then(|o| o.tree.get(&FilePath::of(path)));
        let Some(node) = node.map(|node| node.id) else { return false };
        let before = state.shares.len();
        state.shares.retain(|share| share.node != node || share.receiver != receiver);
        state.shares.len() < before
    }

    /// Where a user has what others share with them.
    pub fn received(&self, user: &str) -> Vec<String> {
        let state = self.cloud.state();
        state.received(user).map(|share| share.at.to_string()).collect()
    }

    /// What is on disk, torn or not; none if there is no such file. Nothing is repaired by looking.
    pub fn read_file(&self, user: &str, path: &str) -> Option<Vec<u8>> {
        let path = FilePath::of(path);
        let state = self.cloud.state();
        let node = state.accounts.get(user)?.tree.get(&path)?;
        node.file()?;
        fs::read(self.cloud.store.file(user, &path)).ok()
    }

    /// All of a user's files by path (`/a/b`), the root not among them; empty for an unknown user.
    pub fn tree(&self, user: &str) -> BTreeMap<String, TreeEntry> {
        let state = self.cloud.state();
        let Some(tree) = state.accounts.get(user).map(|account| &account.tree) else {
            return BTreeMap::new();
        };
        let all = tree.root().map(|root| tree.walk(root.id)).unwrap_or_default();
        all.into_iter()
            .filter_map(|id| {
                let (node, path) = (tree.node(id)?, tree.path_of(id)?);
                let entry = TreeEntry {
                    id,
                    is_folder: node.is_folder(),
                    size: node.size(),
                    mtime: node.mtime,
                    etag: node.etag.clone(),
                    checksums: node.file().and_then(|file| file.checksums.clone()),
                };
                (!path.is_root()).then(|| (path.to_string(), entry))
            })
            .collect()
    }

    /// `oc:fileid`
    pub fn file_id(&self, user: &str, path: &str) -> Option<u64> {
        let state = self.cloud.state();
        let node = state.accounts.get(user)?.tree.get(&FilePath::of(path))?;
        Some(node.id)
    }

    /// The tag of a user's root folder, which every change changes.
    pub fn root_etag(&self, user: &str) -> Option<String> {
        let state = self.cloud.state();
        let root = state.accounts.get(user)?.tree.root()?;
        Some(root.etag.clone())
    }

    /// Ids of chunked uploads that are neither assembled nor aborted.
    pub fn open_uploads(&self, user: &str) -> Vec<String> {
        let state = self.cloud.state();
        let uploads = state.accounts.get(user).map(|account| &account.uploads);
        uploads.into_iter().flatten().map(|(id, _)| id.clone()).collect()
    }
}

impl Drop for Testcloud {
    fn drop(&mut self) {
        self.stop();
    }
}

fn told(error: DavError) -> io::Error {
    io::Error::new(error.kind(), error)
}
