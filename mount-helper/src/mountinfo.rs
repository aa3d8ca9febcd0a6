//! `/proc/self/mountinfo`: what is mounted where (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of mountinfo, as far as it is needed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the mount; unique among the mounts that exist.
    pub id: u64,
    /// Number of the mount that it stands on.
    pub parent: u64,
    /// Major and minor number of the file system, which every FUSE connection has for itself.
    pub device: (u32, u32),
    pub mountpoint: PathBuf,
    pub fs_type: String,
    pub source: OsString,
}

/// All mounts of this process's mount namespace.
pub fn read() -> io::Result<Vec<Entry>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Reads the text of a mountinfo file; lines of another form are passed over.
pub fn parse(text: &[u8]) -> Vec<Entry> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// The mount that is seen at exactly this path: of several on top of each other the uppermost.
pub fn at<'a>(entries: &'a [Entry], path: &Path) -> Option<&'a Entry> {
    let here = || entries.iter().filter(|entry| entry.mountpoint == path);
    here().rfind(|entry| !here().any(|other| other.parent == entry.id))
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let _root_within_the_file_system = fields.next()?;
    let mountpoint = PathBuf::from(unescape(fields.next()?));
    // Mount options and any number of optional fields end with a lone dash.
    fields.by_ref().find(|field| *field == b"-")?;
    let fs_type = unescape(fields.next()?).into_string().ok()?;
    let source = unescape(fields.next()?);
    Some(Entry { id, parent, device, mountpoint, fs_type, source })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Undoes the kernel's `\ooo`, with which it writes blanks, line ends, backslashes and `#`.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        match escaped_byte(rest) {
            Some(decoded) => {
                plain.push(decoded);
                rest = &rest[4..];
            }
            None => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(plain)
}

fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'\\', digits @ ..] = text.get(..4)? else { return None };
    digits.iter().try_fold(0u8, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"\
25 30 0:23 / /sys rw,nosuid,nodev shared:7 - sysfs sysfs rw\n\
80 30 0:55 / /home/a\\040b/my\\134cloud rw - fuse.ncfs https://alice@cloud rw,user_id=0\n\
81 80 0:56 / /home/a\\040b/my\\134cloud rw master:1 propagate_from:2 - fuse.ncfs x rw\n\
not a line\n";

    #[test]
    fn blanks_and_backslashes_of_a_mount_point_are_decoded() {
        let entries = parse(LINES);
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[1].mountpoint, Path::new("/home/a b/my\\cloud"));
        assert_eq!(entries[1].fs_type, "fuse.ncfs");
        assert_eq!(entries[1].device, (0, 55));
    }

    #[test]
    fn of_two_mounts_at_one_path_the_one_on_top_is_seen() {
        let mut entries = parse(LINES);
        let path = Path::new("/home/a b/my\\cloud");
        assert_eq!(at(&entries, path).map(|entry| entry.id), Some(81));
        entries.reverse();
        assert_eq!(at(&entries, path).map(|entry| entry.id), Some(81));
    }

    #[test]
    fn a_path_below_a_mount_point_is_not_a_mount_point() {
        assert_eq!(at(&parse(LINES), Path::new("/sys/fs")), None);
    }

    #[test]
    fn what_only_looks_like_an_escape_stays_as_it_is() {
        assert_eq!(unescape(b"a\\9zz\\04"), OsString::from("a\\9zz\\04"));
        assert_eq!(unescape(b"\\777"), OsString::from("\\777"));
    }
}
