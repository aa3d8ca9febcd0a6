//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

/// How long anything may take before a test calls it missing.
const PATIENCE: Duration = Duration::from_secs(20);

const EVERY: Duration = Duration::from_millis(20);

/// Waits until something holds, and fails with its name if that takes too long.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "this did not happen: {what}");
        std::thread::sleep(EVERY);
    }
}
