//! Copying between local files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::copy_file_range;

/// Bytes in memory at once where the kernel cannot copy by itself.
const THROUGH_MEMORY: usize = 128 * 1024;

/// Copies `len` bytes, less only where `from` ends; tells how many. The kernel does it, and shares
/// the blocks where the file system can. By offset: the descriptors' positions do not matter.
pub(super) fn copy_range(
    from: &File,
    start: u64,
    to: &File,
    offset: u64,
    len: u64,
) -> io::Result<u64> {
    let place = |at: u64| i64::try_from(at).map_err(io::Error::other);
    let (mut source, mut target) = (place(start)?, place(offset)?);
    let mut done = 0;
    while done < len {
        let left = usize::try_from(len - done).map_err(io::Error::other)?;
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), left) {
            Ok(0) => break,
            Ok(copied) => done += copied as u64,
            Err(Errno::EINTR) => {}
            // Another file system, or one that does not offer it.
            Err(Errno::EXDEV | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                let rest = copy_through_memory(from, start + done, to, offset + done, len - done)?;
                return Ok(done + rest);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

fn copy_through_memory(
    from: &File,
    start: u64,
    to: &File,
    offset: u64,
    len: u64,
) -> io::Result<u64> {
    let mut buffer = vec![0; THROUGH_MEMORY];
    let mut done = 0;
    while done < len {
        let wanted = THROUGH_MEMORY.min(usize::try_from(len - done).unwrap_or(THROUGH_MEMORY));
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        let read = match from.read_at(piece, start + done) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        to.write_all_at(piece.get(..read).unwrap_or_default(), offset + done)?;
        done += read as u64;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_copy_the_same_and_stop_where_the_source_ends() {
        let content: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let from = tempfile::tempfile().unwrap();
        from.write_all_at(&content, 0).unwrap();
        for copy in [copy_range, copy_through_memory] {
            let to = tempfile::tempfile().unwrap();
            assert_eq!(copy(&from, 1000, &to, 10, 1_000_000).unwrap(), 299_000);
            assert_eq!(copy(&from, 300_000, &to, 0, 5).unwrap(), 0);
            let mut copied = vec![0; 299_000];
            to.read_exact_at(&mut copied, 10).unwrap();
            assert!(copied == content[1000..]);
        }
    }
}
