//! What a Nextcloud tells of itself and of its user: `status.php` and the OCS pages (FACTS 1).
//!
//! All of it is JSON from outside: bounded, every field optional where a server or app may lack it.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::remote::webdav::http::{Answer, Http, Request, Verb};
use crate::remote::{NameRules, Quota, RemoteError, Result, Secret, Vendor};
use crate::server_url::ServerUrl;

/// Most bytes of one of these pages; the capabilities of a server with many apps have some 50 KiB.
const PAGE_MAX: usize = 4 * 1024 * 1024;

/// `status.php`, which needs no credential.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub installed: bool,
    pub maintenance: bool,
    /// `32.0.1`
    pub versionstring: String,
    pub productname: String,
    /// Empty on a Nextcloud; `Community` or `Enterprise` on an ownCloud.
    edition: String,
}

impl Status {
    /// Which of the two it is. The name is the operator's choice on a Nextcloud, so it decides only if
    /// it is ownCloud's own.
    pub fn vendor(&self) -> Vendor {
        let named = self.productname.to_lowercase().contains("owncloud");
        if named || !self.edition.is_empty() { Vendor::Owncloud } else { Vendor::Nextcloud }
    }

    /// The first number of the version.
    pub fn major(&self) -> Option<u32> {
        self.versionstring.split('.').next()?.parse().ok()
    }
}

/// Asks for `status.php` and gives whatever is answered there.
pub async fn status_page(http: &Http, server: &ServerUrl) -> Result<Answer> {
    let mut request = Request::new(Verb::Get, server.page("status.php", None));
    request.anonymous = true;
    http.exchange(&request).await
}

