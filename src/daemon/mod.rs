//! Wires the rooms into a running mount.
//!
//! The order of the start: server, state, cache, recovery, engine, root listed, kernel. Nothing is
//! answered to a program before recovery is done. The order of the end: what is pending is sent, the
//! mount goes, everything is made durable. A crash in between loses nothing: the next start begins
//! with recovery.

mod account;
mod control;
mod drain;
mod refuse;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::clock::{Clock, SystemClock};
use crate::config::{MetricsAddress, ServeConfig};
use crate::content::{Bodies, BodyError, Cache, CacheError, Staging};
use crate::control::{Daemon, Endpoint, RuntimeDir, Server};
use crate::failure::{ExitCode, Failure};
use crate::fault;
use crate::fuse;
use crate::mount_memory::MountMemory;
use crate::remote::{Quota, Remote};
use crate::supervise::ReadySender;
use crate::sync::{Engine, PullError, Rooms};
use crate::tree::{Tree, TreeError};
use crate::types::{ContentId, Ino};
use crate::vfs::{Handles, Parts, Vfs, VfsOptions};

use self::account::{Connected, connect, open_state, remember};
use self::control::{Controlled, Meters};
use self::drain::Drain;
pub use self::refuse::refuse;

/// How often everything is made to survive a power cut, asked for or not.
const DURABLE_EVERY: Duration = Duration::from_secs(5);
/// How often the server is asked how full the account is.
const QUOTA_EVERY: Duration = Duration::from_secs(60);
/// How long the kernel may take to end the session once the mount is gone.
const UNMOUNT: Duration = Duration::from_secs(5);
/// Threads that answer the kernel. Work that waits is done elsewhere.
const FUSE_THREADS: usize = 4;

/// What a daemon leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitSummary {
    /// Files and directories with changes that the server does not have.
    pub files_left: u64,
    /// Bytes of content of these.
    pub bytes_left: u64,
}

/// Serves the file system behind `fuse` until it is unmounted or told to end. A mount that was served
/// before, as `memory` says, goes on where it was.
pub fn run(
    config: ServeConfig,
    fuse: OwnedFd,
    memory: MountMemory,
    ready: ReadySender,
) -> Result<ExitSummary, Failure> {
    raise_descriptor_limit();
    let runtime = runtime()?;
    let summary = runtime.block_on(serve(&runtime, config, fuse, Arc::new(memory), ready));
    // Requests that still wait for the network are answered to nobody.
    runtime.shutdown_timeout(Duration::from_secs(1));
    summary
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitCode::Other, error))
}

/// Every file that is open for writing needs a descriptor here, too.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!("the limit of open files stays as it is: {error}");
    }
}

