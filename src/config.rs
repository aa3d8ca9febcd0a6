//! Everything that a mount is told at its start, checked and typed.
//!
//! It goes from the launcher to the supervisor and from there to each `serve` over a pipe, as JSON:
//! with the credential, so never through arguments, variables or files.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::credential_file::{CredentialError, FileCredentials};
use crate::remote::{Credential, CredentialSource, Secret, Vendor};
use crate::server_url::ServerUrl;
use crate::types::RemotePath;

/// The longest configuration that is read, bytes.
const MAX_SIZE: usize = 256 * 1024;

/// What one mount is to be. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeConfig {
    pub server: ServerUrl,
    /// What kind of server it is; found out without it.
    pub vendor: Option<Vendor>,
    pub credentials: CredentialConfig,
    /// The login name, also when the password comes from a file: the state belongs to it.
    pub login_name: String,
    /// The name of the stored account that this is, if it is one.
    pub account: Option<String>,
    /// What of the user's files is mounted; made if missing.
    #[serde(with = "remote_dir_text")]
    pub remote_dir: RemotePath,
    /// Without symlinks, as the kernel writes it.
    #[serde(with = "crate::path_text")]
    pub mountpoint: PathBuf,
    /// Precious: unsent files and what is known of all others.
    #[serde(with = "crate::path_text")]
    pub state_dir: PathBuf,
    /// Disposable: copies of what is on the server.
    #[serde(with = "crate::path_text")]
    pub cache_dir: PathBuf,
    /// What the cache may take up, bytes.
    pub cache_size: u64,
    pub read_only: bool,
    /// Owner of all files that nobody gave to somebody else.
    pub uid: u32,
    pub gid: u32,
    /// Taken from the modes of files that come from the server.
    pub umask: u32,
    /// What `df` and `mount` show; the account without it.
    pub source: Option<String>,
    /// The kernel starts no programs from there.
    pub no_exec: bool,
    /// Lets other users in.
    pub allow_other: bool,
    pub allow_non_empty: bool,
    /// How often the server is asked for changes while the mount is in use.
    pub poll_interval: Duration,
    /// More certificates to trust than the system's (PEM).
    #[serde(with = "crate::path_text::optional")]
    pub ca_file: Option<PathBuf>,
    /// Speak http with other machines.
    pub allow_http: bool,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// The log goes to a file in the state directory.
    pub background: bool,
    /// How long the end may take to send what is pending.
    pub shutdown_timeout: Duration,
    /// Where measurements are told; nowhere unless it is named.
    pub metrics_listen: Option<MetricsAddress>,
}

/// Where an HTTP endpoint listens. Whoever can connect is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsAddress {
    Tcp(SocketAddr),
    /// A Unix socket; the path is absolute.
    Unix(#[serde(with = "crate::path_text")] PathBuf),
}

impl FromStr for MetricsAddress {
    type Err = String;

