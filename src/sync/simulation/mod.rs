//! A deterministic simulation of the engine: the same push and pull code as in the real program, a
//! server (a Nextcloud or a plainer one: [`profile`]), a second client, faults and crashes, all from
//! one seed.
//!
//! Time is tokio's paused clock: whoever sleeps shortest goes first, and every latency is drawn from
//! the seed, so the seed decides the interleaving. A crash drops the runtime with everything that
//! was under way, at whatever point it was waiting.
//!
//! After each run, with faults off, three invariants hold (DESIGN 9): _durable_, _no destruction_,
//! _convergence_.

mod exchanges;
mod owners;
mod plain;
mod profile;
mod program;
mod scenarios;
mod server;
mod shares;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;

use self::profile::{APACHE, BARE, NEXTCLOUD, Profile, RCLONE};
use self::program::{Bytes_, Disk, Program};
use self::server::Server;
use super::{Engine, Rooms};
use crate::clock::Clock;
use crate::tree::Tree;
use crate::types::{Ino, RemotePath, Time};

/// The seeds that every test run tries with each server. `NCFS_SIM_SEEDS` gives another number.
const SEEDS: u64 = 150;

/// Virtual time: moves only while everybody sleeps, and goes on over crashes.
#[derive(Clone)]
pub struct SimClock {
    before: Arc<Mutex<i64>>,
    began: Arc<Mutex<Option<tokio::time::Instant>>>,
    dice: Arc<Mutex<StdRng>>,
}

impl SimClock {
    fn new(seed: u64) -> Self {
        Self {
            before: Arc::new(Mutex::new(1_700_000_000_000_000_000)),
            began: Arc::default(),
            dice: Arc::new(Mutex::new(StdRng::seed_from_u64(!seed))),
        }
    }

    fn begin(&self) {
        *self.began.lock().unwrap() = Some(tokio::time::Instant::now());
    }

    fn end(&self) {
        let now = self.now().0;
        *self.began.lock().unwrap() = None;
        *self.before.lock().unwrap() = now;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        let elapsed = self.began.lock().unwrap().map_or(0, |began| began.elapsed().as_nanos());
        Time(*self.before.lock().unwrap() + elapsed as i64)
    }

    fn chance(&self) -> f64 {
        self.dice.lock().unwrap().random()
    }
}

/// One machine and one server, over several lives of the daemon.
struct World {
    clock: SimClock,
    server: Arc<Server>,
    disk: Arc<Mutex<Disk>>,
    acknowledged: Arc<Mutex<HashMap<Ino, Vec<u8>>>>,
    tree: Option<Tree>,
}

/// One life of the daemon.
struct Life {
    engine: Arc<Engine>,
    program: Program,
    server: Arc<Server>,
    clock: SimClock,
    _events: mpsc::UnboundedReceiver<super::Event>,
}

impl World {
    fn new(seed: u64, profile: Profile) -> Self {
        let clock = SimClock::new(seed);
        let server = Arc::new(Server::new(seed, clock.clone(), profile));
        World {
            clock,
            server,
            disk: Arc::default(),
            acknowledged: Arc::default(),
            tree: Some(Tree::in_memory().unwrap()),
        }
    }

    /// Runs `live` as one life of the daemon, which ends with a crash.
    fn live<F: Future<Output = ()>>(&mut self, live: impl FnOnce(Life) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let tree = Arc::new(self.tree.take().unwrap());
        runtime.block_on(async {
            self.clock.begin();
            let (events, receiver) = mpsc::unbounded_channel();
            let bytes = Arc::new(Bytes_ {
                tree: Arc::clone(&tree),
                server: Arc::clone(&self.server),
                disk: Arc::clone(&self.disk),
            });
            let rooms = Rooms {
                tree: Arc::clone(&tree),
                remote: self.server.clone(),
                contents: bytes.clone(),
                clock: Arc::new(self.clock.clone()),
                events,
            };
            let engine = Arc::new(Engine::new(rooms));
            let program = Program {
                bytes,
                clock: Arc::new(self.clock.clone()),
                lister: engine.clone(),
                acknowledged: Arc::clone(&self.acknowledged),
            };
            // As the daemon does; where this fails it would not start, and here it goes on.
            let _ = engine.first_look().await;
            engine.start(Duration::from_secs(5), false);
            let life = Life {
                engine,
                program,
                server: Arc::clone(&self.server),
                clock: self.clock.clone(),
                _events: receiver,
            };
            live(life).await;
            self.clock.end();
        });
        drop(runtime);
        let tree = Arc::into_inner(tree).expect("the life has ended");
        self.tree = Some(tree.reborn().unwrap());
    }
}

