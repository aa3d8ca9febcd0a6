//! What the servers of the simulation can do: a Nextcloud, and plain ones that can less and less.

use crate::remote::{Capabilities, Conditions, NameRules, Vendor};

/// What a file's tag is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// Modification time, inode and size, and kept when the second did not change (FACTS 0.1).
    Nextcloud,
    /// Another one for every content.
    Unique,
    /// Modification second and size, whatever the file.
    Weak,
}

/// One kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: &'static str,
    /// The test that tries histories with it.
    pub test: &'static str,
    pub vendor: Vendor,
    pub tags_propagate: bool,
    pub depth_infinity: bool,
    pub file_ids: bool,
    pub sets_mtime: bool,
    pub conditions: Conditions,
    pub tags: Tags,
}

pub const NEXTCLOUD: Profile = Profile {
    name: "nextcloud",
    test: "every_history_with_a_nextcloud",
    vendor: Vendor::Nextcloud,
    tags_propagate: true,
    depth_infinity: true,
    file_ids: true,
    sets_mtime: true,
    conditions: Conditions::ALL,
    tags: Tags::Nextcloud,
};

/// As Apache's mod_dav: good tags and conditions, and nothing else.
pub const APACHE: Profile = Profile {
    name: "apache",
    test: "every_history_with_an_apache",
    vendor: Vendor::Webdav,
    tags_propagate: false,
    depth_infinity: false,
    file_ids: false,
    sets_mtime: false,
    conditions: Conditions::ALL,
    tags: Tags::Unique,
};

/// As `rclone serve webdav`: times can be set, tags are weak, uploads and deletions unconditional.
pub const RCLONE: Profile = Profile {
    name: "rclone",
    test: "every_history_with_rclone",
    depth_infinity: true,
    sets_mtime: true,
    conditions: Conditions { put: false, delete: false, ..Conditions::ALL },
    tags: Tags::Weak,
    ..APACHE
};

/// The least that can be mounted.
pub const BARE: Profile = Profile {
    name: "bare",
    test: "every_history_with_a_bare",
    conditions: Conditions {
        put: false,
        delete: false,
        read: false,
        move_source: false,
        move_target: false,
    },
    tags: Tags::Weak,
    ..APACHE
};

impl Default for Profile {
    fn default() -> Self {
        NEXTCLOUD
    }
}

impl Profile {
    pub fn capabilities(self) -> Capabilities {
        Capabilities {
            vendor: self.vendor,
            tags_propagate: self.tags_propagate,
            depth_infinity: self.depth_infinity,
            file_ids: self.file_ids,
            sets_mtime: self.sets_mtime,
            conditions: self.conditions,
            names: NameRules::nextcloud(),
        }
    }

    /// Whether it keeps checksums and upload times, and shows no file before it is whole.
    pub fn is_nextcloud(self) -> bool {
        self.vendor == Vendor::Nextcloud
    }
}
