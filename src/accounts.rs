//! The accounts that `ncfs login` stored: one file each in `$XDG_CONFIG_HOME/ncfs/accounts`.
//!
//! A file is a credentials file (see [`crate::credential_file`]) with what else a mount of the account
//! needs, so that a running mount follows it when a new login replaces the password.
//!
//! Guarantees: directory 0700, files 0600; a file is replaced as a whole and is on the disk before
//! [`Accounts::store`] returns; a crash leaves the old one, or a hidden draft that nobody reads and
//! that the next login or logout removes. A file that others can read is not used.

use std::fmt;
use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::server_url::ServerUrl;

/// What cannot stand in the name of a file, and the sign that says so.
const ENCODED: &AsciiSet = &CONTROLS.add(b'/').add(b'%');
/// Longest name of an account, bytes as encoded: with `.json` it fits every file system.
const NAME_MAX: usize = 240;
const EXTENSION: &str = "json";
/// How the name of a file begins that is being written.
const DRAFT: &str = ".new-";
/// Longer than that nobody writes a file.
const DRAFT_LIFE: Duration = Duration::from_secs(60);

/// How a person calls an account: `alice@cloud.example.com`, unless they chose another name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountName(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it cannot be the name of an account: it must not be empty, longer than {NAME_MAX} bytes, hold \
     control characters, look like an address, or begin with a dot or a dash"
)]
pub struct BadAccountName;

/// One account on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: AccountName,
    pub server: ServerUrl,
    pub login_name: String,
    pub app_password: Secret,
    /// The password was made for ncfs, so that it is revoked when it is no longer needed.
    pub is_ours: bool,
    /// More certificates to trust than the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// Speak http with other machines.
    pub allow_http: bool,
}

/// Why accounts cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    #[error(
        "there is no home directory to look for accounts in (HOME is not set); set it, or give \
         credentials in another way (ncfs mount --help)"
    )]
    NoHome,
    #[error("{} cannot be used: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error(
        "the account in {0} can be read by others (mode {mode:04o}), so its password may be known; \
         run: chmod 600 {0}",
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} is damaged ({reason}); remove it and log in again", path.display())]
    Damaged { path: PathBuf, reason: String },
}

/// The content of a file.
#[derive(Serialize, Deserialize)]
struct Stored {
    server: ServerUrl,
    login_name: String,
    #[serde(with = "crate::secret::exposed")]
    app_password: Secret,
    is_ours: bool,
    #[serde(with = "crate::path_text::optional", default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    allow_http: bool,
}

/// Where accounts are stored.
#[derive(Clone, Debug)]
pub struct Accounts(PathBuf);

