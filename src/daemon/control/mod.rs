//! What the control socket is answered.

mod metrics;
mod problems;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

pub use self::metrics::Meters;
use super::drain::Drain;
use crate::clock::Clock;
use crate::config::ServeConfig;
use crate::content::{Bodies, Cache};
use crate::control::{
    Daemon, Explanation, FlushOutcome, Problem, Problems, Progress, RefreshOutcome, RetryOutcome,
    State, Status, Subject,
};
use crate::fuse::RequestWatch;
use crate::mount_memory::MountMemory;
use crate::remote::{Quota, Remote};
use crate::sync::explain::Facts;
use crate::sync::{self, Engine, Seen};
use crate::tree::{Pending, Tree, TreeError};
use crate::types::{Ino, RemotePath, Time};

/// Problems of a kind that a status tells.
const PROBLEMS: usize = 100;
/// Problems of a kind that are told to who asks for them.
const LISTED: usize = 1000;

/// The running daemon, as the control socket sees it.
pub struct Controlled {
    fixed: Status,
    tree: Arc<Tree>,
    engine: Arc<Engine>,
    remote: Arc<dyn Remote>,
    bodies: Arc<Bodies>,
    cache: Arc<Cache>,
    quota: watch::Receiver<Option<Quota>>,
    requests: RequestWatch,
    drain: Drain,
    memory: Arc<MountMemory>,
    upgrade: Notify,
    clock: Arc<dyn Clock>,
    started: Instant,
}

impl Controlled {
    #[allow(clippy::too_many_arguments, reason = "the rooms that a status is made of, once")]
    pub fn new(
        config: &ServeConfig,
        tree: Arc<Tree>,
        engine: Arc<Engine>,
        remote: Arc<dyn Remote>,
        bodies: Arc<Bodies>,
        cache: Arc<Cache>,
        quota: watch::Receiver<Option<Quota>>,
        requests: RequestWatch,
        drain: Drain,
        memory: Arc<MountMemory>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let fixed = Status {
            version: Status::VERSION,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            daemon_pid: std::process::id(),
            server: config.server.to_string(),
            vendor: remote.capabilities().vendor.to_string(),
            not_supported: remote
                .capabilities()
                .not_supported()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            user: config.login_name.clone(),
            account: config.account.clone(),
            mountpoint: config.mountpoint.display().to_string(),
            remote_dir: config.remote_dir.to_string(),
            read_only: config.read_only,
            state_dir: config.state_dir.display().to_string(),
            cache_dir: config.cache_dir.display().to_string(),
            cache_limit: Some(cache.limit()),
            ..Status::default()
        };
        let started = Instant::now();
        let upgrade = Notify::new();
        Self {
            fixed,
            tree,
            engine,
            remote,
            bodies,
            cache,
            quota,
            requests,
            drain,
            memory,
            upgrade,
            clock,
            started,
        }
    }

    /// Waits until somebody wants another program to take over.
    pub async fn upgrade_wanted(&self) {
        self.upgrade.notified().await;
    }

    fn state(&self) -> State {
        let offline = self.engine.offline();
        let stuck = offline.as_ref().is_some_and(|offline| offline.refused);
        match () {
            () if self.drain.is_draining() => State::Draining,
            () if stuck || self.engine.guard().is_some() => State::Failed,
            () if offline.is_some() => State::Offline,
            () => State::Online,
        }
    }

    fn age(&self, since: Time) -> u64 {
        u64::try_from(self.clock.now().secs() - since.secs()).unwrap_or(0)
    }

