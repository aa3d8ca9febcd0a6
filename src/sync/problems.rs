//! What does not go away by itself, read from the rows: nodes that the server does not take, and
//! conflict copies that nobody has looked after yet.
//!
//! Nothing is remembered for it. A conflict is over when its copy or the file beside it is renamed
//! or deleted, on whichever machine; so a crash or another client changes nothing about what is told.

use std::sync::Arc;

use super::conflict::original_name;
use crate::tree::{Content, Node, TreeError, Tx};
use crate::types::{Ino, Name, RemotePath};

/// The longest name of which a conflict copy's name holds all: longer stems are cut.
const UNCUT: usize = 200;

/// A node that the server does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: RemotePath,
    pub reason: String,
    /// Only parts of its content were written here, and the rest cannot be had just now.
    pub partial: bool,
}

/// A file of which both contents were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictCopy {
    /// What was written here.
    pub copy: RemotePath,
    /// What the server held, where it can be told from the copy's name.
    pub original: Option<RemotePath>,
}

/// Nodes that the server does not take, at most `limit` of them.
pub fn blocked(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<Problem>, TreeError> {
    let nodes = tx.blocked(limit)?;
    nodes.iter().map(|node| problem(tx, node)).collect()
}

/// The problem that a blocked node is.
pub fn problem(tx: &mut Tx<'_>, node: &Node) -> Result<Problem, TreeError> {
    Ok(Problem {
        path: shown_path(tx, node.ino)?,
        reason: node.push.blocked.as_deref().unwrap_or_default().to_owned(),
        partial: matches!(node.content(), Some(Content::Staged { base: Some(_), .. })),
    })
}

/// Where programs see a node, or saw it before they removed it.
pub fn shown_path(tx: &mut Tx<'_>, ino: Ino) -> Result<RemotePath, TreeError> {
    Ok(match tx.local_path(ino)? {
        Some(path) => path,
        None => tx.synced_path(ino)?.unwrap_or_default(),
    })
}

/// Conflict copies whose other content is still beside them, at most `limit` of them.
pub fn conflict_copies(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<ConflictCopy>, TreeError> {
    let mut found = Vec::new();
    for node in tx.conflict_copies(limit)? {
        found.extend(conflict_copy(tx, &node)?);
    }
    Ok(found)
}

fn conflict_copy(tx: &mut Tx<'_>, node: &Arc<Node>) -> Result<Option<ConflictCopy>, TreeError> {
    let Some(place) = &node.local else { return Ok(None) };
    let Some(original) = original_name(&place.name) else { return Ok(None) };
    let Some(copy) = tx.local_path(node.ino)? else { return Ok(None) };
    let Some(directory) = copy.parent() else { return Ok(None) };
    if tx.child(place.parent, &original.key())?.is_some() {
        return Ok(Some(ConflictCopy { original: Some(directory.join(&original)), copy }));
    }
    // Where the other one is does not follow from the name: then the copy alone tells of it.
    let elsewhere = directory.0.last().map(Name::as_bytes) == Some(b"ncfs-conflicts");
    let told = elsewhere || original.as_bytes().len() > UNCUT;
    Ok(told.then_some(ConflictCopy { copy, original: None }))
}
