//! Why a file is where it is: its state, what the server held, where its bytes are, what will happen
//! next and why that has not happened yet.
//!
//! A pure function of the rows, as the plan is, and of the few [`Facts`] that rows do not hold. So it
//! tells what the daemon will do, not what somebody wrote down about it.

use serde::{Deserialize, Serialize};

use super::plan::{Decision, Step, Why};
use super::problems::shown_path;
use super::{Offline, order, plan};
use crate::tree::{Attr, Body, Content, Node, Place, State, TreeError, Tx};
use crate::types::{Ino, RemotePath, Time, Version};

/// What is known of a node beside its row.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub now: Time,
    /// Size and times as programs see them, where the row is behind.
    pub attr: Option<Attr>,
    /// Bytes of the content that are on this machine.
    pub bytes_here: u64,
    /// A step on it is under way.
    pub pushing: bool,
    pub offline: Option<Offline>,
    /// Nothing is ever sent from this mount.
    pub read_only: bool,
}

/// A node explained. Part of the control protocol: fields are added, never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// Below the mount point; where it was, if it was removed. Bytes that are not UTF-8 are U+FFFD.
    pub path: String,
    /// Its inode number, by which the log names it.
    pub ino: u64,
    /// `file`, `directory`, `symlink`, `fifo` or `socket`.
    pub kind: String,
    /// `clean`, `dirty`, `pushing`, `unknown`, `blocked`, `conflict` or `local_only`.
    pub state: String,
    /// Programs do not see it any more.
    pub removed: bool,
    /// Bytes, as programs see them.
    pub size: u64,
    /// Seconds since the epoch, as programs see it.
    pub mtime: i64,
    /// What the server held when it and this machine last agreed; null when it never had it.
    pub synced: Option<SyncedVersion>,
    /// What the server holds instead by now, while that is not merged.
    pub remote: Option<SyncedVersion>,
    /// `none`, `server` (nothing of it is here), `cache` (a copy of what the server has) or `staging`
    /// (unsent).
    pub bytes: String,
    /// How many of its bytes are on this machine.
    pub bytes_here: u64,
    /// A program has it open for writing.
    pub open_for_writing: bool,
    /// What will happen next, in a sentence; null when nothing has to.
    pub next: Option<String>,
    /// Why it has not happened yet, in sentences.
    pub not_yet: Vec<String>,
    /// Why the server does not take it; null when it does.
    pub blocked: Option<String>,
    /// Failed attempts since the last success.
    pub attempts: u32,
    /// Until the next attempt; null when its turn is not put off.
    pub retry_in_s: Option<u64>,
}

/// A version of the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncedVersion {
    /// Below the mounted directory; null where it is the same as the path here.
    pub path: Option<String>,
    pub file_id: Option<String>,
    pub tag: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Seconds since the epoch.
    pub mtime: i64,
}

impl From<&Version> for SyncedVersion {
    fn from(version: &Version) -> Self {
        Self {
            path: None,
            file_id: version.file_id.as_ref().map(|id| id.0.to_string()),
            tag: version.etag.as_ref().map(|tag| tag.0.to_string()),
            size: version.size,
            mtime: version.mtime,
        }
    }
}

/// The node that a path leads to: what programs see there, else what they removed or renamed from
/// there and the server still has.
pub fn find(tx: &mut Tx<'_>, path: &RemotePath) -> Result<Option<Ino>, TreeError> {
    let mut at = Ino::ROOT;
    for name in &path.0 {
        let place = Place::new(at, name.clone());
        let found = match tx.child(at, &name.key())? {
            Some(node) => Some(node),
            None => tx.holder(&place)?,
        };
        match found {
            Some(node) => at = node.ino,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// Explains a node; `None` when there is none with this number.
pub fn explain(tx: &mut Tx<'_>, ino: Ino, facts: &Facts) -> Result<Option<Explanation>, TreeError> {
    let Some(node) = tx.node(ino)? else { return Ok(None) };
    let path = shown_path(tx, ino)?;
    let mut synced = node.synced.as_ref().map(|synced| SyncedVersion::from(&synced.version));
    let there = tx.synced_path(ino)?.filter(|there| *there != path);
    if let Some(synced) = &mut synced {
        synced.path = there.map(|there| there.to_string());
    }
    let writer = tx.has_writer(ino);
    let (next, not_yet) = if node.is_dirty() {
        let decision = order::next(tx, ino)?;
        let next = announce(tx, &node, &decision)?;
        (next, reasons(tx, &node, &decision, writer, facts)?)
    } else {
        (None, Vec::new())
    };
    let wait = node.push.not_before.secs() - facts.now.secs();
    let attr = facts.attr.unwrap_or(node.attr);
    Ok(Some(Explanation {
        path: path.to_string(),
        ino: ino.0,
        kind: kind(&node).to_owned(),
        state: state(&node, facts.pushing).to_owned(),
        removed: node.local.is_none() && !node.is_root(),
        size: attr.size,
        mtime: attr.mtime.secs(),
        synced,
        remote: node.remote.as_ref().map(SyncedVersion::from),
        bytes: whereabouts(&node, facts.bytes_here).to_owned(),
        bytes_here: facts.bytes_here,
        open_for_writing: writer,
        next,
        not_yet,
        blocked: node.push.blocked.as_deref().map(str::to_owned),
        attempts: node.push.attempts,
        retry_in_s: u64::try_from(wait).ok().filter(|wait| *wait > 0 && node.is_dirty()),
    }))
}

fn kind(node: &Node) -> &'static str {
    match node.body {
        Body::File(_) => "file",
        Body::Dir { .. } => "directory",
        Body::Symlink(_) => "symlink",
        Body::Fifo => "fifo",
        Body::Socket => "socket",
    }
}

fn state(node: &Node, pushing: bool) -> &'static str {
    match node.state() {
        _ if !node.is_syncable() => "local_only",
        State::Clean => "clean",
        _ if pushing => "pushing",
        State::Dirty => "dirty",
        State::Unknown => "unknown",
        State::Blocked => "blocked",
        State::Conflict => "conflict",
    }
}

fn whereabouts(node: &Node, here: u64) -> &'static str {
    match node.content() {
        None | Some(Content::Empty) => "none",
        Some(Content::Remote(_)) if node.attr.size == 0 => "none",
        Some(Content::Remote(_)) if here == 0 => "server",
        Some(Content::Remote(_)) => "cache",
        Some(Content::Staged { .. }) => "staging",
    }
}

