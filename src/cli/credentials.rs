//! Which of the ways to give credentials was used.

use std::path::Path;

use super::args::MountArgs;
use super::inherited;
use crate::config::CredentialConfig;
use crate::credential_file::{self, CredentialError, FileCredentials};
use crate::failure::{ExitCode, Failure};
use crate::remote::{CredentialSource, Secret};
use crate::server_url::ServerUrl;

/// The login name, and how the daemon gets at the password.
pub fn gather(
    args: &MountArgs,
    password: Option<Secret>,
    server: &ServerUrl,
) -> Result<(String, CredentialConfig), Failure> {
    if let Some(path) = &args.credentials_file {
        let path = std::path::absolute(path)
            .map_err(|cause| CredentialError::Unreadable { path: path.clone(), cause })?;
        let credential = FileCredentials::open(&path, server)?.current();
        return Ok((credential.login_name, CredentialConfig::File(path)));
    }
    if let Some(number) = args.credentials_fd {
        let stream = inherited::take_file(number, "--credentials-fd")?;
        let credential = credential_file::read(stream, "--credentials-fd", server)?;
        return Ok((credential.login_name, CredentialConfig::Given(credential.app_password)));
    }
    match (args.user.clone().filter(|user| !user.is_empty()), password) {
        (Some(user), Some(password)) if !password.expose().is_empty() => {
            Ok((user, CredentialConfig::Given(password)))
        }
        _ => Err(Failure::new(
            ExitCode::Credentials,
            "no credentials; name a file with --credentials-file, or set NCFS_USER and \
             NCFS_PASSWORD (ncfs mount --help shows how)",
        )),
    }
}

/// Makes the certificate file readable from any directory, and says early if it is missing.
pub fn ca_file(path: Option<&Path>) -> Result<Option<std::path::PathBuf>, Failure> {
    path.map(|path| {
        path.canonicalize().map_err(|cause| {
            let sentence =
                format!("the certificate file {} cannot be read: {cause}", path.display());
            Failure::new(ExitCode::Usage, sentence)
        })
    })
    .transpose()
}
