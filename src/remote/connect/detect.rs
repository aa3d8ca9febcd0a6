//! What kind of server is at an address.

use reqwest::header::{HeaderMap, LOCATION, SERVER, WWW_AUTHENTICATE};
use serde::{Deserialize, Serialize};

use super::ConnectError;
use super::error::{OLDEST_NEXTCLOUD, OLDEST_OWNCLOUD};
use crate::remote::nextcloud::{Status, read_status, status_page};
use crate::remote::webdav::href::Root;
use crate::remote::webdav::http::{Answer, Http, Request, Verb};
use crate::remote::webdav::properties::Vocabulary;
use crate::remote::webdav::propfind;
use crate::remote::{RemoteError, Vendor};
use crate::server_url::ServerUrl;
use crate::types::RemotePath;

/// What was found.
pub enum Found {
    /// A Nextcloud or ownCloud, at this address.
    Cloud { server: Box<ServerUrl>, vendor: Vendor, status: Status },
    /// A WebDAV collection at the address that was typed.
    Plain { headers: ServerHeaders },
}

/// How a plain WebDAV server describes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHeaders {
    /// `Server`, as in `Apache/2.4.62 (Debian)`.
    pub server: String,
    /// `DAV`, all of them in one.
    pub dav: String,
}

impl ServerHeaders {
    fn of(headers: &HeaderMap) -> Self {
        let all = |name: &str| {
            let texts = headers.get_all(name).iter().filter_map(|text| text.to_str().ok());
            texts.collect::<Vec<_>>().join(", ")
        };
        Self { server: all(SERVER.as_str()), dav: all("dav") }
    }

    pub fn product(&self) -> &str {
        let name = self.server.split(['/', ' ']).next().unwrap_or_default();
        if name.is_empty() { "WebDAV" } else { name }
    }

    /// Empty when it does not say.
    pub fn version(&self) -> &str {
        let word = self.server.split_whitespace().next().unwrap_or_default();
        word.split_once('/').map_or("", |(_, version)| version.trim_start_matches('v'))
    }
}

/// Finds out what is there, or that it is what somebody says it is.
pub async fn detect(
    http: &Http,
    server: &ServerUrl,
    vendor: Option<Vendor>,
) -> Result<Found, ConnectError> {
    let no_status = match vendor {
        Some(Vendor::Webdav) => None,
        Some(vendor) => return cloud(http, server, vendor).await,
        None => match find_status(http, server).await? {
            Ok((server, status)) => return found(server, status.vendor(), status),
            Err(elsewhere) => Some(elsewhere),
        },
    };
    let no_dav = match plain(http, server).await? {
        Ok(headers) => return Ok(Found::Plain { headers }),
        Err(elsewhere) => elsewhere,
    };
    let address = server.as_typed().as_str().trim_end_matches('/').to_owned();
    Err(match (no_status, no_dav) {
        (Some(Elsewhere::Redirected(to)), _) | (_, Elsewhere::Redirected(to)) => {
            ConnectError::Redirected { host: server.host(), to }
        }
        (Some(Elsewhere::Answered(no_status)), Elsewhere::Answered(no_dav)) => {
            ConnectError::NoServer { address, why: format!("{no_status}, {no_dav}") }
        }
        (None, Elsewhere::Answered(why)) => {
            ConnectError::OtherVendor { vendor: Vendor::Webdav, address, why }
        }
    })
}

/// The Nextcloud or ownCloud that is there. No credential is sent.
pub async fn cloud(http: &Http, server: &ServerUrl, vendor: Vendor) -> Result<Found, ConnectError> {
    match find_status(http, server).await? {
        Ok((server, status)) => found(server, vendor, status),
        Err(Elsewhere::Redirected(to)) => Err(ConnectError::Redirected { host: server.host(), to }),
        Err(Elsewhere::Answered(why)) => {
            let address = server.as_typed().as_str().trim_end_matches('/').to_owned();
            Err(ConnectError::OtherVendor { vendor, address, why })
        }
    }
}

fn found(server: ServerUrl, vendor: Vendor, status: Status) -> Result<Found, ConnectError> {
    check(&server, vendor, &status)?;
    Ok(Found::Cloud { server: Box::new(server.to_base()), vendor, status })
}

/// What is at an address that is not what was looked for.
enum Elsewhere {
    Redirected(String),
    Answered(String),
}

impl Elsewhere {
    fn redirected(answer: &Answer, page: &str) -> Self {
        let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok());
        Self::Redirected(to.unwrap_or("another address").trim_end_matches(page).into())
    }
}

/// Looks for `status.php` at the address and above it: people copy addresses of pages deep inside,
/// below which anything may be answered, a request to log in too. The outer error ends the search.
async fn find_status(
    http: &Http,
    typed: &ServerUrl,
) -> Result<Result<(ServerUrl, Status), Elsewhere>, ConnectError> {
    let mut server = typed.clone();
    loop {
        let elsewhere = match look_for_status(http, &server).await? {
            Ok(status) => return Ok(Ok((server, status))),
            Err(elsewhere) => elsewhere,
        };
        match server.parent() {
            Some(parent) => server = parent,
            None => return Ok(Err(elsewhere)),
        }
    }
}