/// What will happen next.
fn announce(
    tx: &mut Tx<'_>,
    node: &Node,
    decision: &Decision,
) -> Result<Option<String>, TreeError> {
    let step = match decision {
        Decision::Nothing => return Ok(None),
        Decision::Do(step) => step,
        Decision::Wait(_) => return Ok(Some(wanted(node).to_owned())),
    };
    let path_of = |tx: &mut Tx<'_>, place: &Place| -> Result<String, TreeError> {
        Ok(shown_path(tx, place.parent)?.join(&place.name).to_string())
    };
    Ok(Some(match step {
        Step::Move { to, over: None, .. } => {
            format!("it is renamed on the server to {}", path_of(tx, to)?)
        }
        Step::Move { to, over: Some(_), .. } => {
            format!("it replaces {} on the server", path_of(tx, to)?)
        }
        Step::MoveAside { ino, .. } => format!(
            "{} is put aside on the server for a moment, since names are exchanged",
            shown_path(tx, *ino)?
        ),
        Step::CopyAside { to, .. } => {
            format!("it is copied on the server to {}", path_of(tx, to)?)
        }
        Step::HandOver { to, .. } => format!(
            "what the server has of it goes to {}, which took its name",
            shown_path(tx, *to)?
        ),
        Step::MakeDir { .. } => "it is created on the server".to_owned(),
        Step::Create { .. } => "it is uploaded as a new file".to_owned(),
        Step::Replace { .. } => "its new content is uploaded".to_owned(),
        Step::Delete { .. } => "it is deleted on the server".to_owned(),
        Step::Leave { .. } => "the share is left; its owner keeps what is in it".to_owned(),
        Step::SetMtime { .. } => "its modification time is sent".to_owned(),
        Step::Resolve { .. } => "both sides changed it: the contents are compared, and if they \
                                 differ the server's keeps the name and this one gets the name of \
                                 a conflicted copy"
            .to_owned(),
        Step::Recall { .. } => "it was sent and no answer came: it is looked whether the server \
                                has it"
            .to_owned(),
    }))
}

/// What a node wants that waits for others.
fn wanted(node: &Node) -> &'static str {
    match (&node.local, &node.synced) {
        (None, _) => "it is deleted on the server",
        (Some(_), None) if node.is_dir() => "it is created on the server",
        (Some(_), None) => "it is uploaded as a new file",
        (Some(_), Some(_)) => "it is renamed on the server",
    }
}

