//! Bytes of files: clean ones that can be had again, dirty ones that exist nowhere else, and how the
//! former come from the server.
//!
//! [`Bodies`] is what programs' calls meet: the bytes of a node wherever they are. [`Contents`] is the
//! same bytes as the sync engine needs them. Below are three parts, and one rule for each:
//!
//! - [`cache`] holds what the server holds. A version is one sparse file, named by its [`ContentId`]
//!   and never changed once a byte is in it. All of it can be deleted at any time.
//! - [`staging`] holds what programs wrote and the server does not have yet. It is another type over
//!   another directory, so eviction cannot even name a staging file. A file leaves it only by name.
//! - [`fetch`] brings bytes from the server into either, once however many wait for them.
//!
//! # What holds
//!
//! - **Bytes of two versions are not mixed.** A cached file belongs to one content id, and ids are
//!   never reused; each range is asked for with the tag of the version it belongs to, and an answer
//!   for another one is [`FetchError::Stale`].
//! - **What is present was stored.** A range counts as present after its bytes went to the file, never
//!   before, so a cut answer leaves a gap and not a hole of zeros.
//! - **A write that was answered survives the death of the process.** Bytes go to the staging file, the
//!   record that says so to its log (while parts of the base are missing), and then comes the reply.
//!   It survives a power cut after [`StagedFile::sync`] or [`Staging::sync_all`].
//! - **An upload is of one moment.** [`StagedFile::generation`] moves before each change; whoever read
//!   and then finds it unmoved has read one state. A [`staging::StagedSource`] ends with an error
//!   instead of its last piece when it has moved.
//! - **What is lost is said.** A row without its file is [`StagingError::Lost`], never an empty file; a
//!   file without its row goes to `lost+found`.
//!
//! # What is assumed
//!
//! - One process has the two directories: the cache is locked here, the state directory by the tree.
//! - Rows are the business of the tree and of who calls. Files and rows meet in two phases, so that a
//!   crash between them is harmless: file first ([`Staging::prepare`]), then the row, then the name
//!   ([`staging::Prepared::activate`]); to drop one: [`Staging::retire`], the commit without the row,
//!   and when that commit is on disk [`Staging::remove`].
//! - The page cache outlives the process (kill -9), not the machine.
//!
//! # After a crash
//!
//! Of the cache the complete versions are still there, partial ones start anew. After a crash of the
//! machine all of the cache is dropped, since nothing says which blocks had reached the disk. A
//! staging file is what its row says: whole, or partial with the ranges in its log; ranges of the
//! base that had been filled in are fetched again, for only written ones are logged.
//!
//! Locks: those in here are leaves, held over local file calls and never across `.await`; the cache's
//! own comes before that of one version.
//!
//! [`ContentId`]: crate::types::ContentId

mod bodies;
pub mod cache;
mod extents;
pub mod fetch;
mod freeze;
mod local_copy;
pub mod staging;
#[cfg(test)]
pub mod testing;
mod whereabouts;

pub use bodies::{Bodies, BodyError};
pub use cache::{Cache, CacheError, CachedVersion};
pub use extents::Extents;
pub use fetch::{CacheReads, FetchError, Fetcher, Origin, Origins};
pub use freeze::{Contents, ContentsError, Frozen};
pub use staging::{
    Allocation, Basis, Prepared, ReadOutcome, Seek, StagedFile, StagedSource, Staging, StagingError,
};
