//! The tables of `state.db`, their versions, and what a row means as a [`Node`].

use std::sync::LazyLock;

use rusqlite::{Connection, Row, ToSql, params};

use super::error::TreeError;
use super::node::{Attr, Base, Body, Content, Node, Place, Push, Sent, Synced};
use crate::types::{ContentId, Etag, FileId, Ino, Name, Sha1Sum, StagingId, Time, Version};

/// The schema that this program writes. Migrations go forward only; a newer one is refused.
const SCHEMA: i64 = 1;

const CREATE: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- One row a node. parent/name/key is the local place, s_ the synced state, r_ the remote version
-- while it is not merged, b_ where the bytes are. key and s_key are the NFC forms of the names.
CREATE TABLE node (
    ino INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    parent INTEGER, name BLOB, key BLOB,
    mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
    atime INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
    size INTEGER NOT NULL,
    b_kind INTEGER, b_id INTEGER, b_base INTEGER, b_base_len INTEGER,
    target BLOB,
    listed INTEGER, tag TEXT,
    s_parent INTEGER, s_name BLOB, s_key BLOB,
    s_file_id TEXT, s_etag TEXT, s_mtime INTEGER, s_size INTEGER, s_upload INTEGER, s_sum BLOB,
    s_content INTEGER, s_permissions TEXT, s_flags INTEGER,
    r_file_id TEXT, r_etag TEXT, r_mtime INTEGER, r_size INTEGER, r_upload INTEGER, r_sum BLOB,
    mtime_set INTEGER NOT NULL,
    dirty INTEGER NOT NULL,
    changed INTEGER NOT NULL, since INTEGER NOT NULL,
    attempts INTEGER NOT NULL, not_before INTEGER NOT NULL, blocked TEXT,
    sent_size INTEGER, sent_mtime INTEGER, sent_sum BLOB,
    sent_parent INTEGER, sent_name BLOB, sent_key BLOB
);
CREATE UNIQUE INDEX node_local ON node (parent, key) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX node_synced ON node (s_parent, s_key) WHERE s_parent IS NOT NULL;
-- Ordered by ino within a parent (the row id is the last column of every index): readdir's order.
CREATE INDEX node_parent ON node (parent) WHERE parent IS NOT NULL;
CREATE INDEX node_subdirectory ON node (parent) WHERE kind = 1 AND parent IS NOT NULL;
CREATE INDEX node_unlisted ON node (ino) WHERE kind = 1 AND listed = 0;
CREATE INDEX node_file_id ON node (s_file_id) WHERE s_file_id IS NOT NULL;
CREATE INDEX node_sent ON node (sent_parent, sent_key) WHERE sent_parent IS NOT NULL;
CREATE INDEX node_dirty ON node (dirty) WHERE dirty = 1;
";

/// The rows whose name, as programs see it, holds ` (conflicted copy `; as bytes, for names are not
/// text. Nothing else is in the condition, or the index of parents would be taken.
pub(super) const IS_CONFLICT_COPY: &str =
    "instr(name, x'2028636f6e666c696374656420636f707920') > 0";

/// Brings the database to [`SCHEMA`].
pub(super) fn migrate(db: &mut Connection) -> Result<(), TreeError> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        SCHEMA => {}
        0 => {
            let tx = db.transaction()?;
            tx.execute_batch(CREATE)?;
            tx.pragma_update(None, "user_version", SCHEMA)?;
            tx.commit()?;
        }
        _ => return Err(TreeError::NewerSchema { found, known: SCHEMA }),
    }
    // An index changes no row and needs no version: whoever opens the database keeps it true.
    db.execute_batch(&format!(
        "CREATE INDEX IF NOT EXISTS node_stale ON node (ino) \
             WHERE kind = 1 AND listed = 1 AND tag IS NULL; \
         CREATE INDEX IF NOT EXISTS node_conflict_copy ON node (ino) WHERE {IS_CONFLICT_COPY}"
    ))?;
    Ok(())
}

