//! A history as a value: what programs and the other client do, what the network and the server are
//! like, and when the daemon dies. It is made from a seed and can be run again with parts left out.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use super::chance::{dice, pick};
use super::death::Moment;
use super::faults::Weather;
use super::profile::Profile;

/// The names of nearly everything: few, so that they meet.
pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Between two steps. Milliseconds.
const WAITS: [u64; 10] = [0, 0, 0, 30, 30, 400, 400, 3_000, 3_000, 20_000];

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
    Sync(Spot),
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
    Withdraw(u32),
    GiveBack,
    Protect(u32, bool),
    BackUp,
    Restore,
    /// Bytes that all files together may have.
    Quota(Option<usize>),
}

#[derive(Clone, Debug)]
pub enum Step {
    Wait(Duration),
    Program(Act),
    Other(Deed),
    Weather(Weather),
    /// The cached content of one file is evicted.
    Evict(u32),
    /// kill -9, wherever the daemon is.
    Kill,
    /// kill -9 at the n-th such moment from now on.
    KillAt(Moment, u32),
    /// The timer of the daemon: all gets to the disk.
    Sync,
    /// The kernel writes the log of rows back, and no bytes of files.
    WriteBack,
    PowerCut,
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

/// What there is in a history besides programs. Not everything in each: few things that happen often
/// together find more than many that hardly ever meet.
struct Habits {
    other: bool,
    faults: bool,
    shares: bool,
    backups: bool,
    quota: bool,
    evictions: bool,
    deaths: bool,
    power_cuts: bool,
}

impl Habits {
    fn some(rng: &mut StdRng) -> Self {
        Self {
            other: rng.random_bool(0.8),
            faults: rng.random_bool(0.8),
            shares: rng.random_bool(0.4),
            backups: rng.random_bool(0.25),
            quota: rng.random_bool(0.2),
            evictions: rng.random_bool(0.5),
            deaths: rng.random_bool(0.5),
            power_cuts: rng.random_bool(0.3),
        }
    }

    fn step(&self, rng: &mut StdRng) -> Step {
        let upheavals = self.shares || self.backups || self.quota;
        match rng.random_range(0..100) {
            0..8 if self.faults => Step::Weather(Weather::some(rng)),
            8..12 if self.evictions => Step::Evict(rng.next_u32()),
            12..15 if self.deaths => {
                let moment = Moment::ALL[rng.random_range(0..Moment::ALL.len())];
                Step::KillAt(moment, rng.random_range(1..12))
            }
            15 if self.deaths => Step::Kill,
            16..22 if self.power_cuts => match rng.random_range(0..6) {
                0 => Step::PowerCut,
                1 => Step::Sync,
                2 => Step::WriteBack,
                3 => Step::Program(Act::Sync(Spot::somewhere(rng))),
                _ => Step::Program(Act::Sync(Spot::Any(rng.next_u32()))),
            },
            22..40 if upheavals => Step::Other(self.upheaval(rng)),
            40..65 if self.other => Step::Other(deed(rng)),
            _ => Step::Program(act(rng)),
        }
    }

    fn upheaval(&self, rng: &mut StdRng) -> Deed {
        match rng.random_range(0..9) {
            0 | 1 if self.shares => Deed::Share(Spot::fresh(rng)),
            2 if self.shares => Deed::Withdraw(rng.next_u32()),
            3 if self.shares => Deed::GiveBack,
            4 | 5 if self.shares => Deed::Protect(rng.next_u32(), rng.random_bool(0.6)),
            0 | 6 if self.backups => Deed::BackUp,
            1 | 7 if self.backups => Deed::Restore,
            8 if self.quota => {
                let bytes = rng.random_range(0..150);
                Deed::Quota(rng.random_bool(0.6).then_some(bytes))
            }
            _ => deed(rng),
        }
    }
}

impl History {
    pub fn new(seed: u64, profile: Profile) -> Self {
        let mut rng = dice(seed, "history");
        let habits = Habits::some(&mut rng);
        let mut steps = Vec::new();
        if rng.random_bool(0.5) {
            // What is there before the first look.
            steps.extend((0..rng.random_range(1..15)).map(|_| Step::Other(content(&mut rng))));
        }
        if habits.shares {
            steps.push(Step::Other(Deed::Share(Spot::fresh(&mut rng))));
        }
        if habits.backups {
            steps.push(Step::Other(Deed::BackUp));
        }
        for _ in 0..rng.random_range(1..5) {
            for _ in 0..rng.random_range(1..40) {
                let wait = WAITS[rng.random_range(0..WAITS.len())];
                if wait > 0 {
                    steps.push(Step::Wait(Duration::from_millis(wait)));
                }
                steps.push(habits.step(&mut rng));
            }
            steps.push(Step::Wait(Duration::from_millis(rng.random_range(0..2_000))));
            if habits.power_cuts && rng.random_bool(0.4) {
                // With a part of what was done on the disk.
                steps.push(Step::Program(act(&mut rng)));
                steps.push(Step::WriteBack);
            }
            steps.push(match habits.power_cuts && rng.random_bool(0.5) {
                true => Step::PowerCut,
                false => Step::Kill,
            });
        }
        let steps = (1..).zip(steps).collect();
        Self { seed, profile, steps, spared: BTreeSet::new() }
    }
}

impl History {
    pub fn has_power_cut(&self) -> bool {
        self.steps.iter().any(|(_, step)| matches!(step, Step::PowerCut))
    }
}

fn content(rng: &mut StdRng) -> Deed {
    let spot = Spot::In(rng.next_u32(), name(rng));
    if rng.random_bool(0.4) { Deed::MakeDir(spot) } else { Deed::Write(spot) }
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
    match rng.random_range(0..8) {
        0 | 1 => Deed::Write(Spot::Any(rng.next_u32())),
        2 => Deed::Write(Spot::fresh(rng)),
        3 => Deed::MakeDir(Spot::fresh(rng)),
        4 => Deed::DeleteFile(rng.next_u32()),
        5 if rng.random_bool(0.3) => Deed::DeleteDir(rng.next_u32()),
        _ => Deed::Rename(rng.next_u32(), Spot::fresh(rng)),
    }
}
