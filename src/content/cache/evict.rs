//! Room for what comes next: whole versions go, the least recently used first.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::sys::statvfs::statvfs;

use super::Cache;
use crate::types::ContentId;

/// Bytes of the file system that the cache leaves free: a twentieth, at most this.
const FLOOR_MAX: u64 = 1 << 30;

pub(super) fn default_floor(dir: &Path) -> io::Result<u64> {
    let stat = statvfs(dir)?;
    Ok((stat.blocks() * stat.fragment_size() / 20).min(FLOOR_MAX))
}

impl Cache {
    /// Whether the limit is passed. The floor of free space is looked at by [`Cache::evict`] only.
    pub fn is_crowded(&self) -> bool {
        self.used() > self.limit
    }

    /// Deletes unpinned versions until the cache is at 90 % of its limit and a tenth more than the
    /// floor is free, if one of the two was passed. Returns the bytes given back. Blocks on the disk;
    /// does nothing while another call is at it.
    pub fn evict(&self) -> io::Result<u64> {
        if self.evicting.swap(true, Ordering::Acquire) {
            return Ok(0);
        }
        let freed = self.excess().and_then(|excess| self.free(excess));
        self.evicting.store(false, Ordering::Release);
        freed
    }

    /// How many bytes have to go.
    fn excess(&self) -> io::Result<u64> {
        let stat = statvfs(self.layout.dir())?;
        let free = stat.blocks_available() * stat.fragment_size();
        let low = if free < self.floor { self.floor + self.floor / 10 - free } else { 0 };
        let used = self.used();
        let over = if used > self.limit { used - self.limit / 10 * 9 } else { 0 };
        Ok(low.max(over))
    }

    fn free(&self, excess: u64) -> io::Result<u64> {
        let mut freed = 0;
        if excess == 0 {
            return Ok(freed);
        }
        for (stamp, content) in self.by_age() {
            if freed >= excess {
                break;
            }
            let mut state = self.lock();
            let open = state.open.get(&content);
            let entry = state.entries.get(&content);
            let unused = match (open, entry) {
                (Some(version), _) => Arc::strong_count(version) == 1 && version.stamp() == stamp,
                (None, Some(entry)) => entry.stamp == stamp,
                (None, None) => false,
            };
            if unused {
                let charged = open.map_or_else(
                    || entry.map_or(0, |entry| entry.charged()),
                    |version| version.charged(),
                );
                self.drop_entry(&mut state, content)?;
                freed += charged;
            }
        }
        Ok(freed)
    }

    /// All versions, the least recently used first.
    fn by_age(&self) -> Vec<(u64, ContentId)> {
        let state = self.lock();
        let mut found: Vec<_> = state
            .entries
            .iter()
            .map(|(content, entry)| {
                let open = state.open.get(content);
                (open.map_or(entry.stamp, |version| version.stamp()), *content)
            })
            .collect();
        drop(state);
        found.sort_unstable();
        found
    }
}
