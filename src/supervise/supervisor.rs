//! The supervisor: one loop over signals, the link, the end of `serve` and the launcher.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use mount_helper::{Mounted, Unmounted, pass_to_child};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use super::link::{Message, Receiver};
use super::private;
use super::process::{
    Killed, block_signals, die_with_parent, harden, own_program, poll_timeout, unblock_signals,
    watch,
};
use super::sealed::Sealed;
use crate::config::ServeConfig;
use crate::failure::{ExitCode, Failure};

/// What `serve` gets beyond its own time to end, before it is killed.
const GRACE: Duration = Duration::from_secs(15);

/// Who waits for the start.
pub trait Launcher {
    /// The mount answers. Called once at most.
    fn ready(&mut self);

    /// The end has begun. It takes no longer than this.
    fn ending(&mut self, _at_most: Duration) {}

    /// A descriptor that shows POLLERR or POLLHUP when the launcher has gone away.
    fn watched(&self) -> Option<BorrowedFd<'_>>;
}

/// Mounts, serves and unmounts. Gives the exit code of `serve`; a failure of the start is returned,
/// and nothing is mounted then.
pub fn run(config: &ServeConfig, launcher: &mut dyn Launcher) -> Result<ExitCode, Failure> {
    harden().map_err(other("the process cannot be protected"))?;
    let sealed = config
        .encode()
        .map_err(io::Error::from)
        .and_then(|text| Sealed::new(&text))
        .map_err(other("there is no memory for the credential"))?;
    let signals = block_signals().map_err(other("signals cannot be received"))?;

    let path = mount_helper::prepare(&config.mountpoint, config.allow_non_empty)?;
    for directory in [&config.state_dir, &config.cache_dir] {
        if let Err(error) = private::shut(directory) {
            // It belongs to somebody else, who has let us in: a volume of a container, as a rule.
            tracing::warn!(%error, "others may look into the state or the cache directory");
        }
    }
    let mounted = mount_helper::mount(&path, &config.mount_options())?;
    // A restart and a resume begin here: with the same `mounted` and `sealed`.
    let serve = Serve::start(&mounted, &sealed)
        .map_err(other("the process that serves the mount cannot be started"))?;
    let mut supervisor = Supervisor {
        mounted: Some(mounted),
        serve,
        signals,
        ready: false,
        failure: None,
        end_by: None,
        shutdown_timeout: config.shutdown_timeout,
    };
    let status = supervisor.watch(launcher);
    supervisor.unmount();
    supervisor.verdict(status.map_err(other("the supervisor lost control"))?)
}

fn other<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::new(ExitCode::Other, format_args!("{what}: {cause}"))
}

/// A running `ncfs serve`.
struct Serve {
    child: Killed,
    /// Readable when it has ended.
    ended: OwnedFd,
    /// `None` when it has closed its end.
    link: Option<Receiver>,
}

impl Serve {
    fn start(mounted: &Mounted, sealed: &Sealed) -> io::Result<Self> {
        let device = mounted
            .device()
            .ok_or_else(|| io::Error::other("the mount is gone"))?
            .try_clone_to_owned()?;
        let (config_out, config_in) = io::pipe()?;
        let (link_out, link_in) = io::pipe()?;

        let mut command = own_program();
        command.arg("serve");
        for (option, descriptor) in [
            ("--fuse-fd", device),
            ("--config-fd", config_out.into()),
            ("--link-fd", link_in.into()),
        ] {
            let number = pass_to_child(&mut command, descriptor);
            command.arg(option).arg(number.to_string());
        }
        // Ctrl-C in a terminal reaches the supervisor only, which decides.
        command.process_group(0);
        unblock_signals(&mut command);
        die_with_parent(&mut command);
        let child = Killed(command.spawn()?);
        // Our copies of what was passed must close, or the pipes never end.
        drop(command);
        sealed.send(OwnedFd::from(config_in).into())?;
        let ended = watch(child.0.id())?;
        let link = Some(Receiver::new(OwnedFd::from(link_out).into()));
        Ok(Self { child, ended, link })
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.0.id())
            && let Err(error) = kill(Pid::from_raw(pid), signal)
        {
            tracing::warn!(%error, "the serving process could not be signalled");
        }
    }
}

struct Supervisor {
    mounted: Option<Mounted>,
    serve: Serve,
    signals: SignalFd,
    ready: bool,
    failure: Option<Failure>,
    /// When `serve` is killed. Set once it was told to end.
    end_by: Option<Instant>,
    shutdown_timeout: Duration,
}

