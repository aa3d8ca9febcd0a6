//! What is known of a server's software beyond what RFC 4918 demands. `docs/servers.md` has the
//! measurements.
//!
//! Servers announce next to nothing, and trying a condition on somebody's files is out of the
//! question. So only what was measured on a software that says which it is counts as given; of all
//! others the worst is assumed.

use crate::remote::connect::ServerHeaders;
use crate::remote::{Capabilities, Conditions, NameRules, Vendor};

/// Where content gathers that is not whole yet, in the mounted directory; see [`super::put`].
pub const UPLOADS: &str = ".ncfs-uploads";

/// The first rclone of which it was measured that it takes modification times.
const RCLONE_MTIME: (u32, u32) = (1, 75);

/// What can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// `If: <path> (["tag"]) ([W/"tag"])` is checked on PUT and DELETE, and on both ends of MOVE and
    /// COPY.
    pub if_lists: bool,
    /// A PUT that is cut on its way leaves what was there.
    pub atomic_put: bool,
    /// MKCOL of a name that is taken fails.
    pub honest_mkcol: bool,
    /// PROPPATCH of `d:lastmodified` sets the modification time.
    pub sets_mtime: bool,
    /// `Depth: infinity` is answered.
    pub depth_infinity: bool,
    /// Names that the server keeps for itself.
    reserved: &'static [&'static str],
}

impl Profile {
    pub fn of(headers: &ServerHeaders) -> Self {
        if headers.dav.contains("http://apache.org/dav/propset/fs/") {
            return Self {
                if_lists: true,
                atomic_put: true,
                honest_mkcol: true,
                // A .htaccess that is no configuration puts its whole directory out of service.
                reserved: &[".dav", ".htaccess", ".htpasswd"],
                ..Self::default()
            };
        }
        if headers.product() == "rclone" {
            let mut numbers = headers.version().split('.').map(|part| part.parse().unwrap_or(0));
            let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            return Self {
                sets_mtime: version >= RCLONE_MTIME,
                depth_infinity: true,
                ..Self::default()
            };
        }
        Self::default()
    }

    pub fn capabilities(self) -> Capabilities {
        let mut names = NameRules::permissive();
        names.forbidden_names = self.reserved.iter().map(|name| (*name).into()).collect();
        names.forbidden_names.push(UPLOADS.into());
        Capabilities {
            vendor: Vendor::Webdav,
            tags_propagate: false,
            depth_infinity: self.depth_infinity,
            file_ids: false,
            sets_mtime: self.sets_mtime,
            conditions: Conditions {
                put: self.if_lists,
                delete: self.if_lists,
                // The tag that comes with the bytes is compared.
                read: true,
                move_source: self.if_lists,
                move_target: self.if_lists,
            },
            names,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Name;

    fn profile(server: &str, dav: &str) -> Profile {
        Profile::of(&ServerHeaders { server: server.into(), dav: dav.into() })
    }

    #[test]
    fn of_an_unknown_server_the_worst_is_assumed() {
        let unknown = profile("nginx", "1, 2").capabilities();
        let Conditions { put, delete, read, move_source, move_target } = unknown.conditions;
        assert!(!put && !delete && !move_source && !move_target && read);
        assert!(!unknown.depth_infinity && !unknown.sets_mtime && !unknown.file_ids);
    }

    #[test]
    fn apache_is_known_by_its_properties_however_it_calls_itself() {
        let apache = profile("", "1,2, <http://apache.org/dav/propset/fs/1>");
        assert!(apache.if_lists && apache.atomic_put && !apache.depth_infinity);
        let names = apache.capabilities().names;
        for name in [".htaccess", ".DAV", UPLOADS] {
            assert!(names.check(&Name::new(name.as_bytes()).unwrap()).is_err(), "{name}");
        }
        // Another store behind the same server.
        assert!(!profile("Apache/2.4.62", "1, 2, <http://subversion.tigris.org/x>").if_lists);
    }

    #[test]
    fn rclone_takes_times_from_a_version_on() {
        assert!(profile("rclone/v1.75.2", "1, 2").sets_mtime);
        assert!(profile("rclone/v2.0.0-beta", "1, 2").sets_mtime);
        assert!(!profile("rclone/v1.61.1", "1, 2").sets_mtime);
        assert!(!profile("rclone/next", "1, 2").sets_mtime);
    }
}
