//! A person with an account on a server who mounts it with the real program.
//!
//! Whatever a test leaves behind, on failure too, is unmounted and removed when it is dropped.

mod machine;
mod person;
mod server;
mod wait;

use std::cell::{Ref, RefCell};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use ncfs::control::Status;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use testcloud::{Config, Testcloud};

pub use self::machine::{Machine, ORDINARY, on_a_machine_of_its_own};
pub use self::person::{as_an_ordinary_user, as_root};
pub(crate) use self::person::{for_both, on_every_server};
use self::server::Server;
pub use self::server::local_tree;
pub use self::wait::eventually;

/// What a daemon may take up.
const ANONYMOUS_KIB: u64 = 60 * 1024;

/// The account, and its login name.
pub const USER: &str = "alice";

/// The program, where everybody may execute it: a target directory can be out of reach for others.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_ncfs"));
        let directory = tempfile::Builder::new().prefix("ncfs-program-").tempdir().unwrap();
        person::open_to_all(directory.path());
        let path = directory.path().join("ncfs");
        std::fs::hard_link(built, &path)
            .or_else(|_| std::fs::copy(built, &path).map(drop))
            .unwrap();
        // Statics are never dropped, so the end of the process removes it.
        person::remove_at_exit(directory.keep());
        path
    })
}