/// The columns of a node in the order of [`read_node`] and [`write_node`].
pub(super) const COLUMNS: &str = "ino, kind, parent, name, mode, uid, gid, atime, mtime, ctime, \
    size, b_kind, b_id, b_base, b_base_len, target, listed, tag, s_parent, s_name, s_file_id, \
    s_etag, s_mtime, s_size, s_upload, s_sum, s_content, s_permissions, s_flags, r_file_id, \
    r_etag, r_mtime, r_size, r_upload, r_sum, mtime_set, changed, since, attempts, not_before, \
    blocked, sent_size, sent_mtime, sent_sum, sent_parent, sent_name";

/// Every column that is written: those of [`COLUMNS`] and what is derived from them.
const WRITTEN: usize = 46 + 4;

/// The statements that write a row; see [`write_node`].
struct Statements {
    insert: String,
    update: String,
}

static STATEMENTS: LazyLock<Statements> = LazyLock::new(|| {
    let columns = format!("{COLUMNS}, key, s_key, sent_key, dirty");
    let marks = (1..=WRITTEN).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
    Statements {
        insert: format!("INSERT INTO node ({columns}) VALUES ({marks})"),
        // Never INSERT OR REPLACE: it would silently delete another row that holds the name.
        update: format!("UPDATE node SET ({columns}) = ({marks}) WHERE ino = ?1"),
    }
});

const KIND_FILE: i64 = 0;
const KIND_DIR: i64 = 1;
const KIND_SYMLINK: i64 = 2;
const KIND_FIFO: i64 = 3;
const KIND_SOCKET: i64 = 4;

const CONTENT_EMPTY: i64 = 0;
const CONTENT_REMOTE: i64 = 1;
pub(super) const CONTENT_STAGED: i64 = 2;

const FLAG_MOUNT_ROOT: i64 = 1;
const FLAG_RACY: i64 = 2;
const FLAG_BUMPED: i64 = 4;

fn corrupt(what: &str) -> TreeError {
    TreeError::Corrupt(what.to_owned())
}

fn read_place(parent: Option<i64>, name: Option<Vec<u8>>) -> Result<Option<Place>, TreeError> {
    match (parent, name) {
        (Some(parent), Some(name)) => {
            let name = Name::new(name).map_err(|_| corrupt("a name"))?;
            Ok(Some(Place::new(Ino(parent as u64), name)))
        }
        _ => Ok(None),
    }
}

fn read_sum(bytes: Vec<u8>) -> Result<Option<Sha1Sum>, TreeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    <[u8; 20]>::try_from(bytes).map(|sum| Some(Sha1Sum(sum))).map_err(|_| corrupt("a checksum"))
}

/// Reads six version columns from `first` on; `None` when the mtime is NULL.
fn read_version(row: &Row<'_>, first: usize) -> Result<Option<Version>, TreeError> {
    let Some(mtime) = row.get::<_, Option<i64>>(first + 2)? else { return Ok(None) };
    Ok(Some(Version {
        file_id: row.get::<_, Option<String>>(first)?.map(|id| FileId(id.into())),
        etag: row.get::<_, Option<String>>(first + 1)?.map(|etag| Etag(etag.into())),
        mtime,
        size: row.get::<_, Option<i64>>(first + 3)?.unwrap_or(0) as u64,
        upload_time: row.get(first + 4)?,
        checksum: row.get::<_, Option<Vec<u8>>>(first + 5)?.map(read_sum).transpose()?,
    }))
}

