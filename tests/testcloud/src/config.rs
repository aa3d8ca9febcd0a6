//! How a server is started.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// What [`crate::Testcloud::start`] needs; `Config::default()` listens on a free loopback port, keeps
/// its files in a temporary directory and has no users.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one, which is kept over a restart.
    pub listen: SocketAddr,
    /// Where the files are (see [`crate`]); none is a temporary directory that goes with the server.
    pub dir: Option<PathBuf>,
    /// User ids and their login passwords.
    pub users: Vec<(String, String)>,
    /// 12 characters; they end every `oc:id` and name the session cookie.
    pub instance_id: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            dir: None,
            users: Vec::new(),
            instance_id: "oc0testcloud".to_owned(),
        }
    }
}

impl Config {
    /// Adds a user.
    #[must_use]
    pub fn user(mut self, id: &str, password: &str) -> Self {
        self.users.push((id.to_owned(), password.to_owned()));
        self
    }

    /// Keeps the files in this directory and imports what is there.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }
}
