//! A deterministic simulation of the engine: the same push and pull code as in the real program, a
//! server (a Nextcloud or a plainer one: [`profile`]), a second client, faults and crashes, all from
//! one seed.
//!
//! Time is tokio's paused clock: whoever sleeps shortest goes first, and every latency is drawn from
//! the seed, so the seed decides the interleaving. A crash drops the runtime with everything that
//! was under way, at whatever point it was waiting.
//!
//! A run is a [`history`], which is a value: one that breaks something is made smaller as long as it
//! still does ([`shrink`]), and told in words ([`story`]).
//!
//! `make test` runs some seeds with each server, `make soak` ([`soak`]) as many as there is time for.
//!
//! After each run, with faults off, these hold ([`run::Invariant`]): _durable_, _no destruction_,
//! _convergence_, and no file on the server is a part of what somebody wrote. What that means where
//!
//! - **the server refuses** (offline, 401, 403, 423, 429, 500, 503, 507): nothing has to arrive as long
//!   as it does, and all of it after that. What is blocked is tried again, as by `ncfs retry`.
//! - **the daemon dies**: all that was answered survives; of a write that was not, the content before
//!   it or after it.
//! - **the power is cut**: what was synced survives. The rest may be gone, removals and renames among
//!   it; a file of which only the name is left says so, and nothing is sent for it.
//! - **a backup is restored, a share withdrawn**: what is taken away so was taken by somebody else;
//!   what was not sent yet still has to arrive.
//!
//! What no client can see is counted, and is no violation: a change within the same second and size
//! (FACTS 0.1) or between a look and the request that it was for, and the rest of a cut upload that
//! another client renamed or a program replaced.

mod chance;
mod death;
mod exchanges;
mod faults;
mod history;
mod owners;
mod plain;
mod power;
mod profile;
mod program;
mod requests;
mod run;
mod scenarios;
mod server;
mod shares;
mod shrink;
mod soak;
mod store;
mod story;
mod upheavals;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use self::death::{Death, Moment};
use self::history::History;
use self::power::{Power, Synced};
use self::profile::{APACHE, BARE, NEXTCLOUD, Profile, RCLONE};
use self::program::{Acknowledged, Bytes_, Disk, Program};
use self::run::{Broken, Invariant, run};
use self::server::Server;
use self::shrink::shrink;
use self::story::{Story, text};
use super::{Engine, Rooms};
use crate::clock::Clock;
use crate::tree::Tree;
use crate::types::{FileId, Ino, RemotePath, Time};

/// The seeds that every test run tries with each server. `NCFS_SIM_SEEDS` gives another number.
const SEEDS: u64 = 300;

/// Virtual time: moves only while everybody sleeps, and goes on over crashes.
#[derive(Clone)]
pub struct SimClock {
    before: Arc<Mutex<i64>>,
    began: Arc<Mutex<Option<tokio::time::Instant>>>,
    seed: u64,
}

impl SimClock {
    /// When every history begins.
    const BEGINNING: i64 = 1_700_000_000_000_000_000;

    fn new(seed: u64) -> Self {
        Self { before: Arc::new(Mutex::new(Self::BEGINNING)), began: Arc::default(), seed }
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
        chance::fraction(self.seed, self.now().0)
    }
}

/// One machine and one server, over several lives of the daemon.
struct World {
    clock: SimClock,
    server: Arc<Server>,
    disk: Arc<Mutex<Disk>>,
    acknowledged: Acknowledged,
    tree: Option<Tree>,
    story: Story,
    death: Arc<Death>,
    power: Power,
}

/// One life of the daemon.
struct Life {
    engine: Arc<Engine>,
    program: Program,
    server: Arc<Server>,
    clock: SimClock,
    story: Story,
    death: Arc<Death>,
    _events: mpsc::UnboundedReceiver<super::Event>,
}

