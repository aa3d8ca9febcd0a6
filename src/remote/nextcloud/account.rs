//! From a server that is known to an account on it.

use std::sync::Arc;

use super::ocs::{self, Status};
use super::{NextcloudRemote, Root};
use crate::remote::webdav::http::Http;
use crate::remote::{Capabilities, Conditions, ConnectError, Identity, RemoteError, Vendor};
use crate::server_url::ServerUrl;
use crate::types::{Name, RemotePath};

/// Size of upload parts when the server announces none. Bytes.
const PART_MAX: u64 = 100 * 1024 * 1024;

impl NextcloudRemote {
    /// Finds out whose the credential is and what the server can do; the root is that of all files
    /// of the user.
    pub(in crate::remote) async fn log_in(
        http: Arc<Http>,
        server: ServerUrl,
        vendor: Vendor,
        status: Status,
        remote_dir: &RemotePath,
    ) -> Result<(Self, Identity, Root), ConnectError> {
        let refused = |error| ConnectError::refused(&server, error);
        let user = ocs::user(&http, &server).await.map_err(refused)?;
        let announced = ocs::capabilities(&http, &server).await.map_err(refused)?;
        let Ok(id) = Name::new(user.id.as_bytes()) else {
            let why = RemoteError::Protocol("a user id that is no name".into());
            return Err(ConnectError::Server(why));
        };
        let collection = |kind: &str| {
            let names = ["remote.php", "dav", kind].into_iter();
            let names = names.flat_map(|name| Name::new(name.as_bytes()));
            Root::of(server.as_url()).below(&RemotePath(names.chain([id.clone()]).collect()))
        };
        let home = collection("files");
        let nextcloud = vendor == Vendor::Nextcloud;
        let takes_parts = nextcloud || announced.takes_parts();
        let identity = Identity {
            origin: server.origin(),
            user_id: user.id.clone(),
            display_name: user.display_name().into(),
            product: status.productname,
            version: status.versionstring,
        };
        let remote = Self {
            files: home.below(remote_dir),
            uploads: collection("uploads"),
            versions: collection("versions"),
            part_max: takes_parts.then(|| announced.part_max().unwrap_or(PART_MAX)),
            capabilities: Capabilities {
                vendor,
                tags_propagate: true,
                depth_infinity: nextcloud,
                file_ids: true,
                sets_mtime: true,
                conditions: Conditions::ALL,
                names: announced.name_rules().below(&user.id, remote_dir),
            },
            http,
            server,
        };
        Ok((remote, identity, home))
    }
}