/// Reads the body of `status.php`; `None` when it is something else.
pub async fn read_status(answer: Answer) -> Result<Option<Status>> {
    let body = answer.collect(PAGE_MAX).await?;
    let value: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    // Any JSON object would do for the defaults; only a Nextcloud says whether it is installed.
    let value = value.filter(|value| value.get("installed").is_some());
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// The user that the credential belongs to.
#[derive(Debug, Deserialize)]
pub struct User {
    /// What paths are made of; may differ from the login name (FACTS 11).
    pub id: String,
    #[serde(default)]
    displayname: Option<String>,
    /// The same on an ownCloud; a Nextcloud has both.
    #[serde(default, rename = "display-name")]
    display_name: Option<String>,
    #[serde(default)]
    quota: UserQuota,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UserQuota {
    free: Option<f64>,
    used: Option<f64>,
}

impl User {
    pub fn display_name(&self) -> &str {
        let names = self.displayname.iter().chain(&self.display_name);
        names.map(String::as_str).find(|name| !name.is_empty()).unwrap_or(&self.id)
    }

    /// Negative numbers stand for unlimited, unknown, not computed (FACTS 2).
    pub fn quota(&self) -> Quota {
        let bytes = |number: Option<f64>| number.filter(|n| *n >= 0.0).map(|n| n as u64);
        Quota { used: bytes(self.quota.used).unwrap_or(0), available: bytes(self.quota.free) }
    }
}

/// Asks who we are.
pub async fn user(http: &Http, server: &ServerUrl) -> Result<User> {
    page(http, server, "ocs/v2.php/cloud/user").await
}

#[derive(Debug, Deserialize)]
struct CapabilitiesPage {
    capabilities: Announced,
}

/// What of the capabilities is of use here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Announced {
    files: Files,
    dav: Dav,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dav {
    chunking: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Files {
    chunked_upload: ChunkedUpload,
    forbidden_filenames: Option<Vec<String>>,
    /// The name of the same list before Nextcloud 30.
    blacklisted_files: Option<Vec<String>>,
    forbidden_filename_basenames: Option<Vec<String>>,
    forbidden_filename_characters: Option<Vec<String>>,
    forbidden_filename_extensions: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ChunkedUpload {
    max_size: Option<u64>,
}

impl Announced {
    /// The server's rules on names: what it announces beside what every Nextcloud refuses.
    pub fn name_rules(&self) -> NameRules {
        let usual = NameRules::nextcloud();
        let files = &self.files;
        let list = |announced: &Option<Vec<String>>, usual: Vec<String>| {
            let mut all = announced.clone().unwrap_or_default();
            all.extend(usual.into_iter().filter(|one| !all.contains(one)).collect::<Vec<_>>());
            all
        };
        let characters = files.forbidden_filename_characters.iter().flatten();
        let mut forbidden_characters = usual.forbidden_characters;
        forbidden_characters.extend(characters.flat_map(|text| text.chars()));
        forbidden_characters.sort_unstable();
        forbidden_characters.dedup();
        let names = files.forbidden_filenames.clone().or_else(|| files.blacklisted_files.clone());
        NameRules {
            max_bytes: usual.max_bytes,
            max_path: usual.max_path,
            forbidden_characters,
            forbidden_names: list(&names, usual.forbidden_names),
            forbidden_basenames: list(
                &files.forbidden_filename_basenames,
                usual.forbidden_basenames,
            ),
            forbidden_extensions: list(
                &files.forbidden_filename_extensions,
                usual.forbidden_extensions,
            ),
        }
    }

    /// Whether files can be sent in parts that are put together by a MOVE.
    pub fn takes_parts(&self) -> bool {
        self.dav.chunking == "1.0"
    }

    /// Largest part of a chunked upload that the server wants, bytes; `None` when it does not say.
    pub fn part_max(&self) -> Option<u64> {
        self.files.chunked_upload.max_size.filter(|size| *size > 0)
    }
}

/// Asks what the server can do.
pub async fn capabilities(http: &Http, server: &ServerUrl) -> Result<Announced> {
    let page: CapabilitiesPage = page(http, server, "ocs/v2.php/cloud/capabilities").await?;
    Ok(page.capabilities)
}

#[derive(Deserialize)]
struct Envelope<T> {
    ocs: Data<T>,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct AppPassword {
    apppassword: String,
}

/// Asks for an app password, which a login password is good for and another app password is not:
/// [`RemoteError::Forbidden`]. It is named after our `User-Agent`.
pub async fn app_password(http: &Http, server: &ServerUrl) -> Result<Secret> {
    let made: AppPassword = page(http, server, "ocs/v2.php/core/getapppassword").await?;
    Ok(Secret::new(made.apppassword))
}

/// Ends the app password that the request is sent with, at once.
pub async fn revoke(http: &Http, server: &ServerUrl) -> Result<()> {
    let url = server.page("ocs/v2.php/core/apppassword", Some("format=json"));
    let request = Request::new(Verb::Delete, url).header("ocs-apirequest", "true")?;
    http.send(&request).await?.drain().await;
    Ok(())
}

async fn page<T: DeserializeOwned>(http: &Http, server: &ServerUrl, path: &str) -> Result<T> {
    let request = Request::new(Verb::Get, server.page(path, Some("format=json")))
        .header("ocs-apirequest", "true")?;
    let body = http.send(&request).await?.collect(PAGE_MAX).await?;
    let envelope: Envelope<T> = serde_json::from_slice(&body).map_err(|error| {
        RemoteError::Protocol(format!("{path} is not what was asked for: {error}"))
    })?;
    Ok(envelope.ocs.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded<T: DeserializeOwned>(transcript: &str) -> T {
        let start = transcript.find("{\"ocs\"").or_else(|| transcript.find("{\n \"ocs\"")).unwrap();
        let mut values = serde_json::Deserializer::from_str(&transcript[start..]).into_iter();
        let envelope: Envelope<T> = values.next().unwrap().unwrap();
        envelope.ocs.data
    }

    #[test]
    fn a_recorded_user_is_understood() {
        let user: User =
            recorded(include_str!("../../../tests/testcloud/transcripts/user-info.http"));
        assert_eq!(user.id, "alice");
        assert_eq!(user.quota(), Quota { used: 0, available: None });
    }

    #[test]
    fn the_two_products_are_told_apart_whatever_the_operator_calls_them() {
        let vendor = |json: &str| serde_json::from_str::<Status>(json).unwrap().vendor();
        let owncloud = [
            r#"{"installed":true,"versionstring":"10.13.0","edition":"Community","productname":"X"}"#,
            r#"{"installed":true,"versionstring":"10.0.3","edition":"","productname":"ownCloud"}"#,
        ];
        let nextcloud = [
            r#"{"installed":true,"versionstring":"32.0.1","edition":"","productname":"Nextcloud"}"#,
            r#"{"installed":true,"versionstring":"32.0.1","productname":"Our Cloud"}"#,
        ];
        assert!(owncloud.iter().all(|json| vendor(json) == Vendor::Owncloud));
        assert!(nextcloud.iter().all(|json| vendor(json) == Vendor::Nextcloud));
    }

    #[test]
    fn recorded_capabilities_are_understood() {
        let page: CapabilitiesPage =
            recorded(include_str!("../../../tests/testcloud/transcripts/capabilities.http"));
        assert_eq!(page.capabilities.part_max(), Some(104_857_600));
        assert!(page.capabilities.takes_parts() && !Announced::default().takes_parts());
        let rules = page.capabilities.name_rules();
        assert_eq!(rules.forbidden_names, [".htaccess"]);
        assert_eq!(rules.forbidden_extensions, [".filepart", ".part"]);
        assert_eq!(rules.forbidden_characters, ['/', '\\']);
    }

    #[test]
    fn a_server_that_announces_nothing_has_the_usual_rules() {
        let rules = Announced::default().name_rules();
        assert_eq!(rules.forbidden_names, NameRules::nextcloud().forbidden_names);
        assert_eq!(rules.forbidden_extensions, NameRules::nextcloud().forbidden_extensions);
    }

    #[test]
    fn a_quota_that_is_set_is_told_in_bytes() {
        let user: User =
            serde_json::from_str(r#"{"id":"a","quota":{"free":1000,"used":24,"total":1024}}"#)
                .unwrap();
        assert_eq!(user.quota(), Quota { used: 24, available: Some(1000) });
    }
}
