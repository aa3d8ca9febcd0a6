//! Service time: how long each request takes and how many are served at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sync::lock;

/// What every request costs before it does anything (FACTS 14: 25 to 40 ms on a real server).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Milliseconds of service time, added to each request.
    #[serde(default)]
    pub millis: u64,
    /// Requests served at once, as php-fpm's workers bound them; none is unbounded. A worker is free
    /// when the answer's head is ready.
    #[serde(default)]
    pub workers: Option<usize>,
}

#[derive(Default)]
pub(crate) struct Throttle(Mutex<(Duration, Option<Arc<Semaphore>>)>);

impl Throttle {
    pub(crate) fn set(&self, latency: Latency) {
        let workers = latency.workers.map(|n| Arc::new(Semaphore::new(n.max(1))));
        *lock(&self.0) = (Duration::from_millis(latency.millis), workers);
    }

    /// Waits for a worker and for the service time; the worker is taken until the permit is dropped.
    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let (service_time, workers) = lock(&self.0).clone();
        let permit = match workers {
            // The semaphore is never closed.
            Some(workers) => workers.acquire_owned().await.ok(),
            None => None,
        };
        if !service_time.is_zero() {
            tokio::time::sleep(service_time).await;
        }
        permit
    }
}