/// The node of a row that was selected with [`COLUMNS`].
pub(super) fn read_node(row: &Row<'_>) -> Result<Node, TreeError> {
    let content = |row: &Row<'_>| -> Result<Content, TreeError> {
        let id = row.get::<_, Option<i64>>(12)?.unwrap_or(0) as u64;
        match row.get::<_, Option<i64>>(11)? {
            Some(CONTENT_EMPTY) => Ok(Content::Empty),
            Some(CONTENT_REMOTE) => Ok(Content::Remote(ContentId(id))),
            Some(CONTENT_STAGED) => {
                let base = match (row.get::<_, Option<i64>>(13)?, row.get::<_, Option<i64>>(14)?) {
                    (Some(content), Some(len)) => {
                        Some(Base { content: ContentId(content as u64), len: len as u64 })
                    }
                    _ => None,
                };
                Ok(Content::Staged { id: StagingId(id), base })
            }
            _ => Err(corrupt("a content")),
        }
    };
    let body = match row.get::<_, i64>(1)? {
        KIND_FILE => Body::File(content(row)?),
        KIND_DIR => Body::Dir {
            listed: row.get::<_, Option<bool>>(16)?.unwrap_or(false),
            tag: row.get::<_, Option<String>>(17)?.map(|tag| Etag(tag.into())),
        },
        KIND_SYMLINK => {
            Body::Symlink(row.get::<_, Option<Vec<u8>>>(15)?.unwrap_or_default().into())
        }
        KIND_FIFO => Body::Fifo,
        KIND_SOCKET => Body::Socket,
        _ => return Err(corrupt("a kind")),
    };
    let synced = match (read_place(row.get(18)?, row.get(19)?)?, read_version(row, 20)?) {
        (Some(place), Some(version)) => {
            let flags = row.get::<_, Option<i64>>(28)?.unwrap_or(0);
            Some(Synced {
                place,
                version,
                content: ContentId(row.get::<_, Option<i64>>(26)?.unwrap_or(0) as u64),
                permissions: row.get::<_, Option<String>>(27)?.map(Into::into),
                mount_root: flags & FLAG_MOUNT_ROOT != 0,
                racy: flags & FLAG_RACY != 0,
                bumped: flags & FLAG_BUMPED != 0,
            })
        }
        _ => None,
    };
    let sent_to = read_place(row.get(44)?, row.get(45)?)?;
    let sent = match (row.get::<_, Option<Vec<u8>>>(43)?, sent_to) {
        (Some(sum), Some(place)) => Some(Sent {
            place,
            size: row.get::<_, i64>(41)? as u64,
            mtime: row.get(42)?,
            sum: read_sum(sum)?.ok_or_else(|| corrupt("a checksum"))?,
        }),
        _ => None,
    };
    Ok(Node {
        ino: Ino(row.get::<_, i64>(0)? as u64),
        body,
        local: read_place(row.get(2)?, row.get(3)?)?,
        attr: Attr {
            mode: row.get(4)?,
            uid: row.get(5)?,
            gid: row.get(6)?,
            atime: Time(row.get(7)?),
            mtime: Time(row.get(8)?),
            ctime: Time(row.get(9)?),
            size: row.get::<_, i64>(10)? as u64,
        },
        synced,
        remote: read_version(row, 29)?,
        mtime_set: row.get(35)?,
        push: Push {
            changed: Time(row.get(36)?),
            since: Time(row.get(37)?),
            attempts: row.get(38)?,
            not_before: Time(row.get(39)?),
            blocked: row.get::<_, Option<String>>(40)?.map(Into::into),
            sent,
        },
    })
}

fn sum_bytes(sum: &Option<Option<Sha1Sum>>) -> Option<Vec<u8>> {
    sum.map(|sum| sum.map_or_else(Vec::new, |sum| sum.0.to_vec()))
}

