//! Which observations of the server overlap with our own changes of it.
//!
//! An observation carries the time at which its request was sent. What it says about a node with a
//! step in flight then, or settled later, is worth nothing (DESIGN 7, rule 1): the server may have
//! answered before or after the step. The same holds for names that a step took or left, because
//! the node that explains them may not be there any more.
//!
//! In memory only: after a crash no observation is under way. A leaf lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::tree::Place;
use crate::types::{Ino, NameKey};

/// What a step touches, or an observation speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Node(Ino),
    Name(Ino, NameKey),
}

impl Subject {
    pub fn name(place: &Place) -> Self {
        let (parent, key) = place.key();
        Self::Name(parent, key)
    }
}

#[derive(Default)]
struct State {
    now: u64,
    in_flight: HashMap<Subject, u32>,
    settled: HashMap<Subject, u64>,
    /// Observations under way, by when they began.
    observing: BTreeMap<u64, u32>,
}

/// The steps and observations under way.
#[derive(Clone, Default)]
pub struct Overlap {
    state: Arc<Mutex<State>>,
}

impl Overlap {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an observation; to be called before its request is sent.
    pub fn observe(&self) -> Observation {
        let mut state = self.state();
        let began = state.now;
        *state.observing.entry(began).or_default() += 1;
        Observation { overlap: self.clone(), began }
    }

    /// Begins a step on these subjects; it is settled when the guard is dropped, which is to happen
    /// after the commit.
    pub fn step(&self, subjects: Vec<Subject>) -> InFlight {
        let mut state = self.state();
        for subject in &subjects {
            *state.in_flight.entry(subject.clone()).or_default() += 1;
        }
        InFlight { overlap: self.clone(), subjects }
    }

    /// Whether a step on this subject is under way.
    pub fn is_in_flight(&self, subject: &Subject) -> bool {
        self.state().in_flight.contains_key(subject)
    }
}

/// A step under way.
pub struct InFlight {
    overlap: Overlap,
    subjects: Vec<Subject>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.overlap.state();
        state.now += 1;
        let now = state.now;
        for subject in &self.subjects {
            if let Some(count) = state.in_flight.get_mut(subject) {
                *count -= 1;
                if *count == 0 {
                    state.in_flight.remove(subject);
                }
            }
            if !state.observing.is_empty() {
                state.settled.insert(subject.clone(), now);
            }
        }
    }
}

/// A request that looks at the server, under way or being merged.
pub struct Observation {
    overlap: Overlap,
    began: u64,
}

impl Observation {
    /// Whether the observation says nothing about this subject.
    pub fn is_blurred(&self, subject: &Subject) -> bool {
        let state = self.overlap.state();
        state.in_flight.contains_key(subject)
            || state.settled.get(subject).is_some_and(|settled| *settled > self.began)
    }
}

impl Observation {
    /// Whether a step changed names in this directory since the observation began, or is about to:
    /// then the tag that was seen is not that of what is known now.
    pub fn is_outdated(&self, dir: Ino) -> bool {
        let state = self.overlap.state();
        let in_dir =
            |subject: &Subject| matches!(subject, Subject::Name(parent, _) if *parent == dir);
        state.in_flight.keys().any(in_dir)
            || state
                .settled
                .iter()
                .any(|(subject, settled)| *settled > self.began && in_dir(subject))
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let mut state = self.overlap.state();
        if let Some(count) = state.observing.get_mut(&self.began) {
            *count -= 1;
            if *count == 0 {
                let began = self.began;
                state.observing.remove(&began);
            }
        }
        match state.observing.keys().next().copied() {
            Some(oldest) => state.settled.retain(|_, settled| *settled > oldest),
            None => state.settled.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Subject = Subject::Node(Ino(2));
    const B: Subject = Subject::Node(Ino(3));

    #[test]
    fn an_observation_is_blurred_by_steps_in_flight_and_settled_since_it_began() {
        let overlap = Overlap::default();
        let early = overlap.step(vec![A]);
        let observation = overlap.observe();
        assert!(observation.is_blurred(&A) && !observation.is_blurred(&B));
        drop(early);
        assert!(observation.is_blurred(&A), "it settled after the request was sent");
        drop(overlap.step(vec![B]));
        assert!(observation.is_blurred(&B));
        assert!(!overlap.observe().is_blurred(&A), "settled before this one was sent");
    }

    #[test]
    fn nothing_is_remembered_when_nobody_observes() {
        let overlap = Overlap::default();
        let observation = overlap.observe();
        drop(overlap.step(vec![A]));
        drop(observation);
        assert!(overlap.state().settled.is_empty());
    }
}
