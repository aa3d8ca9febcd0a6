//! Unsent files as plain files, from a state directory alone: no server, no mount, no cache.
//!
//! Guarantees: the state directory is not changed, and no daemon can use it meanwhile; nothing is
//! written outside the target, which has to be new or empty; a file that is not all there is never
//! passed off as whole. What cannot be read is listed and the rest goes on, for whoever needs this has
//! no second chance. If the database is damaged the content is still copied, without its names.
//!
//! A crash leaves a part of the target; begin anew with another one.

mod report;
mod target;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use report::{Item, Outcome, Report};

use crate::content::StagingError;
use crate::content::staging::{Salvage, Salvaged};
use crate::tree::{Body, Content, Node, Snapshot, Tree, TreeError, lock_unchanged};
use crate::types::{Name, RemotePath, StagingId};
use target::Target;

/// The list of what was rescued, in the target.
pub const LIST: &str = "RESCUED.txt";

/// What follows the name of a file that is not all there.
const PARTIAL: &str = ".partial";

/// Why nothing was rescued.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    #[error("{} is no state directory, there is no state.db in it: state directories are below \
         ~/.local/state/ncfs, or where --state-dir said", .0.display())]
    NoState(PathBuf),
    #[error("{} is not empty: name a new or an empty directory", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} lies in the state directory: name another one", .0.display())]
    Inside(PathBuf),
    #[error("{}: {cause}", path.display())]
    Target { path: PathBuf, cause: io::Error },
    #[error("{} cannot be read: {cause}", path.display())]
    State { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    Tree(TreeError),
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub files_left: u64,
    pub bytes_left: u64,
    pub files: u64,
    pub bytes: u64,
}

/// Copies what was not sent from `state_dir` into `target`.
pub fn rescue(
    state_dir: &Path,
    target: &Path,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Report, RescueError> {
    let state_dir = state_dir.canonicalize().map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => RescueError::NoState(state_dir.to_path_buf()),
        _ => RescueError::State { path: state_dir.to_path_buf(), cause },
    })?;
    if !state_dir.join("state.db").exists() && !state_dir.join("staging").exists() {
        return Err(RescueError::NoState(state_dir));
    }
    // Also where the database cannot be read.
    let _lock = lock_unchanged(&state_dir).map_err(RescueError::Tree)?;
    let mut target = Target::prepare(target, &state_dir)?;
    let salvage = Salvage::at(&state_dir);
    let mut report = Report { state_dir: state_dir.display().to_string(), ..Report::default() };
    let mut known = HashSet::new();
    match Snapshot::open(&state_dir, target.room()).and_then(|snapshot| wanted(&snapshot.tree)) {
        Ok(wanted) => {
            report.account = wanted.account.clone();
            known.clone_from(&wanted.known);
            save(&wanted, &salvage, &mut target, &mut report, on_progress);
        }
        // A newer schema may have other places for content, so nothing is guessed there.
        Err(error @ (TreeError::NewerSchema { .. } | TreeError::InUse(_))) => {
            target.abandon();
            return Err(RescueError::Tree(error));
        }
        Err(error) => report.names_lost = Some(error.to_string()),
    }
    let nameless = salvage
        .nameless(&known)
        .map_err(|cause| RescueError::State { path: state_dir.clone(), cause })?;
    for found in nameless {
        let names = ["lost+found", &found.name].map(|name| Name::new(name.as_bytes()));
        let item = match names.into_iter().collect() {
            Ok(names) => save_file(&RemotePath(names), found.found, None, &mut target),
            Err(bad) => Item::failed(found.name, bad),
        };
        report.items.push(item);
    }
    target.write_list(&report)?;
    Ok(report)
}

/// What the rows say is only here.
struct Wanted {
    account: Option<String>,
    nodes: Vec<(RemotePath, Arc<Node>)>,
    /// Symlinks, fifos and sockets.
    local_only: Vec<(RemotePath, Arc<Node>)>,
    known: HashSet<StagingId>,
}

fn wanted(tree: &Tree) -> Result<Wanted, TreeError> {
    let account = tree.meta("account")?;
    tree.view(|tx| {
        let mut known = HashSet::new();
        for node in tx.staged()? {
            if let Some(Content::Staged { id, .. }) = node.content()
                && (tx.local_path(node.ino)?.is_some() || node.local.is_none())
            {
                known.insert(*id);
            }
        }
        let mut nodes = Vec::new();
        for node in tx.dirty()? {
            if let Some(path) = tx.local_path(node.ino)? {
                nodes.push((path, node));
            }
        }
        let mut local_only = Vec::new();
        for node in tx.local_only()? {
            if let Some(path) = tx.local_path(node.ino)? {
                local_only.push((path, node));
            }
        }
        // Directories before what is in them.
        nodes.sort_by(|(a, _), (b, _)| a.cmp(b));
        local_only.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Wanted { account, nodes, local_only, known })
    })
}

