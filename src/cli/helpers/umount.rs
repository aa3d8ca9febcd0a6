//! `umount.ncfs`, which umount(8) starts for a mount of the type `fuse.ncfs`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use mount_helper::MountError;

use crate::cli::{not_mounted, resolve_mount, unmount};
use crate::control;
use crate::failure::{ExitCode, Failure};

/// Send what is pending and unmount, called by umount(8) for mounts of ncfs.
///
/// It does what "ncfs unmount" does. The mount of another user, which only root can end, is taken
/// away at once, and its daemon sends what is pending afterwards.
#[derive(Debug, Parser)]
#[command(name = "umount.ncfs", version, max_term_width = 100)]
pub struct UmountHelperArgs {
    /// Where it is mounted
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,

    /// Do not wait for the server: what is pending stays here and goes out at the next mount
    #[arg(short)]
    pub force: bool,

    /// Accepted and without effect: a mount in use is always detached, once all is sent
    #[arg(short)]
    pub lazy: bool,

    /// Say what was done
    #[arg(short)]
    pub verbose: bool,

    /// Accepted and without effect: ncfs keeps no table of mounts
    #[arg(short)]
    pub no_mtab: bool,

    /// Accepted and without effect: a mount of ncfs is never remounted
    #[arg(short)]
    pub read_only: bool,

    /// Refused: use "nsenter -m" to unmount in another namespace
    #[arg(short = 'N', value_name = "NAMESPACE")]
    pub namespace: Option<OsString>,

    /// Accepted and without effect: the type
    #[arg(short, value_name = "TYPE")]
    pub types: Option<OsString>,
}

pub fn run(args: UmountHelperArgs) -> Result<ExitCode, Failure> {
    if args.namespace.is_some() {
        let sentence = "-N is not supported; run umount in that namespace with nsenter -m";
        return Err(Failure::new(ExitCode::Usage, sentence));
    }
    let path = resolve_mount(&args.directory)?;
    let record = control::find(&path)?.filter(|record| record.mountpoint == path);
    let code = match record {
        Some(record) => unmount::end(&record, args.force.then_some(Duration::ZERO))?,
        None if !mount_helper::is_mounted(&path)? => {
            return Err(not_mounted(&path));
        }
        // Dead, or somebody else's.
        None => {
            mount_helper::unmount(&path, true).map_err(|error| match error {
                // What fusermount3 says of a mount that it does not find among this user's.
                MountError::NotMounted(path) => Failure::new(
                    ExitCode::MountPoint,
                    format_args!(
                        "{} was mounted by somebody else; only they and root can unmount it",
                        path.display()
                    ),
                ),
                error => error.into(),
            })?;
            ExitCode::Success
        }
    };
    if args.verbose {
        println!("umount.ncfs: {} unmounted", path.display());
    }
    Ok(code)
}
