//! The directory into which files are rescued: the only place that is written to.
//!
//! It was empty, so all in it is ours. Names come from [`RemotePath`], which has no `..` and no slash
//! in a name; every file is made anew and never opened through a symlink.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::{LIST, Report, RescueError};
use crate::tree::Node;
use crate::types::{Name, RemotePath, Time};

/// The longest name of most file systems, in bytes.
const NAME_MAX: usize = 255;

/// Names tried when one is taken.
const NUMBERED: u32 = 10_000;

/// The target of a rescue.
pub struct Target {
    root: PathBuf,
    list: File,
    room: TempDir,
    /// Whether the root was made here.
    made: bool,
    /// Where directories of the mount are in the target.
    directories: HashMap<RemotePath, PathBuf>,
}

impl Target {
    /// Takes a new or empty directory outside of the state directory.
    pub fn prepare(path: &Path, state_dir: &Path) -> Result<Self, RescueError> {
        let failed = |cause| RescueError::Target { path: path.to_path_buf(), cause };
        let made = !path.try_exists().map_err(failed)?;
        // What is above it, resolved, says where it will be.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let above = parent.unwrap_or(Path::new(".")).canonicalize().map_err(failed)?;
        if above.starts_with(state_dir) {
            return Err(RescueError::Inside(path.to_path_buf()));
        }
        if made {
            DirBuilder::new().mode(0o700).create(path).map_err(failed)?;
        }
        let root = path.canonicalize().map_err(failed)?;
        if root.starts_with(state_dir) {
            return Err(RescueError::Inside(root));
        }
        if fs::read_dir(&root).map_err(failed)?.next().is_some() {
            return Err(RescueError::NotEmpty(root));
        }
        let list = create_new(&root.join(LIST)).map_err(failed)?;
        let room = tempfile::Builder::new().prefix(".ncfs-rescue-").tempdir_in(&root);
        let room = room.map_err(failed)?;
        let directories = HashMap::from([(RemotePath::root(), root.clone())]);
        Ok(Self { root, list, room, made, directories })
    }

    /// A directory for a while, in the target.
    pub fn room(&self) -> &Path {
        self.room.path()
    }

    /// Leaves everything as it was: nothing was rescued.
    pub fn abandon(self) {
        drop(self.room);
        // What stays behind is an empty list, and it says as much.
        let _ = fs::remove_file(self.root.join(LIST));
        if self.made {
            let _ = fs::remove_dir(&self.root);
        }
    }

    /// Makes a directory and those above it. Gives its path in the target.
    pub fn directory(&mut self, path: &RemotePath) -> io::Result<String> {
        let made = self.make(path)?;
        Ok(self.shown(&made))
    }

    /// Begins a file, which has no name before it is told how much of it is there.
    pub fn begin(&self) -> io::Result<File> {
        let path = self.begun();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => create_new(&path),
        }
    }

    fn begun(&self) -> PathBuf {
        self.room().join("begun")
    }

    /// Gives the file that was begun its name, and tells its path in the target.
    pub fn name(&mut self, path: &RemotePath, suffix: &str) -> io::Result<String> {
        let begun = self.begun();
        let ((), named) = self.numbered(path, suffix, |at| {
            // Not over anything: the name is taken first.
            create_new(at)?;
            fs::rename(&begun, at).inspect_err(|_| drop(fs::remove_file(at)))
        })?;
        Ok(self.shown(&named))
    }

    pub fn symlink(&mut self, path: &RemotePath, to: &[u8]) -> io::Result<String> {
        let to = OsStr::from_bytes(to);
        let ((), made) = self.numbered(path, "", |at| std::os::unix::fs::symlink(to, at))?;
        Ok(self.shown(&made))
    }

    /// Writes the list and brings everything to the disk.
    pub fn write_list(mut self, report: &Report) -> Result<(), RescueError> {
        drop(self.room);
        let written = self
            .list
            .write_all(report.to_string().as_bytes())
            .and_then(|()| Ok(nix::unistd::syncfs(&self.list)?));
        written.map_err(|cause| RescueError::Target { path: self.root.join(LIST), cause })
    }

    fn make(&mut self, path: &RemotePath) -> io::Result<PathBuf> {
        if let Some(made) = self.directories.get(path) {
            return Ok(made.clone());
        }
        let build = |at: &Path| DirBuilder::new().mode(0o700).create(at);
        let ((), made) = self.numbered(path, "", build)?;
        self.directories.insert(path.clone(), made.clone());
        Ok(made)
    }

    /// Makes something under the path's own name, or a numbered one if that is taken: the target's
    /// file system may take for one name what were two.
    fn numbered<T>(
        &mut self,
        path: &RemotePath,
        suffix: &str,
        make: impl Fn(&Path) -> io::Result<T>,
    ) -> io::Result<(T, PathBuf)> {
        let (Some(name), Some(parent)) = (path.0.last(), path.parent()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = self.make(&parent)?;
        for number in 1..NUMBERED {
            let mut tail = suffix.to_owned();
            if number > 1 {
                tail.insert_str(0, &format!(" ({number})"));
            }
            let mut bytes = shortened(name, NAME_MAX.saturating_sub(tail.len())).to_vec();
            bytes.extend_from_slice(tail.as_bytes());
            let at = directory.join(OsStr::from_bytes(&bytes));
            match make(&at) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return Ok((made?, at)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// The beginning of a name that has at most so many bytes, and ends with a whole character.
fn shortened(name: &Name, most: usize) -> &[u8] {
    let bytes = name.as_bytes();
    let is_start = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let end = (0..=most.min(bytes.len())).rev().find(is_start).unwrap_or_default();
    bytes.get(..end).unwrap_or_default()
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Gives a file the time and permissions that it had.
pub fn dress(file: &File, node: Option<&Node>) -> io::Result<()> {
    let Some(node) = node else { return Ok(()) };
    file.set_permissions(fs::Permissions::from_mode(u32::from(node.attr.mode & 0o777)))?;
    file.set_modified(system_time(node.attr.mtime))
}

fn system_time(time: Time) -> SystemTime {
    let since = Duration::from_nanos(time.0.unsigned_abs());
    match time.0 {
        0.. => UNIX_EPOCH + since,
        _ => UNIX_EPOCH - since,
    }
}