impl Supervisor {
    /// Returns when `serve` has ended.
    fn watch(&mut self, launcher: &mut dyn Launcher) -> io::Result<ExitStatus> {
        loop {
            let woken = self.wait(launcher)?;
            if woken.signal {
                self.read_signals(launcher)?;
            }
            if woken.link {
                self.read_link(launcher)?;
            }
            if woken.launcher_gone && !self.ready && self.end_by.is_none() {
                tracing::warn!("nobody waits for the mount any more");
                self.ask_to_end();
            }
            if woken.ended {
                // What it said last is still in the pipe.
                while self.serve.link.is_some() {
                    self.read_link(launcher)?;
                }
                return self.serve.child.0.wait();
            }
            if self.end_by.is_some_and(|end| Instant::now() >= end) {
                self.failure = Some(Failure::new(
                    ExitCode::Other,
                    "the process that served the mount did not end in time and was killed; what \
                     was not sent is kept and goes out at the next mount",
                ));
                self.serve.child.0.kill()?;
                // First, as it may be caught in an access to its own mount.
                self.unmount();
                return self.serve.child.0.wait();
            }
        }
    }

    fn wait(&self, launcher: &dyn Launcher) -> io::Result<Woken> {
        let timeout = self.end_by.map_or(PollTimeout::NONE, |end| {
            poll_timeout(end.saturating_duration_since(Instant::now()))
        });
        let launcher = launcher.watched().filter(|_| !self.ready && self.end_by.is_none());
        let link = self.serve.link.as_ref();
        let mut polled = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.serve.ended.as_fd(), PollFlags::POLLIN),
        ];
        polled.extend(link.map(|link| PollFd::new(link.pipe.as_fd(), PollFlags::POLLIN)));
        polled.extend(launcher.map(|fd| PollFd::new(fd, PollFlags::empty())));
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut happened = polled.iter().map(|fd| fd.any().unwrap_or(true));
        Ok(Woken {
            signal: happened.next().unwrap_or(false),
            ended: happened.next().unwrap_or(false),
            link: link.is_some() && happened.next().unwrap_or(false),
            launcher_gone: launcher.is_some() && happened.next().unwrap_or(false),
        })
    }

    fn read_signals(&mut self, launcher: &mut dyn Launcher) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {
            launcher.ending(self.shutdown_timeout + GRACE);
            self.ask_to_end();
        }
        Ok(())
    }

    /// The first time `serve` begins to send what is pending, the second time it hurries.
    fn ask_to_end(&mut self) {
        self.serve.signal(Signal::SIGTERM);
        self.end_by.get_or_insert_with(|| Instant::now() + self.shutdown_timeout + GRACE);
    }

    fn read_link(&mut self, launcher: &mut dyn Launcher) -> io::Result<()> {
        let Some(link) = &mut self.serve.link else { return Ok(()) };
        let Some(messages) = link.receive()? else {
            self.serve.link = None;
            return Ok(());
        };
        for message in messages {
            match message {
                Message::Ready { .. } if !self.ready => {
                    self.ready = true;
                    launcher.ready();
                }
                Message::Ready { .. } => {}
                Message::Unmount { .. } => {
                    self.unmount();
                    // It asked to be on its way out, however it came to that.
                    self.end_by.get_or_insert_with(|| Instant::now() + GRACE);
                }
                Message::Failed { error, exit_code } => {
                    self.failure = Some(Message::failure(&error, exit_code));
                }
            }
        }
        Ok(())
    }

    fn unmount(&mut self) {
        match self.mounted.take().map(Mounted::unmount) {
            Some(Ok(Unmounted::Detached)) => {
                tracing::warn!("programs still use the mount; it was detached");
            }
            Some(Err(error)) => tracing::error!(%error, "the mount stays behind"),
            Some(Ok(Unmounted::Gone | Unmounted::Already)) | None => {}
        }
    }

    fn verdict(&mut self, status: ExitStatus) -> Result<ExitCode, Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let code = match (status.code(), status.signal()) {
            (Some(code), _) => ExitCode::from_number(code),
            (None, signal) => {
                let sentence = format!(
                    "the process that served the mount was ended by signal {}; what was not sent \
                     is kept and goes out at the next mount",
                    signal.unwrap_or_default()
                );
                return Err(Failure::new(ExitCode::Other, sentence));
            }
        };
        if self.ready {
            return Ok(code);
        }
        Err(match code {
            ExitCode::Success => Failure::new(ExitCode::Other, "the start was interrupted"),
            code => Failure::new(code, "the process that serves the mount ended at its start"),
        })
    }
}

/// What a wait ended for.
struct Woken {
    signal: bool,
    ended: bool,
    link: bool,
    launcher_gone: bool,
}

/// The launcher as `ncfs supervise` sees it: at the other end of a pipe.
pub(super) struct RemoteLauncher {
    pipe: Option<File>,
}

impl RemoteLauncher {
    pub fn new(pipe: File) -> Self {
        Self { pipe: Some(pipe) }
    }

    /// The start failed.
    pub fn fail(&mut self, failure: &Failure) {
        self.send(&Message::failed(failure));
    }

    fn send(&mut self, message: &Message) {
        // One message; the closed pipe tells the launcher that there is no other.
        if let Some(mut pipe) = self.pipe.take()
            && let Err(error) = message.send(&mut pipe)
        {
            tracing::debug!(%error, fd = pipe.as_raw_fd(), "nobody waits for the start");
        }
    }
}

impl Launcher for RemoteLauncher {
    fn ready(&mut self) {
        self.send(&Message::ready());
    }

    fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }
}
