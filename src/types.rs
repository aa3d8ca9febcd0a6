//! The vocabulary that crosses rooms: newtypes instead of bare integers and strings.
//!
//! Every type here is plain data. A [`Name`] or a [`RemotePath`] that exists is valid: it can be
//! joined, stored and sent without another check.

use std::fmt;

/// Number of a node, stable for the life of the state directory: its row id, never reused.
/// The default is no node's number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The mounted root (FUSE_ROOT_ID of fuse.h).
    pub const ROOT: Ino = Ino(1);
}

impl fmt::Debug for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ino{}", self.0)
    }
}

/// An open file or directory of the kernel; counts up, never reused within a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileHandle(pub u64);

/// Number of one immutable content of one node: given anew whenever a remote version is first seen or
/// an upload ends, so that a cached byte can never be taken for one of another version, whatever
/// the server's tags say. Never reused within a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub u64);

/// Number of a staging file. Never reused within a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StagingId(pub u64);

/// The server's own stable number of a file or folder (`oc:fileid`), as text because not every
/// server counts in decimals (FACTS 16). Not unique: one share may be reachable twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub Box<str>);

/// An entity tag, opaque, quotes included, without `W/` and `-gzip`. Not a content hash and not
/// unique (FACTS 0.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Etag(pub Box<str>);

/// SHA-1 of a file's bytes, as sent in and listed by `OC-Checksum: SHA1:..`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha1Sum(pub [u8; 20]);

impl fmt::Display for Sha1Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha1Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha1:{self}")
    }
}

impl std::str::FromStr for Sha1Sum {
    type Err = ();

    /// Reads 40 hexadecimal digits in either case.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut sum = [0; 20];
        if text.len() != 40 || !text.is_ascii() {
            return Err(());
        }
        for (index, byte) in sum.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| ())?;
        }
        Ok(Self(sum))
    }
}

/// What the server held at one moment under one name.
///
/// The tag alone lies (FACTS 0.1), so two versions are the same only when nothing that both of
/// them know differs: see [`Version::agrees`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub file_id: Option<FileId>,
    pub etag: Option<Etag>,
    /// Seconds since the epoch; the server keeps no fractions (FACTS 5).
    pub mtime: i64,
    /// Bytes. For a directory the recursive sum where the server tells it, else 0.
    pub size: u64,
    /// Seconds since the epoch of the last upload (`nc:upload_time`), where it was listed.
    pub upload_time: Option<i64>,
    /// What a client sent as checksum: `Some(None)` when a listing showed that there is none.
    pub checksum: Option<Option<Sha1Sum>>,
}

impl Version {
    /// Whether both descriptions can be of the same bytes of the same object: fields that one side
    /// does not know are passed over.
    pub fn agrees(&self, other: &Version) -> bool {
        fn known<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            matches!((a, b), (Some(a), Some(b)) if a != b)
        }
        self.mtime == other.mtime
            && self.size == other.size
            && !known(&self.file_id, &other.file_id)
            && !known(&self.etag, &other.etag)
            && !known(&self.upload_time, &other.upload_time)
            && !known(&self.checksum, &other.checksum)
    }
}

/// One component of a path: 1 to 255 bytes, no slash, no NUL, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks the bytes; what the server would refuse beyond this is the business of
    /// [`crate::remote::NameRules`].
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, BadName> {
        let bytes = bytes.into();
        match &*bytes {
            b"" | b"." | b".." => Err(BadName::Reserved),
            long if long.len() > 255 => Err(BadName::TooLong),
            inner if inner.contains(&b'/') || inner.contains(&0) => Err(BadName::Forbidden),
            _ => Ok(Self(bytes)),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text of the name; `None` when it is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// What makes names one name: NFC, as the server stores them (FACTS 3). Bytes that are not
    /// UTF-8 stand for themselves.
    pub fn key(&self) -> NameKey {
        use unicode_normalization::{UnicodeNormalization, is_nfc};
        match self.as_str() {
            Some(text) if !text.is_ascii() && !is_nfc(text) => {
                NameKey(text.nfc().collect::<String>().into_bytes().into())
            }
            _ => NameKey(self.0.clone()),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The NFC form of a [`Name`]: equal keys are one name on the server and so here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(pub Box<[u8]>);

/// Why bytes are not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("the name is empty, \".\" or \"..\"")]
    Reserved,
    #[error("the name has more than 255 bytes")]
    TooLong,
    #[error("the name has a slash or a NUL byte")]
    Forbidden,
}

/// A path below the mounted remote directory; empty for that directory itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePath(pub Vec<Name>);

impl RemotePath {
    pub fn root() -> Self {
        Self::default()
    }

    pub fn join(&self, name: &Name) -> Self {
        let mut names = self.0.clone();
        names.push(name.clone());
        Self(names)
    }

    /// Its length in bytes as the server counts it, with a slash before each name.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|name| 1 + name.key().0.len()).sum()
    }

    /// The directory that holds it; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

/// Bytes `start..end` of a file; never inverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    pub start: u64,
    pub end: u64,
}

impl ByteRange {
    pub fn new(start: u64, end: u64) -> Self {
        Self { start, end: end.max(start) }
    }

    /// `len` bytes from `start`; the end saturates.
    pub fn at(start: u64, len: u64) -> Self {
        Self { start, end: start.saturating_add(len) }
    }

    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What both have in common; empty when they do not meet.
    pub fn intersection(&self, other: ByteRange) -> ByteRange {
        let start = self.start.max(other.start);
        ByteRange::new(start, self.end.min(other.end))
    }
}

/// A point in time with the resolution of a file system: nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    pub fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Whole seconds, rounded towards the past.
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// The fraction of the second, 0 to 999,999,999.
    pub fn subsec_nanos(self) -> u32 {
        self.0.rem_euclid(1_000_000_000) as u32
    }

    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1_000_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decomposed_name_has_the_key_of_its_composed_spelling() {
        let composed = Name::new("caf\u{e9}".as_bytes()).unwrap();
        let decomposed = Name::new("cafe\u{301}".as_bytes()).unwrap();
        assert_ne!(composed, decomposed);
        assert_eq!(composed.key(), decomposed.key());
    }

    #[test]
    fn names_that_could_leave_their_directory_do_not_exist() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_before_the_epoch_keep_a_positive_fraction() {
        let time = Time(-1);
        assert_eq!((time.secs(), time.subsec_nanos()), (-1, 999_999_999));
    }

    #[test]
    fn a_version_agrees_with_itself_known_in_less_detail_only_while_nothing_differs() {
        let full = Version {
            file_id: Some(FileId("7".into())),
            etag: Some(Etag("\"e\"".into())),
            mtime: 5,
            size: 3,
            upload_time: Some(5),
            checksum: Some(None),
        };
        let answer = Version { upload_time: None, checksum: None, ..full.clone() };
        assert!(full.agrees(&answer) && answer.agrees(&full));
        assert!(!full.agrees(&Version { upload_time: Some(6), ..full.clone() }));
        assert!(!full.agrees(&Version { checksum: Some(Some(Sha1Sum([0; 20]))), ..full.clone() }));
    }
}
