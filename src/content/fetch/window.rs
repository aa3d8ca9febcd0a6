//! How much to ask for at once: decided from the order of the reads, without I/O.
//!
//! A request costs the server some 40 ms whatever its size, and 16 MiB cost twice that (FACTS 4). So
//! a reader that goes on in order gets windows that double, several in flight; one that jumps gets
//! little, and what was asked ahead for the place that it left is dropped.

use crate::types::ByteRange;

/// Files up to this size are asked for whole at the first read.
pub(super) const SMALL_FILE: u64 = 8 << 20;
/// What a first read and each jump ask for.
pub(super) const FIRST: u64 = 128 << 10;
/// The largest request.
pub(super) const LARGEST: u64 = 16 << 20;
/// How far behind the furthest read one still belongs to the same reader: the kernel sends the parts
/// of its own read-ahead in any order.
const SLACK: u64 = 1 << 20;
/// Readers that go on at different places of one file.
const READERS: usize = 3;

/// Names a reader of one file.
pub(super) type ReaderId = u32;

/// The readers of one file, the one who read last first.
#[derive(Debug, Default)]
pub(super) struct Window {
    readers: Vec<Reader>,
    next_id: ReaderId,
}

#[derive(Debug)]
struct Reader {
    id: ReaderId,
    /// The end of its furthest read.
    next: u64,
    /// Up to where it was asked for on its behalf.
    frontier: u64,
    /// The size of the last request, which the next one doubles.
    window: u64,
}

/// What to ask for after a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) reader: ReaderId,
    /// The read itself and what is asked for together with it.
    pub(super) demand: ByteRange,
    /// What is asked for ahead.
    pub(super) ahead: Option<ByteRange>,
    /// Readers whose read-ahead is of no use any more.
    pub(super) left: Vec<ReaderId>,
}

impl Window {
    /// Notes a read that lies within `size`. `in_flight` tells how many requests of a reader are
    /// not finished.
    pub(super) fn on_read(
        &mut self,
        read: ByteRange,
        size: u64,
        in_flight: impl Fn(ReaderId) -> usize,
    ) -> Plan {
        if size <= SMALL_FILE {
            let demand = ByteRange::new(0, size);
            return Plan { reader: 0, demand, ahead: None, left: Vec::new() };
        }
        match self.readers.iter().position(|reader| reader.goes_on_with(read)) {
            Some(index) => {
                let mut reader = self.readers.remove(index);
                let plan = reader.advance(read, size, in_flight(reader.id));
                self.readers.insert(0, reader);
                plan
            }
            None => self.jump(read, size),
        }
    }

    fn jump(&mut self, read: ByteRange, size: u64) -> Plan {
        let mut left = Vec::new();
        // It may be another reader; then the one before goes on where it was, from a small window.
        if let Some(last) = self.readers.first_mut() {
            last.window = FIRST;
            last.frontier = last.next;
            left.push(last.id);
        }
        let end = read.end.max(size.min(read.start + FIRST));
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let reader = Reader { id, next: read.end, frontier: end, window: FIRST };
        self.readers.insert(0, reader);
        left.extend(self.readers.drain(READERS.min(self.readers.len())..).map(|old| old.id));
        Plan { reader: id, demand: ByteRange::new(read.start, end), ahead: None, left }
    }
}

impl Reader {
    fn goes_on_with(&self, read: ByteRange) -> bool {
        read.start.saturating_add(SLACK) >= self.next && read.start <= self.frontier
    }

    fn advance(&mut self, read: ByteRange, size: u64, mut in_flight: usize) -> Plan {
        let progress = read.end > self.next;
        self.next = self.next.max(read.end);
        let demand = if read.end > self.frontier {
            self.widen();
            self.frontier = read.end.max(size.min(read.start + self.window));
            in_flight += 1;
            ByteRange::new(read.start, self.frontier)
        } else {
            // As a rule here or on its way; not if it was dropped, evicted, or failed.
            let end = self.frontier.min(read.start + self.window);
            ByteRange::new(read.start, read.end.max(end))
        };
        let near = self.frontier - self.next < 2 * self.window;
        let ahead = (progress && near && in_flight < self.in_parallel()).then(|| {
            self.widen();
            let end = size.min(self.frontier + self.window);
            ByteRange::new(std::mem::replace(&mut self.frontier, end), end)
        });
        let ahead = ahead.filter(|range| !range.is_empty());
        Plan { reader: self.id, demand, ahead, left: Vec::new() }
    }

    fn widen(&mut self) {
        self.window = LARGEST.min(2 * self.window);
    }