/// An account with an app password, and room for a mount.
pub struct Fixture {
    server: RefCell<Server>,
    pub password: String,
    home: TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        Self::on(Config::default())
    }

    /// One whose home is that of a new user: no directory to mount at, no credentials.
    pub fn with_empty_home() -> Self {
        let fixture = Self::new();
        std::fs::remove_dir(fixture.mountpoint()).unwrap();
        std::fs::remove_file(fixture.path("credentials.json")).unwrap();
        fixture
    }

    /// A server that is configured otherwise; the account is added.
    pub fn on(mut config: Config) -> Self {
        config.listen = (own_address(), 0).into();
        let cloud = Testcloud::start(config.user(USER, "login password")).unwrap();
        let password = cloud.add_app_password(USER);
        Self::with(Server::Cloud(cloud), password)
    }

    /// A plain WebDAV server that others wrote.
    pub fn plain(kind: servers::Kind) -> Self {
        let server = servers::Server::start(kind).unwrap();
        Self::with(Server::Plain(server), servers::PASSWORD.to_owned())
    }

    fn with(server: Server, password: String) -> Self {
        let home = tempfile::Builder::new().prefix("ncfs-test-").tempdir().unwrap();
        let fixture = Self { server: RefCell::new(server), password, home };
        std::fs::create_dir(fixture.path("mnt")).unwrap();
        fixture.write_credentials(&fixture.password, 0o600);
        fixture
    }

    /// The testcloud; another client's hands on it.
    #[track_caller]
    pub fn cloud(&self) -> Ref<'_, Testcloud> {
        Ref::map(self.server.borrow(), |server| match server {
            Server::Cloud(cloud) => cloud,
            Server::Plain(_) => panic!("this scenario is for a testcloud only"),
        })
    }

    /// Kills the server: nobody listens at its address any more.
    pub fn stop_server(&self) {
        match &mut *self.server.borrow_mut() {
            Server::Cloud(cloud) => cloud.stop(),
            Server::Plain(server) => server.stop(),
        }
    }

    pub fn restart_server(&self) {
        match &mut *self.server.borrow_mut() {
            Server::Cloud(cloud) => cloud.restart().unwrap(),
            Server::Plain(server) => server.restart().unwrap(),
        }
    }

    /// Something beside the mount, on the disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    pub fn mountpoint(&self) -> PathBuf {
        self.path("mnt")
    }

    pub fn write_credentials(&self, password: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let text = serde_json::json!({
            "server": self.url(), "login_name": USER, "app_password": password,
        });
        let path = self.path("credentials.json");
        std::fs::write(&path, text.to_string()).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }

    /// The program with nothing inherited that could steer it.
    pub fn ncfs(&self) -> Command {
        self.ncfs_at(program())
    }

    /// The same for the program at this path.
    pub fn ncfs_at(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path())
            .env("NCFS_RUNTIME_DIR", self.path("run"))
            .stdin(Stdio::null());
        command
    }

    /// A shell that finds the program, with as little in its environment.
    pub fn shell(&self) -> Command {
        let path = std::env::var("PATH").unwrap();
        let found = format!("{}:{path}:/usr/sbin:/sbin", program().parent().unwrap().display());
        let mut command = Command::new("bash");
        command.args(["--norc", "--noprofile", "-s"]).current_dir(self.home.path());
        command.env_clear().env("PATH", found).env("TZ", "UTC");
        command.env("HOME", self.home.path().canonicalize().unwrap());
        command.env("NCFS_RUNTIME_DIR", self.path("run"));
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.ncfs().args(arguments).output().unwrap()
    }

    /// Tries to mount; the options come before the address.
    pub fn try_mount(&self, options: &[&str]) -> Output {
        self.try_mount_from(&self.url(), options)
    }

    /// Tries to mount what is at this address.
    pub fn try_mount_from(&self, url: &str, options: &[&str]) -> Output {
        self.mount_by(self.ncfs(), url, options)
    }

    /// Mounts by this command.
    #[track_caller]
    pub fn mount_with_program(&self, command: Command) -> Mount<'_> {
        let output = self.mount_by(command, &self.cloud().url(), &[]);
        assert!(output.status.success(), "{output:?}\n{}", self.log());
        self.mounted()
    }

    /// Mounts so that the serving process dies at the points named, as src/fault.rs has them.
    #[track_caller]
    pub fn mount_dying_at(&self, points: &str) -> Mount<'_> {
        let mut command = self.ncfs();
        command.env("NCFS_DIE_AT", points);
        self.mount_with_program(command)
    }

    fn mount_by(&self, mut command: Command, url: &str, options: &[&str]) -> Output {
        let mut arguments = vec!["mount", "--credentials-file", "credentials.json"];
        arguments.extend(["--state-dir", "state", "--cache-dir", "cache"]);
        arguments.extend(["--poll-interval", "1s", "--log-level", "debug"]);
        arguments.extend(options);
        arguments.extend([url, "mnt"]);
        // An option that is given twice is an error, so of the test's and ours one is left out.
        command.args(without_overridden(&arguments)).output().unwrap()
    }

    #[track_caller]
    pub fn mount(&self) -> Mount<'_> {
        self.mount_with(&[])
    }

    #[track_caller]
    pub fn mount_with(&self, options: &[&str]) -> Mount<'_> {
        let output = self.try_mount(options);
        assert!(output.status.success(), "{output:?}\n{}", self.log());
        self.mounted()
    }

    /// What a test mounted by itself.
    pub fn mounted(&self) -> Mount<'_> {
        assert!(self.is_mounted());
        Mount { fixture: self }
    }

    /// What the mounts in the background have logged so far.
    pub fn log(&self) -> String {
        let usual = std::fs::read_dir(self.path(".local/state/ncfs")).into_iter().flatten();
        let usual = usual.filter_map(|entry| Some(entry.ok()?.path()));
        let directories = usual.chain([self.path("state")]);
        let logs = directories.map(|directory| std::fs::read_to_string(directory.join("ncfs.log")));
        logs.filter_map(Result::ok).collect()
    }

    /// Forgets what was fetched, as a new machine has it.
    pub fn empty_cache(&self) {
        std::fs::remove_dir_all(self.path("cache")).unwrap();
    }

    pub fn is_mounted(&self) -> bool {
        self.mounts().contains(&self.mountpoint())
    }

    /// Where something is mounted below the home.
    fn mounts(&self) -> Vec<PathBuf> {
        // Of this thread, which may see others than the rest of the process.
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let paths = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
        let home = self.path("");
        paths.filter(|path| path.starts_with(&home)).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // What a test did not unmount itself: it may have failed, and may have left it dead.
        for mountpoint in self.mounts() {
            let mut unmount = self.ncfs();
            let _ = unmount.arg("unmount").arg(mountpoint).args(["--timeout", "1s"]).output();
        }
        while let Some(mountpoint) = self.mounts().pop() {
            let mut detach = Command::new("fusermount3");
            detach.arg("-uz").arg(&mountpoint).stderr(Stdio::null());
            if !detach.status().is_ok_and(|status| status.success()) {
                eprintln!("{} stays mounted", mountpoint.display());
                return;
            }
        }
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("What ncfs logged:\n{log}");
        }
        if let Some(at) = log.find("panicked at").filter(|_| !std::thread::panicking()) {
            let text: String = log[at..].chars().take(1000).collect();
            panic!("the program is broken although nobody noticed: {text}");
        }
    }
}

