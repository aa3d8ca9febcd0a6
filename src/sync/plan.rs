//! What has to be told to the server about one node: a pure function of the tree.
//!
//! [`decide`] looks at a node, its ancestors, and the nodes that hold or want the names it needs,
//! and says one step or what has to come first. Nothing is remembered between two calls: after each
//! step the rows have changed and the next step follows from them. So a file that was created and
//! removed before its turn was never different, and ten renames are one.
//!
//! When a name is re-occupied the server's object stays with the name (DESIGN 2): the node that took
//! the name inherits the object ([`Step::HandOver`]) and replaces its content, which keeps its file
//! id, shares, comments and versions (FACTS 0.4).

use std::sync::Arc;

use crate::tree::{Node, Place, Synced, TreeError, Tx};
use crate::types::{Ino, Name};

/// How the names of objects that are put aside begin, and how many are tried for each.
const ASIDE: &str = ".ncfs-moving-";
const ASIDE_NAMES: u32 = 100;

/// One change of the server, or of who owns an object there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates a directory.
    MakeDir { ino: Ino },
    /// Stores a new file under a free name.
    Create { ino: Ino },
    /// Stores new content in the file's object.
    Replace { ino: Ino },
    /// Renames an object to where programs see it; `over` is a removed file whose object is replaced.
    Move { ino: Ino, to: Place, over: Option<Ino> },
    /// Renames an object to a name that nobody wants, to break a circle.
    MoveAside { ino: Ino, to: Place },
    /// Copies the object of `ino`, renamed but unchanged here, to its new name; the object itself
    /// stays with the old name and goes to `heir`.
    CopyAside { ino: Ino, to: Place, heir: Ino },
    /// No request: the object of `from` belongs to `to` from now on.
    HandOver { from: Ino, to: Ino },
    /// Deletes a file, or a directory with all that was removed in it.
    Delete { ino: Ino },
    /// Deletes the root of a received share: the share is left, its owner keeps all that is in it.
    Leave { ino: Ino },
    /// Sets a file's modification time.
    SetMtime { ino: Ino },
    /// Both sides changed the file.
    Resolve { ino: Ino },
    /// Looks whether what was sent without an answer is there.
    Recall { ino: Ino },
}

impl Step {
    /// The nodes whose rows the step's outcome changes.
    pub fn nodes(&self) -> Vec<Ino> {
        match self {
            Step::MakeDir { ino }
            | Step::Create { ino }
            | Step::Replace { ino }
            | Step::MoveAside { ino, .. }
            | Step::Delete { ino }
            | Step::Leave { ino }
            | Step::SetMtime { ino }
            | Step::Resolve { ino }
            | Step::Recall { ino } => vec![*ino],
            Step::Move { ino, over, .. } => [Some(*ino), *over].into_iter().flatten().collect(),
            Step::CopyAside { ino, heir, .. } => vec![*ino, *heir],
            Step::HandOver { from, to } => vec![*from, *to],
        }
    }
}

/// Why one node's step has to wait for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The directory that it belongs into is not there yet, or is removed together with it.
    Parent,
    /// A directory above its new place is not in its own place yet.
    Ancestor,
    /// The other holds the name and has to leave it first.
    Vacate,
    /// The other has to be taken out of the directory, or left, before it is deleted.
    Escape,
    /// The other takes over the name and the object with it.
    Taker,
}

/// What is to be done about a node now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Nothing,
    Do(Step),
    Wait(Vec<(Ino, Why)>),
}

/// The part of the tree that planning looks at.
pub trait View {
    fn node(&mut self, ino: Ino) -> Result<Option<Arc<Node>>, TreeError>;
    /// Who holds a name on the server.
    fn holder(&mut self, place: &Place) -> Result<Option<Arc<Node>>, TreeError>;
    /// Of whom the server may hold something under a name, since no answer told.
    fn sender(&mut self, place: &Place) -> Result<Option<Arc<Node>>, TreeError>;
    /// Of whom it may hold something in a directory.
    fn senders(&mut self, dir: Ino) -> Result<Vec<Arc<Node>>, TreeError>;
    /// Whom programs see under a name.
    fn occupant(&mut self, place: &Place) -> Result<Option<Arc<Node>>, TreeError>;
    /// What the server holds in a directory.
    fn synced_children(&mut self, dir: Ino) -> Result<Vec<Arc<Node>>, TreeError>;
}

impl View for Tx<'_> {
    fn node(&mut self, ino: Ino) -> Result<Option<Arc<Node>>, TreeError> {
        Tx::node(self, ino)
    }

    fn holder(&mut self, place: &Place) -> Result<Option<Arc<Node>>, TreeError> {
        Tx::holder(self, place)
    }

    fn sender(&mut self, place: &Place) -> Result<Option<Arc<Node>>, TreeError> {
        Tx::sender(self, place)
    }

    fn senders(&mut self, dir: Ino) -> Result<Vec<Arc<Node>>, TreeError> {
        Tx::senders(self, dir)
    }

    fn occupant(&mut self, place: &Place) -> Result<Option<Arc<Node>>, TreeError> {
        Tx::child(self, place.parent, &place.name.key())
    }

    fn synced_children(&mut self, dir: Ino) -> Result<Vec<Arc<Node>>, TreeError> {
        Tx::synced_children(self, dir)
    }
}

