//! What becomes of a mount whose serving process died: pure.

use std::time::Duration;

/// A process that lived at least this long after it was ready was not killed by what it was started
/// with.
const SHORT: Duration = Duration::from_secs(2);
/// Nor was one that answered this many requests.
const FEW: u64 = 100;
/// After this many deaths of the other kind in a row nothing is served any more.
const MANY: u32 = 5;
/// Wait before the restart after the second such death; doubled at each further one.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Between two attempts to refuse all.
const REFUSING_WAIT: Duration = Duration::from_secs(1);

/// The end of a process that should have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Death {
    /// It was killed from outside (kill -9, the kernel when memory is short), as far as can be seen.
    pub killed: bool,
    /// How long it served; `None` if it did not come to that.
    pub served: Option<Duration>,
    /// How many requests it answered.
    pub answered: u64,
}

impl Death {
    /// Whether the next process may die of the same.
    ///
    /// A crash soon after the start, or after few requests, is taken for one that comes again. Who is
    /// killed from outside is only when it is both: somebody who kills a busy daemon again and again
    /// is no reason to stop serving.
    pub fn may_repeat(&self) -> bool {
        let Some(served) = self.served else { return true };
        let (short, few) = (served < SHORT, self.answered < FEW);
        if self.killed { short && few } else { short || few }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Serve again after a wait.
    Serve(Duration),
    /// Refuse all requests, after a wait.
    Refuse(Duration),
}

/// Counts deaths that may repeat.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deaths {
    in_a_row: u32,
}

impl Deaths {
    pub fn next(&mut self, death: &Death) -> Next {
        if !death.may_repeat() {
            self.in_a_row = 0;
            return Next::Serve(Duration::ZERO);
        }
        let before = self.in_a_row;
        self.in_a_row = before.saturating_add(1);
        match before {
            0 => Next::Serve(Duration::ZERO),
            _ if self.in_a_row < MANY => Next::Serve(FIRST_WAIT * 2_u32.pow(before - 1)),
            _ if self.in_a_row == MANY => Next::Refuse(Duration::ZERO),
            _ => Next::Refuse(REFUSING_WAIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(killed: bool, millis: u64, answered: u64) -> Death {
        Death { killed, served: Some(Duration::from_millis(millis)), answered }
    }

    #[test]
    fn a_crash_is_forgiven_after_two_seconds_and_a_hundred_requests() {
        assert!(!death(false, 2000, 100).may_repeat());
        assert!(death(false, 1999, 5000).may_repeat());
        assert!(death(false, 60_000, 99).may_repeat());
    }

    #[test]
    fn a_kill_counts_only_at_once_and_before_the_mount_was_used() {
        assert!(death(true, 1999, 99).may_repeat());
        assert!(!death(true, 500, 100).may_repeat());
        assert!(!death(true, 2000, 0).may_repeat());
        assert!(Death { killed: true, served: None, answered: 0 }.may_repeat());
    }

    #[test]
    fn after_five_deaths_in_a_row_everything_is_refused() {
        let mut deaths = Deaths::default();
        let early = death(false, 10, 3);
        let nexts: Vec<Next> = (0..6).map(|_| deaths.next(&early)).collect();
        let millis = Duration::from_millis;
        assert_eq!(nexts[..4], [0, 50, 100, 200].map(|wait| Next::Serve(millis(wait))));
        assert_eq!(nexts[4..], [Next::Refuse(millis(0)), Next::Refuse(millis(1000))]);
    }

    #[test]
    fn a_death_after_long_service_begins_the_count_anew() {
        let mut deaths = Deaths::default();
        for _ in 0..4 {
            deaths.next(&death(false, 10, 3));
        }
        deaths.next(&death(false, 5000, 1000));
        assert_eq!(deaths.next(&death(false, 10, 3)), Next::Serve(Duration::ZERO));
    }
}
