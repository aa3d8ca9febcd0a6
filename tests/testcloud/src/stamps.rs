//! What the server makes up: the time, file ids and entity tags.
//!
//! Ids are never reused and folder tags never repeat, also when the clock is set back by a test.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};

/// Marks a clock that runs; no test sets the clock to this second.
const RUNNING: i64 = i64::MIN;

pub(crate) struct Stamps {
    instance: String,
    frozen: AtomicI64,
    last_folder_tag: AtomicU64,
    last_id: AtomicU64,
}

impl Stamps {
    pub(crate) fn new(instance: String) -> Self {
        Self {
            instance,
            frozen: AtomicI64::new(RUNNING),
            last_folder_tag: AtomicU64::new(0),
            last_id: AtomicU64::new(0),
        }
    }

    /// The 12 characters that end every `oc:id` and name the session cookie.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn now(&self) -> i64 {
        match self.frozen.load(Ordering::Relaxed) {
            RUNNING => since_epoch().as_secs().cast_signed(),
            second => second,
        }
    }

    /// Stops the clock at a second, or lets it run again.
    pub(crate) fn freeze(&self, second: Option<i64>) {
        self.frozen.store(second.unwrap_or(RUNNING), Ordering::Relaxed);
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// `OC-FileId` and `oc:id`: the id padded to eight digits, then the instance.
    pub(crate) fn instance_file_id(&self, id: u64) -> String {
        format!("{id:08}{}", self.instance)
    }

    /// A tag as PHP's `uniqid()` makes them: 8 hex digits of seconds, 5 of microseconds (FACTS 6).
    pub(crate) fn folder_tag(&self) -> String {
        let micros = match self.frozen.load(Ordering::Relaxed) {
            RUNNING => u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX),
            second => second.cast_unsigned().wrapping_mul(1_000_000),
        };
        let step = |last: u64| Some(micros.max(last + 1));
        let last = self.last_folder_tag.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        let tag = last.map_or(micros, |last| micros.max(last + 1));
        format!("{:08x}{:05x}", tag / 1_000_000, tag % 1_000_000)
    }
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The tag of a file as local storage computes it (FACTS 0.1): nothing of the content is in it.
/// The file id stands for the inode, which it outlives nowhere.
pub(crate) fn file_tag(mtime: i64, id: u64, size: u64) -> String {
    hex(&Md5::digest(format!("{mtime}:{id}:{size}")))
}

/// The tag of a file after a write that left it at `mtime`. A write that does not change the second
/// goes unseen, whatever it did to the size (FACTS 0.1).
pub(crate) fn tag_after_write(
    before: Option<(i64, &str)>,
    mtime: i64,
    id: u64,
    size: u64,
    now: i64,
) -> String {
    match before {
        Some((second, tag)) if second == mtime && mtime == now => tag.to_owned(),
        _ => file_tag(mtime, id, size),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
