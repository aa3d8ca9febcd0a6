//! Between the words of `fuser` and ours.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};

use crate::types::{Ino, Time};
use crate::vfs::{Kind, SetTime, Stat, StatFs};

pub(super) fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}

pub(super) fn attr(stat: &Stat) -> FileAttr {
    let Stat { ino, kind: of, attr, nlink } = stat;
    FileAttr {
        ino: INodeNo(ino.0),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(*of),
        perm: attr.mode,
        nlink: *nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: StatFs::BLOCK,
        flags: 0,
    }
}

/// What an entry without a node is: the kernel takes number 0 as "there is none", and remembers it
/// for as long as the entry says (fs/fuse/dir.c, fuse_lookup_name).
pub(super) fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(super) fn ino(ino: INodeNo) -> Ino {
    Ino(ino.0)
}

pub(super) fn system_time(time: Time) -> SystemTime {
    let nanos = Duration::from_nanos(time.0.unsigned_abs());
    // Both ends of `Time` are within the years 1677 to 2262.
    if time.0 < 0 { SystemTime::UNIX_EPOCH - nanos } else { SystemTime::UNIX_EPOCH + nanos }
}

pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(requested_time(time)),
    }
}

/// A time as the kernel sent it. fuser 0.18 turns `-s` seconds and `n` nanoseconds, which mean
/// `n - s`, into `-(s + n)` (its src/time.rs); the two are still there to be put right. Beyond what
/// [`Time`] can hold it is the nearest that it can.
fn requested_time(time: SystemTime) -> Time {
    let (secs, nanos) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (i128::from(after.as_secs()), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            (-i128::from(before.as_secs()), before.subsec_nanos())
        }
    };
    let total = secs * 1_000_000_000 + i128::from(nanos);
    Time(total.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuser makes of the kernel's two numbers before the epoch.
    fn as_fuser_says(secs: u64, nanos: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH - Duration::new(secs, nanos)
    }

    #[test]
    fn times_before_the_epoch_arrive_as_the_program_set_them() {
        let half_a_second_before = requested_time(as_fuser_says(1, 500_000_000));
        assert_eq!(half_a_second_before, Time(-500_000_000));
        assert_eq!(requested_time(as_fuser_says(2, 0)), Time(-2_000_000_000));
    }

    #[test]
    fn times_survive_the_way_to_the_kernel() {
        for time in [Time(0), Time(-1), Time(1), Time(1_700_000_000_123_456_789)] {
            let told = system_time(time);
            let nanos = match told.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(after) => after.as_nanos() as i64,
                Err(before) => -(before.duration().as_nanos() as i64),
            };
            assert_eq!(Time(nanos), time);
        }
    }

    #[test]
    fn a_time_that_cannot_be_kept_becomes_the_nearest() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(requested_time(far), Time(i64::MAX));
    }
}
