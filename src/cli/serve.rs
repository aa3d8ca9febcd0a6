//! The two hidden commands: the supervisor in the background and the process that it starts.

use std::os::unix::process::parent_id;

use clap::Args;
use mount_helper::Identity;

use super::quantity::{files, size};
use super::{inherited, log};
use crate::config::ServeConfig;
use crate::daemon;
use crate::failure::{ExitCode, Failure};
use crate::mount_memory::MountMemory;
use crate::supervise::{self, ReadySender};

/// What the launcher starts in the background.
#[derive(Debug, Args)]
pub struct SuperviseArgs {
    /// From which the configuration is read
    #[arg(long)]
    pub config_fd: i32,
    /// To which the outcome of the start is written
    #[arg(long)]
    pub link_fd: i32,
}

/// What the supervisor starts.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The mounted /dev/fuse
    #[arg(long)]
    pub fuse_fd: i32,
    /// What is remembered of the mount
    #[arg(long)]
    pub memory_fd: i32,
    /// From which the configuration is read
    #[arg(long)]
    pub config_fd: i32,
    /// To which the outcome of the start is written
    #[arg(long)]
    pub link_fd: i32,
    /// Open no state, and answer every request with an error
    #[arg(long)]
    pub refuse: bool,
}

/// `ncfs supervise`, started by `ncfs mount`.
pub fn supervise(args: &SuperviseArgs) -> Result<ExitCode, Failure> {
    let config = inherited::take_file(args.config_fd, "--config-fd")?;
    let link = inherited::take_file(args.link_fd, "--link-fd")?;
    let config = protected(config)?;
    log::start(&config);
    supervise::supervise(&config, link)
}

/// `ncfs serve`, started by the supervisor.
pub fn serve(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let fuse = inherited::take(args.fuse_fd, "--fuse-fd")?;
    let memory = inherited::take(args.memory_fd, "--memory-fd")?;
    let config = inherited::take_file(args.config_fd, "--config-fd")?;
    let link = inherited::take_file(args.link_fd, "--link-fd")?;
    let config = protected(config)?;
    log::start(&config);
    let state_dir = config.state_dir.clone();
    let mount = Identity::at(&config.mountpoint);
    let connection = fuse.try_clone().map_err(unreadable)?;
    let supervisor = parent_id();
    // Two ends: the daemon owns one, and a failure of its start is told through the other.
    let mut reporter = ReadySender::new(link.try_clone().map_err(unreadable)?);
    let link = ReadySender::new(link);
    let outcome = match MountMemory::open(memory) {
        Ok(memory) if args.refuse => daemon::refuse(config, fuse, memory, link),
        Ok(memory) => daemon::run(config, fuse, memory, link),
        Err(error) => Err(Failure::new(ExitCode::Other, error)),
    };
    if parent_id() != supervisor
        && let Some(Err(error)) = mount.map(|mount| mount.unmount(connection))
    {
        tracing::warn!(%error, "the supervisor is gone, and the mount stays behind");
    }
    match outcome {
        Ok(summary) if summary.files_left == 0 => Ok(ExitCode::Success),
        Ok(summary) => {
            let sentence = format!(
                "{} ({}) could not be sent; kept in {}, sent at the next mount",
                files(summary.files_left),
                size(summary.bytes_left),
                state_dir.display()
            );
            Err(Failure::new(ExitCode::Unsent, sentence))
        }
        Err(failure) => {
            reporter.fail(&failure);
            Ok(failure.exit_code)
        }
    }
}

/// The configuration holds the password, so this process closes itself first.
fn protected(config: std::fs::File) -> Result<ServeConfig, Failure> {
    supervise::process::harden().map_err(unreadable)?;
    ServeConfig::decode(config).map_err(unreadable)
}

fn unreadable(cause: std::io::Error) -> Failure {
    Failure::new(
        ExitCode::Usage,
        format_args!("this command is started by ncfs mount, not by hand: {cause}"),
    )
}
