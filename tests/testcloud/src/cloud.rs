//! The server's state, shared by requests, admin calls and the handle of a test.
//!
//! Lock order: [`Locks`] before `state`. `state` is held for short sections that may rename, create
//! or stat on disk but never copy, and never across an await.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};

use crate::config::Config;
use crate::error::DavError;
use crate::faults::FaultPlan;
use crate::latency::Throttle;
use crate::locks::Locks;
use crate::login::{Browsers, Flow};
use crate::path::FilePath;
use crate::requests::{RequestLog, Running};
use crate::shares::Share;
use crate::stamps::Stamps;
use crate::store::{self, Store};
use crate::sync::lock;
use crate::tree::{File, NodeId, Tree};
use crate::uploads::Upload;

pub(crate) struct Cloud {
    pub stamps: Stamps,
    pub store: Store,
    pub locks: Locks,
    pub faults: FaultPlan,
    pub requests: RequestLog,
    pub throttle: Throttle,
    pub maintenance: AtomicBool,
    pub running: Running,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub accounts: BTreeMap<String, Account>,
    /// By the password itself.
    pub app_passwords: HashMap<String, AppPassword>,
    /// By the values of both cookies.
    pub sessions: HashMap<(String, String), Session>,
    /// Logins in the browser under way.
    pub flows: Vec<Flow>,
    pub browsers: Browsers,
    /// The address that is told to clients, if it is not the one they used.
    pub announced: Option<String>,
    pub shares: Vec<Share>,
    /// `oc:data-fingerprint`
    pub fingerprint: String,
}

pub(crate) struct Account {
    pub password: String,
    pub email: Option<String>,
    /// Bytes for everything below the root; none is unlimited.
    pub quota: Option<u64>,
    pub tree: Tree,
    pub uploads: BTreeMap<String, Upload>,
}

pub(crate) struct AppPassword {
    pub user: String,
    /// The only login name it works with, in any case (FACTS 11).
    pub login: String,
    /// `User-Agent` of the request that made it.
    pub name: String,
}

#[derive(Clone)]
pub(crate) struct Session {
    pub user: String,
    /// Dies with it.
    pub app_password: Option<String>,
}

impl Cloud {
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        let cloud = Self {
            stamps: Stamps::new(config.instance_id.clone()),
            store: Store::open(config.dir.clone())?,
            locks: Locks::default(),
            faults: FaultPlan::default(),
            requests: RequestLog::default(),
            throttle: Throttle::default(),
            maintenance: AtomicBool::new(false),
            running: Running::default(),
            state: Mutex::default(),
        };
        for (user, password) in &config.users {
            cloud.add_user(user, password)?;
        }
        Ok(cloud)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Makes a user and imports what is in the directory already.
    pub(crate) fn add_user(&self, user: &str, password: &str) -> io::Result<()> {
        if user.is_empty()
            || user.starts_with('.')
            || user == "tmp"
            || user.contains(['/', ':', '\0'])
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{user:?} cannot be a user id"),
            ));
        }
        self.store.add_user(user)?;
        let mut tree = Tree::new(&self.stamps);
        if let Some(root) = tree.root().map(|root| root.id) {
            let dir = self.store.file(user, &FilePath::default());
            self.import(&mut tree, root, &dir)?;
        }
        let account = Account {
            password: password.to_owned(),
            email: None,
            quota: None,
            tree,
            uploads: BTreeMap::new(),
        };
        self.state().accounts.insert(user.to_owned(), account);
        Ok(())
    }

    /// False if there is no such user.
    pub(crate) fn set_quota(&self, user: &str, bytes: Option<u64>) -> bool {
        let mut state = self.state();
        let account = state.accounts.get_mut(user);
        account.map(|account| account.quota = bytes).is_some()
    }

    /// Names that are not UTF-8 or not in NFC, and what is neither file nor directory, stay outside.
    fn import(&self, tree: &mut Tree, parent: NodeId, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (meta, name) = (entry.metadata()?, entry.file_name());
            let name = match name.to_str() {
                Some(name) if FilePath::of(name).name() == name => name,
                _ => {
                    tracing::warn!(?name, "not imported: the name is not UTF-8 in NFC");
                    continue;
                }
            };
            if meta.is_dir() {
                let folder = tree.add_folder(parent, name, &self.stamps);
                self.import(tree, folder, &entry.path())?;
                if let Some(node) = tree.node_mut(folder) {
                    node.mtime = store::mtime(&meta);
                }
            } else if meta.is_file() {
                let file = File { size: meta.len(), ..File::default() };
                tree.add_file(parent, name, file, store::mtime(&meta), &self.stamps);
            }
        }
        Ok(())
    }
}

impl State {
    pub(crate) fn account(&self, user: &str) -> Result<&Account, DavError> {
        self.accounts.get(user).ok_or_else(|| no_principal(user))
    }

    pub(crate) fn account_mut(&mut self, user: &str) -> Result<&mut Account, DavError> {
        self.accounts.get_mut(user).ok_or_else(|| no_principal(user))
    }
}

fn no_principal(user: &str) -> DavError {
    DavError::not_found(format!("Principal with name {user} not found"))
}

impl Account {
    pub(crate) fn used(&self) -> u64 {
        self.tree.root().map_or(0, |root| root.size())
    }

    /// Bytes left; none if there is no quota.
    pub(crate) fn available(&self) -> Option<u64> {
        self.quota.map(|quota| quota.saturating_sub(self.used()))
    }

    /// The old size of an overwritten file is not credited, and nothing needs no space (FACTS 12).
    pub(crate) fn require(&self, path: &FilePath, required: u64) -> Result<(), DavError> {
        match self.available() {
            Some(available) if required > available => {
                Err(DavError::insufficient_storage(path, required, available))
            }
            _ => Ok(()),
        }
    }
}