impl Accounts {
    /// Those of this user (XDG Base Directory Specification). Nothing is made yet.
    pub fn of_user() -> Result<Self, AccountsError> {
        let absolute = |name| {
            std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute())
        };
        let config = absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")))
            .ok_or(AccountsError::NoHome)?;
        Ok(Self(config.join("ncfs/accounts")))
    }

    /// The file of an account, which may be missing.
    pub fn path(&self, name: &AccountName) -> PathBuf {
        self.0.join(format!("{}.{EXTENSION}", name.encoded()))
    }

    /// The account of this name.
    pub fn find(&self, name: &AccountName) -> Result<Option<Account>, AccountsError> {
        match read(&self.path(name), name) {
            Err(AccountsError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    /// All of them by name, and what is wrong with those that cannot be used.
    pub fn all(&self) -> Result<(Vec<Account>, Vec<AccountsError>), AccountsError> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            entries => entries.map_err(|cause| self.failed(cause))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry.map_err(|cause| self.failed(cause))?.path();
            names.extend(AccountName::of_file(&path));
        }
        names.sort();
        let (mut accounts, mut broken) = (Vec::new(), Vec::new());
        for name in names {
            match self.find(&name) {
                // One that was removed meanwhile is none.
                Ok(account) => accounts.extend(account),
                Err(error) => broken.push(error),
            }
        }
        Ok((accounts, broken))
    }

    /// Stores an account in place of a former one of its name.
    pub fn store(&self, account: &Account) -> Result<(), AccountsError> {
        let stored = Stored {
            server: account.server.clone(),
            login_name: account.login_name.clone(),
            app_password: account.app_password.clone(),
            is_ours: account.is_ours,
            ca_file: account.ca_file.clone(),
            allow_http: account.allow_http,
        };
        let written = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            // It may have been made before, by a hand with another mask.
            std::fs::set_permissions(&self.0, PermissionsExt::from_mode(0o700))?;
            self.remove_drafts();
            let text = Zeroizing::new(serde_json::to_vec_pretty(&stored)?);
            // Made with mode 0600.
            let mut draft = tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.0)?;
            draft.write_all(&text)?;
            draft.as_file().sync_all()?;
            draft.persist(self.path(&account.name))?;
            File::open(&self.0)?.sync_all()
        };
        written().map_err(|cause| self.failed(cause))
    }

    /// Removes what a crash has left of a file that was being written: a password is in it. One that
    /// cannot be removed is left to the next time.
    fn remove_drafts(&self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let is_draft = entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes());
            // Another login may be writing its own just now.
            let is_left = || entry.metadata().is_ok_and(|metadata| age(&metadata) > DRAFT_LIFE);
            if is_draft && is_left() {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Removes an account; nothing if there is none.
    pub fn forget(&self, name: &AccountName) -> Result<(), AccountsError> {
        self.remove_drafts();
        match std::fs::remove_file(self.path(name)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(AccountsError::Io { path: self.path(name), cause })
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, cause: io::Error) -> AccountsError {
        AccountsError::Io { path: self.0.clone(), cause }
    }
}

impl Account {
    /// Whether it is this login on this server.
    pub fn is(&self, server: &ServerUrl, login_name: &str) -> bool {
        self.server == *server && self.login_name == login_name
    }
}

fn age(metadata: &Metadata) -> Duration {
    metadata.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default()
}

fn read(path: &Path, name: &AccountName) -> Result<Account, AccountsError> {
    let failed = |cause| AccountsError::Io { path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(AccountsError::Exposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(io::read_to_string(file).map_err(failed)?);
    let stored: Stored = serde_json::from_str(&text).map_err(|error| {
        // Where, not what: the message could quote the password.
        let reason = format!("line {} column {}", error.line(), error.column());
        AccountsError::Damaged { path: path.to_owned(), reason }
    })?;
    Ok(Account {
        name: name.clone(),
        server: stored.server,
        login_name: stored.login_name,
        app_password: stored.app_password,
        is_ours: stored.is_ours,
        ca_file: stored.ca_file,
        allow_http: stored.allow_http,
    })
}

impl AccountName {
    /// The name of a login that nobody named; two different ones do not get the same.
    pub fn usual(login_name: &str, server: &ServerUrl) -> Result<Self, BadAccountName> {
        // https needs no port; one port speaks either the one or the other.
        let url = server.as_url();
        let usual_port = if url.scheme() == "http" && url.port().is_none() { ":80" } else { "" };
        let path = url.path().trim_end_matches('/');
        format!("{login_name}@{}{usual_port}{path}", server.host()).parse()
    }

    fn encoded(&self) -> String {
        utf8_percent_encode(&self.0, ENCODED).to_string()
    }

    fn of_file(path: &Path) -> Option<Self> {
        let is_account = path.extension().is_some_and(|extension| extension == EXTENSION);
        let encoded = path.file_stem().filter(|_| is_account)?.to_str()?;
        let name: Self = percent_decode_str(encoded).decode_utf8().ok()?.parse().ok()?;
        (name.encoded() == encoded).then_some(name)
    }
}

impl FromStr for AccountName {
    type Err = BadAccountName;

    fn from_str(text: &str) -> Result<Self, BadAccountName> {
        let name = Self(text.to_owned());
        let is_bad = text.is_empty()
            || text.starts_with(['.', '-'])
            || text.contains("://")
            || text.contains(char::is_control)
            || name.encoded().len() > NAME_MAX;
        if is_bad { Err(BadAccountName) } else { Ok(name) }
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential_file::FileCredentials;
    use crate::remote::CredentialSource;

    fn account(name: &str, password: &str) -> Account {
        Account {
            name: name.parse().unwrap(),
            server: "https://cloud.example.com/nc".parse().unwrap(),
            login_name: "alice".to_owned(),
            app_password: Secret::new(password),
            is_ours: true,
            ca_file: Some("/etc/own ca.pem".into()),
            allow_http: false,
        }
    }

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let holder = tempfile::tempdir().unwrap();
        let accounts = Accounts(holder.path().join("config/ncfs/accounts"));
        (holder, accounts)
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn an_account_is_found_again_and_only_its_owner_can_read_it() {
        let (_holder, accounts) = accounts();
        assert_eq!(accounts.all().unwrap().0, []);
        for name in ["work", "alice@cloud.example.com:8443/nc", "b\u{fc}ro 100%", "a%2Fb"] {
            let account = account(name, "secret");
            accounts.store(&account).unwrap();
            assert_eq!(accounts.find(&account.name).unwrap().as_ref(), Some(&account));
            assert_eq!(mode(&accounts.path(&account.name)), 0o600);
        }
        assert_eq!(mode(&accounts.0), 0o700);
        let (all, broken) = accounts.all().unwrap();
        assert_eq!((all.len(), broken.len()), (4, 0));
        accounts.forget(&all[0].name).unwrap();
        assert_eq!(accounts.all().unwrap().0, all[1..]);
    }

    #[test]
    fn the_file_serves_as_a_credentials_file_that_follows_a_new_login() {
        let (_holder, accounts) = accounts();
        let first = account("work", "first");
        accounts.store(&first).unwrap();
        let file = FileCredentials::open(&accounts.path(&first.name), &first.server).unwrap();
        assert_eq!(file.current().app_password.expose(), "first");
        accounts.store(&account("work", "second")).unwrap();
        assert_eq!(file.current().app_password.expose(), "second");
    }

    #[test]
    fn what_a_crash_left_of_a_login_is_removed_and_what_another_writes_is_not() {
        let (_holder, accounts) = accounts();
        let account = account("work", "secret");
        accounts.store(&account).unwrap();
        let (old, young) = (accounts.0.join(".new-old"), accounts.0.join(".new-young"));
        for path in [&old, &young] {
            std::fs::write(path, "hunter2").unwrap();
        }
        let hour = std::time::SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&old).unwrap().set_modified(hour).unwrap();
        accounts.forget(&account.name).unwrap();
        assert!(!old.exists() && young.exists());
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_damaged_is_told_of_and_hides_no_other() {
        let (_holder, accounts) = accounts();
        for name in ["damaged", "exposed", "fine"] {
            accounts.store(&account(name, "hunter2")).unwrap();
        }
        let path = |name: &str| accounts.path(&name.parse().unwrap());
        std::fs::set_permissions(path("exposed"), PermissionsExt::from_mode(0o640)).unwrap();
        let damaged = File::options().write(true).open(path("damaged")).unwrap();
        damaged.set_len(90).unwrap();
        std::fs::write(accounts.0.join(".new-draft"), "half").unwrap();
        let (all, broken) = accounts.all().unwrap();
        assert_eq!(all.len(), 1);
        let told: Vec<String> = broken.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("damaged") && told[1].contains("chmod 600"), "{told:?}");
        assert!(!told.concat().contains("hunter2"), "{told:?}");
    }

    #[test]
    fn two_logins_do_not_get_the_same_name() {
        let usual = |login: &str, server: &str| {
            AccountName::usual(login, &server.parse().unwrap()).unwrap().to_string()
        };
        assert_eq!(usual("alice", "https://cloud.example.com"), "alice@cloud.example.com");
        let all = [
            usual("alice", "https://h.org"),
            usual("bob", "https://h.org"),
            usual("alice", "https://h.org:8443"),
            usual("alice", "https://h.org/nc"),
            usual("alice", "http://h.org"),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
    }

    #[test]
    fn a_name_that_could_be_an_option_a_hidden_file_or_an_address_is_refused() {
        for bad in ["", ".", ".x", "-f", "https://h.org", "a\nb", &"x".repeat(241)] {
            assert_eq!(bad.parse::<AccountName>(), Err(BadAccountName), "{bad:?}");
        }
    }
}
