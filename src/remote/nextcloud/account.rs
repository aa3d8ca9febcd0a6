//! From a server that is known to an account on it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ocs::{self, Status};
use super::{NextcloudRemote, Root};
use crate::remote::webdav::http::Http;
use crate::remote::{
    Capabilities, Conditions, ConnectError, Identity, NameRules, RemoteError, Vendor,
};
use crate::server_url::ServerUrl;
use crate::types::{Name, RemotePath};

/// Size of upload parts when the server announces none. Bytes.
const PART_MAX: u64 = 100 * 1024 * 1024;

/// An account on a Nextcloud or ownCloud: whose it is and what the server can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudAccount {
    server: ServerUrl,
    vendor: Vendor,
    product: String,
    version: String,
    user_id: String,
    display_name: String,
    /// As [`NextcloudRemote::part_max`].
    part_max: Option<u64>,
    /// For the whole account: of what is below a directory, part of each path is used up.
    names: NameRules,
}

impl CloudAccount {
    /// Finds out whose the credential is and what the server can do.
    pub(in crate::remote) async fn log_in(
        http: &Http,
        server: ServerUrl,
        vendor: Vendor,
        status: Status,
    ) -> Result<Self, ConnectError> {
        let refused = |error| ConnectError::refused(&server, error);
        let user = ocs::user(http, &server).await.map_err(refused)?;
        let announced = ocs::capabilities(http, &server).await.map_err(refused)?;
        let takes_parts = vendor == Vendor::Nextcloud || announced.takes_parts();
        Ok(Self {
            vendor,
            product: status.productname,
            version: status.versionstring,
            user_id: user.id.clone(),
            display_name: user.display_name().into(),
            part_max: takes_parts.then(|| announced.part_max().unwrap_or(PART_MAX)),
            names: announced.name_rules(),
            server,
        })
    }

    pub(in crate::remote) fn identity(&self) -> Identity {
        Identity {
            origin: self.server.origin(),
            user_id: self.user_id.clone(),
            display_name: self.display_name.clone(),
            product: self.product.clone(),
            version: self.version.clone(),
        }
    }
}

impl NextcloudRemote {
    /// One directory of an account; the root is that of all files of the user.
    pub(in crate::remote) fn new(
        http: Arc<Http>,
        account: &CloudAccount,
        remote_dir: &RemotePath,
    ) -> Result<(Self, Root), ConnectError> {
        let Ok(id) = Name::new(account.user_id.as_bytes()) else {
            let why = RemoteError::Protocol("a user id that is no name".into());
            return Err(ConnectError::Server(why));
        };
        let server = account.server.clone();
        let collection = |kind: &str| {
            let names = ["remote.php", "dav", kind].into_iter();
            let names = names.flat_map(|name| Name::new(name.as_bytes()));
            Root::of(server.as_url()).below(&RemotePath(names.chain([id.clone()]).collect()))
        };
        let home = collection("files");
        let remote = Self {
            files: home.below(remote_dir),
            uploads: collection("uploads"),
            versions: collection("versions"),
            part_max: account.part_max,
            capabilities: Capabilities {
                vendor: account.vendor,
                tags_propagate: true,
                depth_infinity: account.vendor == Vendor::Nextcloud,
                file_ids: true,
                sets_mtime: true,
                conditions: Conditions::ALL,
                names: account.names.clone().below(&account.user_id, remote_dir),
            },
            http,
            server,
        };
        Ok((remote, home))
    }
}
