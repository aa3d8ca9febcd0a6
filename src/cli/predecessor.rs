//! The daemon that used the same state before.
//!
//! `umount` of root and `umount -l` take a mount away at once, and its daemon sends the rest without one.
//! Whoever mounts again meanwhile waits for it, instead of being told that the state is in use.

use std::path::Path;
use std::time::Duration;

use super::progress::Display;
use crate::control::{self, Client};
use crate::failure::Failure;
use crate::supervise::process;

/// What is being sent may be completed in this time; the rest is sent by the next mount.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long its processes may take to end after that.
const GRACE: Duration = Duration::from_secs(20);

/// Waits for the end of a daemon that uses this state directory and has lost its mount. One that is
/// still mounted is left alone: the next one is refused for its lock.
pub fn wait_for_end(state_dir: &Path) -> Result<(), Failure> {
    for record in control::list()?.into_iter().filter(|record| record.state_dir == state_dir) {
        if mount_helper::is_mounted(&record.mountpoint)? {
            continue;
        }
        let mut display = Display::new("the mount before sends what is pending".to_owned());
        // Whatever fails here, the lock of the state tells whether the next may begin.
        let _ = Client::connect(&record)
            .and_then(|mut client| client.shutdown(Some(PATIENCE), |left| display.show(left)));
        for process in [record.daemon_pid, record.supervisor_pid] {
            let _ = process::wait_for_end(process, GRACE);
        }
    }
    Ok(())
}
