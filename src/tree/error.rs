//! What can go wrong with the state.

use std::path::PathBuf;

/// The state could not be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The disk of the state directory is full; the transaction did not happen.
    #[error("the disk of the state directory is full; free some space there")]
    Full,
    #[error("the state database failed: {0}")]
    Sql(rusqlite::Error),
    #[error("the state directory failed: {0}")]
    Io(#[from] std::io::Error),
    /// A row means nothing: the database is damaged.
    #[error("the state is damaged ({0}); keep the state directory and ask for help")]
    Corrupt(String),
    #[error(
        "the state was written by a newer ncfs (schema {found}, this one knows {known}): \
         update ncfs"
    )]
    NewerSchema { found: i64, known: i64 },
    #[error(
        "the state directory {} is in use by another ncfs: unmount that one first, or name \
         another directory",
        .0.display()
    )]
    InUse(PathBuf),
    #[error(
        "the state directory belongs to {found}, not to {wanted}: give another --state-dir, so \
         that unsent files of one account never go to the other"
    )]
    OtherAccount { found: String, wanted: String },
}

impl From<rusqlite::Error> for TreeError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Sql(error),
        }
    }
}
