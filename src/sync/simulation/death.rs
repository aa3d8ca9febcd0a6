//! The death of the daemon at a chosen instruction: before or after a commit, before or after a
//! request is carried out. From then on nothing that it still does has any effect.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    BeforeCommit,
    AfterCommit,
    BeforeRequest,
    AfterRequest,
}

impl Moment {
    pub const ALL: [Moment; 4] =
        [Moment::BeforeCommit, Moment::AfterCommit, Moment::BeforeRequest, Moment::AfterRequest];

    pub fn words(self) -> &'static str {
        match self {
            Moment::BeforeCommit => "before a commit",
            Moment::AfterCommit => "right after a commit",
            Moment::BeforeRequest => "before a request arrives",
            Moment::AfterRequest => "after a request was carried out, before the answer",
        }
    }
}

/// Whether the daemon is alive, and when it dies.
#[derive(Default)]
pub struct Death {
    came: AtomicBool,
    notify: Notify,
    /// At how many more of these moments.
    set: Mutex<Option<(Moment, u32)>>,
}

impl Death {
    /// A daemon begins to live, with no death in sight.
    pub fn reset(&self) {
        self.came.store(false, Ordering::SeqCst);
        *self.set.lock().unwrap() = None;
    }

    pub fn set(&self, moment: Moment, count: u32) {
        *self.set.lock().unwrap() = Some((moment, count));
    }

    pub fn come(&self) {
        self.came.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }

    /// Whether the daemon lives on after this moment.
    pub fn passes(&self, moment: Moment) -> bool {
        let mut set = self.set.lock().unwrap();
        if let Some((_, count)) = set.as_mut().filter(|(chosen, _)| *chosen == moment) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                *set = None;
                self.come();
            }
        }
        !self.came.load(Ordering::SeqCst)
    }

    /// As [`Death::passes`], for those who can wait: then for ever.
    pub async fn live_through(&self, moment: Moment) {
        if !self.passes(moment) {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when the daemon has died.
    pub async fn wait(&self) {
        while !self.came.load(Ordering::SeqCst) {
            self.notify.notified().await;
        }
    }
}
