//! `rclone serve webdav` of a directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{PASSWORD, USER};

/// How long it may take what it knows of a directory for true. Without any such time it lists the
/// directory for each request, and needs seconds for one when several come at once.
pub const CACHED: Duration = Duration::from_millis(250);

/// The one that `scripts/setup test` has installed.
pub fn newest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-venv/bin/rclone")
}

pub fn command(program: &Path, files: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command
        .args(["serve", "webdav", "--config", "/dev/null", "--addr"])
        .arg(address.to_string())
        .arg(format!("--dir-cache-time={}ms", CACHED.as_millis()))
        .args(["--user", USER, "--pass", PASSWORD])
        .arg(files)
        .stdin(Stdio::null());
    command
}
