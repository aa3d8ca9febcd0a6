//! Makes a failing history small: leaves out steps, and faults of single requests, as long as it
//! fails in the same way.

use super::history::History;

/// How many smaller histories are tried at most.
const TRIES: usize = 3_000;

/// The smallest history that was found. `fails` tells which requests the weather touched, if the
/// history still fails.
pub fn shrink(
    mut history: History,
    mut fails: impl FnMut(&History) -> Option<Vec<String>>,
) -> History {
    let mut tries = 0;
    let mut fails = |history: &History| {
        tries += 1;
        if tries <= TRIES { fails(history) } else { None }
    };
    let mut faulted = Vec::new();
    let mut chunk = history.steps.len().div_ceil(2);
    while chunk > 0 {
        let before = history.steps.len();
        let mut at = history.steps.len();
        while at > 0 {
            at = at.saturating_sub(chunk);
            let mut smaller = history.clone();
            let end = (at + chunk).min(smaller.steps.len());
            smaller.steps.drain(at..end);
            if let Some(touched) = fails(&smaller) {
                (history, faulted) = (smaller, touched);
            }
        }
        // Single steps until none of them can go.
        if chunk > 1 || history.steps.len() == before {
            chunk /= 2;
        }
    }
    for fault in faulted {
        let mut smaller = history.clone();
        smaller.spared.insert(fault);
        if fails(&smaller).is_some() {
            history = smaller;
        }
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::simulation::profile::NEXTCLOUD;

    #[test]
    fn only_the_steps_and_faults_that_a_failure_needs_are_left() {
        let history = (0..)
            .map(|seed| History::new(seed, NEXTCLOUD))
            .find(|history| history.steps.len() > 60)
            .unwrap();
        let needed = [7, 8, 50];
        let faults = ["PUT /a (1)".to_owned(), "PUT /b (1)".to_owned()];
        let smallest = shrink(history, |history| {
            let has = |number: &u32| history.steps.iter().any(|(other, _)| other == number);
            let fails = needed.iter().all(has) && !history.spared.contains(&faults[0]);
            fails.then(|| faults.to_vec())
        });
        let left: Vec<u32> = smallest.steps.iter().map(|(number, _)| *number).collect();
        assert_eq!(left, needed);
        assert_eq!(smallest.spared.into_iter().collect::<Vec<_>>(), faults[1..]);
    }
}