/// A loopback address that no other server and no client uses, so that the port is still free when
/// a stopped server comes back.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + COUNT.fetch_add(1, Ordering::Relaxed) % 250, high, low)
}

/// Drops the first of two options with the same name; all of them have one value or none.
fn without_overridden<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < arguments.len() {
        let again = arguments[at].starts_with("--") && arguments[at + 1..].contains(&arguments[at]);
        if again {
            at += 2;
        } else {
            kept.push(arguments[at]);
            at += 1;
        }
    }
    kept
}

/// A mount. It ends by one of the methods, or with the fixture.
#[derive(Clone, Copy)]
pub struct Mount<'a> {
    fixture: &'a Fixture,
}

impl Mount<'_> {
    /// A path in the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.fixture.mountpoint().join(name)
    }

    /// Waits until the server has everything.
    #[track_caller]
    pub fn flush(&self) {
        let output = self.fixture.run(&["flush", "mnt", "--timeout", "60s"]);
        assert!(output.status.success(), "{output:?}\n{}", self.fixture.log());
        self.assert_is_small();
    }

    /// Checks that the daemon keeps within its memory, whatever it has just done.
    #[track_caller]
    fn assert_is_small(&self) {
        let daemon = self.status().daemon_pid;
        let status = std::fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let kib: u64 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < ANONYMOUS_KIB, "{kib} KiB of anonymous memory");
    }

    #[track_caller]
    pub fn status(&self) -> Status {
        let output = self.fixture.run(&["status", "mnt", "--json"]);
        assert!(output.status.success(), "{output:?}\n{}", self.fixture.log());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Unmounts with everything sent.
    #[track_caller]
    pub fn unmount(self) {
        let output = self.unmount_with(&[]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Unmounts as far as that goes.
    #[track_caller]
    pub fn unmount_with(self, options: &[&str]) -> Output {
        let output = self.fixture.run(&[&["unmount", "mnt"], options].concat());
        assert!(!self.fixture.is_mounted(), "{output:?}");
        output
    }

    /// Ends the process that serves, in the middle of whatever it does, and waits for the one that
    /// takes over.
    #[track_caller]
    pub fn kill(&self) {
        let [daemon, _] = self.processes();
        kill(Pid::from_raw(daemon), Signal::SIGKILL).unwrap();
        eventually("another process serves", || self.processes()[0] != daemon);
    }

    /// Makes so many requests that no death counts as one right after the start.
    pub fn use_a_lot(&self) {
        for _ in 0..120 {
            nix::sys::statvfs::statvfs(&self.fixture.mountpoint()).unwrap();
        }
    }

    /// The processes of the mount: who serves it, and who mounted it.
    #[track_caller]
    pub fn processes(&self) -> [i32; 2] {
        let daemon = self.status().daemon_pid.cast_signed();
        let status = std::fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        [daemon, parent.trim().parse().unwrap()]
    }

    /// Ends all processes of the mount, as the kernel does with a container that is out of memory.
    /// The mount stays behind, dead.
    #[track_caller]
    pub fn kill_all(self) {
        let [daemon, supervisor] = self.processes();
        // The supervisor first, or it would unmount.
        for pid in [supervisor, daemon] {
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
        // Attributes may be in the kernel still; this is always asked.
        let answer = || nix::sys::statvfs::statvfs(&self.fixture.mountpoint());
        eventually("the mount is dead", || answer() == Err(nix::errno::Errno::ENOTCONN));
    }
}

/// Runs a program of the system to its end and gives its output; it must succeed.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Python, as whoever runs the test may start it: the first on the path can be in root's home.
pub fn python() -> Command {
    let path = std::env::var_os("PATH").unwrap();
    let works = |program: &PathBuf| {
        let tried = Command::new(program).args(["-c", "import sqlite3"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let mut programs = std::env::split_paths(&path).map(|directory| directory.join("python3"));
    Command::new(programs.find(works).expect("no python3 with sqlite3 on the path"))
}

/// Bytes without a pattern, others for another seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    use rand::{RngExt, SeedableRng};
    let mut bytes = vec![0; length];
    rand::rngs::SmallRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}
