//! Credentials in a file: `{"server": "..", "login_name": "..", "app_password": ".."}`.
//!
//! Guarantees: a file that others can read is refused, so is one that is made for another server.
//! A changed file is picked up before the next request; while it cannot be read, is half written, or
//! is of another login, the last good credential stays: unsent files of one person never go out with
//! the credential of another.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::remote::{Credential, CredentialSource, Secret};
use crate::server_url::ServerUrl;

/// More than this is not a credentials file. Bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("the credentials file {} cannot be read: {cause}; ncfs mount --help shows how to make one", path.display())]
    Unreadable { path: PathBuf, cause: std::io::Error },
    #[error(
        "the credentials file {0} can be read by others (mode {mode:04o}); run: chmod 600 {0}",
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "{origin} does not hold credentials ({reason}); expected is one JSON object: \
         {{\"server\": \"https://..\", \"login_name\": \"..\", \"app_password\": \"..\"}}"
    )]
    Malformed { origin: String, reason: String },
    #[error(
        "{origin} holds credentials for {theirs}, and not for {ours}; name that server, or other \
         credentials"
    )]
    OtherServer { origin: String, theirs: String, ours: String },
    #[error(
        "the credentials file {} holds those of {theirs} by now, and not of {ours}, whose files are \
         mounted; to change to the other account, unmount and mount again", path.display()
    )]
    OtherLogin { path: PathBuf, theirs: String, ours: String },
}

/// What the file holds. The spellings of Login Flow v2's answer are taken too.
#[derive(Deserialize)]
struct Content {
    server: ServerUrl,
    #[serde(alias = "loginName")]
    login_name: String,
    #[serde(alias = "appPassword", with = "crate::secret::exposed")]
    app_password: Secret,
}

/// Reads credentials from a stream; `origin` names it in errors.
pub fn read(
    stream: impl Read,
    origin: &str,
    server: &ServerUrl,
) -> Result<Credential, CredentialError> {
    let malformed =
        |reason: String| CredentialError::Malformed { origin: origin.to_owned(), reason };
    // Room for all of it from the start: growing would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_SIZE as usize + 1));
    stream
        .take(MAX_SIZE + 1)
        .read_to_end(&mut text)
        .map_err(|cause| malformed(cause.to_string()))?;
    if text.len() as u64 > MAX_SIZE {
        return Err(malformed("it is too big".to_owned()));
    }
    let content: Content = serde_json::from_slice(&text).map_err(|error| {
        // Where, not what: the message could quote the password.
        malformed(match error.classify() {
            serde_json::error::Category::Data => "a field is missing or of the wrong kind".into(),
            _ => format!("not JSON, line {} column {}", error.line(), error.column()),
        })
    })?;
    if content.login_name.is_empty() || content.app_password.expose().is_empty() {
        return Err(malformed("the login name or the password is empty".to_owned()));
    }
    if content.server.origin() != server.origin() {
        return Err(CredentialError::OtherServer {
            origin: origin.to_owned(),
            theirs: content.server.origin(),
            ours: server.origin(),
        });
    }
    Ok(Credential { login_name: content.login_name, app_password: content.app_password })
}

/// What tells one content of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A credentials file that is looked at before every use.
pub struct FileCredentials {
    path: PathBuf,
    server: ServerUrl,
    /// What was seen last, and the last good content. `None` as stamp: the file was missing.
    seen: Mutex<(Option<Stamp>, Credential)>,
}

impl FileCredentials {
    /// Reads the file for the first time. Whose it is then it has to stay.
    pub fn open(path: &Path, server: &ServerUrl) -> Result<Self, CredentialError> {
        let (stamp, credential) = load(path, server)?;
        Ok(Self {
            path: path.to_owned(),
            server: server.clone(),
            seen: Mutex::new((Some(stamp), credential)),
        })
    }

    /// The same, if it is this login's.
    pub fn open_of(
        path: &Path,
        server: &ServerUrl,
        login_name: &str,
    ) -> Result<Self, CredentialError> {
        let file = Self::open(path, server)?;
        check_login(path, login_name, &file.current())?;
        Ok(file)
    }
}

fn check_login(path: &Path, ours: &str, loaded: &Credential) -> Result<(), CredentialError> {
    if loaded.login_name == ours {
        return Ok(());
    }
    let (theirs, ours) = (loaded.login_name.clone(), ours.to_owned());
    Err(CredentialError::OtherLogin { path: path.to_owned(), theirs, ours })
}