impl Life {
    /// Waits until both sides are equal and nothing is left to do.
    async fn quiesce(&self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let left = self.engine.pending(None).unwrap();
            if left.files > 0 {
                let problems = self.engine.problems(3).unwrap();
                last = format!("{left:?} {problems:?}");
                continue;
            }
            let here = self.local_files();
            let state = self.server.state();
            let there = state.files();
            let same = here.len() == there.len()
                && here.iter().all(|(path, bytes)| match (bytes, there.get(path)) {
                    // Not fetched yet is not different.
                    (Some(None), Some(Some(_))) => true,
                    // What no client can tell from what it has.
                    (Some(Some(bytes)), Some(Some(_))) if state.is_taken_for(path, bytes) => true,
                    (bytes, Some(there)) => bytes.clone().flatten() == *there,
                    (_, None) => false,
                });
            drop(state);
            if same {
                return Ok(());
            }
            let here = here.into_iter().map(|(path, bytes)| (path, bytes.flatten())).collect();
            last = format!("here {}\nthere {}", shown(&here), shown(&there));
        }
        Err(last)
    }

    /// Directories (`None`) and files (`Some` of the bytes, if they are here).
    fn local_files(&self) -> BTreeMap<RemotePath, Option<Option<Vec<u8>>>> {
        let tree = &self.program.bytes.tree;
        let mut files = BTreeMap::new();
        let mut queue = vec![(Ino::ROOT, RemotePath::root())];
        while let Some((dir, path)) = queue.pop() {
            for child in tree.view(|tx| tx.children(dir, Ino(0), 10_000)).unwrap() {
                let name = &child.local.as_ref().unwrap().name;
                let path = path.join(name);
                if child.is_dir() {
                    queue.push((child.ino, path.clone()));
                    files.insert(path, None);
                } else {
                    files.insert(path, Some(self.program.bytes.visible(&child)));
                }
            }
        }
        files
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn some_path(rng: &mut StdRng) -> String {
    let depth = rng.random_range(1..=3);
    (0..depth).map(|_| NAMES[rng.random_range(0..NAMES.len())]).collect::<Vec<_>>().join("/")
}

/// Something that programs do, in one or more system calls.
async fn act(program: &Program, rng: &mut StdRng, number: &mut u32) {
    let path = some_path(rng);
    let pause = Duration::from_millis(rng.random_range(0..40));
    let mut token = || {
        *number += 1;
        format!("local {number} {}", "x".repeat(*number as usize % 7)).into_bytes()
    };
    match rng.random_range(0..16) {
        0 | 1 => drop(program.mkdir(&path)),
        2..=4 => drop(program.write(&path, &token())),
        5 => drop(program.remove(&path)),
        6 | 7 => drop(program.rename(&path, &some_path(rng))),
        8 => {
            // An editor: a temporary file, renamed over.
            let temporary = format!("{path}.tmp");
            if program.write(&temporary, &token()) {
                tokio::time::sleep(pause).await;
                program.rename(&temporary, &path);
            }
        }
        9 => {
            // vim: the old file put aside, a new one, the old one removed.
            let backup = format!("{path}~");
            if program.find(&path).is_some_and(|node| node.is_file())
                && program.rename(&path, &backup)
            {
                tokio::time::sleep(pause).await;
                program.write(&path, &token());
                tokio::time::sleep(pause).await;
                if rng.random_bool(0.7) {
                    program.remove(&backup);
                }
            }
        }
        10 | 11 => drop(program.exchange(&path, &some_path(rng))),
        12 | 13 => drop(program.read(&path).await),
        14 => {
            let roots = program.shares();
            if !roots.is_empty() {
                let root = &roots[rng.random_range(0..roots.len())];
                program.remove_share(root, pause * 10).await;
            }
        }
        _ => drop(program.touch(&path, rng.random_range(1_600_000_000..1_600_000_005))),
    }
}

/// Something that the other client does.
fn interfere(life: &Life, rng: &mut StdRng, number: &mut u32) {
    let now = life.clock.now().secs();
    let mut state = life.server.state();
    let dirs = state.paths(true);
    let files = state.paths(false);
    let pick = |rng: &mut StdRng, from: &[RemotePath]| {
        (!from.is_empty()).then(|| from[rng.random_range(0..from.len())].clone())
    };
    let fresh = |rng: &mut StdRng| {
        let parent = match rng.random_bool(0.5) {
            true => pick(rng, &dirs).unwrap_or_default(),
            false => RemotePath::root(),
        };
        parent.join(&program::name(NAMES[rng.random_range(0..NAMES.len())]))
    };
    *number += 1;
    let token = format!("other {number} {}", "y".repeat(*number as usize % 5)).into_bytes();
    match rng.random_range(0..9) {
        8 => drop(state.other_shares(&fresh(rng), &token, now)),
        0..=2 => {
            let path = match rng.random_bool(0.5) {
                true => pick(rng, &files).unwrap_or_else(|| fresh(rng)),
                false => fresh(rng),
            };
            state.other_writes(&path, token, now);
        }
        3 => drop(state.other_makes_dir(&fresh(rng), now)),
        4 => {
            if let Some(path) = pick(rng, &files) {
                state.other_deletes(&path);
            }
        }
        5 if rng.random_bool(0.3) => {
            if let Some(path) = pick(rng, &dirs) {
                state.other_deletes(&path);
            }
        }
        _ => {
            let all: Vec<RemotePath> = files.iter().chain(&dirs).cloned().collect();
            if let Some(path) = pick(rng, &all) {
                state.other_renames(&path, &fresh(rng), now);
            }
        }
    }
}

fn shown(files: &BTreeMap<RemotePath, Option<Vec<u8>>>) -> String {
    let text = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    files.iter().map(|(path, bytes)| format!("{path} {:?}; ", text(bytes))).collect()
}

/// One history. Returns how much was destroyed that no client can see.
fn history(seed: u64, profile: Profile) -> Result<u32, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(seed, profile);
    let mut numbers = (0, 0);
    let with_other = rng.random_bool(0.8);
    for _ in 0..rng.random_range(1..5) {
        world.server.state().faults = [0.0, 0.05, 0.25][rng.random_range(0..3)];
        world.live(|life| {
            let (rng, numbers) = (&mut rng, &mut numbers);
            async move {
                for _ in 0..rng.random_range(1..40) {
                    let wait = [0, 30, 400, 3_000][rng.random_range(0..4)];
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                    if with_other && rng.random_bool(0.35) {
                        interfere(&life, rng, &mut numbers.1);
                    } else {
                        act(&life.program, rng, &mut numbers.0).await;
                    }
                }
                let last = rng.random_range(0..2_000);
                tokio::time::sleep(Duration::from_millis(last)).await;
            }
        });
    }
    world.server.state().faults = 0.0;
    let mut outcome = Ok(());
    world.live(|life| {
        let outcome = &mut outcome;
        async move { *outcome = life.quiesce().await }
    });
    outcome.map_err(|left| {
        let state = world.server.state();
        let last = state.requests.len().saturating_sub(12);
        let dirty = world.tree.as_ref().map(|tree| tree.view(|tx| tx.dirty()));
        format!("no convergence: {left}\n{dirty:#?}\nlast: {:?}", &state.requests[last..])
    })?;
    let acknowledged = world.acknowledged.lock().unwrap();
    let state = world.server.state();
    if let Some(violation) = state.violations().first() {
        return Err((*violation).to_owned());
    }
    if let Some(loss) = state.owners_loss() {
        return Err(loss);
    }
    let files = state.files();
    for bytes in acknowledged.values() {
        let there =
            files.values().any(|there| there.as_ref() == Some(bytes)) || state.owner_has(bytes);
        let given_up = state.destroyed_by_other.contains(bytes) || state.permitted.contains(bytes);
        if !there && !given_up {
            return Err(format!("lost: {:?}\n{}", String::from_utf8_lossy(bytes), shown(&files)));
        }
    }
    Ok(state.unseeable)
}

