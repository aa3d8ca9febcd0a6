//! A history as a value: what programs and the other client do, what the network and the server are
//! like, and when the daemon dies. It is made from a seed and can be run again with parts left out.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use super::chance::{dice, pick};
use super::faults::Weather;
use super::profile::Profile;

/// The names of nearly everything: few, so that they meet.
pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Where something is done: a path that is decided when the history is made, or one that is found
/// when the step comes, by a number that finds the same path whatever else is there.
#[derive(Clone, Debug)]
pub enum Spot {
    Path(String),
    /// One of those that are there.
    Any(u32),
    /// This name in one of the directories that are there, or at the top.
    In(u32, &'static str),
}

impl Spot {
    /// The path, if there is one; `there` lists what is there, `dirs` its directories.
    pub fn find(
        &self,
        there: impl IntoIterator<Item = String>,
        dirs: impl IntoIterator<Item = String>,
    ) -> Option<String> {
        match self {
            Spot::Path(path) => Some(path.clone()),
            Spot::Any(number) => pick(*number, there),
            Spot::In(number, name) => {
                let dir = pick(*number, dirs.into_iter().chain([String::new()]))?;
                Some(if dir.is_empty() { (*name).to_owned() } else { format!("{dir}/{name}") })
            }
        }
    }

    fn somewhere(rng: &mut StdRng) -> Self {
        let depth = rng.random_range(1..=3);
        let names: Vec<&str> = (0..depth).map(|_| name(rng)).collect();
        Spot::Path(names.join("/"))
    }

    fn fresh(rng: &mut StdRng) -> Self {
        match rng.random_bool(0.5) {
            true => Spot::In(rng.next_u32(), name(rng)),
            false => Spot::Path(name(rng).to_owned()),
        }
    }
}

fn name(rng: &mut StdRng) -> &'static str {
    NAMES[rng.random_range(0..NAMES.len())]
}

/// What programs do, in one or more system calls, with a pause between them.
#[derive(Clone, Debug)]
pub enum Act {
    MakeDir(Spot),
    Write(Spot),
    Remove(Spot),
    Rename(Spot, Spot),
    /// A temporary file, renamed over.
    SaveByRename(Spot, Duration),
    /// The old file put aside, a new one, and the old one maybe removed.
    SaveByBackup {
        spot: Spot,
        pause: Duration,
        remove: bool,
    },
    Exchange(Spot, Spot),
    Read(Spot),
    Touch(Spot, i64),
    RemoveShare(u32, Duration),
}

/// What the other client does.
#[derive(Clone, Debug)]
pub enum Deed {
    Write(Spot),
    MakeDir(Spot),
    DeleteFile(u32),
    DeleteDir(u32),
    Rename(u32, Spot),
    Share(Spot),
}

#[derive(Clone, Debug)]
pub enum Step {
    Wait(Duration),
    Program(Act),
    Other(Deed),
    Weather(Weather),
    /// kill -9, wherever the daemon is.
    Kill,
}

/// Everything that a run follows from.
#[derive(Clone)]
pub struct History {
    pub seed: u64,
    pub profile: Profile,
    /// Each with a number, which is in the contents that it writes and stays when others are left out.
    pub steps: Vec<(u32, Step)>,
    /// Requests that no weather touches.
    pub spared: BTreeSet<String>,
}

impl History {
    pub fn new(seed: u64, profile: Profile) -> Self {
        let mut rng = dice(seed, "history");
        let mut steps = Vec::new();
        let with_other = rng.random_bool(0.8);
        for _ in 0..rng.random_range(1..5) {
            let faults = rng.random_bool(0.8);
            for _ in 0..rng.random_range(1..40) {
                if faults && rng.random_bool(0.1) {
                    steps.push(Step::Weather(Weather::some(&mut rng)));
                }
                let wait = [0, 30, 400, 3_000][rng.random_range(0..4)];
                if wait > 0 {
                    steps.push(Step::Wait(Duration::from_millis(wait)));
                }
                steps.push(match with_other && rng.random_bool(0.35) {
                    true => Step::Other(deed(&mut rng)),
                    false => Step::Program(act(&mut rng)),
                });
            }
            steps.push(Step::Wait(Duration::from_millis(rng.random_range(0..2_000))));
            steps.push(Step::Kill);
        }
        let steps = (1..).zip(steps).collect();
        Self { seed, profile, steps, spared: BTreeSet::new() }
    }
}

fn act(rng: &mut StdRng) -> Act {
    let spot = Spot::somewhere(rng);
    let pause = Duration::from_millis(rng.random_range(0..40));
    match rng.random_range(0..16) {
        0 | 1 => Act::MakeDir(spot),
        2..=4 => Act::Write(spot),
        5 => Act::Remove(spot),
        6 | 7 => Act::Rename(spot, Spot::somewhere(rng)),
        8 => Act::SaveByRename(spot, pause),
        9 => Act::SaveByBackup { spot, pause, remove: rng.random_bool(0.7) },
        10 | 11 => Act::Exchange(spot, Spot::somewhere(rng)),
        12 | 13 => Act::Read(spot),
        14 => Act::RemoveShare(rng.next_u32(), pause * 10),
        _ => Act::Touch(spot, rng.random_range(1_600_000_000..1_600_000_005)),
    }
}

fn deed(rng: &mut StdRng) -> Deed {
    match rng.random_range(0..9) {
        0 | 1 => Deed::Write(Spot::Any(rng.next_u32())),
        2 => Deed::Write(Spot::fresh(rng)),
        3 => Deed::MakeDir(Spot::fresh(rng)),
        4 => Deed::DeleteFile(rng.next_u32()),
        5 if rng.random_bool(0.3) => Deed::DeleteDir(rng.next_u32()),
        8 => Deed::Share(Spot::fresh(rng)),
        _ => Deed::Rename(rng.next_u32(), Spot::fresh(rng)),
    }
}
