//! The command line. Its help is the reference.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};

use super::quantity::{parse_duration, parse_octal, parse_size};
use crate::config::LogLevel;
use crate::failure::ExitCode;

/// Mount a Nextcloud as a directory.
///
/// What you read, write, rename and delete there works as on a local disk, also while the server is
/// away, and reaches the server within seconds; what changes on the server shows up.
#[derive(Debug, Parser)]
#[command(name = "ncfs", version, after_help = exit_codes(), max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Mount(Box<MountArgs>),
    Unmount(UnmountArgs),
    Flush(FlushArgs),
    Status(StatusArgs),
    Demo(DemoArgs),
    #[command(hide = true)]
    Supervise(SuperviseArgs),
    #[command(hide = true)]
    Serve(ServeArgs),
}

fn exit_codes() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in ExitCode::TABLE {
        text.push_str(&format!("  {:>2}  {meaning}\n", code.number()));
    }
    text
}

const MOUNT_EXAMPLES: &str = "\
Credentials:
  Make an app password in Nextcloud under Settings, Security, and give it in one of three ways:
    1. --credentials-file FILE, a JSON file that only you can read (chmod 600):
       {\"server\": \"https://cloud.example.com\", \"login_name\": \"alice\", \"app_password\": \"...\"}
       It is read again whenever it changes.
    2. --credentials-fd N, a descriptor from which the same JSON is read
    3. the variables NCFS_USER and NCFS_PASSWORD
  A password is never taken from the command line, where other users could read it.

Example:
  mkdir -p ~/cloud
  ncfs mount --credentials-file ~/.config/ncfs.json https://cloud.example.com ~/cloud
  ncfs status
  ncfs unmount ~/cloud
";

/// Mount a Nextcloud at a directory.
///
/// Returns when the files can be used. If that does not succeed, one sentence says why and nothing
/// stays mounted. Root mounts directly, everybody else through fusermount3 (package fuse3).
#[derive(Debug, Args)]
#[command(after_help = MOUNT_EXAMPLES.to_owned() + "\n" + &exit_codes())]
pub struct MountArgs {
    /// Address of the Nextcloud, as in the browser: https://cloud.example.com
    #[arg(env = "NCFS_URL")]
    pub url: String,

    /// Empty directory where the files shall appear
    #[arg(env = "NCFS_MOUNTPOINT")]
    pub mountpoint: PathBuf,

    /// JSON file with server, login_name and app_password; mode 0600
    #[arg(long, value_name = "FILE", env = "NCFS_CREDENTIALS_FILE", help_heading = "Server")]
    pub credentials_file: Option<PathBuf>,

    /// Open descriptor from which that JSON is read
    #[arg(
        long,
        value_name = "N",
        env = "NCFS_CREDENTIALS_FD",
        conflicts_with = "credentials_file",
        help_heading = "Server"
    )]
    pub credentials_fd: Option<i32>,

    /// Login name, used with the variable NCFS_PASSWORD
    #[arg(long, value_name = "NAME", env = "NCFS_USER", help_heading = "Server")]
    pub user: Option<String>,

    /// Directory on the server to mount; made if missing
    #[arg(
        long,
        value_name = "PATH",
        env = "NCFS_REMOTE_DIR",
        default_value = "/",
        help_heading = "Server"
    )]
    pub remote_dir: String,

    /// How often to ask the server for changes while the mount is in use
    #[arg(
        long,
        value_name = "TIME",
        env = "NCFS_POLL_INTERVAL",
        default_value = "5s",
        value_parser = parse_duration,
        help_heading = "Server"
    )]
    pub poll_interval: Duration,

    /// Certificates to trust beside the system's (PEM)
    #[arg(long, value_name = "FILE", env = "NCFS_CA_FILE", help_heading = "Server")]
    pub ca_file: Option<PathBuf>,

    /// Allow http:// to another machine, where everybody on the way can read the password
    #[arg(
        long,
        env = "NCFS_ALLOW_HTTP",
        value_parser = FalseyValueParser::new(),
        help_heading = "Server"
    )]
    pub allow_http: bool,

    /// Refuse all changes
    #[arg(
        long,
        env = "NCFS_READ_ONLY",
        value_parser = FalseyValueParser::new(),
        help_heading = "Files"
    )]
    pub read_only: bool,

    /// Owner of the files [default: you]
    #[arg(long, value_name = "UID", env = "NCFS_UID", help_heading = "Files")]
    pub uid: Option<u32>,

    /// Group of the files [default: your group]
    #[arg(long, value_name = "GID", env = "NCFS_GID", help_heading = "Files")]
    pub gid: Option<u32>,

    /// Mode bits that files from the server shall not have, octal
    #[arg(
        long,
        value_name = "MASK",
        env = "NCFS_UMASK",
        default_value = "022",
        value_parser = parse_octal,
        help_heading = "Files"
    )]
    pub umask: u32,

    /// Let other users in, as far as file modes allow; root mounting for another --uid always does
    #[arg(
        long,
        env = "NCFS_ALLOW_OTHER",
        value_parser = FalseyValueParser::new(),
        help_heading = "Files"
    )]
    pub allow_other: bool,

    /// Mount although the directory holds files, and hide these
    #[arg(
        long,
        env = "NCFS_ALLOW_NON_EMPTY",
        value_parser = FalseyValueParser::new(),
        help_heading = "Files"
    )]
    pub allow_non_empty: bool,

    /// Where unsent files are kept: precious
    /// [default: a directory of this account below $XDG_STATE_HOME/ncfs]
    #[arg(long, value_name = "DIR", env = "NCFS_STATE_DIR", help_heading = "Storage")]
    pub state_dir: Option<PathBuf>,

    /// Where copies of files are kept: can be deleted while unmounted
    /// [default: a directory of this account below $XDG_CACHE_HOME/ncfs]
    #[arg(long, value_name = "DIR", env = "NCFS_CACHE_DIR", help_heading = "Storage")]
    pub cache_dir: Option<PathBuf>,

    /// What these copies may take up, as 512M, 10G or 1T
    #[arg(
        long,
        value_name = "SIZE",
        env = "NCFS_CACHE_SIZE",
        default_value = "10G",
        value_parser = parse_size,
        help_heading = "Storage"
    )]
    pub cache_size: u64,

    /// Stay in the foreground and log to stderr; otherwise the log is ncfs.log in the state directory
    #[arg(
        long,
        short,
        env = "NCFS_FOREGROUND",
        value_parser = FalseyValueParser::new(),
        help_heading = "Process"
    )]
    pub foreground: bool,

    /// Write "ready" and a line end to this descriptor when the files can be used, and close it
    #[arg(long, value_name = "N", env = "NCFS_READY_FD", help_heading = "Process")]
    pub ready_fd: Option<i32>,

    /// How much to log
    #[arg(
        long,
        value_name = "LEVEL",
        env = "NCFS_LOG_LEVEL",
        default_value = "info",
        help_heading = "Process"
    )]
    pub log_level: LogLevel,

    /// How long the end (unmount, SIGTERM) may take to send what is pending
    #[arg(
        long,
        value_name = "TIME",
        env = "NCFS_SHUTDOWN_TIMEOUT",
        default_value = "60s",
        value_parser = parse_duration,
        help_heading = "Process"
    )]
    pub shutdown_timeout: Duration,
}

