//! What is done to ranges of open files beside reading and writing them: fallocate(2),
//! copy_file_range(2), and lseek(2) for data and holes.

use super::attr::MAX_SIZE;
use super::{Result, Vfs, VfsError};
use crate::types::{ByteRange, FileHandle};

pub use crate::content::{Allocation, Seek};

/// What an allocation is by the flags of fallocate(2).
pub fn allocation_from_flags(flags: i32) -> Result<Allocation> {
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let keep_size = flags & libc::FALLOC_FL_KEEP_SIZE != 0;
    match flags {
        0 | libc::FALLOC_FL_KEEP_SIZE => Ok(Allocation::Reserve { keep_size }),
        PUNCH => Ok(Allocation::Punch),
        _ if flags & !libc::FALLOC_FL_KEEP_SIZE == libc::FALLOC_FL_ZERO_RANGE => {
            Ok(Allocation::Zero { keep_size })
        }
        _ => Err(VfsError::NotSupported("collapsing, inserting or sharing ranges")),
    }
}

impl Vfs {
    /// Reserves, zeroes or punches `len` bytes from `offset`. Never waits for the network.
    pub fn allocate(
        &self,
        handle: FileHandle,
        offset: u64,
        len: u64,
        how: Allocation,
    ) -> Result<()> {
        let file = self.handles.file(handle)?;
        if !file.access.writes() {
            return Err(VfsError::BadHandle);
        }
        if len == 0 {
            return Err(VfsError::Invalid("an empty range"));
        }
        Ok(self.bodies.allocate(file.ino, within_a_file(offset, len)?, how)?)
    }

    /// The next data or hole from `offset` on. Never waits for the network.
    ///
    /// Of a file that somebody has open for reading and writing no holes are told: it may be mapped,
    /// and the kernel does not write back what was stored there before it asks.
    pub fn seek(&self, handle: FileHandle, offset: i64, what: Seek) -> Result<u64> {
        let file = self.handles.file(handle)?;
        let offset = u64::try_from(offset).map_err(|_| VfsError::NoSuchOffset)?;
        let found = if self.handles.may_be_mapped(file.ino) {
            what.without_holes(offset, self.getattr(file.ino)?.attr.size)
        } else {
            self.bodies.seek(file.ino, offset, what)?
        };
        found.ok_or(VfsError::NoSuchOffset)
    }

    /// Copies up to `len` bytes from an offset of one file to an offset of another, or of the same
    /// one if the ranges do not overlap; tells how many. Waits for the network when the bytes are
    /// not here. A part may have been copied when it fails or is given up.
    pub async fn copy(
        &self,
        from: (FileHandle, u64),
        to: (FileHandle, u64),
        len: u64,
    ) -> Result<u64> {
        let (source, target) = (self.handles.file(from.0)?, self.handles.file(to.0)?);
        if !source.access.reads() || !target.access.writes() {
            return Err(VfsError::BadHandle);
        }
        let (range, into) = (within_a_file(from.1, len)?, within_a_file(to.1, len)?);
        if source.ino == target.ino && !range.intersection(into).is_empty() {
            return Err(VfsError::Invalid("copying a range onto itself"));
        }
        Ok(self.bodies.copy(source.ino, range, target.ino, into.start).await?)
    }
}

fn within_a_file(offset: u64, len: u64) -> Result<ByteRange> {
    match offset.checked_add(len) {
        Some(end) if end <= MAX_SIZE => Ok(ByteRange::new(offset, end)),
        _ => Err(VfsError::TooBig),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_fallocate_are_one_of_five_things_or_refused() {
        use libc::{
            FALLOC_FL_KEEP_SIZE as KEEP, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE as ZERO,
        };
        let of = |flags| allocation_from_flags(flags).map_err(|error| error.errno());
        assert_eq!(of(0), Ok(Allocation::Reserve { keep_size: false }));
        assert_eq!(of(KEEP), Ok(Allocation::Reserve { keep_size: true }));
        assert_eq!(of(ZERO), Ok(Allocation::Zero { keep_size: false }));
        assert_eq!(of(ZERO | KEEP), Ok(Allocation::Zero { keep_size: true }));
        assert_eq!(of(FALLOC_FL_PUNCH_HOLE | KEEP), Ok(Allocation::Punch));
        let refused = [
            FALLOC_FL_PUNCH_HOLE,
            libc::FALLOC_FL_COLLAPSE_RANGE,
            libc::FALLOC_FL_INSERT_RANGE,
            libc::FALLOC_FL_UNSHARE_RANGE,
        ];
        for flags in refused {
            assert_eq!(of(flags), Err(libc::EOPNOTSUPP), "{flags:#x}");
        }
    }
}
