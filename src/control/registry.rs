//! Where sockets are, and which mount each belongs to.
//!
//! `$NCFS_RUNTIME_DIR`, or `$XDG_RUNTIME_DIR/ncfs`, or for root `/run/ncfs`, or `/tmp/ncfs-UID`: the
//! first that can be used. In it `ID.json` and `ID.sock` for every mount, ID being a hash of the
//! mount point. All of them are searched, as a daemon may have been started with other variables
//! than the command that asks for it.
//!
//! The directory is ours alone (0700, checked), so what stands in it is trusted. Changes are made
//! under a lock of the directory: a stale pair is never removed while a daemon replaces it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::{ControlError, Result};

/// What is known of a mount without asking its daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Absolute, without symlinks.
    #[serde(with = "crate::path_text")]
    pub mountpoint: PathBuf,
    /// Process that serves the file system.
    pub daemon_pid: u32,
    /// Process that mounted it and will unmount it.
    pub supervisor_pid: u32,
    /// Where unsent files are.
    #[serde(with = "crate::path_text")]
    pub state_dir: PathBuf,
    /// Where the daemon listens.
    #[serde(with = "crate::path_text")]
    pub socket: PathBuf,
}

impl Record {
    /// Whether the process that mounted it is there, so that a daemon that died is replaced.
    pub(super) fn is_supervised(&self) -> bool {
        let supervisor = i32::try_from(self.supervisor_pid).ok().map(Pid::from_raw);
        // EPERM is a sign of life, too; but then it is not ours.
        supervisor.is_some_and(|pid| kill(pid, None).is_ok())
    }
}

/// A private directory for sockets and records.
#[derive(Clone, Debug)]
pub struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// The directory in which a daemon of this user registers; made if missing.
    pub fn create() -> Result<Self> {
        let mut refusal = None;
        for path in candidates() {
            match Self::at(path) {
                Ok(directory) => return Ok(directory),
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or_else(|| ControlError::RuntimeDir {
            path: PathBuf::new(),
            reason: "no directory to try".to_owned(),
        }))
    }

    /// This directory, made if missing. It must belong to this user and to nobody else.
    pub fn at(path: PathBuf) -> Result<Self> {
        let refuse = |reason: String| ControlError::RuntimeDir { path: path.clone(), reason };
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(refuse(cause.to_string())),
        }
        Self::existing(&path).map_err(refuse)
    }

    fn existing(path: &Path) -> std::result::Result<Self, String> {
        let metadata = path.symlink_metadata().map_err(|cause| cause.to_string())?;
        if !metadata.is_dir() {
            return Err("it is not a directory".to_owned());
        }
        if metadata.uid() != geteuid().as_raw() {
            return Err("it belongs to somebody else".to_owned());
        }
        if metadata.mode() & 0o077 != 0 {
            return Err("others have access to it (chmod 700)".to_owned());
        }
        Ok(Self(path.to_owned()))
    }

    /// The directories in which mounts of this user can be. One of ours that cannot be trusted is
    /// told of, for what is in it is not looked at; so is one that was named and cannot be used.
    fn searched(candidates: Vec<PathBuf>) -> Result<Vec<Self>> {
        let is_only = candidates.len() == 1;
        let mut directories = Vec::new();
        for path in candidates {
            let metadata = path.symlink_metadata();
            let is_missing = matches!(&metadata, Err(e) if e.kind() == io::ErrorKind::NotFound);
            let is_ours = metadata.is_ok_and(|metadata| metadata.uid() == geteuid().as_raw());
            match Self::existing(&path) {
                Ok(directory) => directories.push(directory),
                Err(reason) if is_ours || is_only && !is_missing => {
                    return Err(ControlError::RuntimeDir { path, reason });
                }
                // Somebody else's: ours are in another one.
                Err(_) => {}
            }
        }
        Ok(directories)
    }

    /// Where the daemon of this mount point listens.
    pub fn socket(&self, mountpoint: &Path) -> PathBuf {
        self.0.join(format!("{}.sock", id(mountpoint)))
    }

    fn record(&self, mountpoint: &Path) -> PathBuf {
        self.0.join(format!("{}.json", id(mountpoint)))
    }

    fn lock(&self) -> Result<Flock<File>> {
        let directory = File::open(&self.0).map_err(|cause| self.failed(cause))?;
        Flock::lock(directory, FlockArg::LockExclusive)
            .map_err(|(_, errno)| self.failed(errno.into()))
    }

    fn failed(&self, cause: io::Error) -> ControlError {
        ControlError::Io { path: self.0.clone(), cause }
    }

    /// Listens for a mount and makes it known, in place of a predecessor that has ended.
    pub(super) fn register(&self, record: &Record) -> Result<UnixListener> {
        let _lock = self.lock()?;
        let socket = &record.socket;
        if listens(socket) {
            return Err(ControlError::AlreadyServed(record.mountpoint.clone()));
        }
        remove_if_there(socket)?;
        let listener = UnixListener::bind(socket).map_err(|cause| failed_at(socket, cause))?;
        std::fs::set_permissions(socket, Permissions::from_mode(0o600))
            .map_err(|cause| failed_at(socket, cause))?;
        write_record(&self.record(&record.mountpoint), record)?;
        Ok(listener)
    }

    /// Takes back what [`RuntimeDir::register`] made, unless a successor has taken its place: the
    /// listener must be closed before.
    pub(super) fn unregister(&self, mountpoint: &Path) -> Result<()> {
        let _lock = self.lock()?;
        if !listens(&self.socket(mountpoint)) {
            remove_if_there(&self.record(mountpoint))?;
            remove_if_there(&self.socket(mountpoint))?;
        }
        Ok(())
    }

    /// Reads all records; those without a daemon and without a process that starts one are removed.
    fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(|cause| self.failed(cause))? {
            let path = entry.map_err(|cause| self.failed(cause))?.path();
            if path.extension() != Some("json".as_ref()) {
                continue;
            }
            let Ok(text) = std::fs::read(&path) else { continue };
            let Ok(record) = serde_json::from_slice::<Record>(&text) else { continue };
            if listens(&record.socket) || record.is_supervised() {
                records.push(record);
            } else {
                self.unregister(&record.mountpoint)?;
            }
        }
        Ok(records)
    }
}

