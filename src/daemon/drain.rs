//! The end of a mount: what is pending is sent, within bounds.
//!
//! It runs on its own once begun, whoever asked and whether they still wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::sync::Engine;
use crate::tree::Pending;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Draining(Pending),
    Done,
}

/// The handle on the end, shared by the signals and the control socket.
#[derive(Clone)]
pub struct Drain {
    engine: Arc<Engine>,
    stage: Arc<watch::Sender<Stage>>,
    timeout: Duration,
}

impl Drain {
    /// `timeout` bounds a drain that nobody gave another bound.
    pub fn new(engine: Arc<Engine>, timeout: Duration) -> Self {
        Self { engine, stage: Arc::new(watch::Sender::new(Stage::Running)), timeout }
    }

    /// Begins, unless it has begun already.
    pub fn begin(&self, timeout: Option<Duration>) {
        let started = self.stage.send_if_modified(|stage| {
            let first = *stage == Stage::Running;
            if first {
                *stage = Stage::Draining(Pending::default());
            }
            first
        });
        if !started {
            return;
        }
        let drain = self.clone();
        let timeout = timeout.unwrap_or(self.timeout);
        tokio::spawn(async move {
            let sent = drain.engine.flush(None, Some(timeout), |left| {
                drain.stage.send_replace(Stage::Draining(left));
            });
            if let Err(error) = sent.await {
                tracing::error!("what is pending cannot be told: {error}");
            }
            drain.stage.send_replace(Stage::Done);
        });
    }

    pub fn is_draining(&self) -> bool {
        *self.stage.borrow() != Stage::Running
    }

    /// Waits until somebody begins it.
    pub async fn begun(&self) {
        // The sender is ours, so the channel cannot close.
        let _ = self.stage.subscribe().wait_for(|stage| *stage != Stage::Running).await;
    }

    /// Waits until it is over.
    pub async fn done(&self) {
        let _ = self.stage.subscribe().wait_for(|stage| *stage == Stage::Done).await;
    }

    /// Waits for the next news and tells what is left; `None` when it is over.
    pub async fn news(&self, seen: &mut DrainNews) -> Option<Pending> {
        if seen.0.changed().await.is_err() {
            return None;
        }
        match *seen.0.borrow_and_update() {
            Stage::Draining(left) => Some(left),
            Stage::Running | Stage::Done => None,
        }
    }

    /// Follows a drain from now on.
    pub fn follow(&self) -> DrainNews {
        DrainNews(self.stage.subscribe())
    }
}

/// What one who waits has seen.
pub struct DrainNews(watch::Receiver<Stage>);
