//! Time and chance through one trait, so that tests and the simulation own them.

use std::time::Duration;

use crate::types::Time;

/// Where the program takes its time, and what it leaves to chance, from.
///
/// Waiting is tokio's (`tokio::time`), which the simulation pauses and advances itself; this trait
/// is for the time of day.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock of this machine.
    fn now(&self) -> Time;

    /// A random number from 0 to below 1, to spread what many would otherwise do at once.
    fn chance(&self) -> f64;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Time(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    fn chance(&self) -> f64 {
        rand::random()
    }
}
