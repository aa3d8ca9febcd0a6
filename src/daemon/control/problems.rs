//! What needs attention in a mount, in sentences for people.

use std::path::PathBuf;

use crate::control::{Problem, ProblemKind};
use crate::sync::problems::{ConflictCopy, Problem as Blocked};
use crate::types::RemotePath;

/// A path as it stands in an answer.
pub fn relative(path: &RemotePath) -> String {
    path.to_string().trim_start_matches('/').to_owned()
}

pub fn guard(reason: String) -> Problem {
    Problem {
        kind: ProblemKind::Guard,
        path: String::new(),
        reason,
        what_to_do: "look at the folder in the web interface; files that are here stay, and the \
                     mount goes on by itself when the folder is back"
            .into(),
    }
}

/// `login` is the command that stores a new password, where the mount follows what is stored.
pub fn refused_password(login: Option<String>) -> Problem {
    let what_to_do = match login {
        Some(command) => format!("log in again: {command}"),
        None => "make a new app password in the web interface and put it into the credentials \
                 file, or unmount and mount again with it; if the password is right after all: \
                 ncfs retry"
            .into(),
    };
    Problem {
        kind: ProblemKind::Password,
        path: String::new(),
        reason: "the server refused the user name or password; changes are kept here".into(),
        what_to_do,
    }
}

pub fn offline(reason: &str) -> Problem {
    Problem {
        kind: ProblemKind::Offline,
        path: String::new(),
        reason: format!("{reason}; changes are kept here"),
        what_to_do: "nothing: it is tried again by itself, and what is changed meanwhile is sent \
                     then"
            .into(),
    }
}

pub fn unreadable_state(error: impl std::fmt::Display) -> Problem {
    Problem {
        kind: ProblemKind::State,
        path: String::new(),
        reason: error.to_string(),
        what_to_do: "look at the disk of the state directory".into(),
    }
}

pub fn blocked(blocked: Blocked) -> Problem {
    let (kept, what_to_do) = match blocked.partial {
        false => (
            "the file is kept here",
            "change what the server objects to (its name, its folder's permissions, the quota), \
             then: ncfs retry; by itself it is tried again every hour",
        ),
        true => (
            "what was written here is kept",
            "copy what you need out of it; after unmounting, ncfs rescue writes out the parts that \
             were written here",
        ),
    };
    Problem {
        kind: ProblemKind::Blocked,
        path: relative(&blocked.path),
        reason: format!("{}; {kept}", blocked.reason),
        what_to_do: what_to_do.into(),
    }
}

pub fn conflict(conflict: ConflictCopy) -> Problem {
    let reason = match &conflict.original {
        Some(original) => format!(
            "both sides changed the file: this is one content, the other is {}",
            relative(original)
        ),
        None => "both sides changed the file: this is one of its contents".to_owned(),
    };
    Problem {
        kind: ProblemKind::Conflict,
        path: relative(&conflict.copy),
        reason,
        what_to_do: "compare the two, then ncfs resolve PATH with --keep-mine (this one), \
                     --keep-theirs (the server's, under the file's name) or --keep-both; or rename or \
                     delete one by hand"
            .into(),
    }
}

pub fn lost_and_found(path: PathBuf) -> Problem {
    Problem {
        kind: ProblemKind::LostFound,
        path: path.display().to_string(),
        reason: "this content lost its name in a crash, or could not be sent".into(),
        what_to_do: "look at it, copy what you need, and delete it".into(),
    }
}