fn save(
    wanted: &Wanted,
    salvage: &Salvage,
    target: &mut Target,
    report: &mut Report,
    on_progress: &mut dyn FnMut(Progress),
) {
    let bytes = wanted.nodes.iter().map(|(_, node)| staged_size(node)).sum();
    let files = wanted.nodes.len() as u64;
    let mut progress = Progress { files_left: files, bytes_left: bytes, files, bytes };
    for (path, node) in &wanted.nodes {
        on_progress(progress);
        report.items.push(save_node(path, node, salvage, target));
        progress.files_left -= 1;
        progress.bytes_left = progress.bytes_left.saturating_sub(staged_size(node));
    }
    // Last, so that nothing is ever written through one of them.
    for (path, node) in &wanted.local_only {
        report.items.push(match &node.body {
            Body::Symlink(to) => match target.symlink(path, to) {
                Ok(saved) => Item::new(path, Outcome::Whole).saved(saved),
                Err(error) => Item::failed(path, error),
            },
            _ => Item::new(path, Outcome::Skipped)
                .because("a fifo or socket, which has no content and is made by its program"),
        });
    }
}

fn staged_size(node: &Node) -> u64 {
    match node.content() {
        Some(Content::Staged { .. }) => node.attr.size,
        _ => 0,
    }
}

fn save_node(path: &RemotePath, node: &Node, salvage: &Salvage, target: &mut Target) -> Item {
    match &node.body {
        Body::Dir { .. } => match target.directory(path) {
            Ok(saved) => Item::new(path, Outcome::Directory).saved(saved),
            Err(error) => Item::failed(path, error),
        },
        Body::File(Content::Staged { id, base }) => {
            save_file(path, salvage.open(*id, base.is_some()), Some(node), target)
        }
        Body::File(Content::Empty) => {
            let named = target.begin().and_then(|file| target::dress(&file, Some(node)));
            match named.and_then(|()| target.name(path, "")) {
                Ok(saved) => Item::new(path, Outcome::Whole).saved(saved),
                Err(error) => Item::failed(path, error),
            }
        }
        Body::File(Content::Remote(_)) if !node.content_differs() => {
            Item::new(path, Outcome::OnServer)
                .because("the server has its content; only its name or time was not sent")
        }
        _ => Item::new(path, Outcome::Lost)
            .because("its content was never in the state directory; the server may have it"),
    }
}

/// Copies what there is of a file.
fn save_file(
    path: &RemotePath,
    found: Result<Salvaged, StagingError>,
    node: Option<&Node>,
    target: &mut Target,
) -> Item {
    let found = match found {
        Ok(found) => found,
        Err(StagingError::Lost(_)) => {
            return Item::new(path, Outcome::Lost).because("its content is gone or unreadable");
        }
        Err(error) => return Item::failed(path, error),
    };
    let begun = target.begin().and_then(|file| {
        copy(&found, &file)?;
        target::dress(&file, node)
    });
    let suffix = if begun.is_ok() && found.parts.is_none() { "" } else { PARTIAL };
    let kept = match &begun {
        // The state directory still has it, and others may fit.
        Err(error) if is_full(error) => None,
        _ => Some(target.name(path, suffix)),
    };
    match (begun, kept.transpose(), found.parts) {
        (Err(error), Ok(saved), _) => Item { saved_as: saved, ..Item::failed(path, error) },
        (Err(error), Err(_), _) | (Ok(()), Err(error), _) => Item::failed(path, error),
        (Ok(()), Ok(saved), parts) => {
            let outcome = if parts.is_some() { Outcome::Partial } else { Outcome::Whole };
            let parts = parts.iter().flatten().map(|part| (part.start, part.end)).collect();
            Item { saved_as: saved, parts, ..Item::new(path, outcome).of(found.size) }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn copy(found: &Salvaged, into: &File) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let (mut from, mut into) = (&found.file, into);
    let Some(parts) = found.parts.as_ref().filter(|parts| !parts.is_empty()) else {
        io::copy(&mut from, &mut into)?;
        return Ok(());
    };
    into.set_len(found.size)?;
    for part in parts {
        from.seek(SeekFrom::Start(part.start))?;
        into.seek(SeekFrom::Start(part.start))?;
        io::copy(&mut from.take(part.len()), &mut into)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
