//! Which requests of the kernel were carried out, so that one that is sent again after a crash is
//! answered and not repeated.
//!
//! The row is written by the transaction that carries the request out. It is needed until the answer
//! has gone out, which follows the commit without waiting for anything: the last [`KEPT`] are kept, in
//! a ring. They are of one connection to the kernel; another one begins with an empty table, which is
//! why it is no part of the schema that migrations keep.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, set_meta};
use crate::types::Ino;

/// Rows in the ring: far more than there are threads that answer, each of which has one at most.
const KEPT: u64 = 4096;

const CREATE: &str = "
DROP TABLE IF EXISTS answered;
-- slot: turn modulo the size of the ring. made: the node that the request made, or 0.
CREATE TABLE answered (
    slot INTEGER PRIMARY KEY, turn INTEGER NOT NULL, request INTEGER NOT NULL, made INTEGER NOT NULL
);
";

/// The requests that the processes before this one carried out.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// With the node that each made.
    before: HashMap<u64, Option<Ino>>,
    next: AtomicU64,
}

impl Answered {
    /// Reads what was noted on this connection, or begins a new one; tells whether it is the same.
    pub fn open(db: &Connection, connection: u128) -> Result<(Answered, bool)> {
        let name = format!("{connection:032x}");
        let before: Option<String> = db
            .query_row("SELECT value FROM meta WHERE key = 'connection'", [], |row| row.get(0))
            .optional()?;
        if before.as_ref() != Some(&name) {
            let begun = db.unchecked_transaction()?;
            db.execute_batch(CREATE)?;
            set_meta(db, "connection", &name)?;
            begun.commit()?;
            return Ok((Self::default(), false));
        }
        let mut query = db.prepare("SELECT turn, request, made FROM answered ORDER BY turn")?;
        let mut rows = query.query([])?;
        let (mut before, mut next) = (HashMap::new(), 0);
        while let Some(row) = rows.next()? {
            next = row.get::<_, i64>(0)? as u64 + 1;
            let made = Some(row.get::<_, i64>(2)? as u64).filter(|ino| *ino != 0);
            before.insert(row.get::<_, i64>(1)? as u64, made.map(Ino));
        }
        Ok((Self { before, next: AtomicU64::new(next) }, true))
    }

    /// What a request made, if it was carried out.
    pub fn get(&self, request: u64) -> Option<Option<Ino>> {
        self.before.get(&request).copied()
    }

    pub fn note(&self, db: &Connection, request: u64, made: Option<Ino>) -> Result<()> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let made = made.map_or(0, |ino| ino.0 as i64);
        db.prepare_cached("INSERT OR REPLACE INTO answered VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![(turn % KEPT) as i64, turn as i64, request as i64, made])?;
        Ok(())
    }
}
