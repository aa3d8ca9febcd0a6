//! Chance that depends on the seed and on what it is asked about, and on nothing else. So a step that
//! is left out of a history changes little about the others, and a failing history can be made
//! smaller.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::SeedableRng;
use rand::rngs::StdRng;

fn digest(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The dice for one thing.
pub fn dice(seed: u64, about: impl Hash) -> StdRng {
    StdRng::seed_from_u64(digest((seed, about)))
}

/// From 0 to below 1.
pub fn fraction(seed: u64, about: impl Hash) -> f64 {
    (digest((seed, about)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The one that a number likes best: the same one when others come or go.
pub fn pick<T: Hash>(number: u32, from: impl IntoIterator<Item = T>) -> Option<T> {
    from.into_iter().min_by_key(|one| digest((number, one)))
}