/// What to do about `ino`, looking only at the nodes that it depends on directly.
///
/// A chain of waits always ends at a node with a step, or in a circle that
/// [`super::order::next`] breaks.
pub fn decide(view: &mut impl View, ino: Ino) -> Result<Decision, TreeError> {
    let Some(node) = view.node(ino)? else { return Ok(Decision::Nothing) };
    if !node.is_dirty() {
        return Ok(Decision::Nothing);
    }
    if node.push.sent.is_some() {
        return Ok(Decision::Do(Step::Recall { ino }));
    }
    if let Some(dir) = removed_around(view, &node)? {
        return Ok(wait(dir, Why::Parent));
    }
    if node.remote.is_some() {
        return Ok(Decision::Do(Step::Resolve { ino }));
    }
    match (&node.local, &node.synced) {
        (None, None) => Ok(Decision::Nothing),
        (None, Some(synced)) => removal(view, &node, synced),
        (Some(local), None) => arrival(view, &node, local),
        (Some(local), Some(synced)) if !local.same(&synced.place) => relocation(view, &node, local),
        (Some(_), Some(_)) if node.content_differs() => Ok(Decision::Do(Step::Replace { ino })),
        (Some(_), Some(_)) if node.mtime_set => Ok(Decision::Do(Step::SetMtime { ino })),
        (Some(_), Some(_)) => Ok(Decision::Nothing),
    }
}

/// The removed directory with which a removed node goes, whatever it became on the server meanwhile:
/// its step looks at that. A share is left by its own root, before anything around it goes.
fn removed_around(view: &mut impl View, node: &Node) -> Result<Option<Ino>, TreeError> {
    let Some(synced) = node.synced.as_ref().filter(|_| node.is_tombstone()) else {
        return Ok(None);
    };
    let parent = synced.place.parent;
    let goes = !synced.mount_root && view.node(parent)?.is_some_and(|dir| dir.is_tombstone());
    Ok(goes.then_some(parent))
}

/// Removed here, still on the server.
fn removal(view: &mut impl View, node: &Node, synced: &Synced) -> Result<Decision, TreeError> {
    let place = &synced.place;
    if let Some(sender) = view.sender(place)? {
        // It may have replaced the object.
        return Ok(wait(sender.ino, Why::Vacate));
    }
    if let Some(taker) = view.occupant(place)?.filter(|taker| taker.is_file() && node.is_file()) {
        // Who may have an object of its own, of which no answer told, is not given another one.
        return Ok(match (&taker.synced, &taker.push.sent) {
            (None, None) => Decision::Do(Step::HandOver { from: node.ino, to: taker.ino }),
            _ => wait(taker.ino, Why::Taker),
        });
    }
    if node.is_dir() {
        let mut escaped = Vec::new();
        collect_escaped(view, node.ino, &mut escaped)?;
        if !escaped.is_empty() {
            return Ok(Decision::Wait(escaped));
        }
    }
    let ino = node.ino;
    Ok(Decision::Do(match node.is_dir() && synced.mount_root {
        true => Step::Leave { ino },
        false => Step::Delete { ino },
    }))
}

/// The received share in which a removal is one of single files: it is still there itself, so it may
/// be about to be removed as a whole, which only leaves it.
pub fn share_around(view: &mut impl View, removed: &Node) -> Result<Option<Ino>, TreeError> {
    let Some(synced) = removed.synced.as_ref().filter(|_| removed.is_tombstone()) else {
        return Ok(None);
    };
    if synced.mount_root {
        return Ok(None);
    }
    let mut at = synced.place.parent;
    while let Some(dir) = view.node(at)? {
        let Some(synced) = &dir.synced else { break };
        if synced.mount_root {
            return Ok(dir.local.is_some().then_some(at));
        }
        at = synced.place.parent;
    }
    Ok(None)
}

/// Nodes that the server holds below a removed directory and that programs see elsewhere, or may hold
/// there without our knowing, and received shares that are to be left first.
fn collect_escaped(
    view: &mut impl View,
    dir: Ino,
    escaped: &mut Vec<(Ino, Why)>,
) -> Result<(), TreeError> {
    escaped.extend(view.senders(dir)?.iter().map(|sender| (sender.ino, Why::Escape)));
    for child in view.synced_children(dir)? {
        let share = child.synced.as_ref().is_some_and(|synced| synced.mount_root);
        if child.local.is_some() || share {
            escaped.push((child.ino, Why::Escape));
        } else if child.is_dir() {
            collect_escaped(view, child.ino, escaped)?;
        }
    }
    Ok(())
}

