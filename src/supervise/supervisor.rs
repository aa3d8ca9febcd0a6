//! The supervisor: one loop over signals, the link, the end of `serve` and the launcher.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use mount_helper::{Mounted, Unmounted};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use super::deaths::{Death, Deaths, Next};
use super::link::Message;
use super::private;
use super::process::{block_signals, harden, poll_timeout};
use super::program::Program;
use super::sealed::Sealed;
use super::serve::{Duty, Serve};
use crate::config::ServeConfig;
use crate::failure::{ExitCode, Failure};
use crate::mount_memory::{MountMemory, UPGRADED};

/// What `serve` gets beyond its own time to end, before it is killed.
const GRACE: Duration = Duration::from_secs(15);

/// How long a `serve` that has closed everything may take to end.
const PARTING: Duration = Duration::from_millis(300);

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
    let memory = MountMemory::create().map_err(other("there is no memory for the mount"))?;
    let program = Program::own().map_err(other("this program cannot be found"))?;
    let signals = block_signals().map_err(other("signals cannot be received"))?;

    let path = mount_helper::prepare(&config.mountpoint, config.allow_non_empty)?;
    for directory in [&config.state_dir, &config.cache_dir] {
        if let Err(error) = private::shut(directory) {
            // It belongs to somebody else, who has let us in: a volume of a container, as a rule.
            tracing::warn!(%error, "others may look into the state or the cache directory");
        }
    }
    let mounted = mount_helper::mount(&path, &config.mount_options())?;
    let serve = Serve::start(&program, &mounted, &sealed, &memory, Duty::Serve)
        .map_err(other("the process that serves the mount cannot be started"))?;
    let mut supervisor = Supervisor {
        mounted: Some(mounted),
        sealed,
        memory,
        program,
        previous: None,
        deaths: Deaths::default(),
        serve,
        stuck: Vec::new(),
        signals,
        ready: false,
        failure: None,
        end_by: None,
        shutdown_timeout: config.shutdown_timeout,
    };
    let status = supervisor.keep_serving(launcher);
    supervisor.unmount();
    supervisor.verdict(status.map_err(other("the supervisor lost control"))?)
}

fn other<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::new(ExitCode::Other, format_args!("{what}: {cause}"))
}

struct Supervisor {
    mounted: Option<Mounted>,
    sealed: Sealed,
    memory: MountMemory,
    program: Program,
    /// The program before an upgrade, until the new one serves.
    previous: Option<Program>,
    deaths: Deaths,
    serve: Serve,
    /// Dead processes of which a thread waits in the kernel for the answer of their successor.
    stuck: Vec<Serve>,
    signals: SignalFd,
    /// The mount answered once.
    ready: bool,
    failure: Option<Failure>,
    /// When `serve` is killed. Set once it was told to end.
    end_by: Option<Instant>,
    shutdown_timeout: Duration,
}

/// How a `serve` ended.
#[derive(Clone, Copy)]
enum Ended {
    Exited(ExitStatus),
    /// As far as it can: it is dead, and one of its threads waits in the kernel.
    Stuck,
}

impl Supervisor {
    /// Returns when the last `serve` has ended, as it should or because the mount is to end.
    fn keep_serving(&mut self, launcher: &mut dyn Launcher) -> io::Result<ExitStatus> {
        loop {
            let ended = self.watch(launcher)?;
            if let Ended::Exited(status) = ended
                && self.is_an_end(status)
            {
                return Ok(status);
            }
            if let Some(status) = self.replace(ended, launcher)? {
                return Ok(status);
            }
        }
    }

    /// Whether a `serve` that ended has ended the mount.
    fn is_an_end(&self, status: ExitStatus) -> bool {
        let own_wish = [ExitCode::Success, ExitCode::Unsent].map(|code| Some(code.number().into()));
        let told = self.end_by.is_some() || self.mounted.is_none();
        !self.ready || told || (self.serve.ready.is_some() && own_wish.contains(&status.code()))
    }

    /// Starts a process that takes the mount over. Gives the status of the dead one if the mount is to
    /// end instead.
    fn replace(
        &mut self,
        ended: Ended,
        launcher: &mut dyn Launcher,
    ) -> io::Result<Option<ExitStatus>> {
        let (mut duty, mut wait) = (Duty::Serve, Duration::ZERO);
        let mut suspicious = false;
        let reason = if self.serve.replaced {
            self.deaths = Deaths::default();
            UPGRADED.to_owned()
        } else if let Some(previous) = self.previous.take() {
            self.program = previous;
            format!("the program that was to replace it could not serve: {}", self.reason(ended))
        } else {
            let death = Death {
                killed: matches!(ended, Ended::Exited(status)
                    if status.signal() == Some(Signal::SIGKILL as i32)),
                served: self.serve.ready.map(|since| since.elapsed()),
                answered: self.memory.answered(),
            };
            suspicious = death.may_repeat();
            (duty, wait) = match self.deaths.next(&death) {
                Next::Serve(wait) => (Duty::Serve, wait),
                Next::Refuse(wait) => (Duty::Refuse, wait),
            };
            self.reason(ended)
        };
        self.failure = None;
        self.memory.note_death(&reason, suspicious);
        match duty {
            Duty::Serve => tracing::warn!("the serving process ended ({reason}); restarting it"),
            Duty::Refuse => tracing::error!(
                "the serving process ended again and again ({reason}); programs get I/O errors \
                 until ncfs upgrade, or until it is unmounted and mounted again"
            ),
        }
        self.pause(wait, launcher)?;
        if let (true, Ended::Exited(status)) = (self.end_by.is_some(), ended) {
            return Ok(Some(status));
        }
        let Some(mounted) = &self.mounted else {
            return Err(io::Error::other("the mount is gone"));
        };
        let next = Serve::start(&self.program, mounted, &self.sealed, &self.memory, duty)?;
        let dead = std::mem::replace(&mut self.serve, next);
        if let Ended::Stuck = ended {
            self.stuck.push(dead);
        }
        self.stuck.retain_mut(Serve::is_running);
        Ok(None)
    }

