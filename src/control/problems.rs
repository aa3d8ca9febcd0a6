//! What needs somebody's attention: part of `ncfs status --json` and all of `ncfs problems --json`.

use serde::{Deserialize, Serialize};

/// What sort of problem it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The process that serves the mount ended again and again: programs get I/O errors.
    Daemon,
    /// The password was refused: nothing is sent.
    Password,
    /// What the server shows is not believed, so that nothing is deleted here for it.
    Guard,
    /// The state directory cannot be read or written.
    State,
    /// The server does not take a file or directory.
    #[default]
    Blocked,
    /// Both sides changed a file: there are two of it.
    Conflict,
    /// Content that lost its name.
    LostFound,
    /// The server does not answer. Goes away by itself, so only `ncfs problems` lists it.
    Offline,
    /// Of a newer daemon.
    #[serde(other)]
    Other,
}

/// Something that does not go away by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// What sort of problem it is; more may be added.
    pub kind: ProblemKind,
    /// Below the mount point, without a leading slash; empty when it concerns the whole mount;
    /// absolute for `lost_found`, which is in the state directory. Bytes that are not UTF-8 are shown
    /// as U+FFFD.
    pub path: String,
    /// What happened, and what became of the data.
    pub reason: String,
    /// What the user can do about it.
    pub what_to_do: String,
}

/// All that needs attention in one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problems {
    /// Absolute, without symlinks.
    pub mountpoint: String,
    /// The most urgent kinds first.
    pub problems: Vec<Problem>,
    /// How many more there are than are listed.
    pub more: u64,
    /// How long the server has not answered; null while it does.
    pub offline_since_s: Option<u64>,
}