/// The three invariants, in every history with this server.
fn check_histories(profile: Profile) {
    if std::env::var_os("NCFS_SIM_FIRST").is_some() {
        // A second subscriber of the same test is no harm.
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).try_init();
    }
    let seeds = std::env::var("NCFS_SIM_SEEDS").ok().and_then(|text| text.parse().ok());
    let first = std::env::var("NCFS_SIM_FIRST").ok().and_then(|text| text.parse().ok());
    let first: u64 = first.unwrap_or(0);
    let mut unseeable = 0;
    for seed in first..first + seeds.unwrap_or(SEEDS) {
        tracing::debug!("seed {seed}");
        match history(seed, profile) {
            Ok(more) => unseeable += more,
            Err(broken) => panic!(
                "{}, seed {seed} (NCFS_SIM_FIRST={seed} NCFS_SIM_SEEDS=1): {broken}",
                profile.name
            ),
        }
    }
    println!("{}: destroyed in ways that no client can see: {unseeable}", profile.name);
}

#[test]
fn every_history_with_a_nextcloud_is_durable_destroys_nothing_and_converges() {
    check_histories(NEXTCLOUD);
}

#[test]
fn every_history_with_an_apache_is_durable_destroys_nothing_and_converges() {
    check_histories(APACHE);
}

#[test]
fn every_history_with_rclone_is_durable_destroys_nothing_and_converges() {
    check_histories(RCLONE);
}

#[test]
fn every_history_with_a_bare_server_is_durable_destroys_nothing_and_converges() {
    check_histories(BARE);
}

#[test]
fn the_same_seed_is_the_same_history() {
    let trace = |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed, NEXTCLOUD);
        world.server.state().faults = 0.1;
        let mut numbers = (0, 0);
        world.live(|life| {
            let (rng, numbers) = (&mut rng, &mut numbers);
            async move {
                for _ in 0..60 {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    interfere(&life, rng, &mut numbers.1);
                    act(&life.program, rng, &mut numbers.0).await;
                }
            }
        });
        std::mem::take(&mut world.server.state().requests)
    };
    assert_eq!(trace(7), trace(7));
}
