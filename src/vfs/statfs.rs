//! How full the file system is.

use super::Vfs;

/// The answer to statfs(2). Sizes are in blocks of [`StatFs::BLOCK`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    pub blocks: u64,
    pub free: u64,
    /// Bytes of the longest name.
    pub name_max: u32,
}

impl StatFs {
    pub const BLOCK: u32 = 4096;
}

/// What an account without a limit has free: a PiB, more than any program asks for, and far from
/// where the sums of programs overflow.
const UNLIMITED: u64 = 1 << 50;

impl Vfs {
    /// From the quota as it was seen last; never waits for the server.
    pub fn statfs(&self) -> StatFs {
        let block = u64::from(StatFs::BLOCK);
        let (used, free) = match &*self.quota.borrow() {
            Some(quota) => (quota.used, quota.available.unwrap_or(UNLIMITED)),
            None => (0, UNLIMITED),
        };
        let free = free / block;
        StatFs {
            blocks: used.div_ceil(block).saturating_add(free),
            free,
            name_max: u32::try_from(self.names.max_bytes).unwrap_or(u32::MAX),
        }
    }
}
