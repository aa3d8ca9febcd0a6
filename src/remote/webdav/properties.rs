//! The properties that a listing asks for, and what their texts mean (FACTS 2).
//!
//! One table serves both directions: the request names what is in it, the parser knows what is in
//! it and passes over everything else. Every property is optional (FACTS 16).

use super::tag;
use crate::types::{Etag, FileId, Sha1Sum};

/// The XML namespaces in use. Prefixes mean nothing: servers make them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    Dav,
    Owncloud,
    Nextcloud,
    Other,
}

impl Namespace {
    pub fn of(uri: &str) -> Self {
        match uri {
            "DAV:" => Self::Dav,
            "http://owncloud.org/ns" => Self::Owncloud,
            "http://nextcloud.org/ns" => Self::Nextcloud,
            _ => Self::Other,
        }
    }
}

/// What a server is asked for, and believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// What RFC 4918 has. No ids, checksums and permissions, and directories have no tags: those of
    /// most servers do not change with what is below.
    Plain,
    /// What Nextcloud and ownCloud have beyond it.
    Cloud,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    Tag,
    Modified,
    Length,
    Kind,
    FileId,
    Size,
    Permissions,
    Checksums,
    UploadTime,
    MountRoot,
    QuotaUsed,
    QuotaAvailable,
}

/// Namespace, prefix in requests, local name, meaning.
const TABLE: [(Namespace, &str, &str, Property); 12] = [
    (Namespace::Dav, "d", "getetag", Property::Tag),
    (Namespace::Dav, "d", "getlastmodified", Property::Modified),
    (Namespace::Dav, "d", "getcontentlength", Property::Length),
    (Namespace::Dav, "d", "resourcetype", Property::Kind),
    (Namespace::Owncloud, "oc", "fileid", Property::FileId),
    (Namespace::Owncloud, "oc", "size", Property::Size),
    (Namespace::Owncloud, "oc", "permissions", Property::Permissions),
    (Namespace::Owncloud, "oc", "checksums", Property::Checksums),
    (Namespace::Nextcloud, "nc", "upload_time", Property::UploadTime),
    (Namespace::Nextcloud, "nc", "is-mount-root", Property::MountRoot),
    (Namespace::Dav, "d", "quota-used-bytes", Property::QuotaUsed),
    (Namespace::Dav, "d", "quota-available-bytes", Property::QuotaAvailable),
];

/// What is asked of an account and not of entries (RFC 4331).
const QUOTA: [Property; 2] = [Property::QuotaUsed, Property::QuotaAvailable];

impl Property {
    /// The property with this name, if it is one that we ask for.
    pub fn named(namespace: Namespace, local: &str) -> Option<Self> {
        let found = TABLE.iter().find(|(space, _, name, _)| *space == namespace && *name == local);
        found.map(|(.., property)| *property)
    }
}

/// The body of a PROPFIND of entries.
pub fn request_body(vocabulary: Vocabulary) -> String {
    body(|namespace, property| {
        !QUOTA.contains(&property)
            && (vocabulary == Vocabulary::Cloud || namespace == Namespace::Dav)
    })
}

/// The body of a PROPFIND of how full an account is.
pub fn quota_body() -> String {
    body(|_, property| QUOTA.contains(&property))
}

fn body(wanted: impl Fn(Namespace, Property) -> bool) -> String {
    let asked: String = TABLE
        .iter()
        .filter(|(namespace, .., property)| wanted(*namespace, *property))
        .map(|(_, prefix, name, _)| format!("<{prefix}:{name}/>"))
        .collect();
    format!(
        "<?xml version=\"1.0\"?><d:propfind xmlns:d=\"DAV:\" \
         xmlns:oc=\"http://owncloud.org/ns\" xmlns:nc=\"http://nextcloud.org/ns\">\
         <d:prop>{asked}</d:prop></d:propfind>"
    )
}