    fn reason(&self, ended: Ended) -> String {
        match (&self.failure, ended) {
            (Some(failure), _) => failure.sentence.clone(),
            (None, Ended::Stuck) => "it died, and a thread of it waits in the kernel".to_owned(),
            (None, Ended::Exited(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("it ended with exit code {code}"),
                (None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
            },
        }
    }

    /// Waits before a restart, or until a signal asks for the end.
    fn pause(&mut self, wait: Duration, launcher: &mut dyn Launcher) -> io::Result<()> {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.end_by.is_some() {
                return Ok(());
            }
            let mut polled = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, poll_timeout(left)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => self.read_signals(launcher)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns when `serve` has ended.
    fn watch(&mut self, launcher: &mut dyn Launcher) -> io::Result<Ended> {
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
                return self.serve.child.0.wait().map(Ended::Exited);
            }
            let now = Instant::now();
            if self.end_by.is_some_and(|end| now >= end) {
                self.failure = Some(Failure::new(
                    ExitCode::Other,
                    "the process that served the mount did not end in time and was killed; what \
                     was not sent is kept and goes out at the next mount",
                ));
                self.serve.child.0.kill()?;
                // First, as it may be caught in an access to its own mount.
                self.unmount();
                return self.serve.child.0.wait().map(Ended::Exited);
            }
            if self.parting().is_some_and(|end| now >= end) {
                return Ok(Ended::Stuck);
            }
        }
    }

    fn wait(&self, launcher: &dyn Launcher) -> io::Result<Woken> {
        let next = [self.end_by, self.parting()].into_iter().flatten().min();
        let timeout = next.map_or(PollTimeout::NONE, |at| {
            poll_timeout(at.saturating_duration_since(Instant::now()))
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

    /// When a `serve` that has closed everything and does not end is given up.
    fn parting(&self) -> Option<Instant> {
        self.serve.given_up.filter(|_| self.ready && self.end_by.is_none())
    }

    fn read_signals(&mut self, launcher: &mut dyn Launcher) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {
            launcher.ending(self.shutdown_timeout + GRACE);
            self.ask_to_end();
        }
        Ok(())
    }

    /// The first time `serve` begins to send what is pending, the second time it hurries. One that
    /// takes a mount over is told when it is ready: before, it would just die.
    fn ask_to_end(&mut self) {
        if !self.ready || self.serve.ready.is_some() {
            self.serve.signal(Signal::SIGTERM);
        }
        self.end_by.get_or_insert_with(|| Instant::now() + self.shutdown_timeout + GRACE);
    }

    fn read_link(&mut self, launcher: &mut dyn Launcher) -> io::Result<()> {
        let Some(link) = &mut self.serve.link else { return Ok(()) };
        let Some(messages) = link.receive()? else {
            self.serve.link = None;
            self.serve.given_up = Some(Instant::now() + PARTING);
            return Ok(());
        };
        for message in messages {
            match message {
                Message::Ready { .. } => self.is_ready(launcher),
                Message::Unmount { .. } => {
                    self.unmount();
                    // It asked to be on its way out, however it came to that.
                    self.end_by.get_or_insert_with(|| Instant::now() + GRACE);
                }
                Message::Upgrade { .. } => self.upgrade(),
                Message::Failed { error, exit_code } => {
                    self.failure = Some(Message::failure(&error, exit_code));
                }
            }
        }
        Ok(())
    }

    fn is_ready(&mut self, launcher: &mut dyn Launcher) {
        self.serve.ready.get_or_insert_with(Instant::now);
        self.previous = None;
        if !self.ready {
            self.ready = true;
            launcher.ready();
        } else if self.end_by.is_some() {
            self.serve.signal(Signal::SIGTERM);
        }
    }

    /// Has the program that is at our path by now take over. What the present one is doing is asked
    /// of the next one again, so there is nothing to wait for.
    fn upgrade(&mut self) {
        if self.end_by.is_some() {
            return;
        }
        match Program::at_own_path() {
            Ok(program) => {
                self.previous = Some(std::mem::replace(&mut self.program, program));
            }
            Err(error) => tracing::warn!(%error, "there is no other program; the same is started"),
        }
        self.serve.replaced = true;
        self.serve.signal(Signal::SIGKILL);
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
