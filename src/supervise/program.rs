//! Which file is executed as `ncfs serve`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the kernel puts after the path of an executed file that was removed or replaced.
const DELETED: &[u8] = b" (deleted)";

/// A program that can be executed whatever becomes of its path.
pub(super) struct Program(File);

impl Program {
    /// The one that this process executes.
    pub fn own() -> io::Result<Self> {
        Self::open(Path::new("/proc/self/exe"))
    }

    /// The one that is at present at the path of the one that this process executes.
    pub fn at_own_path() -> io::Result<Self> {
        Self::open(&without_mark(std::fs::read_link("/proc/self/exe")?))
    }

    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("{} is not a program", path.display())));
        }
        Ok(Self(file))
    }

    /// A path under which this process, and one that it forks, can execute it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

fn without_mark(path: PathBuf) -> PathBuf {
    let bytes = path.into_os_string().into_vec();
    OsStr::from_bytes(bytes.strip_suffix(DELETED).unwrap_or(&bytes)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_a_replaced_program_is_no_part_of_its_path() {
        assert_eq!(without_mark("/usr/bin/ncfs (deleted)".into()), Path::new("/usr/bin/ncfs"));
        assert_eq!(without_mark("/usr/bin/ncfs".into()), Path::new("/usr/bin/ncfs"));
    }

    #[test]
    fn a_program_runs_after_its_path_was_taken_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::copy("/bin/true", &path).unwrap();
        let program = Program::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::copy("/bin/false", &path).unwrap();
        assert!(std::process::Command::new(program.path()).status().unwrap().success());
        assert!(Program::open(directory.path()).is_err());
    }
}
