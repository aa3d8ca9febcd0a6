//! The measurements of a mount, gathered from where they are counted. `docs/metrics.md` lists them.

use std::sync::Arc;

use nix::unistd::{SysconfVar, sysconf};

use super::Controlled;
use crate::control::{Exposition, Kind, Measured, State};
use crate::remote::Connection;
use crate::sync;

/// Problems of a kind that are counted.
const COUNTED: usize = super::LISTED;
/// A request of a program that waits longer than this, seconds, hangs: the longest deadline is 120 s.
const HANGING: u64 = 130;

/// A running daemon, as its measurements see it.
pub struct Meters {
    pub controlled: Arc<Controlled>,
    pub connection: Arc<Connection>,
}

impl Measured for Meters {
    fn metrics(&self) -> String {
        let mut text = Exposition::default();
        self.mount(&mut text);
        self.reads(&mut text);
        self.server(&mut text);
        self.process(&mut text);
        text.finish()
    }

    fn health(&self) -> Result<String, String> {
        if let Some(age) = self.oldest_request().filter(|age| *age > HANGING) {
            return Err(format!("failed: a program has been waiting for an answer for {age} s"));
        }
        match self.controlled.state() {
            State::Online => Ok("online".to_owned()),
            State::Offline => Ok("offline: changes are kept here".to_owned()),
            State::Draining => Ok("draining: it sends what is pending and ends".to_owned()),
            State::Failed => {
                Err("failed: nothing is sent until somebody acts: ncfs problems says why"
                    .to_owned())
            }
        }
    }
}

impl Meters {
    fn oldest_request(&self) -> Option<u64> {
        self.controlled.requests.oldest().map(|age| age.as_secs())
    }

    fn mount(&self, text: &mut Exposition) {
        let controlled = &*self.controlled;
        let mut gauge = |name: &str, help: &str, value: u64| {
            text.value(Kind::Gauge, name, help, value);
        };
        let online = controlled.engine.offline().is_none();
        gauge("ncfs_online", "1 while the server answers, else 0.", online.into());
        if let Some(polled) = controlled.engine.polled() {
            let help = "Since the server was last looked at with success.";
            gauge("ncfs_poll_age_seconds", help, controlled.age(polled));
        }
        // A state that cannot be read says nothing rather than that all is well.
        match controlled.engine.pending(None) {
            Ok(pending) => {
                let help = "Files and directories with changes that are not on the server.";
                gauge("ncfs_pending_files", help, pending.files);
                let help = "Content of these that is still to be sent.";
                gauge("ncfs_pending_bytes", help, pending.bytes);
                let help = "Age of the oldest such change; 0 without one.";
                let age = pending.since.map_or(0, |since| controlled.age(since));
                gauge("ncfs_oldest_pending_seconds", help, age);
                let help = "Files and directories that the server does not take.";
                gauge("ncfs_blocked_files", help, pending.blocked);
            }
            Err(error) => tracing::debug!(%error, "pending changes were not counted"),
        }
        match controlled.tree.view(|tx| sync::problems::conflict_copies(tx, COUNTED)) {
            Ok(conflicts) => {
                let help = "Conflict copies that wait for somebody, counted up to 1000.";
                gauge("ncfs_conflict_copies", help, conflicts.len() as u64);
            }
            Err(error) => tracing::debug!(%error, "conflict copies were not counted"),
        }
        let help = "Age of the oldest unanswered request of a program; 0 without one.";
        gauge("ncfs_oldest_request_seconds", help, self.oldest_request().unwrap_or(0));
        let help = "What the copies of files in the cache occupy.";
        gauge("ncfs_cache_bytes", help, controlled.cache.used());
        gauge("ncfs_cache_limit_bytes", "What they may occupy.", controlled.cache.limit());
    }

    fn reads(&self, text: &mut Exposition) {
        let reads = self.controlled.bodies.reads();
        let help = "Reads of clean files that were answered from the cache.";
        text.value(Kind::Counter, "ncfs_cache_hits_total", help, reads.hits);
        let help = "Reads of clean files that had to wait for the server.";
        text.value(Kind::Counter, "ncfs_cache_misses_total", help, reads.misses);
        let help = "Requests of the kernel.";
        let mut family = text.family(Kind::Counter, "ncfs_fuse_requests_total", help);
        for (operation, count) in self.controlled.requests.operations() {
            family.labelled(&[("operation", operation)], count);
        }
    }

    fn server(&self, text: &mut Exposition) {
        let counted = self.connection.metrics();
        let help = "Requests to the server that have ended.";
        let mut family = text.family(Kind::Counter, "ncfs_server_requests_total", help);
        for method in &counted.methods {
            // Of what never happened only the zero that a rate begins with.
            let seen = method.outcomes.iter();
            for (status, count) in seen.filter(|(status, count)| *status == "2xx" || *count > 0) {
                family.labelled(&[("method", method.method), ("status", *status)], count);
            }
        }
        let help = "From a request to the head of its answer, or to its failure.";
        let name = "ncfs_server_request_duration_seconds";
        let mut family = text.family(Kind::Histogram, name, help);
        for method in &counted.methods {
            let label = ("method", method.method);
            family.histogram(label, &method.durations, method.count(), method.seconds);
        }
        let mut counter =
            |name: &str, help: &str, value| text.value(Kind::Counter, name, help, value);
        let help = "Requests that were sent again after a failure.";
        counter("ncfs_server_repeated_requests_total", help, counted.repeated);
        counter("ncfs_server_sent_bytes_total", "Bytes of request bodies.", counted.sent);
        let help = "Bytes of answer bodies, decompressed.";
        counter("ncfs_server_received_bytes_total", help, counted.received);
    }

    fn process(&self, text: &mut Exposition) {
        let mut family = text.family(Kind::Gauge, "ncfs_build_info", "Always 1.");
        family.labelled(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let now = self.controlled.clock.now().secs();
        let started = now - self.controlled.started.elapsed().as_secs().cast_signed();
        let help = "When the process started, since the epoch.";
        text.value(Kind::Gauge, "process_start_time_seconds", help, started);
        if let Some(resident) = resident_bytes() {
            let help = "Memory of the process that serves the files.";
            text.value(Kind::Gauge, "process_resident_memory_bytes", help, resident);
        }
    }
}

/// Resident pages are the second number in `statm` (proc(5)).
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}
