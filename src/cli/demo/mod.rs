//! `ncfs demo`: the project's own small server with sample files, mounted by a real `ncfs mount`.
//!
//! All that it makes is in one temporary directory, but for the mount point; both are removed at its
//! end. If this process is killed the mount ends by itself and only the temporary directory stays.

mod samples;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use clap::Args;
use mount_helper::pass_to_child;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use tempfile::TempDir;
use testcloud::Testcloud;

use super::args::exit_codes;
use super::flush::{flush, left_over};
use crate::control;
use crate::failure::{ExitCode, Failure};
use crate::remote::Secret;
use crate::supervise::process::{
    Killed, block_signals, die_with_parent, own_program, unblock_signals, watch,
};
use crate::types::RemotePath;

const USER: &str = "demo";
/// How long the end may take. The server is on this machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Try it without a Nextcloud: a small server with sample files, mounted.
///
/// Everything that it makes is removed at its end.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct DemoArgs {
    /// Where to mount; made if missing
    #[arg(env = "NCFS_DEMO_DIR", default_value = "./ncfs-demo")]
    pub dir: PathBuf,

    /// Run this through "sh -c" instead of waiting for Ctrl-C, and end with its exit code. It finds
    /// NCFS_DEMO_DIR, NCFS_DEMO_URL (WebDAV address of the files), NCFS_DEMO_USER and
    /// NCFS_DEMO_PASSWORD
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
}

pub fn run(args: &DemoArgs) -> Result<std::process::ExitCode, Failure> {
    // Before the first thread, so that all of them leave the signals to us.
    let signals = block_signals().map_err(failed("signals cannot be received"))?;
    let password = Secret::new(format!("{:032x}", rand::random::<u128>()));
    // Dropped in the opposite order: mount, server, directories.
    let directory = MountPoint::create(&args.dir)?;
    let storage = tempfile::Builder::new()
        .prefix("ncfs-demo-")
        .tempdir()
        .map_err(failed("there is no room for the demo's files"))?;
    let cloud = start_server(&storage, &password)?;
    let mut mount = match Mount::start(&cloud, &password, &storage, &directory.path)? {
        Started::Ready(mount) => mount,
        // It has told why.
        Started::Failed(status) => return Ok(code_of(status)),
    };

    let status = match &args.exec {
        Some(command) => Some(execute(command, &cloud, &password, &directory.path, &signals)?),
        None => {
            print_tour(&cloud, &password, &directory.path);
            mount.wait_for_end_or(&signals)?;
            None
        }
    };
    let ended = mount.end();
    drop((mount, cloud, storage, directory));
    match status {
        Some(status) if !status.success() => Ok(code_of(status)),
        _ => ended.map(|()| ExitCode::Success.into()),
    }
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::new(ExitCode::Other, format_args!("{what}: {cause}"))
}

/// As a shell gives it: 128 and the signal's number for a process that was killed.
fn code_of(status: ExitStatus) -> std::process::ExitCode {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    std::process::ExitCode::from(number.and_then(|number| u8::try_from(number).ok()).unwrap_or(1))
}

/// The directory to mount at; removed again if it was made here.
struct MountPoint {
    path: PathBuf,
    is_ours: bool,
}

impl MountPoint {
    fn create(path: &Path) -> Result<Self, Failure> {
        let is_ours = match std::fs::create_dir(path) {
            Ok(()) => true,
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(cause) => {
                let sentence = format!("{} cannot be made: {cause}", path.display());
                return Err(Failure::new(ExitCode::MountPoint, sentence));
            }
        };
        Ok(Self { path: mount_helper::resolve(path)?, is_ours })
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = std::fs::remove_dir(&self.path)
        {
            eprintln!("ncfs: {} could not be removed: {error}", self.path.display());
        }
    }
}

fn start_server(storage: &TempDir, password: &Secret) -> Result<Testcloud, Failure> {
    let config = testcloud::Config::default()
        .dir(storage.path().join("server"))
        .user(USER, password.expose());
    let cloud = Testcloud::start(config).map_err(failed("the demo's server cannot be started"))?;
    samples::fill(&cloud, USER).map_err(failed("the demo's files cannot be written"))?;
    Ok(cloud)
}

/// A child `ncfs mount --foreground`. Dropping it unmounts.
struct Mount {
    supervisor: Child,
    ended: OwnedFd,
    directory: PathBuf,
}

enum Started {
    Ready(Mount),
    Failed(ExitStatus),
}

