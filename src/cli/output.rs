//! What goes to stdout.

use std::io::{ErrorKind, Write};

use crate::failure::{ExitCode, Failure};

pub fn to_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::new(ExitCode::Other, error))
}

/// A reader that went away (`ncfs status | head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(ExitCode::Other, error))
        }
        _ => Ok(()),
    }
}