/// Send what is pending, then unmount.
///
/// What cannot be sent in time is counted (exit code 7), stays in the state directory and goes out
/// at the next mount.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct UnmountArgs {
    /// Where it is mounted
    pub mountpoint: PathBuf,

    /// How long sending may take [default: as the mount was told with --shutdown-timeout]
    #[arg(long, value_name = "TIME", env = "NCFS_TIMEOUT", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

/// Wait until the server has what was changed.
///
/// Ends with exit code 7 if something is left when the time is over, or if it cannot be sent without
/// you: ncfs status says why.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct FlushArgs {
    /// A file or directory in a mount; all your mounts without it
    pub path: Option<PathBuf>,

    /// How long to wait [default: as long as it takes]
    #[arg(long, value_name = "TIME", env = "NCFS_TIMEOUT", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

/// Show how mounts stand: server, unsent changes, problems, cache, quota.
#[derive(Debug, Args)]
#[command(after_help = exit_codes())]
pub struct StatusArgs {
    /// Where it is mounted; all your mounts without it
    pub mountpoint: Option<PathBuf>,

    /// Print JSON for programs: one object for a named mount, else an array of them. Sizes are bytes,
    /// times whole seconds; fields are added, never changed
    #[arg(long)]
    pub json: bool,
}

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
    /// From which the configuration is read
    #[arg(long)]
    pub config_fd: i32,
    /// To which the outcome of the start is written
    #[arg(long)]
    pub link_fd: i32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_of_mount_is_also_a_variable() {
        let command = Cli::command();
        let mount = command.find_subcommand("mount").unwrap();
        for argument in mount.get_arguments().filter(|argument| argument.get_id() != "help") {
            let variable = argument.get_env().unwrap_or_default().to_string_lossy();
            let expected = format!("NCFS_{}", argument.get_id().as_str().to_uppercase());
            assert_eq!(variable, expected);
        }
    }

    #[test]
    fn no_option_takes_a_password() {
        let command = Cli::command();
        let mount = command.find_subcommand("mount").unwrap();
        assert!(mount.get_arguments().all(|argument| argument.get_id() != "password"));
    }
}
