//! Whole-program tests: the real `ncfs` mounts a testcloud, and a test asserts what a person would
//! notice, byte by byte, in the mount and on the server.
//!
//! They need root (for ordinary users the rights are dropped), `/dev/fuse` and `fusermount3`, and
//! fail without them: `make test` sees to it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod attention;
mod book;
mod commands;
mod crash;
mod everyday;
mod faults;
mod fstab;
mod git;
mod kills;
mod large;
mod login;
mod logs;
mod metrics;
mod names;
mod posix;
mod programs;
mod ranges;
mod refusals;
mod remote_changes;
mod rescue;
mod resume;
mod service;
mod shares;
