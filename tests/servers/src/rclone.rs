//! `rclone serve webdav` of a directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{PASSWORD, USER};

/// The one that `scripts/setup test` has installed.
pub fn newest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-venv/bin/rclone")
}

pub fn command(program: &Path, files: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command
        .args(["serve", "webdav", "--config", "/dev/null", "--addr"])
        .arg(address.to_string())
        // What changes behind its back must show at once.
        .args(["--dir-cache-time", "0", "--user", USER, "--pass", PASSWORD])
        .arg(files)
        .stdin(Stdio::null());
    command
}
