//! The server, in the domain's words.
//!
//! [`Remote`] is what the rooms above know of a server. Behind it: `webdav/` speaks RFC 4918 and
//! parses what comes back, `nextcloud/` adds what Nextcloud and ownCloud have beyond it (user id,
//! capabilities, quota, chunked upload), `plain/` makes up for what servers lack that have nothing
//! beyond it. [`find_account`] finds out which of them it is. This room is the only user of HTTP.
//!
//! What every implementation guarantees:
//! - Each call is one attempt at one change. Reads (`list`, `look`, `read`) may be repeated inside;
//!   changes never are: whoever calls decides from the [`RemoteError`] whether to look first.
//! - Nothing outside the mounted remote directory is ever named: paths are [`RemotePath`]s, and
//!   hrefs of the server that lead elsewhere are dropped or refused.
//! - Bodies are bounded or streamed, and drained or closed: an unread GET locks the file on the
//!   server (FACTS 4).

mod capabilities;
mod connect;
mod credential;
mod error;
mod names;
pub mod nextcloud;
mod plain;
mod webdav;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use capabilities::{Capabilities, Conditions, Vendor};
pub use connect::{
    ConnectConfig, ConnectError, Connection, Identity, KnownAccount, find_account, known_account,
};
pub use credential::{Credential, CredentialSource, Secret};
pub use error::RemoteError;
pub use names::{BadRemoteName, NameRules};
pub use webdav::MetricsSnapshot;

use crate::types::{ByteRange, Etag, FileId, RemotePath, Sha1Sum, Version};

pub type Result<T> = std::result::Result<T, RemoteError>;

/// How far below the named directory a listing goes (RFC 4918, 10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The directory and its children.
    Children,
    /// The directory and all below.
    Everything,
}

/// One file or directory of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the mounted remote directory, not below the listed one.
    pub path: RemotePath,
    pub is_dir: bool,
    /// For a directory the etag is the tag that changes with anything below it.
    pub version: Version,
    /// The letters of `oc:permissions` (FACTS 8); `None` where the server has none.
    pub permissions: Option<Box<str>>,
    /// The root of a received share or other mounted storage (`nc:is-mount-root`).
    pub mount_root: bool,
}

/// A listing on its way: the entries come as the server sends them, in no order, the listed
/// directory itself among them.
pub struct Listing {
    /// The server's clock when it began to answer (`Date`), seconds since the epoch.
    pub server_time: Option<i64>,
    /// Ends after the first error. A body that was cut short is an error, never a short listing.
    pub entries: BoxStream<'static, Result<Entry>>,
}

/// One entry, and the server's clock at that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub server_time: Option<i64>,
    pub entry: Entry,
}

/// The bytes of a file on their way.
pub struct Body {
    /// What of the file follows.
    pub range: ByteRange,
    /// The tag that came with them.
    pub etag: Option<Etag>,
    /// Exactly `range.len()` bytes, or an error.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

/// The content of an upload, readable more than once and in parts.
pub trait Source: Send + Sync {
    /// Bytes of the whole.
    fn size(&self) -> u64;

    /// The bytes of `range`, which lies within `size`. An `Err` in the stream aborts the request in
    /// a way that leaves no complete body on the server: the content changed, or cannot be read.
    fn read(&self, range: ByteRange) -> BoxStream<'static, std::io::Result<Bytes>>;
}

/// What must hold on the server for an upload to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutIf {
    /// The name is free.
    Free,
    /// The name holds a file with this tag.
    Holds(Etag),
}

/// What must hold of the target of a rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveIf {
    /// The target name is free (`Overwrite: F`).
    Free,
    /// The target is a file with this tag, which is replaced (`If: <target> (["tag"])`).
    Holds(Etag),
}

/// What goes with the bytes of an upload.
#[derive(Clone)]
pub struct Upload {
    pub source: Arc<dyn Source>,
    pub condition: PutIf,
    /// Seconds since the epoch. Clamped by the implementation to what the server takes (FACTS 5).
    pub mtime: i64,
    pub checksum: Option<Sha1Sum>,
}

/// What the server said of a file that it took.
///
/// The version carries what was sent (size, mtime where the server accepted it, checksum) and what
/// the answer told (tag, file id); the upload time is not told.
pub type Written = Version;

/// How full the account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes used.
    pub used: u64,
    /// Bytes that may still be used; `None` when unlimited or not told.
    pub available: Option<u64>,
}

/// A server with one account and one remote directory on it.
#[async_trait]
pub trait Remote: Send + Sync + 'static {
    fn capabilities(&self) -> &Capabilities;

    /// Lists a directory. [`RemoteError::NotFound`] when it is not there,
    /// [`RemoteError::NotADirectory`] when it is a file.
    async fn list(&self, path: &RemotePath, depth: Depth) -> Result<Listing>;

    /// Looks at one entry without its children.
    async fn look(&self, path: &RemotePath) -> Result<Look>;

    /// Reads a file or a part of it. With `only`, other content than that tag's is
    /// [`RemoteError::PreconditionFailed`]. A range that begins at or after the end of the file is
    /// [`RemoteError::OutOfRange`], every range of an empty file with it. A whole directory is
    /// [`RemoteError::Conflict`].
    async fn read(
        &self,
        path: &RemotePath,
        range: Option<ByteRange>,
        only: Option<&Etag>,
    ) -> Result<Body>;

    /// Reads all of a former content of a file, if the server keeps such (FACTS 13).
    /// [`RemoteError::NotFound`] if not.
    async fn read_former(&self, _version: &Version) -> Result<Body> {
        Err(RemoteError::NotFound)
    }

    /// Stores a whole file. The name's content is either what it was or all of the source, but for
    /// a torn PUT of at most [`PLAIN_OVERWRITE_MAX`] bytes over an existing file (FACTS 0.2).
    /// A name that [`NameRules`] refuses can look taken: check it before.
    async fn put(&self, path: &RemotePath, upload: Upload) -> Result<Written>;

    /// Creates a directory; [`RemoteError::Exists`] when the name is taken by anything.
    async fn make_dir(&self, path: &RemotePath) -> Result<Option<FileId>>;

    /// Renames a file or directory; what is moved keeps its id, tag and times.
    /// `source` is the tag that a file must have to be moved.
    async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        source: Option<&Etag>,
        target: MoveIf,
    ) -> Result<()>;

    /// Copies a file on the server to a free name.
    async fn copy(&self, from: &RemotePath, to: &RemotePath, source: Option<&Etag>) -> Result<()>;

    /// Deletes a file that has this tag, or (without a tag) a directory with all in it.
    async fn delete(&self, path: &RemotePath, only: Option<&Etag>) -> Result<()>;

    /// Sets a file's modification time, seconds since the epoch, if it has this tag.
    async fn set_mtime(&self, path: &RemotePath, mtime: i64, only: Option<&Etag>) -> Result<()>;

    /// Lets the next request try a password again that was refused: somebody says that it is right.
    fn retry_login(&self) {}

    /// Asks how full the account is.
    async fn quota(&self) -> Result<Quota>;
}

/// The earliest modification time that can be sent: a Nextcloud answers 500 to earlier ones, after it
/// has stored the body (FACTS 0.5). Seconds since the epoch.
const MTIME_MIN: i64 = 86_401;

/// The modification time that is sent for this one, seconds since the epoch.
pub fn sendable_mtime(mtime: i64) -> i64 {
    mtime.max(MTIME_MIN)
}

/// Overwrites of existing files up to this size are one PUT, larger ones a chunked upload: a cut PUT
/// destroys the old content on the server (FACTS 0.2). Bytes.
pub const PLAIN_OVERWRITE_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