/// The status of a Nextcloud or ownCloud at this very address.
async fn look_for_status(
    http: &Http,
    server: &ServerUrl,
) -> Result<Result<Status, Elsewhere>, ConnectError> {
    let unreachable = |error| ConnectError::unreachable(server, error);
    let answer = status_page(http, server).await.map_err(unreachable)?;
    let elsewhere = match answer.status {
        200 => match read_status(answer).await.map_err(unreachable)? {
            Some(status) => return Ok(Ok(status)),
            None => Elsewhere::Answered("its status.php is something else".into()),
        },
        300..=399 => Elsewhere::redirected(&answer, "/status.php"),
        401 => Elsewhere::Answered("its status.php asks for a login".into()),
        status => Elsewhere::Answered(format!("its status.php answers {status}")),
    };
    Ok(Err(elsewhere))
}

fn check(server: &ServerUrl, vendor: Vendor, status: &Status) -> Result<(), ConnectError> {
    let address = server.to_string();
    if !status.installed {
        return Err(ConnectError::NotInstalled { address });
    }
    if status.maintenance {
        return Err(ConnectError::Maintenance { address });
    }
    let (oldest, product) = match vendor {
        Vendor::Owncloud => (OLDEST_OWNCLOUD, "ownCloud"),
        Vendor::Nextcloud | Vendor::Webdav => (OLDEST_NEXTCLOUD, "Nextcloud"),
    };
    if status.major().is_some_and(|major| major >= oldest) {
        return Ok(());
    }
    let version = status.versionstring.clone();
    Err(ConnectError::TooOld { address, version, oldest: format!("{product} {oldest}") })
}

/// Whether a WebDAV collection is at exactly this address. Asked without the password first: it is
/// for those only who ask for it in a way that we know.
async fn plain(
    http: &Http,
    server: &ServerUrl,
) -> Result<Result<ServerHeaders, Elsewhere>, ConnectError> {
    let root = Root::of(server.as_typed());
    let at = RemotePath::root();
    let mut question = propfind::request(root.directory_url(&at), Vocabulary::Plain, "0")
        .map_err(ConnectError::Server)?;
    question.anonymous = true;
    let answer = http.exchange(&question).await;
    let answer = answer.map_err(|error| ConnectError::unreachable(server, error))?;
    match answer.status {
        207 => {}
        401 => {
            let schemes = schemes(&answer.headers);
            if !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
                let address = server.as_typed().to_string();
                return Err(ConnectError::UnknownLogin { address, schemes: schemes.join(", ") });
            }
        }
        300..=399 => return Ok(Err(Elsewhere::redirected(&answer, "/"))),
        status => {
            let why = format!("PROPFIND, the listing of WebDAV, is answered with {status}");
            return Ok(Err(Elsewhere::Answered(why)));
        }
    }
    answer.drain().await;
    let refused = |error| ConnectError::refused(server, error);
    let options = Request::new(Verb::Options, root.directory_url(&at));
    let answer = http.exchange(&options).await.map_err(refused)?;
    let headers = ServerHeaders::of(&answer.headers);
    answer.drain().await;
    match propfind::look(http, &root, Vocabulary::Plain, &at).await {
        Ok(look) if look.entry.is_dir => Ok(Ok(headers)),
        Ok(_) => Ok(Err(Elsewhere::Answered("it is a file and not a directory".into()))),
        Err(RemoteError::NotFound) => Ok(Err(Elsewhere::Answered("there is no such path".into()))),
        Err(error) => Err(refused(error)),
    }
}

/// The names of the logins that a 401 offers.
fn schemes(headers: &HeaderMap) -> Vec<String> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|text| text.to_str().ok());
    // One header may offer several, with parameters that have commas between them, too: a scheme is a
    // word without an equals sign.
    texts
        .flat_map(|text| text.split(','))
        .filter_map(|part| part.split_whitespace().next())
        .filter(|word| !word.contains('='))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_logins_that_a_server_offers_are_found_however_they_are_listed() {
        let several = headers(&[
            ("www-authenticate", "Digest realm=\"a, b\", qop=\"auth\", Basic realm=\"x\""),
            ("www-authenticate", "Negotiate"),
        ]);
        let found = schemes(&several);
        assert!(found.iter().any(|scheme| scheme == "Basic"), "{found:?}");
        assert!(found.iter().any(|scheme| scheme == "Negotiate"), "{found:?}");
        assert!(schemes(&headers(&[])).is_empty());
    }

    #[test]
    fn a_server_is_named_by_what_it_says_of_itself() {
        let of = |server| ServerHeaders::of(&headers(&[("server", server)]));
        let (apache, rclone) = (of("Apache/2.4.62 (Debian)"), of("rclone/v1.75.2"));
        assert_eq!((apache.product(), apache.version()), ("Apache", "2.4.62"));
        assert_eq!((rclone.product(), rclone.version()), ("rclone", "1.75.2"));
        let silent = ServerHeaders::default();
        assert_eq!((silent.product(), silent.version()), ("WebDAV", ""));
    }
}