/// Why it has not happened yet.
fn reasons(
    tx: &mut Tx<'_>,
    node: &Node,
    decision: &Decision,
    writer: bool,
    facts: &Facts,
) -> Result<Vec<String>, TreeError> {
    if facts.pushing {
        return Ok(vec!["it is being done now".to_owned()]);
    }
    let mut reasons = Vec::new();
    if facts.read_only {
        reasons.push("the mount is read-only, so nothing is sent from it".to_owned());
    }
    if let Some(offline) = &facts.offline {
        reasons.push(match offline.refused {
            true => "the password was refused, so nothing is sent".to_owned(),
            false => format!("offline: {}", offline.reason),
        });
    }
    if let Some(blocked) = &node.push.blocked {
        reasons.push(format!("the server did not take it: {blocked}"));
    } else if node.push.attempts > 0 {
        reasons.push(format!("it failed {} times in a row", node.push.attempts));
    }
    let wait = node.push.not_before.secs() - facts.now.secs();
    if wait > 0 {
        reasons.push(format!("the next attempt comes in {wait} s"));
    }
    if let Decision::Wait(blockers) = decision {
        for (ino, why) in blockers {
            let path = shown_path(tx, *ino)?;
            reasons.push(match why {
                Why::Parent => format!("the directory {path} comes first"),
                Why::Ancestor => format!("the directory {path} has to get its name first"),
                Why::Vacate => format!("{path} holds the name on the server and comes first"),
                Why::Escape => format!("{path} has to leave it first"),
                Why::Taker => format!("{path} took its name and comes first"),
            });
        }
    }
    if let Some(share) = plan::share_around(tx, node)? {
        reasons.push(format!(
            "it was removed in the received share {}: that rests until nothing more was removed \
             there for 30 s, since the share itself may be next, which is only left",
            shown_path(tx, share)?
        ));
    }
    if writer && node.content_differs() {
        reasons.push(
            "a program has it open for writing: it is sent when that closes it, or when it was \
             quiet for a while"
                .to_owned(),
        );
    }
    if reasons.is_empty() {
        reasons.push("its turn comes".to_owned());
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Push, Synced, Tree};
    use crate::types::{ContentId, Name, StagingId};

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).unwrap()
    }

    fn add(tree: &Tree, parent: Ino, text: &str, body: Body) -> Ino {
        let node = Node {
            ino: Ino(0),
            local: Some(Place::new(parent, name(text))),
            attr: Attr { size: 10, ..Node::fresh_root().attr },
            body,
            push: Push { changed: Time(5), ..Push::default() },
            ..Node::fresh_root()
        };
        tree.transact(|tx| Ok::<_, TreeError>(tx.insert(node)?.ino)).unwrap()
    }

    fn staged() -> Body {
        Body::File(Content::Staged { id: StagingId(1), base: None })
    }

    fn explained(tree: &Tree, ino: Ino, facts: &Facts) -> Explanation {
        tree.view(|tx| explain(tx, ino, facts)).unwrap().unwrap()
    }

    #[test]
    fn a_new_file_in_a_new_directory_waits_for_it() {
        let tree = Tree::in_memory().unwrap();
        let dir = add(&tree, Ino::ROOT, "d", Body::Dir { listed: true, tag: None });
        let file = add(&tree, dir, "f", staged());
        let told = explained(&tree, file, &Facts { bytes_here: 10, ..Facts::default() });
        assert_eq!((told.path.as_str(), told.state.as_str()), ("/d/f", "dirty"));
        assert_eq!((told.bytes.as_str(), told.bytes_here), ("staging", 10));
        assert_eq!(told.next.as_deref(), Some("it is uploaded as a new file"));
        assert_eq!(told.not_yet, ["the directory /d comes first"]);
        let told = explained(&tree, dir, &Facts::default());
        assert_eq!(told.next.as_deref(), Some("it is created on the server"));
        assert_eq!(told.not_yet, ["its turn comes"]);
    }

    #[test]
    fn a_blocked_file_tells_the_reason_and_when_it_is_tried_again() {
        let tree = Tree::in_memory().unwrap();
        let file = add(&tree, Ino::ROOT, "f", staged());
        tree.transact(|tx| {
            let mut node = (*tx.node(file)?.unwrap()).clone();
            node.push.blocked = Some("no space".into());
            node.push.not_before = Time::from_secs(160);
            tx.put(node)
        })
        .unwrap();
        let told = explained(&tree, file, &Facts { now: Time::from_secs(100), ..Facts::default() });
        assert_eq!((told.state.as_str(), told.retry_in_s), ("blocked", Some(60)));
        assert_eq!(
            told.not_yet,
            ["the server did not take it: no space", "the next attempt comes in 60 s"]
        );
    }

    #[test]
    fn a_removed_file_is_found_under_its_name_as_long_as_the_server_has_it() {
        let tree = Tree::in_memory().unwrap();
        let file = add(&tree, Ino::ROOT, "f", Body::File(Content::Remote(ContentId(7))));
        let version = Version {
            file_id: None,
            etag: None,
            mtime: 3,
            size: 10,
            upload_time: None,
            checksum: None,
        };
        tree.transact(|tx| {
            let mut node = (*tx.node(file)?.unwrap()).clone();
            node.synced = Some(Synced {
                place: Place::new(Ino::ROOT, name("f")),
                version,
                content: ContentId(7),
                permissions: None,
                mount_root: false,
                racy: false,
                bumped: false,
            });
            node.local = None;
            tx.put(node)
        })
        .unwrap();
        let path = RemotePath(vec![name("f")]);
        assert_eq!(tree.view(|tx| find(tx, &path)).unwrap(), Some(file));
        let told = explained(&tree, file, &Facts::default());
        assert!(told.removed && told.bytes == "server", "{told:?}");
        assert_eq!(told.next.as_deref(), Some("it is deleted on the server"));
    }

    #[test]
    fn what_the_server_cannot_hold_is_local_only() {
        let tree = Tree::in_memory().unwrap();
        let link = add(&tree, Ino::ROOT, "l", Body::Symlink((*b"t").into()));
        let told = explained(&tree, link, &Facts::default());
        assert_eq!((told.kind.as_str(), told.state.as_str()), ("symlink", "local_only"));
        assert_eq!((told.next, told.not_yet), (None, Vec::new()));
    }
}
