//! Never the same refused password twice in a row.
//!
//! More than ten refusals in half an hour make a Nextcloud turn away everybody behind our address,
//! with right passwords too (FACTS 11): one revoked password could lock out a whole hub. So a gate
//! stands before every request that carries a password. It belongs to one credential; another
//! credential gets another gate.
//!
//! Guarantees: until the server has accepted the password once, requests pass one at a time; after a
//! refusal they fail here, at once, for [`FIRST_PAUSE`], then one is let through, then one an hour.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::remote::RemoteError;

/// From the first refusal to the next try.
pub const FIRST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// From every later refusal to the next try.
pub const LATER_PAUSE: Duration = Duration::from_secs(60 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server has not judged this password yet.
    Unproven,
    Accepted,
    Refused {
        retry_at: Instant,
    },
}

/// The gate of one credential.
#[derive(Debug)]
pub struct AuthGate {
    state: Mutex<State>,
    /// Held by the one request that finds out whether the password is right.
    trial: tokio::sync::Mutex<()>,
}

/// Leave to send one request; its outcome is told by [`Permit::settle`].
#[derive(Debug)]
pub struct Permit<'a> {
    gate: &'a AuthGate,
    trial: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl AuthGate {
    pub fn new() -> Self {
        Self { state: Mutex::new(State::Unproven), trial: tokio::sync::Mutex::new(()) }
    }

    /// Waits for leave to send; [`RemoteError::Unauthorized`] when the password is known as wrong.
    pub async fn admit(&self) -> Result<Permit<'_>, RemoteError> {
        let trial = match *self.state() {
            State::Accepted => return Ok(Permit { gate: self, trial: None }),
            State::Refused { .. } => self.trial.try_lock().ok(),
            State::Unproven => None,
        };
        let trial = match trial {
            Some(trial) => trial,
            None if matches!(*self.state(), State::Refused { .. }) => {
                return Err(RemoteError::Unauthorized);
            }
            None => self.trial.lock().await,
        };
        match *self.state() {
            State::Accepted => Ok(Permit { gate: self, trial: None }),
            State::Refused { retry_at } if Instant::now() < retry_at => {
                Err(RemoteError::Unauthorized)
            }
            State::Unproven | State::Refused { .. } => {
                Ok(Permit { gate: self, trial: Some(trial) })
            }
        }
    }

    /// Lets the next request try again at once: somebody says that the password is right now.
    pub fn retry_now(&self) {
        let mut state = self.state();
        if let State::Refused { retry_at } = &mut *state {
            *retry_at = Instant::now();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Tells the status of the answer. Statuses that come before the password is looked at (429 and
    /// the server's own troubles) prove nothing; a permit dropped without an answer neither.
    pub fn settle(self, status: u16) {
        let mut state = self.gate.state();
        *state = match (status, *state) {
            (401, State::Refused { .. }) if self.trial.is_some() => {
                State::Refused { retry_at: Instant::now() + LATER_PAUSE }
            }
            (401, refused @ State::Refused { .. }) => refused,
            (401, _) => State::Refused { retry_at: Instant::now() + FIRST_PAUSE },
            (429 | 500.., state) => state,
            // A request that was on its way when another one was refused proves nothing new.
            (_, refused @ State::Refused { .. }) if self.trial.is_none() => refused,
            _ => State::Accepted,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refuse(gate: &AuthGate) {
        gate.admit().await.unwrap().settle(401);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_password_is_tried_again_after_a_quarter_of_an_hour_and_then_hourly() {
        let gate = AuthGate::new();
        refuse(&gate).await;
        tokio::time::advance(FIRST_PAUSE - Duration::from_secs(1)).await;
        assert!(matches!(gate.admit().await, Err(RemoteError::Unauthorized)));
        tokio::time::advance(Duration::from_secs(1)).await;
        refuse(&gate).await;
        tokio::time::advance(LATER_PAUSE - Duration::from_secs(1)).await;
        assert!(matches!(gate.admit().await, Err(RemoteError::Unauthorized)));
        tokio::time::advance(Duration::from_secs(1)).await;
        gate.admit().await.unwrap().settle(207);
        assert!(gate.admit().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_request_tries_again_others_fail_at_once() {
        let gate = AuthGate::new();
        refuse(&gate).await;
        gate.retry_now();
        let trial = gate.admit().await.unwrap();
        assert!(matches!(gate.admit().await, Err(RemoteError::Unauthorized)));
        trial.settle(200);
        assert!(gate.admit().await.is_ok());
    }

    #[tokio::test]
    async fn an_unproven_password_is_sent_by_one_request_at_a_time() {
        let gate = std::sync::Arc::new(AuthGate::new());
        let first = gate.admit().await.unwrap();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.admit().await.map(|_| ()) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        first.settle(401);
        assert!(matches!(waiting.await.unwrap(), Err(RemoteError::Unauthorized)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_refusals_counts_as_one() {
        let gate = AuthGate::new();
        gate.admit().await.unwrap().settle(200);
        let burst = [gate.admit().await.unwrap(), gate.admit().await.unwrap()];
        burst.into_iter().for_each(|permit| permit.settle(401));
        tokio::time::advance(FIRST_PAUSE).await;
        assert!(gate.admit().await.is_ok());
    }

    #[tokio::test]
    async fn a_server_in_trouble_says_nothing_about_the_password() {
        let gate = AuthGate::new();
        gate.admit().await.unwrap().settle(503);
        assert_eq!(*gate.state(), State::Unproven);
    }
}
