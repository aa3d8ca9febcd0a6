//! What the kernel's page cache holds of each file, as far as it is known for sure.
//!
//! At an open the kernel keeps the pages of a file only if they are those of its content
//! (`FOPEN_KEEP_CACHE`). They are when they were at an earlier time with the same [`Content`]: its
//! numbers are never reused, and while a handle is open it changes only through the kernel, whose
//! pages know it then. What a change of that kind leads to is noted at the close.
//!
//! An open that lets the pages go says so in its answer, and only a later request through the same
//! handle proves that the kernel has acted on it. So a content is noted at the first read and at the
//! close of a handle, not at the open: else a second open could keep what the first one is about to
//! drop.
//!
//! What is not known costs a few reads, nothing else; so the record is bounded.

use crate::tree::Content;
use crate::types::Ino;

/// For how many files it is known: some 100 bytes each.
const FILES: u64 = 20_000;

pub(super) struct Pages {
    of: moka::sync::Cache<Ino, Content>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { of: moka::sync::Cache::new(FILES) }
    }
}

impl Pages {
    /// Whether the kernel's pages are those of this content.
    pub fn are(&self, ino: Ino, content: &Content) -> bool {
        self.of.get(&ino).as_ref() == Some(content)
    }

    /// The kernel's pages are those of this content, which the file has while the caller's handle
    /// is open.
    pub fn note(&self, ino: Ino, content: Content) {
        self.of.insert(ino, content);
    }
}
