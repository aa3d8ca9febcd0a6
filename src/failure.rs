//! How the program ends when something did not work: one sentence and one exit code.

use std::fmt;

/// The exit codes of every `ncfs` command; `ncfs --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Success = 0,
    /// What none of the others says.
    Other = 1,
    /// The command line, a variable or a configuration file is wrong.
    Usage = 2,
    /// The server refused the credentials, or there are none that can be used.
    Credentials = 3,
    /// The server cannot be reached: unknown host, no connection, TLS.
    Unreachable = 4,
    /// The mount point cannot be used: missing, not empty, already mounted, in use.
    MountPoint = 5,
    /// The state directory is in use, of another account, or cannot be written.
    State = 6,
    /// Changes are left that the server does not have. They are kept in the state directory.
    Unsent = 7,
    /// What answers there is no server that can be mounted.
    NoServer = 8,
    /// The server is in maintenance.
    Maintenance = 9,
    /// Nothing of ncfs is mounted there, or its daemon does not answer.
    NotMounted = 10,
    /// The remote directory cannot be used: it is a file, or may not be made.
    RemoteDir = 11,
    /// This machine cannot mount: no `/dev/fuse`, no `fusermount3`, not allowed.
    NoFuse = 12,
    /// It worked, and something needs somebody's attention: what is printed says what.
    Attention = 13,
}

impl ExitCode {
    /// All of them with what they mean, in the order of their numbers.
    pub const TABLE: [(Self, &str); 14] = [
        (Self::Success, "done"),
        (Self::Other, "any other error"),
        (Self::Usage, "wrong command line, variable or configuration"),
        (Self::Credentials, "credentials missing or refused by the server"),
        (Self::Unreachable, "server cannot be reached"),
        (Self::MountPoint, "mount point missing, not empty, already mounted or in use"),
        (Self::State, "state directory in use, of another account, or not writable"),
        (Self::Unsent, "changes are left that the server does not have"),
        (Self::NoServer, "what answers is no server that can be mounted"),
        (Self::Maintenance, "server is in maintenance"),
        (Self::NotMounted, "nothing is mounted there, or its daemon does not answer"),
        (Self::RemoteDir, "remote directory cannot be used"),
        (Self::NoFuse, "this machine cannot mount (no /dev/fuse, no fusermount3, not allowed)"),
        (Self::Attention, "done, but something needs your attention: see what is printed"),
    ];

    pub fn number(self) -> u8 {
        self as u8
    }

    /// The code with this number; [`ExitCode::Other`] if there is none.
    pub fn from_number(number: i32) -> Self {
        Self::TABLE
            .iter()
            .map(|(code, _)| *code)
            .find(|code| i32::from(code.number()) == number)
            .unwrap_or(Self::Other)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// Why a command, or the start of the daemon, did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// What happened and what to do, for the user; without the program's name and a full stop.
    pub sentence: String,
    pub exit_code: ExitCode,
}

impl Failure {
    pub fn new(exit_code: ExitCode, sentence: impl fmt::Display) -> Self {
        Self { sentence: sentence.to_string(), exit_code }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_code_once_in_order() {
        for (index, (code, _)) in ExitCode::TABLE.iter().enumerate() {
            assert_eq!(usize::from(code.number()), index);
            assert_eq!(ExitCode::from_number(i32::from(code.number())), *code);
        }
        assert_eq!(ExitCode::from_number(99), ExitCode::Other);
    }
}