/// What a server told of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    pub tag: Option<Etag>,
    /// Seconds since the epoch.
    pub modified: Option<i64>,
    /// Bytes, of a file.
    pub length: Option<u64>,
    /// Whether it is a collection.
    pub is_dir: Option<bool>,
    pub file_id: Option<FileId>,
    /// Bytes; of a directory the recursive sum.
    pub size: Option<u64>,
    pub permissions: Option<Box<str>>,
    pub checksum: Option<Sha1Sum>,
    /// Seconds since the epoch.
    pub upload_time: Option<i64>,
    pub mount_root: Option<bool>,
    /// Bytes. Negative numbers stand for unlimited, unknown, not computed (FACTS 2): not told.
    pub quota_used: Option<u64>,
    pub quota_available: Option<u64>,
}

impl Properties {
    /// Takes in the text of one property. What cannot be understood stays unknown.
    pub fn set(&mut self, property: Property, text: &str) {
        let text = text.trim();
        match property {
            Property::Tag => self.tag = tag::parse(text),
            Property::Modified => self.modified = tag::date(text),
            Property::Length => self.length = text.parse().ok(),
            // Told by a child element; without one it is a file.
            Property::Kind => _ = self.is_dir.get_or_insert(false),
            Property::FileId => self.file_id = (!text.is_empty()).then(|| FileId(text.into())),
            // -1 of a folder whose size is not computed yet is no size.
            Property::Size => self.size = text.parse().ok(),
            Property::Permissions => self.permissions = Some(text.into()),
            // Told by child elements.
            Property::Checksums => {}
            Property::UploadTime => self.upload_time = text.parse().ok(),
            Property::MountRoot => self.mount_root = Some(matches!(text, "true" | "1")),
            Property::QuotaUsed => self.quota_used = text.parse().ok(),
            Property::QuotaAvailable => self.quota_available = text.parse().ok(),
        }
    }

    /// Picks the SHA-1 out of `SHA1:.. MD5:.. ADLER32:..`.
    pub fn add_checksums(&mut self, text: &str) {
        for one in text.split_whitespace() {
            if let Some((kind, hex)) = one.split_once(':')
                && kind.eq_ignore_ascii_case("sha1")
            {
                self.checksum = self.checksum.or(hex.parse().ok());
            }
        }
    }

    /// Adds what another `propstat` of the same entry told.
    pub fn adopt(&mut self, other: Self) {
        self.tag = other.tag.or(self.tag.take());
        self.modified = other.modified.or(self.modified);
        self.length = other.length.or(self.length);
        self.is_dir = other.is_dir.or(self.is_dir);
        self.file_id = other.file_id.or(self.file_id.take());
        self.size = other.size.or(self.size);
        self.permissions = other.permissions.or(self.permissions.take());
        self.checksum = other.checksum.or(self.checksum);
        self.upload_time = other.upload_time.or(self.upload_time);
        self.mount_root = other.mount_root.or(self.mount_root);
        self.quota_used = other.quota_used.or(self.quota_used);
        self.quota_available = other.quota_available.or(self.quota_available);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_checksums_the_sha1_is_taken() {
        let mut properties = Properties::default();
        properties.add_checksums("MD5:abc SHA1:AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D X");
        let sum = properties.checksum.map(|sum| sum.to_string());
        assert_eq!(sum.as_deref(), Some("aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"));
    }

    #[test]
    fn a_plain_server_is_asked_only_for_what_the_rfc_has() {
        let body = request_body(Vocabulary::Plain);
        assert!(body.contains("<d:getetag/>") && !body.contains("<oc:") && !body.contains("quota"));
        assert!(request_body(Vocabulary::Cloud).contains("<oc:fileid/>"));
        assert!(quota_body().contains("<d:quota-used-bytes/>") && !quota_body().contains("etag"));
    }

    #[test]
    fn values_that_mean_nothing_stay_unknown() {
        let mut properties = Properties::default();
        properties.set(Property::Size, "-1");
        properties.set(Property::Length, "12 bytes");
        properties.set(Property::Modified, "now");
        properties.set(Property::Tag, "");
        properties.set(Property::FileId, "");
        assert_eq!(properties, Properties::default());
    }
}