    /// Requests in flight for it at once: few while it may still stop.
    fn in_parallel(&self) -> usize {
        match self.window >> 20 {
            0 => 1,
            1..8 => 2,
            _ => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const KIB: u64 = 1 << 10;

    /// Plans of reads of 128 KiB in order, as if each request were finished at once.
    fn in_order(window: &mut Window, from: u64, reads: u64) -> Vec<Plan> {
        let read = |n: u64| ByteRange::at(from + n * 128 * KIB, 128 * KIB);
        (0..reads).map(|n| window.on_read(read(n), GIB, |_| 0)).collect()
    }

    #[test]
    fn a_small_file_is_asked_for_whole() {
        let plan = Window::default().on_read(ByteRange::at(4096, 1), SMALL_FILE, |_| 0);
        assert_eq!(plan.demand, ByteRange::new(0, SMALL_FILE));
    }

    #[test]
    fn windows_double_while_reads_are_in_order_and_never_pass_the_largest() {
        let mut window = Window::default();
        let plans = in_order(&mut window, 0, 2000);
        assert_eq!(plans[0].demand, ByteRange::new(0, FIRST));
        assert_eq!(plans[0].ahead, None);
        let sizes: Vec<_> = plans.iter().filter_map(|plan| plan.ahead).map(|r| r.len()).collect();
        assert!(sizes.windows(2).all(|pair| pair[1] == LARGEST.min(2 * pair[0])), "{sizes:?}");
        assert_eq!(sizes.last(), Some(&LARGEST));
    }

    #[test]
    fn requests_ahead_join_without_hole_or_overlap() {
        let mut window = Window::default();
        let mut asked = 0;
        for plan in in_order(&mut window, 0, 1000) {
            if plan.demand.end > asked {
                assert!(plan.demand.start <= asked);
                asked = plan.demand.end;
            }
            if let Some(ahead) = plan.ahead {
                assert_eq!(ahead.start, asked);
                asked = ahead.end;
            }
        }
    }

    #[test]
    fn what_is_ahead_of_a_reader_is_bounded() {
        let mut window = Window::default();
        let mut frontier = 0;
        for (n, plan) in in_order(&mut window, 0, 4000).iter().enumerate() {
            frontier = frontier.max(plan.demand.end).max(plan.ahead.map_or(0, |range| range.end));
            assert!(frontier - n as u64 * 128 * KIB <= 4 * LARGEST);
        }
    }

    #[test]
    fn at_most_three_requests_are_in_flight_for_a_reader() {
        let mut window = Window::default();
        in_order(&mut window, 0, 2000);
        let read = ByteRange::at(2000 * 128 * KIB, 128 * KIB);
        assert_eq!(window.on_read(read, GIB, |_| 3).ahead, None);
    }

    #[test]
    fn a_jump_starts_small_and_drops_what_was_ahead() {
        let mut window = Window::default();
        let reader = in_order(&mut window, 0, 100)[0].reader;
        let plan = window.on_read(ByteRange::at(GIB / 2, 4096), GIB, |_| 3);
        assert_eq!(plan.demand, ByteRange::at(GIB / 2, FIRST));
        assert_eq!((plan.ahead, plan.left), (None, vec![reader]));
    }

    #[test]
    fn two_readers_in_turns_do_not_drop_each_other() {
        let mut window = Window::default();
        in_order(&mut window, 0, 1);
        in_order(&mut window, GIB / 2, 1);
        for n in 1..50 {
            for from in [0, GIB / 2] {
                let plan = in_order(&mut window, from + n * 128 * KIB, 1).remove(0);
                assert_eq!(plan.left, Vec::<ReaderId>::new());
            }
        }
    }

    #[test]
    fn reads_of_the_kernel_out_of_order_are_one_reader() {
        let mut window = Window::default();
        in_order(&mut window, 0, 8);
        let late = window.on_read(ByteRange::at(10 * 128 * KIB, 128 * KIB), GIB, |_| 0);
        let early = window.on_read(ByteRange::at(9 * 128 * KIB, 128 * KIB), GIB, |_| 0);
        assert_eq!((late.left, early.left), (vec![], vec![]));
        assert_eq!(late.reader, early.reader);
    }

    #[test]
    fn nothing_is_asked_for_beyond_the_end() {
        let mut window = Window::default();
        let end = ByteRange::new(GIB - 64 * KIB, GIB);
        for start in (end.start..end.end).step_by(4096) {
            let plan = window.on_read(ByteRange::at(start, 4096), GIB, |_| 0);
            assert!(plan.demand.end <= GIB);
            assert_eq!(plan.ahead, None);
        }
    }
}
