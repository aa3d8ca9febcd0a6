//! The end of a mount: what is pending is sent, within bounds.
//!
//! It runs on its own once begun, whoever asked and whether they still wait. Who asks again can shorten
//! it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
    /// What is not sent by then is kept.
    time_is_up: CancellationToken,
    timeout: Duration,
}

impl Drain {
    /// `timeout` bounds a drain that nobody gave another bound.
    pub fn new(engine: Arc<Engine>, timeout: Duration) -> Self {
        let stage = Arc::new(watch::Sender::new(Stage::Running));
        Self { engine, stage, time_is_up: CancellationToken::new(), timeout }
    }

    /// Begins, unless it has begun already; then a `timeout` can make it end earlier, not later.
    pub fn begin(&self, timeout: Option<Duration>) {
        let first = self.stage.send_if_modified(|stage| {
            let first = *stage == Stage::Running;
            if first {
                *stage = Stage::Draining(Pending::default());
            }
            first
        });
        if let Some(timeout) = timeout.or(first.then_some(self.timeout)) {
            let time_is_up = self.time_is_up.clone();
            tokio::spawn(async move {
                tokio::time::sleep(timeout).await;
                time_is_up.cancel();
            });
        }
        if first {
            tokio::spawn(self.clone().send());
        }
    }

    async fn send(self) {
        let sent = self.engine.flush(None, None, |left| {
            self.stage.send_replace(Stage::Draining(left));
        });
        tokio::select! {
            sent = sent => if let Err(error) = sent {
                tracing::error!("what is pending cannot be told: {error}");
            },
            () = self.time_is_up.cancelled() => {}
        }
        self.stage.send_replace(Stage::Done);
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