impl Mount {
    fn start(
        cloud: &Testcloud,
        password: &Secret,
        storage: &TempDir,
        directory: &Path,
    ) -> Result<Started, Failure> {
        let failed = failed("the demo cannot be mounted");
        let (credentials_out, mut credentials_in) = std::io::pipe().map_err(&failed)?;
        let (mut ready_out, ready_in) = std::io::pipe().map_err(&failed)?;
        let mut command = own_program();
        command.arg("mount").arg("--foreground");
        for (option, descriptor) in
            [("--credentials-fd", OwnedFd::from(credentials_out)), ("--ready-fd", ready_in.into())]
        {
            let number = pass_to_child(&mut command, descriptor);
            command.arg(option).arg(number.to_string());
        }
        command
            .args(["--log-level", "error", "--poll-interval", "2s", "--shutdown-timeout", "30s"])
            .arg("--state-dir")
            .arg(storage.path().join("state"))
            .arg("--cache-dir")
            .arg(storage.path().join("cache"))
            .arg(cloud.url())
            .arg(directory);
        for (name, _) in std::env::vars_os() {
            // Options meant for other mounts; where sockets are is for all.
            let name_text = name.to_string_lossy();
            if name_text.starts_with("NCFS_") && name_text != "NCFS_RUNTIME_DIR" {
                command.env_remove(&name);
            }
        }
        // Ctrl-C is ours; we tell it when to end.
        command.process_group(0);
        unblock_signals(&mut command);
        die_with_parent(&mut command);
        let supervisor = command.spawn().map_err(&failed)?;
        drop(command);
        let ended = watch(supervisor.id()).map_err(&failed)?;
        let mut mount = Self { supervisor, ended, directory: directory.to_owned() };

        let credentials = serde_json::json!({
            "server": cloud.url(),
            "login_name": USER,
            "app_password": password.expose(),
        });
        credentials_in.write_all(credentials.to_string().as_bytes()).map_err(&failed)?;
        drop(credentials_in);
        let mut line = String::new();
        std::io::Read::read_to_string(&mut ready_out, &mut line).map_err(&failed)?;
        if line != "ready\n" {
            return Ok(Started::Failed(mount.supervisor.wait().map_err(&failed)?));
        }
        Ok(Started::Ready(mount))
    }

    /// Waits for Ctrl-C, or for somebody to unmount.
    fn wait_for_end_or(&self, signals: &SignalFd) -> Result<(), Failure> {
        wait_for_any(&[signals.as_fd(), self.ended.as_fd()])
    }

    /// Sends what is pending and unmounts.
    fn end(&mut self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        if let Some(record) = control::find(&self.directory)? {
            let flushed = flush(&record, &RemotePath::root(), Some(PATIENCE));
            outcome = flushed.and_then(|flushed| {
                if flushed.is_complete() {
                    return Ok(());
                }
                Err(Failure::new(ExitCode::Unsent, left_over(&self.directory, &flushed)))
            });
        }
        signal(&mut self.supervisor, Signal::SIGTERM);
        let status = self.supervisor.wait().map_err(failed("the end of the mount was not seen"))?;
        outcome.and_then(|()| {
            let code = ExitCode::from_number(status.code().unwrap_or(1));
            if code == ExitCode::Success {
                return Ok(());
            }
            Err(Failure::new(code, "the mount did not end well"))
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        signal(&mut self.supervisor, Signal::SIGTERM);
        // Gives at once what was found before.
        let _ = self.supervisor.wait();
    }
}

fn wait_for_any(descriptors: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), Failure> {
    let mut polled: Vec<_> =
        descriptors.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other.map(drop).map_err(failed("waiting failed")),
        }
    }
}

/// Nothing if it has ended.
fn signal(child: &mut Child, signal: Signal) {
    if let (Ok(None), Ok(pid)) = (child.try_wait(), i32::try_from(child.id())) {
        // It may have ended since.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Runs the command to its end. A terminal's Ctrl-C reaches it directly; SIGTERM is handed on.
fn execute(
    command: &str,
    cloud: &Testcloud,
    password: &Secret,
    directory: &Path,
    signals: &SignalFd,
) -> Result<ExitStatus, Failure> {
    let failed = failed("the command cannot be run");
    let mut shell = Command::new("sh");
    unblock_signals(&mut shell);
    let child = shell
        .arg("-c")
        .arg(command)
        .env("NCFS_DEMO_DIR", directory)
        .env("NCFS_DEMO_URL", cloud.files_url(USER))
        .env("NCFS_DEMO_USER", USER)
        .env("NCFS_DEMO_PASSWORD", password.expose())
        .spawn()
        .map_err(&failed)?;
    let mut child = Killed(child);
    let ended = watch(child.0.id()).map_err(&failed)?;
    loop {
        if let Some(status) = child.0.try_wait().map_err(&failed)? {
            return Ok(status);
        }
        wait_for_any(&[signals.as_fd(), ended.as_fd()])?;
        while let Ok(Some(received)) = signals.read_signal() {
            if received.ssi_signo == Signal::SIGTERM as u32 {
                signal(&mut child.0, Signal::SIGTERM);
            }
        }
    }
}

fn print_tour(cloud: &Testcloud, password: &Secret, directory: &Path) {
    let url = cloud.files_url(USER);
    let login = format!("{USER}:{}", password.expose());
    let dir = directory.display();
    println!(
        "\
A small server that speaks as Nextcloud does runs at {server}, with sample files.
They are mounted at {dir}. In another terminal:

  ls -l {dir}                              list them
  cat '{dir}/Read me.md'                   read one
  echo hello > {dir}/hello.txt             write one; it is on the server a moment later
  ncfs flush {dir}                         ... for sure when this returns:
  curl -u {login} {url}/hello.txt

  curl -u {login} -d hi -X PUT {url}/from-elsewhere.txt
  cat {dir}/from-elsewhere.txt             what others change shows up within seconds

  ncfs status {dir}                        how things stand

Ctrl-C ends the demo and removes all that it made.",
        server = cloud.url(),
    );
}
