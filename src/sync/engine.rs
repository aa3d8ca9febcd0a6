//! The running engine: push, pull and the timers between them, and what others may ask of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::health::{Health, Offline};
use super::overlap::{Overlap, Subject};
use super::problems::{self, Problem};
use super::pull::{PullError, Puller};
use super::push::Pusher;
use super::push::schedule::{Hurry, Scheduler};
use super::{Event, ListError, Lister};
use crate::clock::Clock;
use crate::content::Contents;
use crate::remote::Remote;
use crate::tree::{Pending, Tree, TreeError, Tx};
use crate::types::{Ino, Time};

/// How often a flush looks whether it is done, at the latest.
const FLUSH_LOOK: Duration = Duration::from_millis(200);

/// How a flush ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushOutcome {
    /// What is still not on the server; all zero when the flush succeeded.
    pub left: Pending,
}

/// Push and pull of one mount. Dropping it stops both.
pub struct Engine {
    pub(super) tree: Arc<Tree>,
    pub(super) puller: Arc<Puller>,
    health: Health,
    overlap: Overlap,
    hurry: Hurry,
    look: Arc<Notify>,
    /// Until it is started.
    scheduler: Mutex<Option<Scheduler>>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the engine stands on.
pub struct Rooms {
    pub tree: Arc<Tree>,
    pub remote: Arc<dyn Remote>,
    pub contents: Arc<dyn Contents>,
    pub clock: Arc<dyn Clock>,
    /// Where the engine tells what programs may still see and is no longer true.
    pub events: mpsc::UnboundedSender<Event>,
}

/// What push and pull stand on and have in common.
#[derive(Clone)]
pub struct Shared {
    pub tree: Arc<Tree>,
    pub remote: Arc<dyn Remote>,
    pub contents: Arc<dyn Contents>,
    pub clock: Arc<dyn Clock>,
    pub events: mpsc::UnboundedSender<Event>,
    pub health: Health,
    pub overlap: Overlap,
    /// Asks pull to look at the server soon: for push, and for `ncfs refresh`.
    pub look: Arc<Notify>,
}

impl Shared {
    /// Tells the rooms above. Nobody listens when the mount is being taken down.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

impl Engine {
    /// An engine that does nothing yet.
    pub fn new(rooms: Rooms) -> Engine {
        let Rooms { tree, remote, contents, clock, events } = rooms;
        let health = Health::new(Arc::clone(&clock));
        let overlap = Overlap::default();
        let look = Arc::new(Notify::new());
        let (changed, changes) = mpsc::unbounded_channel();
        tree.notify(changed);
        if !remote.capabilities().sets_mtime {
            tree.keep_mtimes_here();
        }
        let shared = Shared {
            tree: Arc::clone(&tree),
            remote,
            contents,
            clock,
            events,
            health: health.clone(),
            overlap: overlap.clone(),
            look: Arc::clone(&look),
        };
        let pusher = Arc::new(Pusher::new(shared.clone()));
        let puller = Arc::new(Puller::new(shared));
        let (scheduler, hurry) = Scheduler::new(pusher, changes);
        let (scheduler, tasks) = (Mutex::new(Some(scheduler)), Mutex::new(JoinSet::new()));
        Engine { tree, puller, health, overlap, hurry, look, scheduler, tasks }
    }

    /// Looks at the server once: after that the root is listed, and what changed while nobody
    /// looked is known.
    pub async fn first_look(&self) -> Result<(), PullError> {
        self.puller.poll(Duration::ZERO).await
    }

    /// Starts push and pull on the current tokio runtime. With `read_only` nothing is ever pushed.
    pub fn start(&self, poll_interval: Duration, read_only: bool) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(scheduler) = scheduler.filter(|_| !read_only) {
            tasks.spawn(async move {
                if let Err(error) = scheduler.run().await {
                    tracing::error!("pushing stopped, the state cannot be read: {error}");
                }
            });
        }
        let pull = Arc::clone(&self.puller);
        tasks.spawn(async move {
            while let Err(error) = pull.load().await {
                tracing::debug!("first load: {error}");
                let PullError::Remote(error) = &error else { break };
                pull.health.failed(error);
                if !error.is_transient() {
                    // What is not listed is listed when somebody looks into it.
                    break;
                }
                tokio::time::sleep(pull.health.next_probe()).await;
            }
            pull.run(poll_interval).await;
        });
    }