impl CredentialSource for FileCredentials {
    fn current(&self) -> Credential {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp != seen.0 {
            // One look per change, also when it fails: no flood of warnings.
            seen.0 = stamp;
            let loaded = load(&self.path, &self.server).and_then(|(stamp, credential)| {
                check_login(&self.path, &seen.1.login_name, &credential)?;
                Ok((stamp, credential))
            });
            match loaded {
                Ok((stamp, credential)) => *seen = (Some(stamp), credential),
                Err(error) => tracing::warn!(%error, "the credentials stay as they were"),
            }
        }
        seen.1.clone()
    }
}

fn load(path: &Path, server: &ServerUrl) -> Result<(Stamp, Credential), CredentialError> {
    let unreadable = |cause| CredentialError::Unreadable { path: path.to_owned(), cause };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(std::io::Error::other("it is not a regular file")));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CredentialError::Exposed { path: path.to_owned(), mode });
    }
    let origin = format!("the credentials file {}", path.display());
    Ok((Stamp::of(&metadata), read(file, &origin, server)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn server() -> ServerUrl {
        "https://cloud.example.com".parse().unwrap()
    }

    fn write(path: &Path, password: &str, mode: u32) {
        // A new file each time, as editors and Kubernetes do it.
        let draft = path.with_extension("draft");
        let text = format!(
            r#"{{"server":"https://cloud.example.com/","login_name":"alice","app_password":"{password}"}}"#
        );
        std::fs::write(&draft, text).unwrap();
        std::fs::set_permissions(&draft, PermissionsExt::from_mode(mode)).unwrap();
        std::fs::rename(&draft, path).unwrap();
    }

    #[test]
    fn a_changed_file_gives_the_changed_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.json");
        write(&path, "one", 0o600);
        let file = FileCredentials::open(&path, &server()).unwrap();
        assert_eq!(file.current().app_password.expose(), "one");
        write(&path, "two", 0o400);
        assert_eq!(file.current().app_password.expose(), "two");
    }

    #[test]
    fn a_file_that_is_now_of_somebody_else_leaves_the_password_of_the_mounted_account() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.json");
        write(&path, "one", 0o600);
        let file = FileCredentials::open(&path, &server()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("alice", "bob").replace("one", "bob's")).unwrap();
        assert_eq!(file.current().app_password.expose(), "one");
        assert_eq!(file.current().login_name, "alice");
        let refused = FileCredentials::open_of(&path, &server(), "alice").map(drop).unwrap_err();
        assert!(matches!(refused, CredentialError::OtherLogin { .. }), "{refused}");
        assert!(FileCredentials::open_of(&path, &server(), "bob").is_ok());
        write(&path, "two", 0o600);
        assert_eq!(file.current().app_password.expose(), "two");
    }

    #[test]
    fn while_the_file_cannot_be_used_the_last_good_password_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.json");
        write(&path, "one", 0o600);
        let file = FileCredentials::open(&path, &server()).unwrap();
        write(&path, "two", 0o644);
        assert_eq!(file.current().app_password.expose(), "one");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.current().app_password.expose(), "one");
        write(&path, "three", 0o600);
        assert_eq!(file.current().app_password.expose(), "three");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_to_mend_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.json");
        for mode in [0o640, 0o604, 0o666] {
            write(&path, "one", mode);
            let Err(error) = FileCredentials::open(&path, &server()) else { panic!("{mode:o}") };
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn credentials_for_another_server_are_refused() {
        let text = r#"{"server":"https://evil.org","login_name":"a","app_password":"hunter2"}"#;
        let error = read(text.as_bytes(), "fd 3", &server()).unwrap_err();
        assert!(matches!(error, CredentialError::OtherServer { .. }), "{error}");
    }

    #[test]
    fn an_error_never_quotes_the_password() {
        for text in [
            r#"{"server":"https://cloud.example.com","login_name":"a","app_password":["hunter2"]}"#,
            r#"{"server":"https://cloud.example.com","login_name":"a","app_password":"hunter2"x"#,
            r#"hunter2"#,
        ] {
            let error = read(text.as_bytes(), "fd 3", &server()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_answer_of_login_flow_v2_is_taken_as_it_is() {
        let text =
            r#"{"server":"https://cloud.example.com","loginName":"alice","appPassword":"pw"}"#;
        assert_eq!(read(text.as_bytes(), "fd 3", &server()).unwrap().login_name, "alice");
    }
}
