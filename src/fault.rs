//! Named points at which a test lets the process die, as `kill -9` would just then.
//!
//! A debug build reads `NCFS_DIE_AT`, such as `committed:notes.txt,looked-up:poison`: the point, and
//! what is done there. In a release build there is nothing.

/// Dies if a test wants that here.
#[cfg(debug_assertions)]
pub fn point(name: &str, subject: &[u8]) {
    use std::sync::OnceLock;
    static CHOSEN: OnceLock<String> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("NCFS_DIE_AT").unwrap_or_default());
    let is_here = |chosen: &str| {
        chosen.split_once(':').is_some_and(|(at, of)| at == name && of.as_bytes() == subject)
    };
    if chosen.split(',').any(is_here) {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_: &str, _: &[u8]) {}
