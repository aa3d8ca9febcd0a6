//! What can be done to a range of a file, or asked of it, beside its bytes.

/// What is done to a range without bytes (fallocate(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// It gets room on the disk. The file grows to its end, unless the size is kept.
    Reserve { keep_size: bool },
    /// It reads as zeros, and gets room as by [`Allocation::Reserve`].
    Zero { keep_size: bool },
    /// It reads as zeros, and its room is given back. The size stays.
    Punch,
}

/// What is looked for from an offset on (lseek(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    Data,
    /// The end of the file counts as one.
    Hole,
}

impl Seek {
    /// The answer for a file of `size` bytes of which no holes are known.
    pub fn without_holes(self, offset: u64, size: u64) -> Option<u64> {
        let found = match self {
            Self::Data => offset,
            Self::Hole => size,
        };
        (offset < size).then_some(found)
    }
}
