//! `ncfs mount`: from arguments to a checked configuration, then to the supervisor.

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::unistd::{getegid, geteuid};

use super::args::MountArgs;
use super::directories::{Account, Kind, choose};
use super::progress::Waiting;
use super::target::protect;
use super::{credentials, inherited, log, predecessor};
use crate::config::ServeConfig;
use crate::failure::{ExitCode, Failure};
use crate::remote::{Secret, Vendor};
use crate::supervise::{self, Launcher, notify};
use crate::types::{Name, RemotePath};

/// What is said elsewhere than among the options.
#[derive(Debug, Default)]
pub struct Setting {
    /// What `df` and `mount` show, if not the account.
    pub source: Option<String>,
    /// No program may be started from there.
    pub no_exec: bool,
    /// Do not mount.
    pub check_only: bool,
}

pub fn run(
    args: MountArgs,
    password: Option<Secret>,
    setting: Setting,
) -> Result<ExitCode, Failure> {
    // The numbers that were inherited first, before anything opened here could get one of them.
    let ready = args.ready_fd.map(|fd| inherited::take_file(fd, "--ready-fd")).transpose()?;
    if args.ready_fd.is_some() && args.ready_fd == args.credentials_fd {
        let sentence = "--ready-fd and --credentials-fd name the same descriptor";
        return Err(Failure::new(ExitCode::Usage, sentence));
    }
    protect()?;
    let mut config = configure(&args, password)?;
    config.source = setting.source;
    config.no_exec = setting.no_exec;
    if setting.check_only {
        return Ok(ExitCode::Success);
    }
    predecessor::wait_for_end(&config.state_dir)?;
    let mut ready = Ready { file: ready, is_service: args.foreground };
    if args.foreground {
        log::start(&config);
        return supervise::run(&config, &mut ready);
    }
    let waiting = Waiting::for_server(&config.server);
    supervise::launch(&config)?;
    drop(waiting);
    ready.ready();
    Ok(ExitCode::Success)
}

/// Checks all that can be checked without the server.
fn configure(args: &MountArgs, password: Option<Secret>) -> Result<ServeConfig, Failure> {
    let usage = |sentence: String| Failure::new(ExitCode::Usage, sentence);
    let source = credentials::find(args, password)?;
    let server = source.server;
    let remote_dir = remote_dir(&args.remote_dir)
        .map_err(|error| usage(format!("--remote-dir {}: {error}", args.remote_dir)))?;
    let login_name = source.login_name;
    let mountpoint = mount_helper::prepare(&args.mountpoint, args.allow_non_empty)?;

    let is_plain = args.vendor == Some(Vendor::Webdav);
    let account =
        Account { server: &server, login_name: &login_name, remote_dir: &remote_dir, is_plain };
    let directory =
        |named: Option<&std::path::Path>, kind| choose(named, kind, account, &mountpoint);
    let state_dir = directory(args.state_dir.as_deref(), Kind::State)?;
    let cache_dir = directory(args.cache_dir.as_deref(), Kind::Cache)?;
    if state_dir.starts_with(&cache_dir) {
        let sentence = format!(
            "the state directory {} is in the cache directory, which may be deleted; name another \
             with --state-dir or --cache-dir",
            state_dir.display()
        );
        return Err(Failure::new(ExitCode::State, sentence));
    }

    let uid = args.uid.unwrap_or_else(|| geteuid().as_raw());
    let for_another = geteuid().is_root() && uid != geteuid().as_raw();
    Ok(ServeConfig {
        vendor: args.vendor,
        credentials: source.credentials,
        account: source.account,
        mountpoint,
        state_dir,
        cache_dir,
        cache_size: args.cache_size,
        read_only: args.read_only,
        uid,
        gid: args.gid.unwrap_or_else(|| getegid().as_raw()),
        umask: args.umask,
        source: None,
        no_exec: false,
        allow_other: args.allow_other || for_another,
        allow_non_empty: args.allow_non_empty,
        poll_interval: args.poll_interval,
        ca_file: source.ca_file,
        allow_http: source.allow_http,
        log_level: args.log_level,
        log_format: args.log_format,
        background: !args.foreground,
        shutdown_timeout: args.shutdown_timeout,
        metrics_listen: args.metrics_listen.clone(),
        server,
        login_name,
        remote_dir,
    })
}

fn remote_dir(text: &str) -> Result<RemotePath, crate::types::BadName> {
    let names = text.split('/').filter(|name| !name.is_empty());
    names.map(|name| Name::new(name.as_bytes())).collect::<Result<_, _>>().map(RemotePath)
}

/// Whoever gave us `--ready-fd`, and systemd.
struct Ready {
    file: Option<File>,
    /// This process stays, and a service manager may watch it.
    is_service: bool,
}

impl Launcher for Ready {
    fn ready(&mut self) {
        if let Some(mut file) = self.file.take()
            && let Err(error) = file.write_all(b"ready\n")
        {
            tracing::warn!(%error, "nobody reads what was given as --ready-fd");
        }
        if self.is_service {
            notify::ready();
        }
    }

    fn ending(&mut self, at_most: Duration) {
        if self.is_service {
            notify::stopping(at_most);
        }
    }

    fn watched(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
