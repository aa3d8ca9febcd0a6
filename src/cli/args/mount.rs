//! The options of `ncfs mount`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;

use super::exit_codes;
use crate::cli::quantity::{parse_cache_size, parse_duration, parse_octal};
use crate::config::{LogFormat, LogLevel, MetricsAddress};
use crate::remote::Vendor;

const MOUNT_EXAMPLES: &str = "\
Credentials:
  ncfs login stores an account; name it, or its address. These count more, if one is given:
    1. --credentials-file FILE, a JSON file that only you can read (chmod 600):
       {\"server\": \"https://cloud.example.com\", \"login_name\": \"alice\", \"app_password\": \"...\"}
       It is read again whenever it changes.
    2. --credentials-fd N, a descriptor from which the same JSON is read
    3. the variables NCFS_USER and NCFS_PASSWORD
  A password is never taken from the command line, where other users could read it.

Example:
  ncfs login https://cloud.example.com
  mkdir -p ~/cloud
  ncfs mount https://cloud.example.com ~/cloud
  ncfs status
  ncfs unmount ~/cloud
";

/// Mount a Nextcloud, an ownCloud or another WebDAV server at a directory.
///
/// Returns when the files can be used. If that does not succeed, one sentence says why and nothing
/// stays mounted. Root mounts directly, everybody else through fusermount3 (package fuse3).
#[derive(Debug, Args)]
#[command(after_help = MOUNT_EXAMPLES.to_owned() + "\n" + &exit_codes())]
pub struct MountArgs {
    /// An account from ncfs login, or the address of a server: of a Nextcloud or ownCloud as in the
    /// browser, https://cloud.example.com; of another that of its WebDAV directory
    #[arg(value_name = "ACCOUNT|URL", env = "NCFS_URL")]
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

    /// Login name: used with the variable NCFS_PASSWORD, or tells accounts at one address apart
    #[arg(long, value_name = "NAME", env = "NCFS_USER", help_heading = "Server")]
    pub user: Option<String>,

    /// What kind of server it is [default: found out]
    #[arg(long, value_name = "KIND", env = "NCFS_VENDOR", help_heading = "Server")]
    pub vendor: Option<Vendor>,

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

    /// What these copies may take up, as 512M, 10G or 1T; at least 64M
    #[arg(
        long,
        value_name = "SIZE",
        env = "NCFS_CACHE_SIZE",
        default_value = "10G",
        value_parser = parse_cache_size,
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

    /// How to log: for people, or one JSON object a line
    #[arg(
        long,
        value_name = "FORMAT",
        env = "NCFS_LOG_FORMAT",
        default_value = "text",
        help_heading = "Process"
    )]
    pub log_format: LogFormat,

    /// Serve measurements over HTTP (GET /metrics for Prometheus, GET /healthz) at IP:PORT or
    /// unix:PATH. Without a password, so use 127.0.0.1 or a socket: who connects reads counts, sizes
    /// and times of this mount, no names of files or users
    #[arg(long, value_name = "ADDR", env = "NCFS_METRICS_LISTEN", help_heading = "Process")]
    pub metrics_listen: Option<MetricsAddress>,

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