    /// Stops push and pull, wherever they are: nothing is lost by that.
    pub fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Whether and why the server does not answer.
    pub fn offline(&self) -> Option<Offline> {
        self.health.offline()
    }

    /// Why deletions on the server are not believed just now.
    pub fn guard(&self) -> Option<String> {
        self.puller.guard()
    }

    /// When the server was last looked at with success.
    pub fn polled(&self) -> Option<Time> {
        self.puller.polled()
    }

    /// Looks at the server now rather than at the next interval.
    pub fn refresh(&self) {
        self.look.notify_one();
    }

    /// What is not on the server yet, below `scope` or at all.
    pub fn pending(&self, scope: Option<Ino>) -> Result<Pending, TreeError> {
        self.tree.view(|tx| {
            let Some(scope) = scope.filter(|scope| *scope != Ino::ROOT) else {
                return tx.pending();
            };
            let mut pending = Pending::default();
            for node in tx.dirty()? {
                if is_below(tx, node.ino, scope)? {
                    pending.files += 1;
                    pending.bytes += if node.content_differs() { node.attr.size } else { 0 };
                    pending.blocked += u64::from(node.push.blocked.is_some());
                    let since = pending.since.unwrap_or(node.push.since);
                    pending.since = Some(since.min(node.push.since));
                }
            }
            Ok(pending)
        })
    }

    /// Nodes that the server does not take, at most `limit` of them.
    pub fn problems(&self, limit: usize) -> Result<Vec<Problem>, TreeError> {
        self.tree.view(|tx| problems::blocked(tx, limit))
    }

    /// Whether a step on the node is under way.
    pub fn is_pushing(&self, ino: Ino) -> bool {
        self.overlap.is_in_flight(&Subject::Node(ino))
    }

    /// Returns after some node had its turn, or after `at_most`.
    pub(super) async fn turn(&self, at_most: Duration) {
        self.hurry.turn(at_most).await;
    }

    /// Sends everything below `scope` now, and returns when the server has it, when only blocked
    /// nodes are left, or after `deadline`. `progress` is told what is left.
    pub async fn flush(
        &self,
        scope: Option<Ino>,
        deadline: Option<Duration>,
        mut progress: impl FnMut(Pending),
    ) -> Result<FlushOutcome, TreeError> {
        let _urgency = self.hurry.hurry();
        let began = tokio::time::Instant::now();
        loop {
            let left = self.pending(scope)?;
            progress(left);
            let over = deadline.is_some_and(|deadline| began.elapsed() >= deadline);
            // A blocked node gets its one more try first.
            let stuck = left.files == left.blocked && began.elapsed() > Duration::from_secs(2);
            if left.files == 0 || over || stuck {
                return Ok(FlushOutcome { left });
            }
            self.turn(FLUSH_LOOK).await;
        }
    }
}

/// Whether programs see the node below a directory, or the server does.
pub(super) fn is_below(tx: &mut Tx<'_>, ino: Ino, scope: Ino) -> Result<bool, TreeError> {
    for local in [true, false] {
        let mut at = ino;
        loop {
            if at == scope {
                return Ok(true);
            }
            let Some(node) = tx.node(at)? else { break };
            let place = match local {
                true => node.local.clone(),
                // Or it may have it, where no answer told.
                false => match (&node.synced, &node.push.sent) {
                    (Some(synced), _) => Some(synced.place.clone()),
                    (None, sent) => sent.as_ref().map(|sent| sent.place.clone()),
                },
            };
            match place {
                Some(place) => at = place.parent,
                None => break,
            }
        }
    }
    Ok(false)
}

#[async_trait::async_trait]
impl Lister for Engine {
    async fn list(&self, dir: Ino) -> Result<(), ListError> {
        self.puller.list(dir).await
    }

    fn used(&self, dir: Ino) {
        self.puller.used(dir);
    }
}