/// Here, and not on the server yet.
fn arrival(view: &mut impl View, node: &Node, to: &Place) -> Result<Decision, TreeError> {
    if let Some(missing) = missing_parent(view, to)? {
        return Ok(missing);
    }
    let ino = node.ino;
    if let Some(sender) = view.sender(to)? {
        return Ok(wait(sender.ino, Why::Vacate));
    }
    let Some(holder) = view.holder(to)? else {
        return Ok(Decision::Do(match node.is_dir() {
            true => Step::MakeDir { ino },
            false => Step::Create { ino },
        }));
    };
    if holder.remote.is_some() || !(node.is_file() && holder.is_file()) {
        return Ok(wait(holder.ino, Why::Vacate));
    }
    match &holder.local {
        Some(elsewhere) if !holder.content_differs() => {
            if let Some(missing) = missing_parent(view, elsewhere)? {
                return Ok(missing);
            }
            match view.holder(elsewhere)? {
                Some(next) => Ok(wait(next.ino, Why::Vacate)),
                None => Ok(Decision::Do(Step::CopyAside {
                    ino: holder.ino,
                    to: elsewhere.clone(),
                    heir: ino,
                })),
            }
        }
        _ => Ok(Decision::Do(Step::HandOver { from: holder.ino, to: ino })),
    }
}

/// On the server under another name than here.
fn relocation(view: &mut impl View, node: &Node, to: &Place) -> Result<Decision, TreeError> {
    if let Some(missing) = missing_parent(view, to)? {
        return Ok(missing);
    }
    if node.is_dir()
        && let Some(unsettled) = unsettled_ancestor(view, to.parent)?
    {
        // Until then the target might lie inside the directory that is to be moved.
        return Ok(wait(unsettled, Why::Ancestor));
    }
    let ino = node.ino;
    if let Some(sender) = view.sender(to)? {
        return Ok(wait(sender.ino, Why::Vacate));
    }
    match view.holder(to)? {
        None => Ok(Decision::Do(Step::Move { ino, to: to.clone(), over: None })),
        Some(gone)
            if node.is_file()
                && gone.is_file()
                && gone.local.is_none()
                && gone.remote.is_none() =>
        {
            Ok(Decision::Do(Step::Move { ino, to: to.clone(), over: Some(gone.ino) }))
        }
        Some(holder) => Ok(wait(holder.ino, Why::Vacate)),
    }
}

fn wait(ino: Ino, why: Why) -> Decision {
    Decision::Wait(vec![(ino, why)])
}

/// The wait for the directory of a place, if the server does not have it yet.
fn missing_parent(view: &mut impl View, place: &Place) -> Result<Option<Decision>, TreeError> {
    let there = place.parent == Ino::ROOT
        || view.node(place.parent)?.is_some_and(|parent| parent.synced.is_some());
    Ok((!there).then(|| wait(place.parent, Why::Parent)))
}

/// The directory nearest to the root, from `dir` upwards, that is not where it is on the server.
fn unsettled_ancestor(view: &mut impl View, dir: Ino) -> Result<Option<Ino>, TreeError> {
    let mut found = None;
    let mut at = dir;
    while at != Ino::ROOT {
        let Some(node) = view.node(at)? else { break };
        if node.place_differs() {
            found = Some(at);
        }
        match &node.local {
            Some(place) => at = place.parent,
            None => break,
        }
    }
    Ok(found)
}

/// The name beside its own under which a node's object is put aside: by the node's number, so that it
/// stays the same when the step is repeated, and followed by another number where somebody else's
/// object has it.
pub fn aside(view: &mut impl View, node: &Node) -> Result<Option<Place>, TreeError> {
    let Some(synced) = &node.synced else { return Ok(None) };
    for number in 1..ASIDE_NAMES {
        let name = match number {
            1 => format!("{ASIDE}{}", node.ino.0),
            _ => format!("{ASIDE}{}-{number}", node.ino.0),
        };
        let Ok(name) = Name::new(name.into_bytes()) else { return Ok(None) };
        let place = Place::new(synced.place.parent, name);
        if view.holder(&place)?.is_none_or(|holder| holder.ino == node.ino) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// The node of which an object that is seen under this name is the one put aside, when the answer to
/// that step was lost.
pub fn put_aside(view: &mut impl View, place: &Place) -> Result<Option<Arc<Node>>, TreeError> {
    let numbers = place.name.as_str().and_then(|name| name.strip_prefix(ASIDE));
    let number = numbers.and_then(|numbers| numbers.split('-').next()?.parse().ok());
    let Some(ino) = number.map(Ino) else { return Ok(None) };
    // The numbers of another machine are not ours: here nothing but a rename puts aside.
    Ok(view.node(ino)?.filter(|node| {
        node.local.is_some()
            && node.place_differs()
            && node.synced.as_ref().is_some_and(|synced| synced.place.parent == place.parent)
    }))
}
