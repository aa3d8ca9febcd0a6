//! The log of a staging file that is not whole: which ranges were written here, and how the file was
//! cut.
//!
//! Records of 24 bytes, each with a CRC that also covers the staging id. The first one says how the
//! file began. What comes after the first bad record is not read: it was torn by a crash before its
//! write was answered, or by a power cut before it was synced.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::content::Extents;
use crate::types::{ByteRange, StagingId};

const RECORD: usize = 24;

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The file has `size` bytes, of which the first `base_len` are those of the base.
    Begin { base_len: u64, size: u64 },
    /// The range is in the data file.
    Write(ByteRange),
    /// The file was cut or grown to this size.
    Truncate(u64),
    /// All of the base that is still visible is in the data file, and on the disk; nothing follows.
    Whole,
}

impl Record {
    fn encode(self, id: StagingId) -> [u8; RECORD] {
        let (kind, first, second) = match self {
            Self::Begin { base_len, size } => (1_u32, base_len, size),
            Self::Write(range) => (2, range.start, range.end),
            Self::Truncate(size) => (3, size, 0),
            Self::Whole => (4, 0, 0),
        };
        let mut bytes = [0; RECORD];
        bytes[0..4].copy_from_slice(&kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&first.to_le_bytes());
        bytes[16..24].copy_from_slice(&second.to_le_bytes());
        let sum = checksum(&bytes, id);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; RECORD], id: StagingId) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let long = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let mut unsummed = *bytes;
        unsummed[4..8].fill(0);
        if word(4)? != checksum(&unsummed, id) {
            return None;
        }
        let (first, second) = (long(8)?, long(16)?);
        match word(0)? {
            1 => Some(Self::Begin { base_len: first, size: second }),
            2 if first <= second => Some(Self::Write(ByteRange::new(first, second))),
            3 => Some(Self::Truncate(first)),
            4 => Some(Self::Whole),
            _ => None,
        }
    }
}

/// What a log says of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    pub(super) size: u64,
    /// How much of the base is visible.
    pub(super) base_len: u64,
    /// What of that was written here.
    pub(super) written: Extents,
    pub(super) whole: bool,
}

impl Replayed {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Begin { base_len, size } => {
                *self = Self { size, base_len: base_len.min(size), ..Self::default() };
            }
            Record::Write(range) => {
                self.size = self.size.max(range.end);
                self.written.insert(range.intersection(ByteRange::new(0, self.base_len)));
            }
            Record::Truncate(size) => {
                self.size = size;
                self.base_len = self.base_len.min(size);
                self.written.truncate(self.base_len);
            }
            Record::Whole => self.whole = true,
        }
    }
}

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    id: StagingId,
    file: File,
    /// Where the next record goes; what a failed append left behind is written over.
    end: u64,
}

impl Log {
    /// Creates the log of a file that begins so.
    pub(super) fn create(path: &Path, id: StagingId, base_len: u64, size: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        let mut log = Self { id, file, end: 0 };
        log.append(Record::Begin { base_len, size })?;
        Ok(log)
    }

    /// Reads a log and cuts what is bad at its end; `None` when not even its beginning is readable.
    pub(super) fn open(path: &Path, id: StagingId) -> io::Result<Option<(Self, Replayed)>> {
        let file = File::options().read(true).write(true).open(path)?;
        let (replayed, end) = Self::replay(&file, id)?;
        file.set_len(end)?;
        Ok(replayed.map(|replayed| (Self { id, file, end }, replayed)))
    }

    /// Reads a log up to its first bad record, and tells where that begins.
    pub(super) fn replay(file: &File, id: StagingId) -> io::Result<(Option<Replayed>, u64)> {
        let mut replayed = None::<Replayed>;
        let mut end = 0;
        let mut reader = BufReader::new(file);
        let mut bytes = [0; RECORD];
        loop {
            match reader.read_exact(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                read => read?,
            }
            match (Record::decode(&bytes, id), &mut replayed) {
                (Some(begin @ Record::Begin { .. }), None) => {
                    replayed.get_or_insert_default().apply(begin);
                }
                (Some(record), Some(replayed)) => replayed.apply(record),
                _ => break,
            }
            end += RECORD as u64;
        }
        Ok((replayed, end))
    }

    pub(super) fn append(&mut self, record: Record) -> io::Result<()> {
        self.file.write_all_at(&record.encode(self.id), self.end)?;
        self.end += RECORD as u64;
        Ok(())
    }

    /// Another descriptor, to sync it without the lock of its file.
    pub(super) fn try_clone_file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// CRC-32 (IEEE 802.3) of the record and the id of its file, so that no record of another file is
/// taken for one of this.
fn checksum(record: &[u8; RECORD], id: StagingId) -> u32 {
    let bytes = record.iter().chain(id.0.to_le_bytes().iter()).copied().collect::<Vec<_>>();
    crc32(&bytes)
}

fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes
        .iter()
        .fold(!0, |sum, byte| (sum >> 8) ^ TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: StagingId = StagingId(7);

    #[test]
    fn the_checksum_is_the_one_of_ethernet_and_zip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_torn_last_record_is_cut_and_the_next_one_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::create(&path, ID, 100, 100).unwrap();
        log.append(Record::Write(ByteRange::new(0, 10))).unwrap();
        log.append(Record::Write(ByteRange::new(20, 30))).unwrap();
        log.file.set_len(3 * RECORD as u64 - 1).unwrap();

        let (mut log, replayed) = Log::open(&path, ID).unwrap().unwrap();
        assert_eq!(replayed.written, Extents::of(ByteRange::new(0, 10)));
        log.append(Record::Truncate(5)).unwrap();

        let (_, replayed) = Log::open(&path, ID).unwrap().unwrap();
        assert_eq!((replayed.size, replayed.base_len), (5, 5));
        assert_eq!(replayed.written, Extents::of(ByteRange::new(0, 5)));
    }

    #[test]
    fn a_log_of_another_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        Log::create(&path, ID, 100, 100).unwrap();
        assert!(Log::open(&path, StagingId(8)).unwrap().is_none());
    }
}
