//! What is agreed with the kernel when the session begins.
//!
//! Asked for is what fuser 0.18 can honour (it accepts more without a word; ANCHORS 0.6). Not asked
//! for, on purpose: the writeback cache, which would own sizes and times; POSIX and BSD locks, which
//! the kernel keeps by itself on one mount; set-user-id handling (HANDLE_KILLPRIV*), which it does by
//! `setattr`; SETXATTR_EXT, which makes fuser panic.

use fuser::{InitFlags, KernelConfig};

use super::handshake::Promised;

/// Bytes of the largest request to read or write: 256 pages, the kernel's own limit
/// (fs.fuse.max_pages_limit).
const MAX_REQUEST: u32 = 1024 * 1024;

/// Requests that nobody waits for (read-ahead) at a time.
const BACKGROUND: u16 = 64;

/// Asks for what was promised if a process before this one did that, else for the best.
pub(super) fn negotiate(config: &mut KernelConfig, promised: Option<&Promised>) {
    let wanted = InitFlags::FUSE_DO_READDIRPLUS
        | InitFlags::FUSE_READDIRPLUS_AUTO
        | InitFlags::FUSE_PARALLEL_DIROPS
        | InitFlags::FUSE_ASYNC_READ
        | InitFlags::FUSE_ASYNC_DIO
        | InitFlags::FUSE_MAX_PAGES
        | InitFlags::FUSE_ATOMIC_O_TRUNC
        | InitFlags::FUSE_CACHE_SYMLINKS
        | InitFlags::FUSE_EXPLICIT_INVAL_DATA;
    let best = Promised { flags: wanted, max_write: MAX_REQUEST, max_background: BACKGROUND };
    let Promised { flags: wanted, max_write, max_background } = *promised.unwrap_or(&best);
    // What an older kernel does not have costs speed, nothing else, but for O_TRUNC, which it then
    // sends as a size.
    let offered = wanted & config.capabilities();
    if let Err(refused) = config.add_capabilities(offered) {
        tracing::warn!(?refused, "the kernel takes back capabilities that it offered");
    }
    if let Err(nearest) = config.set_max_write(max_write) {
        tracing::warn!(nearest, "requests are smaller than asked for");
    }
    if let Err(nearest) = config.set_max_background(max_background) {
        tracing::warn!(nearest, "fewer requests at a time than asked for");
    }
    let abi = config.kernel_abi();
    tracing::debug!(?abi, enabled = ?offered, missing = ?(wanted & !offered), "FUSE_INIT");
}
