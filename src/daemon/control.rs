//! What the control socket is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;

use super::drain::Drain;
use crate::clock::Clock;
use crate::config::ServeConfig;
use crate::content::Cache;
use crate::control::{Daemon, FlushOutcome, Problem, Progress, State, Status};
use crate::fuse::RequestWatch;
use crate::remote::Quota;
use crate::sync::Engine;
use crate::tree::{Pending, Tree};
use crate::types::{Ino, RemotePath, Time};

/// Problems told at once.
const PROBLEMS: usize = 100;

/// The running daemon, as the control socket sees it.
pub struct Controlled {
    fixed: Status,
    tree: Arc<Tree>,
    engine: Arc<Engine>,
    cache: Arc<Cache>,
    quota: watch::Receiver<Option<Quota>>,
    requests: RequestWatch,
    drain: Drain,
    clock: Arc<dyn Clock>,
    started: Instant,
}

impl Controlled {
    #[allow(clippy::too_many_arguments, reason = "the rooms that a status is made of, once")]
    pub fn new(
        config: &ServeConfig,
        tree: Arc<Tree>,
        engine: Arc<Engine>,
        cache: Arc<Cache>,
        quota: watch::Receiver<Option<Quota>>,
        requests: RequestWatch,
        drain: Drain,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let fixed = Status {
            version: Status::VERSION,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            daemon_pid: std::process::id(),
            server: config.server.to_string(),
            user: config.login_name.clone(),
            mountpoint: config.mountpoint.display().to_string(),
            remote_dir: config.remote_dir.to_string(),
            read_only: config.read_only,
            state_dir: config.state_dir.display().to_string(),
            cache_dir: config.cache_dir.display().to_string(),
            cache_limit: Some(cache.limit()),
            ..Status::default()
        };
        let started = Instant::now();
        Self { fixed, tree, engine, cache, quota, requests, drain, clock, started }
    }

    fn age(&self, since: Time) -> u64 {
        u64::try_from(self.clock.now().secs() - since.secs()).unwrap_or(0)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(guard) = self.engine.guard() {
            problems.push(Problem {
                path: String::new(),
                reason: guard,
                what_to_do:
                    "look at the folder in the web interface; files that are here stay, and \
                             the mount goes on by itself when the folder is back"
                        .into(),
            });
        }
        if self.engine.offline().is_some_and(|offline| offline.refused) {
            problems.push(Problem {
                path: String::new(),
                reason: "the server refused the user name or password; changes are kept here"
                    .into(),
                what_to_do: "make a new app password in the web interface and put it into the \
                             credentials file, or unmount and mount again with it"
                    .into(),
            });
        }
        match self.engine.problems(PROBLEMS) {
            Ok(blocked) => problems.extend(blocked.into_iter().map(|problem| {
                Problem {
                    path: problem.path.to_string().trim_start_matches('/').to_owned(),
                    reason: format!("{}; the file is kept here", problem.reason),
                    what_to_do:
                        "change what the server objects to (its name, its folder's permissions, \
                             the quota); it is tried again every hour and at each mount"
                            .into(),
                }
            })),
            Err(error) => problems.push(Problem {
                path: String::new(),
                reason: error.to_string(),
                what_to_do: "look at the disk of the state directory".into(),
            }),
        }
        problems
    }

    /// The node that a path of the mount leads to.
    fn find(&self, path: &RemotePath) -> Option<Ino> {
        let mut at = Ino::ROOT;
        for name in &path.0 {
            at = self.tree.child(at, &name.key()).ok()??.ino;
        }
        Some(at)
    }

    fn outcome(&self, left: Pending) -> FlushOutcome {
        let problems = if left.files > 0 { self.problems() } else { Vec::new() };
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
        let problems = self.problems();
        let stuck = offline.as_ref().is_some_and(|offline| offline.refused);
        let state = match () {
            () if self.drain.is_draining() => State::Draining,
            () if stuck || self.engine.guard().is_some() => State::Failed,
            () if offline.is_some() => State::Offline,
            () => State::Online,
        };
        // A state that cannot be read is among the problems.
        let pending = self.engine.pending(None).unwrap_or_default();
        let quota = *self.quota.borrow();
        let total = |quota: Quota| quota.available.map(|available| quota.used + available);
        Status {
            state,
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
}