async fn serve(
    runtime: &Runtime,
    config: ServeConfig,
    fuse: OwnedFd,
    memory: Arc<MountMemory>,
    mut ready: ReadySender,
) -> Result<ExitSummary, Failure> {
    let mut metrics = match &config.metrics_listen {
        Some(address) => Some(listen_at(address).await?),
        None => None,
    };
    let begins = memory.handshake().is_none();
    let Connected { connection, away } = connect(&config, begins).await?;
    let connection = Arc::new(connection);
    let remote = connection.remote();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let tree = Arc::new(open_state(&config, &connection, &memory)?);
    let handles = Handles::restore(Arc::clone(&memory), &tree)
        .map_err(|error| Failure::new(ExitCode::State, error))?;
    let is_away = away.is_some();
    match away {
        _ if !begins => {
            tracing::info!(open = handles.count(), "taking over the mount");
            fault::point("took-over", b"all");
        }
        // Of a directory that was never listed nothing could be shown.
        Some(why) if !is_listed(&tree)? => return Err(why.into()),
        Some(ref why) => tracing::warn!("mounting what is known: {why}"),
        None => {
            // Not before it is known that the state may be used: nothing changes on the server for
            // a mount that is refused.
            connection.make_root().await?;
            remember(&config, &connection, &tree)?;
        }
    }
    let unused = ContentId(tree.unused_id());
    let cache = Cache::open(&config.cache_dir, tree.identity(), unused, config.cache_size)?;
    let cache = Arc::new(cache);
    let staging =
        Staging::open(&config.state_dir).map_err(|error| Failure::new(ExitCode::State, error))?;
    let bodies = Bodies::new(
        Arc::clone(&tree),
        Arc::clone(&cache),
        staging,
        remote.clone(),
        Arc::clone(&clock),
        runtime.handle().clone(),
    );
    for stray in bodies.recover().map_err(state_failed)? {
        tracing::warn!(
            bytes = stray.size,
            "unsent content without a name was put into lost+found: ncfs problems lists it"
        );
        tracing::debug!(path = %stray.path.display(), "put into lost+found");
    }
    let (events, received) = mpsc::unbounded_channel();
    let rooms = Rooms {
        tree: Arc::clone(&tree),
        remote: remote.clone(),
        contents: bodies.clone(),
        clock: Arc::clone(&clock),
        events,
    };
    let (quota, quota_seen) = watch::channel(None);
    let engine = Arc::new(Engine::new(rooms));
    let parts = Parts {
        tree: Arc::clone(&tree),
        bodies: Arc::clone(&bodies),
        lister: engine.clone(),
        names: remote.capabilities().names.clone(),
        clock: Arc::clone(&clock),
        quota: quota_seen.clone(),
        handles,
        options: VfsOptions {
            uid: config.uid,
            gid: config.gid,
            umask: (config.umask & 0o777) as u16,
            read_only: config.read_only,
        },
    };
    // Gives a fresh root its owner, which what is listed inherits.
    let vfs = Vfs::new(parts).map_err(|error| Failure::new(ExitCode::State, error))?;
    if begins && !is_away {
        engine.first_look().await?;
    }
    engine.start(config.poll_interval, config.read_only);
    let quota_task = tokio::spawn(watch_quota(remote.clone(), quota));
    let durable = tokio::spawn(keep_durable(Arc::clone(&bodies)));

    let vfs = Arc::new(vfs);
    let handle = runtime.handle().clone();
    let kept = Arc::clone(&memory);
    let served = tokio::task::spawn_blocking(move || {
        fuse::serve(fuse, &kept, vfs, received, handle, FUSE_THREADS)
    });
    let served = served.await.map_err(std::io::Error::other).and_then(|served| served);
    let mut serving = served.map_err(|error| Failure::new(ExitCode::NoFuse, error))?;
    let drain = Drain::new(Arc::clone(&engine), config.shutdown_timeout);
    let controlled = Arc::new(Controlled::new(
        &config,
        Arc::clone(&tree),
        Arc::clone(&engine),
        remote.clone(),
        Arc::clone(&bodies),
        Arc::clone(&cache),
        quota_seen,
        serving.watch_requests(),
        drain.clone(),
        memory,
        clock,
    ));
    let directory = RuntimeDir::create()?;
    let (mountpoint, state_dir) = (config.mountpoint.clone(), config.state_dir.clone());
    if let Some(metrics) = &mut metrics {
        let controlled = Arc::clone(&controlled);
        metrics.answer(Arc::new(Meters { controlled, connection: Arc::clone(&connection) }));
        tracing::info!("measurements can be read at {}", metrics.address());
    }
    let daemon: Arc<dyn Daemon> = controlled.clone();
    let socket = Server::start(directory, mountpoint, state_dir, daemon)?;
    // Before anybody hears that it is ready, and may want it to end.
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let identity = connection.identity();
    tracing::info!("mounted {} for {}", identity.origin, identity.user_id);
    ready.ready();

    let mut unmounted = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => drain.begin(None),
            _ = interrupt.recv() => drain.begin(None),
            () = drain.begun() => {}
            () = controlled.upgrade_wanted() => {
                ready.request_upgrade();
                continue;
            }
            ended = serving.ended() => {
                if let Err(error) = ended {
                    tracing::debug!("the session ended: {error}");
                }
                unmounted = true;
                drain.begin(None);
            }
        }
        break;
    }
    tracing::info!("ending: what is pending is sent first");
    let told_again = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        () = drain.done() => {}
        () = told_again => {
            tracing::info!("told to hurry: what is not sent is kept");
            drain.begin(Some(Duration::ZERO));
            drain.done().await;
        }
    }
    serving.stop();
    if !unmounted {
        ready.request_unmount();
        if tokio::time::timeout(UNMOUNT, serving.ended()).await.is_err() {
            tracing::debug!("the mount is still busy");
        }
    }
    let left = engine.pending(None).map_err(state_failed)?;
    drop(metrics);
    socket.stop().await;
    quota_task.abort();
    durable.abort();
    engine.stop();
    let ended = tokio::task::spawn_blocking(move || {
        bodies.sync_all()?;
        cache.close()?;
        Ok::<_, BodyError>(())
    });
    ended
        .await
        .map_err(std::io::Error::other)
        .map_err(BodyError::Io)
        .and_then(|ended| ended)
        .map_err(state_failed)?;
    Ok(ExitSummary { files_left: left.files, bytes_left: left.bytes })
}

async fn listen_at(address: &MetricsAddress) -> Result<Endpoint, Failure> {
    Endpoint::bind(address).await.map_err(|cause| {
        let sentence = format!(
            "measurements cannot be served at {address}: {cause}; name another address with \
             --metrics-listen, or none"
        );
        Failure::new(ExitCode::Usage, sentence)
    })
}

fn is_listed(tree: &Tree) -> Result<bool, Failure> {
    Ok(tree.node(Ino::ROOT)?.is_some_and(|root| root.is_listed()))
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(ExitCode::Other, error))
}

fn state_failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::State, error)
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        let code = match &error {
            PullError::Tree(_) => ExitCode::State,
            PullError::RootMissing | PullError::RootEmptied => ExitCode::RemoteDir,
            PullError::Remote(_) | PullError::Unordered => ExitCode::Unreachable,
        };
        Self::new(code, error)
    }
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        Self::new(ExitCode::State, error)
    }
}

impl From<TreeError> for Failure {
    fn from(error: TreeError) -> Self {
        Self::new(ExitCode::State, error)
    }
}

/// Keeps what is known of the account's fullness fresh.
async fn watch_quota(remote: Arc<dyn Remote>, quota: watch::Sender<Option<Quota>>) {
    loop {
        match remote.quota().await {
            Ok(seen) => drop(quota.send_replace(Some(seen))),
            Err(error) => tracing::debug!("quota: {error}"),
        }
        tokio::time::sleep(QUOTA_EVERY).await;
    }
}

/// Makes everything survive a power cut, every few seconds.
async fn keep_durable(bodies: Arc<Bodies>) {
    loop {
        tokio::time::sleep(DURABLE_EVERY).await;
        let bodies = Arc::clone(&bodies);
        match tokio::task::spawn_blocking(move || bodies.sync_all()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the state cannot be written to the disk: {error}"),
            Err(error) => tracing::error!("syncing ended abnormally: {error}"),
        }
    }
}
