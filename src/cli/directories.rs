//! Where a mount keeps its state and its cache.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use crate::failure::{ExitCode, Failure};
use crate::server_url::ServerUrl;
use crate::types::RemotePath;

/// Which account and directory something belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    pub server: &'a ServerUrl,
    pub login_name: &'a str,
    pub remote_dir: &'a RemotePath,
    /// It was said to be plain WebDAV: what else looks like a page of a Nextcloud is the address, too.
    pub is_plain: bool,
}

impl Account<'_> {
    /// A name for a directory: readable first, then enough of a hash that two accounts never share
    /// one. `cloud.example.com-alice-Photos-1f2e3d4c5b`.
    fn slug(self) -> String {
        let address = if self.is_plain { self.server.as_typed() } else { self.server.as_url() };
        let address = address.as_str().trim_end_matches('/');
        let whole = format!("{address}\0{}\0{}", self.login_name, self.remote_dir);
        let hash: String =
            Sha1::digest(whole).iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        let readable = format!("{}-{}{}", self.server.host(), self.login_name, self.remote_dir);
        let readable: String = readable
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._@".contains(c) { c } else { '-' })
            .take(80)
            .collect();
        format!("{}-{hash}", readable.trim_matches(['-', '.']))
    }
}

/// The directory that was named, or that of this account below one of the user's standard
/// directories (XDG Base Directory Specification). Absolute, on a disk, neither below the mount point
/// nor above it, and without files of somebody else's.
pub fn choose(
    named: Option<&Path>,
    kind: Kind,
    account: Account<'_>,
    mountpoint: &Path,
) -> Result<PathBuf, Failure> {
    let path = match named {
        Some(path) => std::path::absolute(path).map_err(|cause| {
            let sentence = format!("{} cannot be used: {cause}", path.display());
            Failure::new(ExitCode::State, sentence)
        })?,
        None => kind.base()?.join("ncfs").join(account.slug()),
    };
    let path = resolve_existing(&path);
    if path.starts_with(mountpoint) {
        let sentence = format!(
            "the {} directory {} is below the mount point, where it would disappear; name another \
             with {}",
            kind.name(),
            path.display(),
            kind.option()
        );
        return Err(Failure::new(ExitCode::State, sentence));
    }
    if mountpoint.starts_with(&path) {
        let sentence = format!(
            "the mount point {} is in the {} directory {}; name another directory for one of them",
            mountpoint.display(),
            kind.name(),
            path.display()
        );
        return Err(Failure::new(ExitCode::MountPoint, sentence));
    }
    let is_mount = |path: &&Path| mount_helper::is_mounted(path).unwrap_or(false);
    if let Some(mount) = path.ancestors().find(is_mount) {
        let sentence = format!(
            "the {} directory {} is in the ncfs mount {}; name one on a disk of this machine with {}",
            kind.name(),
            path.display(),
            mount.display(),
            kind.option()
        );
        return Err(Failure::new(ExitCode::State, sentence));
    }
    if let Some(name) = strange(&path, kind) {
        let sentence = format!(
            "{} cannot be the {} directory: it holds other files ({}), which could be deleted; name \
             a new or empty directory with {}",
            path.display(),
            kind.name(),
            name.display(),
            kind.option()
        );
        return Err(Failure::new(ExitCode::State, sentence));
    }
    Ok(path)
}

/// Something in the directory that is not ours, unless ncfs has used the directory before: the daemon
/// deletes or moves what it finds under the names of its own files.
fn strange(path: &Path, kind: Kind) -> Option<OsString> {
    if path.join(kind.mark()).exists() {
        return None;
    }
    // What cannot be read cannot be written either, as its first use tells.
    let names = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
    names.into_iter().find(|name| !kind.beginnings().iter().any(|known| name == known))
}

/// Which of the two directories.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    State,
    Cache,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Cache => "cache",
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::State => "--state-dir",
            Self::Cache => "--cache-dir",
        }
    }

    /// What is in every directory of this kind that was used.
    fn mark(self) -> &'static str {
        match self {
            Self::State => "state.db",
            Self::Cache => "owner",
        }
    }

    /// What can be there before that: of a mount that did not come about, and of the file system whose
    /// root it is.
    fn beginnings(self) -> &'static [&'static str] {
        match self {
            Self::State => &["state.lock", "ncfs.log", "ncfs.log.old", "lost+found"],
            Self::Cache => &["lock", "owner.new", "lost+found"],
        }
    }

    fn base(self) -> Result<PathBuf, Failure> {
        let (variable, below_home) = match self {
            Self::State => ("XDG_STATE_HOME", ".local/state"),
            Self::Cache => ("XDG_CACHE_HOME", ".cache"),
        };
        let absolute = |name| {
            std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute())
        };
        absolute(variable)
            .or_else(|| absolute("HOME").map(|home| home.join(below_home)))
            .ok_or_else(|| {
                let sentence = format!(
                    "there is no home directory (HOME is not set); name a {} directory with {}",
                    self.name(),
                    self.option()
                );
                Failure::new(ExitCode::State, sentence)
            })
    }
}

