//! Whether the server answers, and what to do while it does not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::remote::RemoteError;
use crate::types::Time;

/// Requests without an answer in a row after which the server counts as offline.
const UNANSWERED: u32 = 3;

/// Why and since when nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offline {
    pub since: Time,
    pub reason: String,
    /// The password was refused: it is not tried again soon (FACTS 11).
    pub refused: bool,
}

struct State {
    offline: Option<Offline>,
    unanswered: u32,
    probes: u32,
    server_asked: Option<Duration>,
}

/// The state of the connection, shared by push, pull and status.
#[derive(Clone)]
pub struct Health {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
    online: Arc<watch::Sender<bool>>,
}

impl Health {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State { offline: None, unanswered: 0, probes: 0, server_asked: None };
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
            online: Arc::new(watch::Sender::new(true)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn offline(&self) -> Option<Offline> {
        self.state().offline.clone()
    }

    /// Tells of changes between online (`true`) and offline.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.online.subscribe()
    }

    /// The server answered, whatever it said.
    pub fn answered(&self) {
        let mut state = self.state();
        state.unanswered = 0;
        state.probes = 0;
        state.server_asked = None;
        if state.offline.take().is_some() {
            tracing::info!("the server answers again");
        }
        drop(state);
        self.online.send_if_modified(|online| !std::mem::replace(online, true));
    }

    /// A request failed. Errors about one file or directory are answers, too.
    pub fn failed(&self, error: &RemoteError) {
        let refused = matches!(error, RemoteError::Unauthorized);
        if !refused && !error.is_offline() {
            return self.answered();
        }
        let mut state = self.state();
        state.unanswered += 1;
        state.server_asked = error.retry_after();
        // One path's storage can be down while the server is well.
        let certain = refused
            || matches!(
                error,
                RemoteError::Offline(_) | RemoteError::Unavailable { maintenance: true, .. }
            );
        if !certain && state.unanswered < UNANSWERED {
            return;
        }
        let since = state.offline.as_ref().map_or_else(|| self.clock.now(), |was| was.since);
        if state.offline.is_none() {
            tracing::warn!("offline: {}", in_our_words(error));
            tracing::debug!(%error, "offline");
        }
        state.offline = Some(Offline { since, reason: error.to_string(), refused });
        drop(state);
        self.online.send_if_modified(|online| std::mem::replace(online, false));
    }

    /// How long to wait before looking whether the server answers again: growing, with jitter, and
    /// not before the server asked for.
    pub fn next_probe(&self) -> Duration {
        let mut state = self.state();
        let step = [1, 2, 5, 15][state.probes.min(3) as usize];
        state.probes += 1;
        let jitter = Duration::from_millis(500).mul_f64(self.clock.chance());
        let refused = state.offline.as_ref().is_some_and(|offline| offline.refused);
        // The remote room keeps a refused password from being sent; this only looks for a new one.
        let wait = Duration::from_secs(if refused { 15 } else { step });
        state.server_asked.unwrap_or(wait).max(wait) + jitter
    }
}

/// An error without what the server said, which can hold a name.
fn in_our_words(error: &RemoteError) -> String {
    match error {
        RemoteError::Unavailable { maintenance: true, .. } => "the server is in maintenance".into(),
        RemoteError::Unavailable { .. } => "the server is not available".into(),
        RemoteError::NoAnswer(_) => "no answer from the server".into(),
        error => error.to_string(),
    }
}
