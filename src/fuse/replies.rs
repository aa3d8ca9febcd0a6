//! How results are told to the kernel, and for how long it may believe them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fuser::{
    Errno, FileHandle as Fh, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
};

use super::convert::{attr, kind, nothing};
use crate::vfs::{Created, DirEntry, Entry, Opened, Stat, StatFs};

/// How long the kernel may believe names and attributes. What changes on the server is told to it
/// at once (see [`super::notifier`]); this bounds what a lost notification can do.
const BELIEVED: Duration = Duration::from_secs(60);

/// A number is never given to another node, so all are of one generation.
const GENERATION: Generation = Generation(0);

/// A reply that can say no. fuser's replies have this method each by itself.
pub(super) trait Reply: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! replies {
    ($($reply:ident),*) => {$(
        impl Reply for fuser::$reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        }
    )*};
}

replies!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite
);

pub(super) fn answer_entry(reply: ReplyEntry, entry: Entry) {
    match (entry.stat, entry.lasting) {
        (Some(stat), true) => reply.entry(&BELIEVED, &attr(&stat), GENERATION),
        (Some(stat), false) => {
            reply.entry_with_ttls(&BELIEVED, &Duration::ZERO, &attr(&stat), GENERATION);
        }
        (None, true) => reply.entry(&BELIEVED, &nothing(), GENERATION),
        (None, false) => reply.error(Errno::ENOENT),
    }
}

pub(super) fn answer_attr(reply: ReplyAttr, stat: Stat) {
    reply.attr(&BELIEVED, &attr(&stat));
}

pub(super) fn answer_done(reply: ReplyEmpty, (): ()) {
    reply.ok();
}

fn open_flags(opened: &Opened) -> FopenFlags {
    if opened.keep_pages { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() }
}

pub(super) fn answer_opened(reply: ReplyOpen, opened: Opened) {
    reply.opened(Fh(opened.handle.0), open_flags(&opened));
}

pub(super) fn answer_created(reply: ReplyCreate, created: Created) {
    let believed = if created.lasting { BELIEVED } else { Duration::ZERO };
    let (handle, flags) = (Fh(created.opened.handle.0), open_flags(&created.opened));
    reply.created(&believed, &attr(&created.stat), GENERATION, handle, flags);
}

/// As many entries as fit.
pub(super) fn answer_entries(mut reply: ReplyDirectory, entries: Vec<DirEntry>) {
    for entry in entries {
        let (number, name) = (INodeNo(entry.ino().0), OsStr::from_bytes(entry.name()));
        if reply.add(number, entry.position, kind(entry.kind()), name) {
            break;
        }
    }
    reply.ok();
}

/// As many entries with their attributes as fit.
pub(super) fn answer_full_entries(mut reply: ReplyDirectoryPlus, entries: Vec<(Stat, DirEntry)>) {
    for (stat, entry) in entries {
        let (number, name) = (INodeNo(stat.ino.0), OsStr::from_bytes(entry.name()));
        // fuser has one time for both: a name that may not be believed takes its attributes along.
        let believed = if entry.lasting() { BELIEVED } else { Duration::ZERO };
        if reply.add(number, entry.position, name, &believed, &attr(&stat), GENERATION) {
            break;
        }
    }
    reply.ok();
}

pub(super) fn answer_statfs(reply: ReplyStatfs, told: StatFs) {
    let StatFs { blocks, free, name_max } = told;
    // No number of files: there is no limit to it (as btrfs has it).
    reply.statfs(blocks, free, free, 0, 0, StatFs::BLOCK, name_max, StatFs::BLOCK);
}
