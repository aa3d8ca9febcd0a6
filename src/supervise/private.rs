//! Directories that nobody else may look into.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Shuts others out of a directory that was made by somebody's hand with the usual mode. One that is
/// not there yet is made without rights of others by whoever needs it first.
pub fn shut(directory: &Path) -> io::Result<()> {
    let mode = match directory.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?.mode() & 0o7777,
    };
    if mode & 0o077 == 0 {
        return Ok(());
    }
    set_permissions(directory, Permissions::from_mode(mode & 0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_shut_out_of_a_directory_that_let_them_in() {
        let holder = tempfile::tempdir().unwrap();
        let (made, missing) = (holder.path().join("made"), holder.path().join("missing"));
        std::fs::create_dir(&made).unwrap();
        set_permissions(&made, Permissions::from_mode(0o2775)).unwrap();
        shut(&made).unwrap();
        shut(&missing).unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o700);
        assert!(!missing.exists());
    }
}
