//! The account of a mount: found on the server, or known from an earlier connection.
//!
//! What was found is kept in the state directory. A process that takes a mount over asks nothing, so
//! that a restart does not depend on the network; a mount that begins asks, and does without only
//! while the server is away.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::ServeConfig;
use crate::failure::{ExitCode, Failure};
use crate::mount_memory::MountMemory;
use crate::remote::{
    ConnectConfig, ConnectError, Connection, KnownAccount, find_account, known_account,
};
use crate::tree::{Account, KernelSide, Tree};

/// Where it is in the state.
const KEY: &str = "found account";

/// What was found, and for whom.
#[derive(Serialize, Deserialize)]
struct Found {
    server: String,
    login_name: String,
    account: KnownAccount,
}

/// A connection, and why it was made without asking.
pub(super) struct Connected {
    pub connection: Connection,
    /// Why the server could not be asked; `None` when it was, or when there was no need to.
    pub away: Option<ConnectError>,
}

/// Connects to the account of a mount that begins, or goes on.
pub(super) async fn connect(config: &ServeConfig, begins: bool) -> Result<Connected, Failure> {
    let credentials = config.credential_source()?;
    let known = remembered(config);
    let again = |known| known_account(address(config), credentials.clone(), known);
    if let (false, Some(known)) = (begins, &known) {
        return Ok(Connected { connection: again(known.clone())?, away: None });
    }
    match (find_account(address(config), credentials.clone()).await, known) {
        (Ok(connection), _) => Ok(Connected { connection, away: None }),
        (Err(error), Some(known)) if error.is_transient() => {
            Ok(Connected { connection: again(known)?, away: Some(error) })
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Opens the state of the account for the mount's connection to the kernel.
pub(super) fn open_state(
    config: &ServeConfig,
    connection: &Connection,
    memory: &MountMemory,
) -> Result<Tree, Failure> {
    let identity = connection.identity();
    let account = Account {
        origin: identity.origin.clone(),
        user_id: identity.user_id.clone(),
        remote_dir: config.remote_dir.clone(),
    };
    let open = memory.open_handles().into_iter().map(|kept| kept.ino).collect();
    let kernel = KernelSide { connection: memory.connection(), open };
    Tree::open_for(&config.state_dir, &account, &kernel)
        .map_err(|error| Failure::new(ExitCode::State, error))
}

/// Keeps what was found for the next time.
pub(super) fn remember(
    config: &ServeConfig,
    connection: &Connection,
    tree: &Tree,
) -> Result<(), Failure> {
    let found = Found {
        server: config.server.to_string(),
        login_name: config.login_name.clone(),
        account: connection.known().clone(),
    };
    let text =
        serde_json::to_string(&found).map_err(|error| Failure::new(ExitCode::State, error))?;
    Ok(tree.set_meta(KEY, &text)?)
}

/// What was found for this server and login; nothing if it cannot be read, as then it is asked for.
fn remembered(config: &ServeConfig) -> Option<KnownAccount> {
    let found = read(&config.state_dir)?;
    let is_same =
        found.server == config.server.to_string() && found.login_name == config.login_name;
    is_same.then_some(found.account)
}

fn read(state_dir: &Path) -> Option<Found> {
    let text = Tree::peek_meta(state_dir, KEY).ok()??;
    serde_json::from_str(&text).ok()
}

fn address(config: &ServeConfig) -> ConnectConfig {
    ConnectConfig {
        server: config.server.clone(),
        vendor: config.vendor,
        remote_dir: config.remote_dir.clone(),
        ca_file: config.ca_file.clone(),
        allow_http: config.allow_http,
        user_agent: format!("ncfs/{}", env!("CARGO_PKG_VERSION")),
    }
}
