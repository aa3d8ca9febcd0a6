//! Runs a history, and looks whether the invariants hold at its end.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::faults::Weather;
use super::history::{Act, Deed, History, Step};
use super::power::{self, Synced};
use super::program;
use super::story::text;
use super::{Life, World};
use crate::clock::Clock;
use crate::types::RemotePath;

/// What has to hold after every history (DESIGN 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    Durable,
    NoDestruction,
    Convergence,
    /// No file on the server is a part of what somebody wrote.
    Whole,
    /// Nothing panics.
    Sound,
}

#[derive(Clone, Debug)]
pub struct Broken {
    pub what: Invariant,
    pub told: String,
}

/// How a history ended.
pub struct Outcome {
    pub broken: Option<Broken>,
    /// How much was destroyed in ways that no client can see.
    pub unseeable: u32,
    /// All that happened, in words.
    pub story: Vec<String>,
    /// The requests that the weather touched.
    pub faulted: Vec<String>,
}

pub fn run(history: &History) -> Outcome {
    let mut world = World::new(history.seed, history.profile);
    world.server.state().spared.clone_from(&history.spared);
    if history.has_power_cut() {
        world.power = power::on();
    }
    let ended = watching_for_panics(|| through(&mut world, history));
    let broken = match ended {
        Ok(checked) => checked.err(),
        Err(told) => Some(Broken { what: Invariant::Sound, told }),
    };
    let state = world.server.state();
    let (unseeable, faulted) = (state.unseeable, state.faulted.clone());
    drop(state);
    Outcome { broken, unseeable, story: world.story.lines(), faulted }
}

fn through(world: &mut World, history: &History) -> Result<(), Broken> {
    let mut steps = history.steps.iter().peekable();
    while steps.peek().is_some() {
        let (rest, mut cut, mut chosen) = (&mut steps, false, "");
        world.live(async |life| {
            for (number, step) in rest.by_ref() {
                match step {
                    Step::Kill => return life.story.tell("kill -9"),
                    Step::PowerCut => {
                        cut = true;
                        return life.story.tell("the power is cut");
                    }
                    Step::KillAt(moment, count) => {
                        chosen = moment.words();
                        life.death.set(*moment, *count);
                    }
                    step => tokio::select! {
                        biased;
                        () = life.death.wait() => {
                            return life.story.tell(format_args!("kill -9, {chosen}"));
                        }
                        () = life.take(*number, step) => {}
                    },
                }
            }
        });
        if cut {
            world.cut_power();
        }
    }
    world.story.tell("the end: a new daemon, and all is well with the network");
    world.server.state().weather = Weather::CALM;
    world.server.state().allow_everything();
    let mut quiet = Ok(());
    let outcome = &mut quiet;
    world.live(async move |life| {
        life.program.give_up_lost();
        *outcome = life.quiesce().await;
    });
    quiet.map_err(|left| Broken { what: Invariant::Convergence, told: left })?;
    world.check()
}

impl Life {
    async fn take(&self, number: u32, step: &Step) {
        match step {
            Step::Wait(time) => tokio::time::sleep(*time).await,
            Step::Program(act) => self.act(number, act).await,
            Step::Other(deed) => self.deed(number, deed),
            Step::Weather(weather) => {
                self.story.tell(weather.words());
                self.server.state().weather = *weather;
            }
            Step::Evict(which) => {
                let paths = self.program.paths().into_iter();
                let files = paths.filter(|(_, is_dir)| !is_dir).map(|(path, _)| path);
                if let Some(path) = super::chance::pick(*which, files)
                    && self.program.evict(&path)
                {
                    self.story.tell(format_args!("what is cached of /{path} is evicted"));
                }
            }
            Step::Sync => self.sync(Synced::Everything),
            Step::WriteBack => self.sync(Synced::Rows),
            Step::Kill | Step::KillAt(..) | Step::PowerCut => {}
        }
    }

    fn sync(&self, what: Synced) {
        self.story.tell(match what {
            Synced::Rows => "the kernel writes the log of rows back",
            _ => "all gets to the disk",
        });
        self.program.bytes.sync(what);
    }

