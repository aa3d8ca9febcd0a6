//! `mount.ncfs`, for `mount -t ncfs SOURCE DIR -o OPTIONS` and the lines of fstab.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use super::options::{self, Translated};
use crate::cli::args::{Cli, Command};
use crate::cli::mount::{self, Setting};
use crate::failure::{ExitCode, Failure};
use crate::remote::Secret;

/// Mount a Nextcloud, called by mount(8) for the type ncfs.
///
/// Nobody needs to call it by hand: mount(8) does so for "mount -t ncfs SOURCE DIR" and for the lines
/// of /etc/fstab with the type ncfs. It does what "ncfs mount" does, takes the same settings as mount
/// options, and returns when the files can be used.
#[derive(Debug, Parser)]
#[command(name = "mount.ncfs", version, max_term_width = 100)]
pub struct MountHelperArgs {
    /// What to mount, as for "ncfs mount"
    pub source: OsString,

    /// Empty directory where the files shall appear
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,

    /// Mount options, separated by commas; of two with the same name the last counts
    #[arg(short, value_name = "OPTIONS")]
    pub options: Vec<OsString>,

    /// Check everything that can be checked without the server, and do not mount
    #[arg(short)]
    pub fake: bool,

    /// Pass over unknown mount options
    #[arg(short)]
    pub sloppy: bool,

    /// Say what was done
    #[arg(short)]
    pub verbose: bool,

    /// Accepted and without effect: ncfs keeps no table of mounts
    #[arg(short)]
    pub no_mtab: bool,

    /// Refused: use "nsenter -m" to mount in another namespace
    #[arg(short = 'N', value_name = "NAMESPACE")]
    pub namespace: Option<OsString>,

    /// Accepted and without effect: the type, where it has a part after a dot
    #[arg(short, value_name = "TYPE")]
    pub types: Option<OsString>,
}

pub fn run(args: MountHelperArgs, password: Option<Secret>) -> Result<ExitCode, Failure> {
    mount_as_told(args, password).map_err(|failure| {
        let sentence = options::in_mount_words(&failure.sentence, &Cli::command());
        Failure::new(failure.exit_code, sentence)
    })
}

fn mount_as_told(args: MountHelperArgs, password: Option<Secret>) -> Result<ExitCode, Failure> {
    if args.namespace.is_some() {
        let sentence = "-N is not supported; run mount in that namespace with nsenter -m";
        return Err(Failure::new(ExitCode::Usage, sentence));
    }
    let cli = Cli::command();
    let text = args.options.join(std::ffi::OsStr::new(","));
    let Translated { arguments, no_exec } = options::translate(text.as_bytes(), &cli, args.sloppy)
        .map_err(|sentence| Failure::new(ExitCode::Usage, sentence))?;
    let mut line: Vec<OsString> = vec!["ncfs".into(), "mount".into()];
    line.extend(arguments);
    line.extend(["--".into(), args.source.clone(), args.directory.clone().into()]);
    let cli = Cli::try_parse_from(line).map_err(|error| Failure::new(ExitCode::Usage, error))?;
    let Command::Mount(mount) = cli.command else {
        return Err(Failure::new(ExitCode::Other, "this is not ncfs mount"));
    };
    // What stands in fstab, so that mount -a and umount find the mount by it.
    let source = Some(args.source.to_string_lossy().into_owned());
    let setting = Setting { source, no_exec, check_only: args.fake };
    let code = mount::run(*mount, password, setting)?;
    if args.verbose && code == ExitCode::Success {
        let verb = if args.fake { "would be mounted" } else { "is mounted" };
        println!(
            "mount.ncfs: {} {verb} at {}",
            args.source.to_string_lossy(),
            args.directory.display()
        );
    }
    Ok(code)
}