    /// What needs attention, at most `limit` of each kind, and how many more are blocked.
    fn attention(&self, limit: usize) -> (Vec<Problem>, u64) {
        let offline = self.engine.offline().filter(|offline| offline.refused);
        let mut found = Vec::new();
        if offline.is_some() {
            let account = self.fixed.account.as_ref();
            let login = account.map(|_| format!("ncfs login {}", self.fixed.server));
            found.push(problems::refused_password(login));
        }
        found.extend(self.engine.guard().map(problems::guard));
        let rows = self.tree.view(|tx| {
            let blocked = sync::problems::blocked(tx, limit)?;
            let more = tx.pending()?.blocked.saturating_sub(blocked.len() as u64);
            Ok((blocked, more, sync::problems::conflict_copies(tx, limit)?))
        });
        let more = match rows {
            Ok((blocked, more, conflicts)) => {
                found.extend(blocked.into_iter().map(problems::blocked));
                found.extend(conflicts.into_iter().map(problems::conflict));
                more
            }
            Err(error) => {
                found.push(problems::unreadable_state(error));
                0
            }
        };
        match self.bodies.lost_and_found() {
            Ok(lost) => {
                found.extend(lost.into_iter().take(limit).map(problems::lost_and_found));
            }
            Err(error) => found.push(problems::unreadable_state(error)),
        }
        (found, more)
    }

    /// The node that a path of the mount leads to.
    fn find(&self, path: &RemotePath) -> Option<Ino> {
        self.tree.view(|tx| sync::explain::find(tx, path)).ok()?
    }

    fn found(&self, path: &RemotePath) -> Result<Ino, String> {
        let found = self.tree.view(|tx| sync::explain::find(tx, path));
        found.map_err(|error| error.to_string())?.ok_or_else(|| {
            format!(
                "nothing is known of {path}: there is no such file here, and none that was removed \
                 and is still on the server"
            )
        })
    }

    fn outcome(&self, left: Pending) -> FlushOutcome {
        let problems = match left.files {
            0 => Vec::new(),
            _ => self.attention(PROBLEMS).0,
        };
        let reason = (left.files > 0).then(|| match self.engine.offline() {
            Some(offline) => offline.reason,
            None if left.blocked > 0 => "the server does not take it".to_owned(),
            None => "the time was up".to_owned(),
        });
        FlushOutcome { files_left: left.files, bytes_left: left.bytes, reason, problems }
    }
}

/// Progress with totals that only grow.
fn report(progress: &watch::Sender<Progress>, left: Pending) {
    progress.send_modify(|progress| {
        progress.files_left = left.files;
        progress.bytes_left = left.bytes;
        progress.files_total = progress.files_total.max(left.files);
        progress.bytes_total = progress.bytes_total.max(left.bytes);
    });
}

#[async_trait]
impl Daemon for Controlled {
    fn status(&self) -> Status {
        let offline = self.engine.offline();
        let (problems, _) = self.attention(PROBLEMS);
        // A state that cannot be read is among the problems.
        let pending = self.engine.pending(None).unwrap_or_default();
        let quota = *self.quota.borrow();
        let total = |quota: Quota| quota.available.map(|available| quota.used + available);
        Status {
            state: self.state(),
            pending_files: pending.files,
            pending_bytes: pending.bytes,
            oldest_pending_s: pending.since.map(|since| self.age(since)),
            oldest_request_s: self.requests.oldest().map(|age| age.as_secs()),
            problems,
            offline_since_s: offline.as_ref().map(|offline| self.age(offline.since)),
            offline_reason: offline.map(|offline| offline.reason),
            cache_bytes: self.cache.used(),
            quota_used: quota.map(|quota| quota.used),
            quota_total: quota.and_then(total),
            last_poll_s: self.engine.polled().map(|polled| self.age(polled)),
            restarts: self.memory.restarts(),
            last_restart: self.memory.last_end(),
            uptime_s: self.started.elapsed().as_secs(),
            ..self.fixed.clone()
        }
    }

    async fn flush(
        &self,
        below: RemotePath,
        timeout: Option<Duration>,
        progress: watch::Sender<Progress>,
    ) -> FlushOutcome {
        let scope = match self.find(&below) {
            Some(scope) => scope,
            // A name that was removed: its removal may still be pending, so everything is sent.
            None => Ino::ROOT,
        };
        let flushed = self.engine.flush(Some(scope), timeout, |left| report(&progress, left)).await;
        match flushed {
            Ok(flushed) => self.outcome(flushed.left),
            Err(error) => FlushOutcome {
                files_left: 1,
                reason: Some(error.to_string()),
                ..FlushOutcome::default()
            },
        }
    }

