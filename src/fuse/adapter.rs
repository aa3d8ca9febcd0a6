//! Each request of the kernel as a call of the file system.
//!
//! What does not exist is answered with ENOSYS. The kernel then falls back by itself (`poll`), or
//! tells programs EOPNOTSUPP without asking again (extended attributes, which it would look for at
//! every write).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle as Fh, Filesystem, FopenFlags, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};

use super::convert::{ino, set_time};
use super::dispatch::{Dispatch, LISTING, READING, SYNCING, span};
use super::handshake::Promised;
use super::init::negotiate;
use super::prime::Primer;
use super::replies::{
    answer_attr, answer_created, answer_done, answer_entries, answer_entry, answer_full_entries,
    answer_opened, answer_statfs,
};
use crate::types::FileHandle;
use crate::vfs::{
    Caller, OpenMode, RenameRule, Seek, SetAttr, Vfs, VfsError, allocation_from_flags,
};

/// Entries per request of plain and of full reading: what fits into 4 KiB, the buffer of most
/// kernels, so that few are read for nothing.
const ENTRIES: usize = 100;
const FULL_ENTRIES: usize = 32;

/// Bytes of one copying request at most: the reply has 32 bits for what was copied.
const COPIED_AT_ONCE: u64 = 1 << 30;

pub(super) struct Adapter {
    vfs: Arc<Vfs>,
    dispatch: Dispatch,
    promised: Option<Promised>,
    primer: Arc<Primer>,
}

impl Adapter {
    pub fn new(
        vfs: Arc<Vfs>,
        dispatch: Dispatch,
        promised: Option<Promised>,
        primer: Arc<Primer>,
    ) -> Self {
        Self { vfs, dispatch, promised, primer }
    }
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid() }
}

fn bytes(name: &OsStr) -> Box<[u8]> {
    name.as_bytes().into()
}

fn handle(handle: Fh) -> FileHandle {
    FileHandle(handle.0)
}