/// Writes a node's row. `ino` is `None` for a row that gets its number now. A name that another row
/// holds is an error, and nothing is written.
pub(super) fn write_node(db: &Connection, ino: Option<Ino>, node: &Node) -> Result<(), TreeError> {
    let (kind, content, target, listed, tag) = match &node.body {
        Body::File(content) => (KIND_FILE, Some(content), None, None, None),
        Body::Dir { listed, tag } => {
            (KIND_DIR, None, None, Some(*listed), tag.as_ref().map(|tag| &*tag.0))
        }
        Body::Symlink(target) => (KIND_SYMLINK, None, Some(&target[..]), None, None),
        Body::Fifo => (KIND_FIFO, None, None, None, None),
        Body::Socket => (KIND_SOCKET, None, None, None, None),
    };
    let (b_kind, b_id, base) = match content {
        None => (None, None, None),
        Some(Content::Empty) => (Some(CONTENT_EMPTY), None, None),
        Some(Content::Remote(id)) => (Some(CONTENT_REMOTE), Some(id.0 as i64), None),
        Some(Content::Staged { id, base }) => (Some(CONTENT_STAGED), Some(id.0 as i64), *base),
    };
    let synced = node.synced.as_ref();
    let version = synced.map(|synced| &synced.version);
    let remote = node.remote.as_ref();
    let text = |id: &FileId| id.0.to_string();
    let tag_text = |etag: &Etag| etag.0.to_string();
    let flags = synced.map(|synced| {
        i64::from(synced.mount_root) * FLAG_MOUNT_ROOT
            + i64::from(synced.racy) * FLAG_RACY
            + i64::from(synced.bumped) * FLAG_BUMPED
    });
    let sent = node.push.sent.as_ref();
    let local_key = node.local.as_ref().map(|place| place.name.key());
    let sent_key = sent.map(|sent| sent.place.name.key());
    let synced_key = synced.map(|synced| synced.place.name.key());
    let values: &[&dyn ToSql] = params![
        ino.map(|ino| ino.0 as i64),
        kind,
        node.local.as_ref().map(|place| place.parent.0 as i64),
        node.local.as_ref().map(|place| place.name.as_bytes()),
        node.attr.mode,
        node.attr.uid,
        node.attr.gid,
        node.attr.atime.0,
        node.attr.mtime.0,
        node.attr.ctime.0,
        node.attr.size as i64,
        b_kind,
        b_id,
        base.map(|base| base.content.0 as i64),
        base.map(|base| base.len as i64),
        target,
        listed,
        tag,
        synced.map(|synced| synced.place.parent.0 as i64),
        synced.map(|synced| synced.place.name.as_bytes()),
        version.and_then(|version| version.file_id.as_ref().map(text)),
        version.and_then(|version| version.etag.as_ref().map(tag_text)),
        version.map(|version| version.mtime),
        version.map(|version| version.size as i64),
        version.and_then(|version| version.upload_time),
        version.and_then(|version| sum_bytes(&version.checksum)),
        synced.map(|synced| synced.content.0 as i64),
        synced.and_then(|synced| synced.permissions.as_deref()),
        flags,
        remote.and_then(|version| version.file_id.as_ref().map(text)),
        remote.and_then(|version| version.etag.as_ref().map(tag_text)),
        remote.map(|version| version.mtime),
        remote.map(|version| version.size as i64),
        remote.and_then(|version| version.upload_time),
        remote.and_then(|version| sum_bytes(&version.checksum)),
        node.mtime_set,
        node.push.changed.0,
        node.push.since.0,
        node.push.attempts,
        node.push.not_before.0,
        node.push.blocked.as_deref(),
        sent.map(|sent| sent.size as i64),
        sent.map(|sent| sent.mtime),
        sent.map(|sent| &sent.sum.0[..]),
        sent.map(|sent| sent.place.parent.0 as i64),
        sent.map(|sent| sent.place.name.as_bytes()),
        local_key.as_ref().map(|key| &key.0[..]),
        synced_key.as_ref().map(|key| &key.0[..]),
        sent_key.as_ref().map(|key| &key.0[..]),
        node.is_dirty(),
    ];
    if ino.is_some() && db.prepare_cached(&STATEMENTS.update)?.execute(values)? == 1 {
        return Ok(());
    }
    db.prepare_cached(&STATEMENTS.insert)?.execute(values)?;
    Ok(())
}
