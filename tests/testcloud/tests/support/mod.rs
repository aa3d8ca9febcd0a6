//! What the tests of testcloud share: a bare HTTP client, transcripts, and their comparison.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod compare;
pub mod stage;
pub mod transcript;
pub mod wire;

/// The server's own XML tree is good enough to take its answers apart.
#[path = "../../src/xml.rs"]
pub mod xml;