#[allow(clippy::too_many_arguments)]
impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        negotiate(config, self.promised.as_ref());
        Ok(())
    }

    fn forget(&self, request: &Request, node: INodeNo, _lookups: u64) {
        // Of a real node nothing is counted: each can be had again from its row.
        if node.0 == 0 {
            self.primer.hold(std::ptr::from_ref(request).cast());
        }
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), ino(parent), bytes(name));
        let span = span("lookup", request, parent);
        let work = async move { vfs.lookup(parent, &name).await };
        self.dispatch.later(span, LISTING, reply, work, answer_entry);
    }

    fn getattr(&self, request: &Request, node: INodeNo, _: Option<Fh>, reply: ReplyAttr) {
        let span = span("getattr", request, ino(node));
        self.dispatch.now(span, reply, || self.vfs.getattr(ino(node)), answer_attr);
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<Fh>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (atime, mtime) = (atime.map(set_time), mtime.map(set_time));
        let set = SetAttr { mode, uid, gid, size, atime, mtime };
        let span = span("setattr", request, ino(node));
        self.dispatch.now(span, reply, || self.vfs.setattr(ino(node), set), answer_attr);
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        let span = span("readlink", request, ino(node));
        let work = || self.vfs.readlink(ino(node));
        self.dispatch.now(span, reply, work, |reply, target| reply.data(&target));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), ino(parent), bytes(name));
        let (span, caller) = (span("mknod", request, parent), caller(request));
        let work = async move { vfs.mknod(caller, parent, &name, mode).await };
        self.dispatch.later(span, LISTING, reply, work, answer_entry);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), ino(parent), bytes(name));
        let (span, caller) = (span("mkdir", request, parent), caller(request));
        let work = async move { vfs.mkdir(caller, parent, &name, mode).await };
        self.dispatch.later(span, LISTING, reply, work, answer_entry);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), ino(parent), bytes(name));
        let target = bytes(target.as_os_str());
        let (span, caller) = (span("symlink", request, parent), caller(request));
        let work = async move { vfs.symlink(caller, parent, &name, &target).await };
        self.dispatch.later(span, LISTING, reply, work, answer_entry);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        // The server has no hard links; link(2) names EPERM for this.
        reply.error(Errno::EPERM);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), ino(parent), bytes(name));
        let span = span("unlink", request, parent);
        let work = async move { vfs.unlink(parent, &name).await };
        self.dispatch.later(span, LISTING, reply, work, answer_done);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), ino(parent), bytes(name));
        let span = span("rmdir", request, parent);
        let work = async move { vfs.rmdir(parent, &name).await };
        self.dispatch.later(span, LISTING, reply, work, answer_done);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rule = match flags {
            flags if flags.is_empty() => RenameRule::Replace,
            RenameFlags::RENAME_NOREPLACE => RenameRule::KeepTarget,
            RenameFlags::RENAME_EXCHANGE => RenameRule::Exchange,
            _ => return reply.error(Errno::EINVAL),
        };
        let vfs = Arc::clone(&self.vfs);
        let (from, to) = (ino(parent), ino(newparent));
        let (name, newname) = (bytes(name), bytes(newname));
        let span = span("rename", request, from);
        let work = async move { vfs.rename((from, &name), (to, &newname), rule).await };
        self.dispatch.later(span, LISTING, reply, work, answer_done);
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let span = span("open", request, ino(node));
        let work = || self.vfs.open(ino(node), OpenMode::from_flags(flags.0));
        self.dispatch.now(span, reply, work, answer_opened);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (vfs, parent, name) = (Arc::clone(&self.vfs), ino(parent), bytes(name));
        let (span, caller) = (span("create", request, parent), caller(request));
        let (exclusive, open) = (flags & libc::O_EXCL != 0, OpenMode::from_flags(flags));
        let work = async move { vfs.create(caller, parent, &name, mode, exclusive, open).await };
        self.dispatch.later(span, LISTING, reply, work, answer_created);
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        fh: Fh,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let vfs = Arc::clone(&self.vfs);
        let span = span("read", request, ino(node));
        let work = async move { vfs.read(handle(fh), offset, size).await };
        self.dispatch.later(span, READING, reply, work, |reply, data| reply.data(&data));
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        fh: Fh,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let span = span("write", request, ino(node));
        let work = || self.vfs.write(handle(fh), offset, data);
        // A request has at most the size that was agreed, a MiB.
        self.dispatch.now(span, reply, work, |reply, ()| reply.written(data.len() as u32));
    }

    fn flush(&self, request: &Request, node: INodeNo, fh: Fh, _: LockOwner, reply: ReplyEmpty) {
        let span = span("flush", request, ino(node));
        self.dispatch.now(span, reply, || self.vfs.flush(handle(fh)), answer_done);
    }

    fn release(
        &self,
        request: &Request,
        node: INodeNo,
        fh: Fh,
        _: OpenFlags,
        _: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let span = span("release", request, ino(node));
        self.dispatch.now(span, reply, || self.vfs.release(handle(fh)), answer_done);
    }

    fn fsync(&self, request: &Request, node: INodeNo, fh: Fh, _: bool, reply: ReplyEmpty) {
        let vfs = Arc::clone(&self.vfs);
        let span = span("fsync", request, ino(node));
        let work = async move { vfs.fsync(handle(fh)).await };
        self.dispatch.later(span, SYNCING, reply, work, answer_done);
    }

    fn opendir(&self, request: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let span = span("opendir", request, ino(node));
        // Entries are not cached in the kernel: what is read from its cache is dropped only with
        // the whole directory, and they are answered from memory here anyway.
        self.dispatch.now(
            span,
            reply,
            || self.vfs.opendir(ino(node)),
            |reply, handle| {
                reply.opened(Fh(handle.0), FopenFlags::empty());
            },
        );
    }

    fn readdir(
        &self,
        request: &Request,
        node: INodeNo,
        fh: Fh,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let vfs = Arc::clone(&self.vfs);
        let span = span("readdir", request, ino(node));
        let work = async move { vfs.readdir(handle(fh), offset, ENTRIES).await };
        self.dispatch.later(span, LISTING, reply, work, answer_entries);
    }

    fn readdirplus(
        &self,
        request: &Request,
        node: INodeNo,
        fh: Fh,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let vfs = Arc::clone(&self.vfs);
        let span = span("readdirplus", request, ino(node));
        let work = async move {
            let entries = vfs.readdir(handle(fh), offset, FULL_ENTRIES).await?;
            let with_stat = |entry| Ok((vfs.entry_stat(&entry)?, entry));
            entries.into_iter().map(with_stat).collect::<Result<Vec<_>, VfsError>>()
        };
        self.dispatch.later(span, LISTING, reply, work, answer_full_entries);
    }

    fn releasedir(
        &self,
        request: &Request,
        node: INodeNo,
        fh: Fh,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let span = span("releasedir", request, ino(node));
        self.dispatch.now(span, reply, || self.vfs.releasedir(handle(fh)), answer_done);
    }

    fn fsyncdir(&self, request: &Request, node: INodeNo, fh: Fh, _: bool, reply: ReplyEmpty) {
        let vfs = Arc::clone(&self.vfs);
        let span = span("fsyncdir", request, ino(node));
        let work = async move { vfs.fsyncdir(handle(fh)).await };
        self.dispatch.later(span, SYNCING, reply, work, answer_done);
    }

    fn statfs(&self, request: &Request, node: INodeNo, reply: ReplyStatfs) {
        let span = span("statfs", request, ino(node));
        self.dispatch.now(span, reply, || Ok(self.vfs.statfs()), answer_statfs);
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        fh: Fh,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let span = span("fallocate", request, ino(node));
        let work = || {
            let how = allocation_from_flags(mode)?;
            self.vfs.allocate(handle(fh), offset, length, how)
        };
        self.dispatch.now(span, reply, work, answer_done);
    }

    fn lseek(
        &self,
        request: &Request,
        node: INodeNo,
        fh: Fh,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let span = span("lseek", request, ino(node));
        let work = || {
            let what = match whence {
                libc::SEEK_DATA => Seek::Data,
                libc::SEEK_HOLE => Seek::Hole,
                // The kernel knows the others by itself.
                _ => return Err(VfsError::Invalid("what is looked for")),
            };
            self.vfs.seek(handle(fh), offset, what)
        };
        // Sizes are within the range of offsets.
        self.dispatch.now(span, reply, work, |reply, found| reply.offset(found.cast_signed()));
    }

    fn copy_file_range(
        &self,
        request: &Request,
        from: INodeNo,
        from_fh: Fh,
        from_offset: u64,
        _to: INodeNo,
        to_fh: Fh,
        to_offset: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let vfs = Arc::clone(&self.vfs);
        let span = span("copy_file_range", request, ino(from));
        let (source, target) = ((handle(from_fh), from_offset), (handle(to_fh), to_offset));
        let length = length.min(COPIED_AT_ONCE);
        let work = async move { vfs.copy(source, target, length).await };
        // Not more than was asked for.
        self.dispatch
            .later(span, READING, reply, work, |reply, copied| reply.written(copied as u32));
    }

    // What follows does not exist. fuser would say the same, and log each time that it did.

    fn setxattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: Fh,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: Fh,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }
}
