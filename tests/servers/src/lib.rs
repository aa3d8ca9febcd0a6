//! WebDAV servers that nobody here wrote, for the tests: Apache's mod_dav and `rclone serve webdav`.
//!
//! Each [`Server`] listens on a port of its own on loopback, asks for [`USER`] and [`PASSWORD`], keeps
//! its files in a directory of its own and dies with the thread that started it, whatever happens to
//! the process. `scripts/setup test` installs the programs; without one of them a test fails.

mod apache;
mod rclone;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::Signal;

pub const USER: &str = "alice";
pub const PASSWORD: &str = "secret";

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether it does: there is nothing to wait on.
const LOOK: Duration = Duration::from_millis(10);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache 2.4 with mod_dav and mod_dav_fs, of the distribution.
    Apache,
    /// rclone of the distribution.
    Rclone,
    /// The newest rclone, from PyPI.
    NewestRclone,
}

/// A running server; it ends when this is dropped.
pub struct Server {
    kind: Kind,
    address: SocketAddr,
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl Server {
    /// Starts one with an empty directory.
    pub fn start(kind: Kind) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ncfs-server-").tempdir()?;
        // Whoever the server runs as must be able to reach its files.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let address = TcpListener::bind((own_address(), 0))?.local_addr()?;
        let mut server = Self { kind, address, directory, child: None };
        fs::create_dir(server.files())?;
        server.hand_over(&server.files())?;
        server.restart()?;
        Ok(server)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The address of its WebDAV directory.
    pub fn url(&self) -> String {
        let path = if self.kind == Kind::Apache { apache::PREFIX } else { "" };
        format!("http://{}{path}", self.address)
    }

    /// Where its files are on the disk.
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// Makes a directory behind its back, with all above it.
    pub fn make_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut at = self.files();
        for name in path.as_ref().components() {
            at.push(name);
            if !at.is_dir() {
                fs::create_dir(&at)?;
                self.hand_over(&at)?;
            }
        }
        Ok(())
    }

    /// Writes a file behind its back, with all directories above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
        let path = path.as_ref();
        self.make_dir(path.parent().unwrap_or(Path::new("")))?;
        let target = self.files().join(path);
        fs::write(&target, content)?;
        self.hand_over(&target)?;
        self.settle();
        Ok(())
    }

    /// Waits until what was changed behind its back is what it shows: nothing tells when.
    pub fn settle(&self) {
        match self.kind {
            Kind::Apache => {}
            Kind::Rclone | Kind::NewestRclone => thread::sleep(rclone::CACHED),
        }
    }

    /// Kills it. Its files and its address stay.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again with the same files at the same address.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        let mut command = match self.kind {
            Kind::Apache => apache::command(self.directory.path(), self.address)?,
            Kind::Rclone => rclone::command(Path::new("rclone"), &self.files(), self.address),
            Kind::NewestRclone => rclone::command(&rclone::newest(), &self.files(), self.address),
        };
        let parent = nix::unistd::getpid();
        // SAFETY: both are system calls that a child may make between fork and exec.
        unsafe {
            command.pre_exec(move || {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                match nix::unistd::getppid() == parent {
                    true => Ok(()),
                    false => Err(io::ErrorKind::NotConnected.into()),
                }
            });
        }
        let log = fs::File::create(self.directory.path().join("output"))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            io::Error::new(error.kind(), format!("{program}: {error}; run scripts/setup test"))
        })?;
        self.child = Some(child);
        self.wait()
    }

    /// Waits until it listens.
    fn wait(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if ended || Instant::now() > deadline {
                self.stop();
                let output = self.directory.path().join("output");
                let why = fs::read_to_string(output).unwrap_or_default();
                return Err(io::Error::other(format!("{:?} does not listen: {why}", self.kind)));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Gives a path to the user that the server runs as.
    fn hand_over(&self, path: &Path) -> io::Result<()> {
        match self.kind {
            Kind::Apache => apache::hand_over(path),
            Kind::Rclone | Kind::NewestRclone => Ok(()),
        }
    }
}

/// A loopback address that nothing else uses, so that the port which was free a moment ago still is.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + COUNT.fetch_add(1, Ordering::Relaxed) % 250, low, high)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