    /// Something that programs do.
    async fn act(&self, number: u32, act: &Act) {
        let program = &self.program;
        let find = |spot: &super::history::Spot| {
            let there = program.paths();
            let dirs = there.iter().filter(|(_, is_dir)| *is_dir).map(|(path, _)| path.clone());
            spot.find(there.iter().map(|(path, _)| path.clone()), dirs)
        };
        let token = format!("local {number} {}", "x".repeat(number as usize % 7)).into_bytes();
        match act {
            Act::MakeDir(spot) => drop(find(spot).map(|path| program.mkdir(&path))),
            Act::Write(spot) => drop(find(spot).map(|path| program.write(&path, &token))),
            Act::Remove(spot) => drop(find(spot).map(|path| program.remove(&path))),
            Act::Touch(spot, time) => drop(find(spot).map(|path| program.touch(&path, *time))),
            Act::Rename(from, to) => {
                if let (Some(from), Some(to)) = (find(from), find(to)) {
                    program.rename(&from, &to);
                }
            }
            Act::Exchange(one, other) => {
                if let (Some(one), Some(other)) = (find(one), find(other)) {
                    program.exchange(&one, &other);
                }
            }
            Act::SaveByRename(spot, pause) => {
                let Some(path) = find(spot) else { return };
                let temporary = format!("{path}.tmp");
                if program.write(&temporary, &token) {
                    tokio::time::sleep(*pause).await;
                    program.rename(&temporary, &path);
                }
            }
            Act::SaveByBackup { spot, pause, remove } => {
                let Some(path) = find(spot) else { return };
                let backup = format!("{path}~");
                if program.find(&path).is_some_and(|node| node.is_file())
                    && program.rename(&path, &backup)
                {
                    tokio::time::sleep(*pause).await;
                    program.write(&path, &token);
                    tokio::time::sleep(*pause).await;
                    if *remove {
                        program.remove(&backup);
                    }
                }
            }
            Act::Sync(spot) => drop(find(spot).map(|path| program.sync(&path))),
            Act::Read(spot) => {
                if let Some(path) = find(spot) {
                    program.read(&path).await;
                }
            }
            Act::RemoveShare(number, pause) => {
                let roots = program.shares();
                if let Some(root) = super::chance::pick(*number, roots.iter().map(|root| root.ino))
                    && let Some(root) = roots.iter().find(|one| one.ino == root)
                {
                    program.remove_share(root, *pause).await;
                }
            }
        }
    }

    /// Something that the other client does.
    fn deed(&self, number: u32, deed: &Deed) {
        let now = self.clock.now().secs();
        let mut state = self.server.state();
        let tell = |what: String| self.story.tell(format!("the other client {what}"));
        let files = || state.paths(false).iter().map(shown).collect::<Vec<_>>();
        let dirs = || state.paths(true).iter().map(shown).collect::<Vec<_>>();
        let token = format!("other {number} {}", "y".repeat(number as usize % 5)).into_bytes();
        match deed {
            Deed::Write(spot) => {
                let Some(path) = spot.find(files(), dirs()) else { return };
                if state.other_writes(&at(&path), token.clone(), now) {
                    tell(format!("writes {} into /{path}", text(&token)));
                }
            }
            Deed::MakeDir(spot) => {
                let Some(path) = spot.find(dirs(), dirs()) else { return };
                if state.other_makes_dir(&at(&path), now) {
                    tell(format!("makes the directory /{path}"));
                }
            }
            Deed::DeleteFile(which) => {
                let Some(path) = super::chance::pick(*which, files()) else { return };
                tell(format!("deletes the file /{path}"));
                state.other_deletes(&at(&path));
            }
            Deed::DeleteDir(which) => {
                let Some(path) = super::chance::pick(*which, dirs()) else { return };
                tell(format!("deletes the directory /{path}"));
                state.other_deletes(&at(&path));
            }
            Deed::Rename(which, to) => {
                let all = files().into_iter().chain(dirs());
                let Some(from) = super::chance::pick(*which, all) else { return };
                let Some(to) = to.find(files(), dirs()) else { return };
                if state.other_renames(&at(&from), &at(&to), now) {
                    tell(format!("renames /{from} to /{to}"));
                }
            }
            Deed::Share(spot) => {
                let Some(path) = spot.find(dirs(), dirs()) else { return };
                if state.other_shares(&at(&path), &token, now) {
                    tell(format!("shares /{path}, with {}", text(&token)));
                }
            }
            Deed::Withdraw(which) => {
                if let Some(path) = state.withdraw(*which) {
                    tell(format!("withdraws the share {path}"));
                }
            }
            Deed::GiveBack => {
                if let Some(path) = state.give_back(now) {
                    tell(format!("gives the share {path} back"));
                }
            }
            Deed::Protect(which, protected) => {
                if let Some(path) = state.protect(*which, *protected) {
                    let verb = if *protected { "forbids" } else { "allows" };
                    tell(format!("{verb} changes in the share {path}"));
                }
            }
            Deed::BackUp => {
                state.back_up();
                self.story.tell("the server is backed up");
            }
            Deed::Restore => {
                if state.restore(now) {
                    self.story.tell("the backup of the server is restored");
                }
            }
            Deed::Quota(quota) => {
                state.upheavals.quota = *quota;
                self.story.tell(format_args!("the quota is {quota:?} bytes"));
            }
        }
    }
}

fn shown(path: &RemotePath) -> String {
    path.to_string().trim_start_matches('/').to_owned()
}

fn at(path: &str) -> RemotePath {
    RemotePath(path.split('/').map(program::name).collect())
}

thread_local! {
    /// The panics of this thread, while a history runs on it.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs it on this thread. A panic anywhere in it, also in one of its tasks, is an error.
fn watching_for_panics<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let watched = PANICS.with_borrow_mut(|panics| {
                panics.as_mut().map(|panics| panics.push(panic.to_string())).is_some()
            });
            if !watched {
                before(panic);
            }
        }));
    });
    PANICS.set(Some(Vec::new()));
    let ended = catch_unwind(AssertUnwindSafe(run));
    let panics = PANICS.take().unwrap_or_default();
    match (panics.is_empty(), ended) {
        (true, Ok(ended)) => Ok(ended),
        (_, _) => Err(panics.join("\n")),
    }
}
