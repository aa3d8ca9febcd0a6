//! A mount that nobody can serve: every access gets an error, and `ncfs status` says why.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::signal::unix::SignalKind;
use tokio::sync::{Notify, watch};

use super::{ExitSummary, UNMOUNT, listen, runtime};
use crate::config::ServeConfig;
use crate::control::{
    Daemon, Explanation, FlushOutcome, Problem, ProblemKind, Problems, Progress, RefreshOutcome,
    RetryOutcome, RuntimeDir, Server, State, Status, Subject,
};
use crate::failure::{ExitCode, Failure};
use crate::fuse;
use crate::mount_memory::MountMemory;
use crate::supervise::ReadySender;
use crate::types::RemotePath;

/// Refuses all requests until the mount is to end, or an upgrade takes its place. Opens no state.
pub fn refuse(
    config: ServeConfig,
    fuse: OwnedFd,
    memory: MountMemory,
    mut link: ReadySender,
) -> Result<ExitSummary, Failure> {
    let memory = Arc::new(memory);
    runtime()?.block_on(async {
        let mut terminate = listen(SignalKind::terminate())?;
        let mut serving =
            fuse::refuse(fuse, &memory).map_err(|error| Failure::new(ExitCode::NoFuse, error))?;
        let refusing = Arc::new(Refusing {
            fixed: fixed(&config, &memory),
            started: Instant::now(),
            end: Notify::new(),
            upgrade: Notify::new(),
        });
        let directory = RuntimeDir::create()?;
        let daemon: Arc<dyn Daemon> = refusing.clone();
        let socket = Server::start(directory, config.mountpoint, config.state_dir, daemon)?;
        link.ready();
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                () = refusing.end.notified() => break,
                () = refusing.upgrade.notified() => link.request_upgrade(),
                _ = serving.ended() => break,
            }
        }
        link.request_unmount();
        // A mount that is still busy ends with this process.
        let _ = tokio::time::timeout(UNMOUNT, serving.ended()).await;
        socket.stop().await;
        Ok(ExitSummary::default())
    })
}

fn fixed(config: &ServeConfig, memory: &MountMemory) -> Status {
    let reason = memory.last_end().unwrap_or_default();
    Status {
        version: Status::VERSION,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        state: State::Failed,
        daemon_pid: std::process::id(),
        server: config.server.to_string(),
        user: config.login_name.clone(),
        mountpoint: config.mountpoint.display().to_string(),
        remote_dir: config.remote_dir.to_string(),
        read_only: config.read_only,
        state_dir: config.state_dir.display().to_string(),
        cache_dir: config.cache_dir.display().to_string(),
        restarts: memory.restarts(),
        problems: vec![Problem {
            kind: ProblemKind::Daemon,
            path: String::new(),
            reason: format!(
                "the process that serves the mount ended again and again ({reason}): programs get \
                 I/O errors; what was not sent is kept in {}",
                config.state_dir.display()
            ),
            what_to_do: "look into the log; install another version and run ncfs upgrade, or \
                         unmount and mount again"
                .into(),
        }],
        last_restart: Some(reason),
        ..Status::default()
    }
}

/// What whoever wants something is told.
const STOPPED: &str = "nothing is sent: the mount does not work any more; see ncfs status";

struct Refusing {
    fixed: Status,
    started: Instant,
    end: Notify,
    upgrade: Notify,
}

#[async_trait]
impl Daemon for Refusing {
    fn status(&self) -> Status {
        Status { uptime_s: self.started.elapsed().as_secs(), ..self.fixed.clone() }
    }

    async fn flush(
        &self,
        _: RemotePath,
        _: Option<Duration>,
        _: watch::Sender<Progress>,
    ) -> FlushOutcome {
        FlushOutcome {
            files_left: 1,
            reason: Some(STOPPED.to_owned()),
            problems: self.fixed.problems.clone(),
            ..FlushOutcome::default()
        }
    }

    async fn shutdown(&self, _: Option<Duration>, _: watch::Sender<Progress>) -> FlushOutcome {
        self.end.notify_one();
        FlushOutcome::default()
    }

    fn problems(&self) -> Problems {
        let Status { mountpoint, problems, .. } = self.fixed.clone();
        Problems { mountpoint, problems, ..Problems::default() }
    }

    async fn retry(
        &self,
        _: RemotePath,
        _: Duration,
        _: watch::Sender<Progress>,
    ) -> Result<RetryOutcome, String> {
        Err(STOPPED.to_owned())
    }

    fn explain(&self, _: Subject) -> Result<Explanation, String> {
        Err(STOPPED.to_owned())
    }

    async fn refresh(&self, _: RemotePath, _: Duration) -> Result<RefreshOutcome, String> {
        Err(STOPPED.to_owned())
    }

    fn upgrade(&self) {
        self.upgrade.notify_one();
    }
}
