//! What `ncfs status --json` prints: documented and stable. Fields are added, never changed.

use serde::{Deserialize, Serialize};

use super::Problem;

/// How a mount stands, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The server answers.
    Online,
    /// The server does not answer: what is here can be used, changes wait.
    #[default]
    Offline,
    /// The daemon sends what is pending and will end.
    Draining,
    /// Nothing is sent any more until somebody acts; `problems` says why (the password was refused,
    /// for example).
    Failed,
}

/// How a mount stands. All times are whole seconds, all sizes bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The version of this format: 1.
    pub version: u32,
    /// Version of the program that serves the mount.
    pub program_version: String,
    /// `online`, `offline`, `draining` or `failed`.
    pub state: State,
    /// Process that serves the file system.
    pub daemon_pid: u32,
    /// Address of the server, without user and password.
    pub server: String,
    /// What kind of server it is: `nextcloud`, `owncloud` or `webdav`.
    pub vendor: String,
    /// What does not hold on this server, one sentence each. Empty on a Nextcloud.
    pub not_supported: Vec<String>,
    /// Login name.
    pub user: String,
    /// Name of the account that `ncfs login` stored, if the mount uses one; else null.
    pub account: Option<String>,
    /// Where it is mounted: absolute, without symlinks.
    pub mountpoint: String,
    /// The mounted directory on the server, `/` for all files of the user.
    pub remote_dir: String,
    /// Whether changes are refused.
    pub read_only: bool,
    /// Where unsent files are kept.
    pub state_dir: String,
    /// Where copies of files are kept that are on the server.
    pub cache_dir: String,
    /// Files and directories with changes that are not on the server yet.
    pub pending_files: u64,
    /// Content of these that is still to be sent.
    pub pending_bytes: u64,
    /// Age of the oldest change that is not on the server; null when there is none.
    pub oldest_pending_s: Option<u64>,
    /// Age of the oldest request of a program that is not answered; null when there is none.
    pub oldest_request_s: Option<u64>,
    /// What needs attention. Empty when all is well.
    pub problems: Vec<Problem>,
    /// How long the server has not answered; null while it does.
    pub offline_since_s: Option<u64>,
    /// Why it is offline, in a sentence; null while it is not.
    pub offline_reason: Option<String>,
    /// Copies of files in the cache directory.
    pub cache_bytes: u64,
    /// What these may take up; null when unlimited.
    pub cache_limit: Option<u64>,
    /// Used on the server; null when it does not say.
    pub quota_used: Option<u64>,
    /// What may be used there altogether; null when unlimited or not told.
    pub quota_total: Option<u64>,
    /// Time since the server was last asked for changes, successfully; null before the first time.
    pub last_poll_s: Option<u64>,
    /// How often a process took the mount over from one that had died, or that an upgrade replaced.
    pub restarts: u64,
    /// Why the process before this one ended; null before the first restart.
    pub last_restart: Option<String>,
    /// Time since the daemon was started.
    pub uptime_s: u64,
}

impl Status {
    /// The version of the format as it is described here.
    pub const VERSION: u32 = 1;
}
