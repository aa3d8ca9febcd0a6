//! From a path that the user types to a mount and what is below it.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::not_mounted;
use super::output::print;
use crate::control::{self, Record};
use crate::failure::{ExitCode, Failure};
use crate::types::{Name, RemotePath};

/// The mount that holds a path, and the path below it.
///
/// The last name is not resolved at first: it may be a symlink in the mount. It may be deleted
/// already, with the directories that it was in.
pub fn locate(path: &Path) -> Result<(Record, RemotePath), Failure> {
    let mut tried = None;
    for resolved in [resolve_parent(path), mount_helper::resolve(path).ok()].into_iter().flatten() {
        if let Some(record) = control::find(&resolved)? {
            let below = below(&record.mountpoint, &resolved)?;
            return Ok((record, below));
        }
        // A dead mount, or one of another user, is there although it cannot be looked into.
        let missing = |error: std::io::Error| {
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        };
        let is_there = !resolved.symlink_metadata().is_err_and(missing);
        tried = tried.or(is_there.then_some(resolved));
    }
    match tried {
        Some(resolved) => Err(not_mounted(&resolved)),
        None => Err(Failure::new(
            ExitCode::NotMounted,
            format_args!("{} does not exist", path.display()),
        )),
    }
}

/// The mounts of a path, or all of the user's.
pub fn locate_all(path: Option<&Path>) -> Result<Vec<(Record, RemotePath)>, Failure> {
    match path {
        Some(path) => Ok(vec![locate(path)?]),
        None => Ok(control::list()?.into_iter().map(|r| (r, RemotePath::root())).collect()),
    }
}

/// As [`locate_all`], for a command that then does something; says so if there is nothing to do.
pub fn locate_any(path: Option<&Path>) -> Result<Vec<(Record, RemotePath)>, Failure> {
    let found = locate_all(path)?;
    if found.is_empty() {
        print("nothing is mounted")?;
    }
    Ok(found)
}

/// The path with the directories above it resolved, as far as they exist.
fn resolve_parent(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let resolved = parent.canonicalize().ok().or_else(|| resolve_parent(parent))?;
    Some(resolved.join(name))
}

fn below(mountpoint: &Path, path: &Path) -> Result<RemotePath, Failure> {
    let rest = path.strip_prefix(mountpoint).unwrap_or(Path::new(""));
    rest.iter()
        .map(|name| Name::new(name.as_bytes()))
        .collect::<Result<_, _>>()
        .map(RemotePath)
        .map_err(|error| Failure::new(ExitCode::Usage, error))
}
