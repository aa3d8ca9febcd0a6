//! What of one content is on its way, and who waits for it: single flight.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::flight::Flight;
use super::window::{Plan, ReaderId, Window};
use super::{FetchError, Shared};
use crate::content::{CachedVersion, Extents, StagedFile};
use crate::types::{ByteRange, ContentId, Ino};

/// Bytes that are rather fetched again than made the reason for another request.
const NEAR: u64 = 256 << 10;

/// A file that lacks bytes of a version: in the cache or in staging.
pub(super) trait Sink: Send + Sync {
    fn missing(&self, within: ByteRange) -> Vec<ByteRange>;

    /// Stores bytes of the version; afterwards they are not missing.
    fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

impl Sink for CachedVersion {
    fn missing(&self, within: ByteRange) -> Vec<ByteRange> {
        CachedVersion::missing(self, within)
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        CachedVersion::store(self, offset, bytes)
    }
}

impl Sink for StagedFile {
    fn missing(&self, within: ByteRange) -> Vec<ByteRange> {
        self.gaps_in(within)
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.fill(offset, bytes)
    }
}

/// Bytes of which content are wanted, where, and who else fetches them.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) ino: Ino,
    pub(super) content: ContentId,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) transfer: Arc<Transfer>,
}

/// The requests for one content into one place.
#[derive(Default)]
pub(super) struct Transfer {
    /// A leaf lock.
    state: Mutex<State>,
    /// Something arrived or ended.
    progress: Notify,
}

#[derive(Default)]
struct State {
    window: Window,
    flights: Vec<Arc<Flight>>,
}

impl State {
    fn plan(&mut self, read: ByteRange, size: u64) -> Plan {
        let in_flight = |id| self.flights.iter().filter(|flight| flight.reader == id).count();
        self.window.on_read(read, size, in_flight)
    }
}

impl Transfer {
    pub(super) fn is_idle(&self) -> bool {
        self.lock().flights.is_empty()
    }

    /// Waits until nothing is on its way.
    #[cfg(test)]
    pub(super) async fn idle(&self) {
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            if self.is_idle() {
                return;
            }
            progress.await;
        }
    }

    /// Takes out a flight that ended.
    pub(super) fn land(&self, flight: &Arc<Flight>) {
        self.lock().flights.retain(|other| !Arc::ptr_eq(other, flight));
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.progress.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flights that somebody waits for. While they are waited for they are not cancelled.
struct Waits(Vec<Arc<Flight>>);

impl Waits {
    fn error(&self) -> Option<FetchError> {
        self.0.iter().find_map(|flight| flight.error())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        for flight in &self.0 {
            flight.waiters.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Shared {
    /// Notes a read within `size` that has to wait: asks for it, and ahead of it, and drops what the
    /// reader left behind. Waits for nothing.
    pub(super) fn note_miss(self: &Arc<Self>, job: &Job, read: ByteRange, size: u64) {
        let mut state = job.transfer.lock();
        let Plan { reader, demand, ahead, left } = state.plan(read, size);
        let unwanted = |flight: &mut Arc<Flight>| {
            left.contains(&flight.reader)
                && flight.waiters.load(Ordering::Acquire) == 0
                && flight.remaining().intersection(demand).is_empty()
        };
        let dropped: Vec<_> = state.flights.extract_if(.., unwanted).collect();
        for range in [Some(demand), ahead].into_iter().flatten() {
            self.launch(job, &mut state, range, reader);
        }
        drop(state);
        for flight in dropped {
            flight.cancel();
        }
    }

    /// Notes a read within `size` that was served from what is here: asks ahead of it.
    pub(super) fn note_hit(self: &Arc<Self>, job: &Job, read: ByteRange, size: u64) {
        let mut state = job.transfer.lock();
        let Plan { reader, ahead, .. } = state.plan(read, size);
        if let Some(ahead) = ahead {
            self.launch(job, &mut state, ahead, reader);
        }
    }

    /// Waits until all of `range` is in the job's sink; asks for what nobody has asked for.
    pub(super) async fn ensure(
        self: &Arc<Self>,
        job: &Job,
        range: ByteRange,
    ) -> Result<(), FetchError> {
        loop {
            // Listening begins before the look, so that nothing falls between the two.
            let mut progress = std::pin::pin!(job.transfer.progress.notified());
            progress.as_mut().enable();
            if job.sink.missing(range).is_empty() {
                return Ok(());
            }
            let waits = self.wait_for(job, range);
            progress.await;
            if let Some(error) = waits.error() {
                let here = job.sink.missing(range).is_empty();
                return if here { Ok(()) } else { Err(error) };
            }
        }
    }

    fn wait_for(self: &Arc<Self>, job: &Job, range: ByteRange) -> Waits {
        let mut state = job.transfer.lock();
        self.launch(job, &mut state, range, ReaderId::MAX);
        let mine = |flight: &&Arc<Flight>| {
            job.is_into(flight) && !flight.remaining().intersection(range).is_empty()
        };
        let flights: Vec<_> = state.flights.iter().filter(mine).cloned().collect();
        for flight in &flights {
            flight.waiters.fetch_add(1, Ordering::AcqRel);
        }
        Waits(flights)
    }

    /// Starts flights for what of `range` is neither here nor on its way. One flight brings parts
    /// that are near each other, and what is between them too.
    fn launch(self: &Arc<Self>, job: &Job, state: &mut State, range: ByteRange, reader: ReaderId) {
        let mut wanted = Extents::default();
        for gap in job.sink.missing(range) {
            wanted.insert(gap);
        }
        for flight in state.flights.iter().filter(|flight| job.is_into(flight)) {
            wanted.remove(flight.remaining());
        }
        let on_its_way = |hole: ByteRange| {
            let mut flights = state.flights.iter().filter(|flight| job.is_into(flight));
            flights.any(|flight| !flight.remaining().intersection(hole).is_empty())
        };
        let mut ranges = Vec::<ByteRange>::new();
        for part in wanted.covered(range) {
            match ranges.last_mut() {
                Some(last)
                    if part.start - last.end <= NEAR
                        && !on_its_way(ByteRange::new(last.end, part.start)) =>
                {
                    last.end = part.end;
                }
                _ => ranges.push(part),
            }
        }
        for range in ranges {
            let flight = Arc::new(Flight::new(job.sink.clone(), range, reader));
            state.flights.push(flight.clone());
            let task = self.runtime.spawn(self.clone().fly(job.clone(), flight.clone()));
            flight.run_by(task.abort_handle());
        }
    }
}

impl Job {
    /// Whether the flight's bytes go where this job needs them: the file of a content that was
    /// evicted or taken, and fetched anew, is another one.
    fn is_into(&self, flight: &Flight) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.sink), Arc::as_ptr(&flight.sink))
    }
}
