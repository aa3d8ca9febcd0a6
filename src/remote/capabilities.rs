//! What a server can do, and how people are told what it cannot.

use serde::{Deserialize, Serialize};

use super::NameRules;

/// What kind of server it is: what it is known for beyond WebDAV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    Nextcloud,
    Owncloud,
    Webdav,
}

/// Which conditions the server itself checks, atomically with the change. Where one is `false` the
/// implementation looks, compares, acts and looks again: a change by somebody else in between is
/// not noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The tag or absence of the file that a PUT replaces or creates.
    pub put: bool,
    /// The tag of a file that is deleted.
    pub delete: bool,
    /// The tag of a file that is read.
    pub read: bool,
    /// The tag of a file that is moved or copied.
    pub move_source: bool,
    /// The tag or absence of what is at the place where something is moved or copied to.
    pub move_target: bool,
}

impl Conditions {
    /// The server checks them all.
    pub const ALL: Self =
        Self { put: true, delete: true, read: true, move_source: true, move_target: true };
}

/// What a server can do, as far as rooms above have to know.
#[derive(Clone, Debug)]
pub struct Capabilities {
    pub vendor: Vendor,
    /// Directory tags change with anything below them. Where they do not, directories have none.
    pub tags_propagate: bool,
    /// `Depth: infinity` is answered.
    pub depth_infinity: bool,
    /// Files have a stable id.
    pub file_ids: bool,
    /// The modification time can be set. Where it cannot, [`Remote::set_mtime`] is not to be asked.
    pub sets_mtime: bool,
    pub conditions: Conditions,
    /// Which names can be stored.
    pub names: NameRules,
}

impl Capabilities {
    /// What does not hold on this server, one sentence each, for `ncfs status`. `docs/servers.md`
    /// says more of each.
    pub fn not_supported(&self) -> Vec<&'static str> {
        let Conditions { put, delete, read, move_source, move_target } = self.conditions;
        let missing = [
            (
                self.tags_propagate,
                "the server does not tell where something changed: changes made elsewhere show \
                 within seconds only in directories that are in use",
            ),
            (
                self.file_ids,
                "files have no identity: what is renamed elsewhere is deleted and made anew here",
            ),
            (
                self.sets_mtime,
                "modification times cannot be set: other machines see the time of the upload",
            ),
            (
                put && delete && read && move_source && move_target,
                "the server does not check for changes made at the same moment: of two people who \
                 save one file within the same second, one may be overwritten unseen",
            ),
        ];
        missing.into_iter().filter(|(holds, _)| !holds).map(|(_, sentence)| sentence).collect()
    }
}

impl std::fmt::Display for Vendor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nextcloud => "nextcloud",
            Self::Owncloud => "owncloud",
            Self::Webdav => "webdav",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_hold_is_told() {
        let mut capabilities = Capabilities {
            vendor: Vendor::Nextcloud,
            tags_propagate: true,
            depth_infinity: true,
            file_ids: true,
            sets_mtime: true,
            conditions: Conditions::ALL,
            names: NameRules::nextcloud(),
        };
        assert!(capabilities.not_supported().is_empty());
        capabilities.conditions.delete = false;
        assert_eq!(capabilities.not_supported().len(), 1);
        capabilities.file_ids = false;
        capabilities.sets_mtime = false;
        capabilities.tags_propagate = false;
        assert_eq!(capabilities.not_supported().len(), 4);
    }
}