/// Resolves symlinks in what exists of the path, and appends the rest.
fn resolve_existing(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(resolved) = ancestor.canonicalize()
            && let Ok(rest) = path.strip_prefix(ancestor)
        {
            return if rest.as_os_str().is_empty() { resolved } else { resolved.join(rest) };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Name;

    fn server() -> ServerUrl {
        "https://cloud.example.com:8443/nc".parse().unwrap()
    }

    fn account<'a>(
        server: &'a ServerUrl,
        login_name: &'a str,
        remote_dir: &'a RemotePath,
    ) -> Account<'a> {
        Account { server, login_name, remote_dir, is_plain: false }
    }

    #[test]
    fn two_directories_of_one_host_are_two_accounts_where_it_is_plain_webdav() {
        let root = RemotePath::root();
        let slug = |address: &str, is_plain| {
            let server = address.parse().unwrap();
            Account { is_plain, ..account(&server, "alice", &root) }.slug()
        };
        let (one, other) = ("https://h.org/remote.php/webdav", "https://h.org/remote.php/dav");
        assert_ne!(slug(one, true), slug(other, true));
        // Of a Nextcloud both are pages.
        assert_eq!(slug(one, false), slug(other, false));
        assert_eq!(slug(one, false), slug("https://h.org", true));
    }

    #[test]
    fn two_accounts_never_share_a_directory_and_a_name_cannot_leave_it() {
        let server = server();
        let root = RemotePath::root();
        let photos = RemotePath(vec![Name::new(&b"Photos"[..]).unwrap()]);
        let slug = |login_name, remote_dir| account(&server, login_name, remote_dir).slug();
        assert!(slug("alice", &photos).starts_with("cloud.example.com-8443-alice-Photos-"));
        assert_ne!(slug("alice", &root), slug("alice", &photos));
        assert_ne!(slug("a/b", &root), slug("a-b", &root));
        for odd in ["../../etc", "..", "\u{fc}ber", &"x".repeat(300)] {
            let slug = slug(odd, &root);
            assert!(slug.len() < 128 && !slug.contains('/') && !slug.starts_with('.'), "{slug}");
        }
    }

    #[test]
    fn a_directory_below_the_mount_point_is_refused_also_through_a_symlink() {
        let holder = tempfile::tempdir().unwrap();
        let base = holder.path().canonicalize().unwrap();
        let mountpoint = base.join("m");
        std::fs::create_dir(&mountpoint).unwrap();
        std::os::unix::fs::symlink(&mountpoint, base.join("link")).unwrap();
        let server = server();
        let remote_dir = RemotePath::root();
        let account = account(&server, "alice", &remote_dir);
        let chosen = |path: &str| choose(Some(&base.join(path)), Kind::State, account, &mountpoint);
        for below in ["m", "m/state", "link/new/state"] {
            let failure = chosen(below).unwrap_err();
            assert_eq!(failure.exit_code, ExitCode::State, "{below}");
        }
        assert_eq!(chosen("m-state").unwrap(), base.join("m-state"));
        assert_eq!(chosen(".").unwrap_err().exit_code, ExitCode::MountPoint);
    }

    #[test]
    fn a_directory_with_other_files_is_refused_and_one_that_was_begun_or_used_is_not() {
        let holder = tempfile::tempdir().unwrap();
        let base = holder.path().canonicalize().unwrap();
        let (server, remote_dir) = (server(), RemotePath::root());
        let account = account(&server, "alice", &remote_dir);
        let chosen = |kind| choose(Some(&base.join("d")), kind, account, Path::new("/m"));
        let add = |name: &str| std::fs::create_dir(base.join("d").join(name)).unwrap();
        add("");
        // The root of a disk; a mount that was refused.
        for name in ["lost+found", "lock", "state.lock", "ncfs.log"] {
            add(name);
        }
        assert!(chosen(Kind::State).unwrap_err().sentence.contains("(lock)"));
        std::fs::remove_dir(base.join("d/lock")).unwrap();
        assert_eq!(chosen(Kind::State).unwrap(), base.join("d"));
        // Pictures by month, which a cache would take for its own.
        add("12");
        for kind in [Kind::State, Kind::Cache] {
            let failure = chosen(kind).unwrap_err();
            assert_eq!(failure.exit_code, ExitCode::State);
            assert!(failure.sentence.contains(kind.option()), "{failure}");
            add(kind.mark());
            assert!(chosen(kind).is_ok());
        }
    }
}
