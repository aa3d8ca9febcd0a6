//! `ncfs completions`: what a shell needs to complete a command line.

use std::io::Write;

use clap::Args;
use clap_complete::{Shell, generate};

use super::args::visible;
use crate::failure::{ExitCode, Failure};

/// Print a script that lets a shell complete commands and options.
///
/// The package and "make install" have put it in its place already. By hand, for this session:
/// source <(ncfs completions bash)
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: Shell,
}

pub fn run(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut visible(), "ncfs", &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(|cause| Failure::new(ExitCode::Other, format_args!("stdout: {cause}")))?;
    Ok(ExitCode::Success)
}