    /// Reads `127.0.0.1:9100`, `[::1]:9100` or `unix:/run/ncfs.sock`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            "expected an IP address with a port, as 127.0.0.1:9100 or [::1]:9100, or unix:PATH";
        match text.strip_prefix("unix:") {
            Some("") => Err(bad.to_owned()),
            Some(path) => {
                std::path::absolute(path).map(Self::Unix).map_err(|cause| cause.to_string())
            }
            None => text.parse().map(Self::Tcp).map_err(|_| bad.to_owned()),
        }
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where the credential comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialConfig {
    /// From a file, which is read anew when it changes.
    File(#[serde(with = "crate::path_text")] PathBuf),
    /// The password itself, for [`ServeConfig::login_name`].
    Given(#[serde(with = "crate::secret::exposed")] Secret),
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

impl ServeConfig {
    /// The credential, or the file that is asked for it before each request.
    pub fn credential_source(&self) -> Result<Arc<dyn CredentialSource>, CredentialError> {
        Ok(match &self.credentials {
            CredentialConfig::File(path) => {
                Arc::new(FileCredentials::open_of(path, &self.server, &self.login_name)?)
            }
            CredentialConfig::Given(password) => Arc::new(Credential {
                login_name: self.login_name.clone(),
                app_password: password.clone(),
            }),
        })
    }

    /// How the supervisor mounts it.
    pub fn mount_options(&self) -> mount_helper::Options {
        mount_helper::Options {
            source: self.source(),
            read_only: self.read_only,
            no_exec: self.no_exec,
            allow_other: self.allow_other,
            max_read: None,
        }
    }

    /// What `df` and `mount` show: `https://alice@cloud.example.com/Photos`, if nothing else is named.
    fn source(&self) -> String {
        let mut source = self.source.clone().unwrap_or_else(|| self.account());
        source.retain(|character| !character.is_control());
        source
    }

    fn account(&self) -> String {
        let mut url = self.server.as_url().clone();
        // Cannot fail for http and https.
        let _ = url.set_username(&self.login_name);
        let mut source = url.as_str().trim_end_matches('/').to_owned();
        if !self.remote_dir.0.is_empty() {
            source.push_str(&self.remote_dir.to_string());
        }
        source
    }

    /// As it goes over the pipe.
    pub fn encode(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        // Room for all of it from the start: growing would leave copies of the password behind.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_SIZE));
        serde_json::to_writer(&mut *text, self)?;
        Ok(text)
    }

    /// Reads what [`ServeConfig::encode`] wrote, up to the end of the stream.
    pub fn decode(stream: impl Read) -> std::io::Result<Self> {
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_SIZE));
        stream.take(MAX_SIZE as u64).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }
}

/// A remote directory as its names. They are UTF-8, as the server's are.
mod remote_dir_text {
    use serde::de::Error;

    use super::*;
    use crate::types::Name;

    pub fn serialize<S: serde::Serializer>(
        path: &RemotePath,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(path.0.iter().map(|name| name.as_str().unwrap_or_default()))
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<RemotePath, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names
            .into_iter()
            .map(|name| Name::new(name.into_bytes()))
            .collect::<Result<_, _>>()
            .map(RemotePath)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::types::Name;

    pub(crate) fn example() -> ServeConfig {
        ServeConfig {
            server: "https://cloud.example.com".parse().unwrap(),
            vendor: Some(Vendor::Owncloud),
            credentials: CredentialConfig::Given(Secret::new("hunter2")),
            login_name: "alice@example.com".to_owned(),
            account: None,
            remote_dir: RemotePath(vec![Name::new("Fotos \u{fc}".as_bytes()).unwrap()]),
            mountpoint: std::ffi::OsString::from_vec(b"/m/\xff%".to_vec()).into(),
            state_dir: "/state".into(),
            cache_dir: "/cache".into(),
            cache_size: 1 << 30,
            read_only: false,
            uid: 1000,
            gid: 1000,
            umask: 0o022,
            source: None,
            no_exec: true,
            allow_other: false,
            allow_non_empty: false,
            poll_interval: Duration::from_secs(5),
            ca_file: Some("/ca.pem".into()),
            allow_http: false,
            log_level: LogLevel::Info,
            log_format: LogFormat::Json,
            background: true,
            shutdown_timeout: Duration::from_secs(60),
            metrics_listen: Some(MetricsAddress::Unix("/run/ncfs.sock".into())),
        }
    }

    #[test]
    fn a_configuration_survives_the_pipe() {
        let config = example();
        let text = config.encode().unwrap();
        assert_eq!(ServeConfig::decode(&text[..]).unwrap(), config);
    }

    #[test]
    fn an_address_for_measurements_is_an_ip_address_with_a_port_or_a_socket() {
        for text in ["127.0.0.1:9100", "[::1]:9100", "0.0.0.0:9100", "unix:/run/ncfs.sock"] {
            assert_eq!(text.parse::<MetricsAddress>().unwrap().to_string(), text);
        }
        for bad in ["", "9100", ":9100", "127.0.0.1", "localhost:9100", "unix:", "1.2.3.4:99999"] {
            assert!(bad.parse::<MetricsAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_password_does_not_show_in_debug_output_or_the_mount_table() {
        let config = example();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(
            config.mount_options().source,
            "https://alice%40example.com@cloud.example.com/Fotos \u{fc}"
        );
    }
}