impl World {
    fn new(seed: u64, profile: Profile) -> Self {
        let clock = SimClock::new(seed);
        let story = Story::new(clock.clone());
        let death = Arc::new(Death::default());
        let server = Server::new(seed, clock.clone(), story.clone(), death.clone(), profile);
        let server = Arc::new(server);
        World {
            clock,
            death,
            power: Power::default(),
            story,
            server,
            disk: Arc::default(),
            acknowledged: Arc::default(),
            tree: Some(Tree::in_memory().unwrap()),
        }
    }

    /// Runs `live` as one life of the daemon, which ends with a crash.
    fn live(&mut self, live: impl AsyncFnOnce(Life)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let tree = Arc::new(self.tree.take().unwrap());
        self.death.reset();
        let death = Arc::clone(&self.death);
        tree.ask_around_commits(Box::new(move |committed| {
            death.passes(if committed { Moment::AfterCommit } else { Moment::BeforeCommit })
        }));
        runtime.block_on(async {
            self.clock.begin();
            let (events, receiver) = mpsc::unbounded_channel();
            let bytes = Arc::new(Bytes_ {
                tree: Arc::clone(&tree),
                server: Arc::clone(&self.server),
                disk: Arc::clone(&self.disk),
                power: Arc::clone(&self.power),
                acknowledged: Arc::clone(&self.acknowledged),
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
                story: self.story.clone(),
            };
            program.recover();
            let disk = Arc::clone(&program.bytes);
            tokio::spawn(async move {
                // What the daemon does.
                loop {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    disk.sync(Synced::Everything);
                }
            });
            // As the daemon does; where this fails it would not start, and here it goes on.
            let _ = engine.first_look().await;
            engine.start(Duration::from_secs(5), false);
            let life = Life {
                engine,
                program,
                server: Arc::clone(&self.server),
                clock: self.clock.clone(),
                story: self.story.clone(),
                death: Arc::clone(&self.death),
                _events: receiver,
            };
            live(life).await;
            self.death.come();
            self.clock.end();
        });
        drop(runtime);
        let tree = Arc::into_inner(tree).expect("the life has ended");
        self.tree = Some(tree.reborn().unwrap());
    }

    /// Ends what the last life left, as a power cut right after it does.
    fn cut_power(&mut self) {
        if let Some(tree) = power::cut(&self.power, &self.disk, &self.acknowledged) {
            self.server.state().removals_undone(|share| {
                let id = FileId(share.to_string().into());
                let roots = tree.view(|tx| tx.by_file_id(&id)).unwrap();
                roots.iter().any(|root| root.local.is_some())
            });
            self.tree = Some(tree);
        }
    }
}

impl World {
    /// What has to hold once both sides are equal.
    fn check(&self) -> Result<(), Broken> {
        let acknowledged = self.acknowledged.lock().unwrap();
        let state = self.server.state();
        let destroyed = state.violations().first().map(ToString::to_string);
        if let Some(told) = destroyed.or_else(|| state.owners_loss()) {
            return Err(Broken { what: Invariant::NoDestruction, told });
        }
        let files = state.files();
        let is_safe = |bytes: &Vec<u8>| {
            files.values().any(|there| there.as_ref() == Some(bytes))
                || state.owner_has(bytes)
                || state.destroyed_by_other.contains(bytes)
                || state.permitted.contains(bytes)
        };
        if let Some(lost) = acknowledged.values().find(|either| !either.iter().any(is_safe)) {
            let lost: Vec<String> = lost.iter().map(|bytes| text(bytes)).collect();
            let told = format!("lost: {}\n{}", lost.join(" or "), shown(&files));
            return Err(Broken { what: Invariant::Durable, told });
        }
        let hidden = state.objects.values().filter_map(|object| object.torn.as_ref());
        let shown_parts = files.values().flatten().filter(|bytes| !state.whole.contains(*bytes));
        // Of what a program has replaced since only the part is left: it cannot be told from what
        // somebody else wrote, and is kept as that.
        let mut parts = hidden.chain(shown_parts).filter(|part| !state.is_part_of_replaced(part));
        if let Some(part) = parts.next() {
            let told = format!("nobody wrote {} as it is\n{}", text(part), shown(&files));
            return Err(Broken { what: Invariant::Whole, told });
        }
        Ok(())
    }
}

impl Life {
    /// Waits until both sides are equal and nothing is left to do.
    async fn quiesce(&self) -> Result<(), String> {
        let mut last = String::new();
        for second in 1..=600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let left = self.engine.pending(None).unwrap();
            if left.blocked > 0 && second % 10 == 0 {
                // What somebody does about it, now that there is no reason any more.
                self.engine.retry(Ino::ROOT).unwrap();
            }
            if left.files > 0 {
                last = format!("{left:?}{}", self.unsent());
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

    /// What is not on the server, in a few words each.
    fn unsent(&self) -> String {
        let dirty = self.program.bytes.tree.view(|tx| {
            let mut lines = String::new();
            for node in tx.dirty()? {
                let here = tx.local_path(node.ino)?.map(|path| path.to_string());
                let there = tx.synced_path(node.ino)?.map(|path| path.to_string());
                let (state, blocked) = (node.state(), &node.push.blocked);
                lines += &format!(
                    "\n  {:?}, here {here:?}, there {there:?}: {state:?} {blocked:?}",
                    node.ino
                );
            }
            Ok(lines)
        });
        dirty.unwrap()
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

fn shown(files: &BTreeMap<RemotePath, Option<Vec<u8>>>) -> String {
    let text = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    files.iter().map(|(path, bytes)| format!("{path} {:?}; ", text(bytes))).collect()
}

/// The three invariants, in every history with this server.
fn check_histories(profile: Profile) {
    let first = number("NCFS_SIM_FIRST").unwrap_or(0);
    let mut unseeable = 0;
    for seed in first..first + number("NCFS_SIM_SEEDS").unwrap_or(SEEDS) {
        match try_seed(seed, profile) {
            Ok(more) => unseeable += more,
            Err(report) => panic!("{report}"),
        }
    }
    println!("{}: destroyed in ways that no client can see: {unseeable}", profile.name);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs the history of one seed. Returns how much was destroyed that no client can see, or the
/// smallest history that breaks the same invariant, in words.
fn try_seed(seed: u64, profile: Profile) -> Result<u32, String> {
    let history = History::new(seed, profile);
    let outcome = run(&history);
    let Some(broken) = outcome.broken else {
        if number("NCFS_SIM_SEEDS") == Some(1) {
            println!("{}, seed {seed}:\n{}", profile.name, outcome.story.join("\n"));
        }
        return Ok(outcome.unseeable);
    };
    let smallest = shrink(history, |history| {
        let outcome = run(history);
        outcome.broken.filter(|now| now.what == broken.what).map(|_| outcome.faulted)
    });
    let outcome = match std::env::var_os("NCFS_SIM_FIRST") {
        Some(_) => logged(|| run(&smallest)),
        None => run(&smallest),
    };
    let told = outcome.broken.map_or(broken.told, |broken| broken.told);
    Err(format!(
        "{}, seed {seed}: {:?} is broken: {told}\n\nThe smallest history that breaks it ({} steps):\n\
         {}\n\nAgain, with all that the engine logs:\n  {}",
        profile.name,
        broken.what,
        smallest.steps.len(),
        outcome.story.join("\n"),
        command(seed, profile),
    ))
}

fn logged<T>(run: impl FnOnce() -> T) -> T {
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).finish();
    tracing::subscriber::with_default(subscriber, run)
}

/// What runs one seed again.
fn command(seed: u64, profile: Profile) -> String {
    format!(
        "NCFS_SIM_FIRST={seed} NCFS_SIM_SEEDS=1 cargo test --locked --lib -- --nocapture {}",
        profile.test
    )
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
    for seed in 0..5 {
        let story = || run(&History::new(seed, NEXTCLOUD)).story;
        assert_eq!(story(), story());
    }
}
