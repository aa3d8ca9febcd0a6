//! What connecting finds out, to be kept: with it the same account is connected to without a request.

use serde::{Deserialize, Serialize};

use super::detect::ServerHeaders;
use crate::remote::nextcloud::CloudAccount;

/// An account as it was found once. What has changed on the server since then is found out at the
/// next connection that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownAccount {
    /// On a Nextcloud or ownCloud.
    Cloud(Box<CloudAccount>),
    /// On a plain WebDAV server.
    Plain { login_name: String, headers: ServerHeaders },
}
