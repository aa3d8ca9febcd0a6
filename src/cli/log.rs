//! The log: text or JSON, on stderr or in a file of bounded size.
//!
//! At `info` and above no line names a file of the user; inode numbers do, which `ncfs explain --ino`
//! translates. Two processes of a mount write to one file: each looks before a line whether the file
//! has grown too long, and one of them puts it aside as `ncfs.log.old`.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{Flock, FlockArg};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{LogFormat, LogLevel, ServeConfig};
use crate::supervise;

/// A file that has grown beyond this is put aside, over the one before. Bytes.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Logs as the mount is told: ours at its level, what the libraries find worth a warning.
pub fn start(config: &ServeConfig) {
    let level = config.log_level;
    let ours = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let others = if level == LogLevel::Error { "error" } else { "warn" };
    let filter = EnvFilter::new(format!("{others},ncfs={ours},mount_helper={ours}"));
    let file = config.background.then(|| LogFile::open(supervise::log_file(config), LIMIT, true));
    // Without its file the log goes where stderr leads: to the same file, as it was opened.
    let (writer, ansi) = match file {
        Some(Ok(file)) => (BoxMakeWriter::new(Arc::new(file)), false),
        Some(Err(_)) => (BoxMakeWriter::new(io::stderr), false),
        None => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        .with_target(false);
    // A second call, as in tests, keeps the first.
    let _ = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// The log file of a mount.
struct LogFile {
    path: PathBuf,
    limit: u64,
    /// Whether stdout and stderr, where a panic goes, follow the file.
    redirects: bool,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: PathBuf, limit: u64, redirects: bool) -> io::Result<Self> {
        let file = Mutex::new(append_to(&path)?);
        Ok(Self { path, limit, redirects, file })
    }

    /// Puts a file that is too long aside, or follows another process that has done so.
    fn rotate(&self, file: &mut File) -> io::Result<()> {
        if file.metadata()?.len() <= self.limit {
            return Ok(());
        }
        // The lock belongs to the file that is too long: who gets it later finds another one there.
        let lock = Flock::lock(file.try_clone()?, FlockArg::LockExclusive);
        let lock = lock.map_err(|(_, errno)| io::Error::from(errno))?;
        let present = self.path.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let ours = lock.metadata()?;
        if present.is_ok_and(|present| present == (ours.dev(), ours.ino())) {
            std::fs::rename(&self.path, self.path.with_extension("log.old"))?;
        }
        *file = append_to(&self.path)?;
        if self.redirects {
            nix::unistd::dup2_stdout(&*file)?;
            nix::unistd::dup2_stderr(&*file)?;
        }
        Ok(())
    }
}

impl Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A line in a file that is too long is better than none.
        let _ = self.rotate(&mut file);
        file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a log for its owner only.
fn append_to(path: &std::path::Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_put_a_long_log_aside_once_and_lose_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ncfs.log");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let open = || LogFile::open(path.clone(), 1000, false).unwrap();
        let (one, two) = (open(), open());
        for number in 0..20 {
            for mut writer in [&one, &two] {
                writer.write_all(format!("{number:029}\n").as_bytes()).unwrap();
            }
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let lines = read("ncfs.log.old").lines().count() + read("ncfs.log").lines().count();
        assert_eq!(lines, 40);
        assert!(read("ncfs.log").lines().count() < 10, "the second put the new file aside, too");
        for name in ["ncfs.log", "ncfs.log.old"] {
            let mode = dir.path().join(name).metadata().unwrap().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
