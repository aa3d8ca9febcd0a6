//! Transactional locks on paths (FACTS 4, 5): never waited for, released when the guard is dropped.
//!
//! A lock on a path also holds a shared lock on every folder above it, so that a folder cannot be
//! moved or deleted while something below it is read or written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::path::FilePath;
use crate::sync::lock;

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    shared: usize,
    exclusive: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Shared,
    Exclusive,
}

type Key = (String, FilePath);

#[derive(Clone, Default)]
pub(crate) struct Locks(Arc<Mutex<HashMap<Key, Held>>>);

/// Who was in the way; the words are those of the server's message.
#[derive(Debug)]
pub(crate) struct Locked(String);

impl Locked {
    pub(crate) fn message(&self) -> &str {
        &self.0
    }
}

pub(crate) struct LockGuard {
    locks: Locks,
    key: Key,
    mode: Mode,
}

impl Locks {
    pub(crate) fn shared(&self, user: &str, path: &FilePath) -> Result<LockGuard, Locked> {
        self.acquire(user, path, Mode::Shared)
    }

    pub(crate) fn exclusive(&self, user: &str, path: &FilePath) -> Result<LockGuard, Locked> {
        self.acquire(user, path, Mode::Exclusive)
    }

    fn acquire(&self, user: &str, path: &FilePath, mode: Mode) -> Result<LockGuard, Locked> {
        let mut held = lock(&self.0);
        let keys = above(user, path);
        let free = keys.iter().all(|key| !held.get(key).is_some_and(|held| held.exclusive));
        let key = (user.to_owned(), path.clone());
        let own = held.get(&key).copied().unwrap_or_default();
        if !free || own.exclusive || (mode == Mode::Exclusive && own.shared > 0) {
            let holder = match own.shared {
                0 => "exclusive".to_owned(),
                shared => format!("{shared} shared locks"),
            };
            return Err(Locked(format!("\"{path}\" is locked, existing lock on file: {holder}")));
        }
        for key in keys {
            held.entry(key).or_default().shared += 1;
        }
        let entry = held.entry(key.clone()).or_default();
        match mode {
            Mode::Shared => entry.shared += 1,
            Mode::Exclusive => entry.exclusive = true,
        }
        Ok(LockGuard { locks: self.clone(), key, mode })
    }
}

fn above(user: &str, path: &FilePath) -> Vec<Key> {
    (0..path.names().len()).map(|count| (user.to_owned(), path.prefix(count))).collect()
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let mut held = lock(&self.locks.0);
        if let Some(entry) = held.get_mut(&self.key) {
            match self.mode {
                Mode::Shared => entry.shared = entry.shared.saturating_sub(1),
                Mode::Exclusive => entry.exclusive = false,
            }
        }
        for key in above(&self.key.0, &self.key.1) {
            if let Some(entry) = held.get_mut(&key) {
                entry.shared = entry.shared.saturating_sub(1);
            }
        }
        held.retain(|_, held| held.exclusive || held.shared > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_by_what_is_written_below_it() {
        let locks = Locks::default();
        let guard = locks.exclusive("u", &FilePath::of("/d/f")).unwrap();
        assert!(locks.shared("u", &FilePath::of("/d/f")).is_err());
        assert!(locks.exclusive("u", &FilePath::of("/d")).is_err());
        assert!(locks.exclusive("u", &FilePath::of("/d/g")).is_ok());
        drop(guard);
        assert!(locks.exclusive("u", &FilePath::of("/d")).is_ok());
    }
}