/// The living mounts of this user, by mount point.
pub fn list() -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for directory in RuntimeDir::searched(candidates())? {
        records.extend(directory.records()?);
    }
    records.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
    records.dedup_by(|a, b| a.socket == b.socket);
    Ok(records)
}

/// The living mount that holds this resolved path: the innermost if mounts are nested.
pub fn find(path: &Path) -> Result<Option<Record>> {
    let holders = list()?.into_iter().filter(|record| path.starts_with(&record.mountpoint));
    Ok(holders.max_by_key(|record| record.mountpoint.as_os_str().len()))
}

fn candidates() -> Vec<PathBuf> {
    let variable = |name| {
        std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute())
    };
    if let Some(named) = variable("NCFS_RUNTIME_DIR") {
        return vec![named];
    }
    let uid = geteuid();
    let mut candidates: Vec<_> =
        variable("XDG_RUNTIME_DIR").map(|path| path.join("ncfs")).into_iter().collect();
    candidates.push(if uid.is_root() {
        PathBuf::from("/run/ncfs")
    } else {
        PathBuf::from(format!("/run/user/{uid}/ncfs"))
    });
    candidates.push(PathBuf::from(format!("/tmp/ncfs-{uid}")));
    candidates.dedup();
    candidates
}

/// Whether a process accepts connections there. A full queue (EAGAIN) is a sign of life.
fn listens(socket: &Path) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(cause) => {
            !matches!(cause.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        }
    }
}

/// Enough of a hash that two mount points of one user do not meet; a socket's path has 107 bytes.
fn id(mountpoint: &Path) -> String {
    let digest = Sha1::digest(mountpoint.as_os_str().as_bytes());
    digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}

fn write_record(path: &Path, record: &Record) -> Result<()> {
    let written = || -> io::Result<()> {
        let draft = path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        std::fs::rename(&draft, path)
    };
    written().map_err(|cause| failed_at(path, cause))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(failed_at(path, cause)),
        _ => Ok(()),
    }
}

fn failed_at(path: &Path, cause: io::Error) -> ControlError {
    ControlError::Io { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn directory() -> (tempfile::TempDir, RuntimeDir) {
        let holder = tempfile::tempdir().unwrap();
        let directory = RuntimeDir::at(holder.path().join("run")).unwrap();
        (holder, directory)
    }

    fn record(directory: &RuntimeDir, mountpoint: &Path) -> Record {
        Record {
            mountpoint: mountpoint.to_owned(),
            daemon_pid: 1,
            supervisor_pid: u32::MAX,
            state_dir: "/state".into(),
            socket: directory.socket(mountpoint),
        }
    }

    #[test]
    fn a_registered_mount_is_found_by_bytes_that_are_not_text() {
        let (_holder, directory) = directory();
        let mountpoint = PathBuf::from(std::ffi::OsString::from_vec(b"/m/\xff 100%".to_vec()));
        let record = record(&directory, &mountpoint);
        let _listener = directory.register(&record).unwrap();
        assert_eq!(directory.records().unwrap(), [record]);
    }

    #[test]
    fn a_mount_whose_daemon_died_is_forgotten() {
        let (_holder, directory) = directory();
        let record = record(&directory, Path::new("/m"));
        drop(directory.register(&record).unwrap());
        assert!(record.socket.exists());
        assert_eq!(directory.records().unwrap(), []);
        assert!(!record.socket.exists() && !directory.record(Path::new("/m")).exists());
    }

    #[test]
    fn a_dead_predecessor_is_replaced_and_a_living_one_is_not() {
        let (_holder, directory) = directory();
        let record = record(&directory, Path::new("/m"));
        drop(directory.register(&record).unwrap());
        let _living = directory.register(&record).unwrap();
        let error = directory.register(&record).unwrap_err();
        assert!(matches!(error, ControlError::AlreadyServed(_)), "{error}");
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let (_holder, directory) = directory();
        std::fs::set_permissions(&directory.0, Permissions::from_mode(0o750)).unwrap();
        let error = RuntimeDir::at(directory.0).unwrap_err();
        assert!(matches!(error, ControlError::RuntimeDir { .. }), "{error}");
    }

    #[test]
    fn a_directory_that_may_hide_a_mount_is_told_of() {
        let (holder, directory) = directory();
        let (open, missing) = (holder.path().join("open"), holder.path().join("missing"));
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        let searched = |paths: &[&Path]| {
            RuntimeDir::searched(paths.iter().map(|path| path.to_path_buf()).collect())
                .map(|found| found.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(searched(&[&missing]), Ok(0));
        assert_eq!(searched(&[&missing, &directory.0]), Ok(1));
        assert!(searched(&[&directory.0, &open]).unwrap_err().contains("chmod 700"));
        // As where XDG_RUNTIME_DIR is still that of the user before su.
        let elsewhere = Path::new("/proc/self/mounts/ncfs");
        assert_eq!(searched(&[elsewhere, &directory.0]), Ok(1));
        assert!(searched(&[elsewhere]).is_err());
    }
}