    async fn shutdown(
        &self,
        timeout: Option<Duration>,
        progress: watch::Sender<Progress>,
    ) -> FlushOutcome {
        let mut news = self.drain.follow();
        self.drain.begin(timeout);
        while let Some(left) = self.drain.news(&mut news).await {
            report(&progress, left);
        }
        self.outcome(self.engine.pending(None).unwrap_or_default())
    }

    fn upgrade(&self) {
        self.upgrade.notify_one();
    }

    fn problems(&self) -> Problems {
        let (mut problems, more) = self.attention(LISTED);
        let offline = self.engine.offline();
        if let Some(offline) = offline.as_ref().filter(|offline| !offline.refused) {
            problems.push(problems::offline(&offline.reason));
        }
        Problems {
            mountpoint: self.fixed.mountpoint.clone(),
            problems,
            more,
            offline_since_s: offline.map(|offline| self.age(offline.since)),
        }
    }

    async fn retry(
        &self,
        below: RemotePath,
        timeout: Duration,
        progress: watch::Sender<Progress>,
    ) -> Result<RetryOutcome, String> {
        let scope = self.found(&below)?;
        if self.fixed.read_only {
            return Err("the mount is read-only, so nothing is sent from it".to_owned());
        }
        self.remote.retry_login();
        let failed = |error: TreeError| error.to_string();
        let tried = self.engine.retry(scope).map_err(failed)?;
        if self.engine.offline().is_some() && !timeout.is_zero() {
            // Whether the server answers now, or takes the password, is a part of what is asked.
            let look = tokio::time::timeout(timeout, self.engine.look_now(None)).await;
            tracing::debug!(?look, "looked at the server again");
        }
        let shown = |left| report(&progress, left);
        let retried = self.engine.wait_for_retry(&tried, timeout, shown).await.map_err(failed)?;
        let offline = self.engine.offline();
        Ok(RetryOutcome {
            tried: retried.tried,
            sent: retried.sent,
            failing: retried.failing,
            waiting: retried.waiting,
            problems: retried.blocked.into_iter().map(problems::blocked).collect(),
            password_refused: offline.as_ref().is_some_and(|offline| offline.refused),
            reason: offline.map(|offline| offline.reason),
        })
    }

    fn explain(&self, subject: Subject) -> Result<Explanation, String> {
        let ino = match subject {
            Subject::Path(path) => self.found(&path)?,
            Subject::Ino(ino) => ino,
        };
        let unknown = || format!("there is no inode {} in this mount any more", ino.0);
        let failed = |error: TreeError| error.to_string();
        let node = self.tree.node(ino).map_err(failed)?.ok_or_else(unknown)?;
        let facts = Facts {
            now: self.clock.now(),
            attr: Some(self.bodies.attr(&node)),
            // Content that is lost is blocked with that reason.
            bytes_here: self.bodies.bytes_here(&node).unwrap_or(0),
            pushing: self.engine.is_pushing(ino),
            offline: self.engine.offline(),
            read_only: self.fixed.read_only,
        };
        let explained = self.tree.view(|tx| sync::explain::explain(tx, ino, &facts));
        explained.map_err(failed)?.ok_or_else(unknown)
    }

    async fn refresh(&self, path: RemotePath, timeout: Duration) -> Result<RefreshOutcome, String> {
        let ino = self.found(&path)?;
        let node = self.tree.node(ino).map_err(|error| error.to_string())?;
        let listed = node.filter(|node| node.is_dir() && node.local.is_some() && !node.is_root());
        let look = self.engine.look_now(listed.map(|node| node.ino));
        let failed = match tokio::time::timeout(timeout, look).await {
            Ok(Ok(Seen { names, files })) => {
                return Ok(RefreshOutcome { names, files, failed: None });
            }
            Ok(Err(error)) => match self.engine.offline() {
                Some(offline) => offline.reason,
                None => error.to_string(),
            },
            Err(_) => "it did not answer in time".to_owned(),
        };
        Ok(RefreshOutcome { failed: Some(failed), ..RefreshOutcome::default() })
    }
}
