//! Which error of the rooms below ends with which exit code: all in one place, and exhaustive.

use mount_helper::MountError;

use crate::accounts::AccountsError;
use crate::control::ControlError;
use crate::credential_file::CredentialError;
use crate::failure::{ExitCode, Failure};
use crate::remote::nextcloud::login::LoginError;
use crate::remote::{ConnectError, RemoteError};

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        let code = match &error {
            MountError::Missing(_)
            | MountError::NotADirectory(_)
            | MountError::NotEmpty(_)
            | MountError::AlreadyMounted(_)
            | MountError::DeadMount { .. }
            | MountError::NotWritable(_)
            | MountError::Unreadable { .. }
            | MountError::Busy(_)
            | MountError::UnmountRefused { .. } => ExitCode::MountPoint,
            MountError::NoDevice
            | MountError::DeviceRefused(_)
            | MountError::NoFusermount
            | MountError::AllowOtherRefused
            | MountError::Refused { .. }
            | MountError::Fusermount { .. } => ExitCode::NoFuse,
            MountError::NotMounted(_) => ExitCode::NotMounted,
        };
        Self::new(code, error)
    }
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        Self::new(ExitCode::Credentials, error)
    }
}

impl From<AccountsError> for Failure {
    fn from(error: AccountsError) -> Self {
        let code = match &error {
            AccountsError::NoHome | AccountsError::Io { .. } => ExitCode::Other,
            AccountsError::Exposed { .. } | AccountsError::Damaged { .. } => ExitCode::Credentials,
        };
        Self::new(code, error)
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Connect(error) => error.into(),
            LoginError::WrongPassword => Self::new(ExitCode::Credentials, error),
            LoginError::NotNextcloud { .. }
            | LoginError::NotWebdav { .. }
            | LoginError::NoFlow { .. }
            | LoginError::OtherHost { .. } => Self::new(ExitCode::NoServer, error),
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let code = match &error {
            ControlError::AlreadyServed(_) => ExitCode::MountPoint,
            ControlError::Gone(_) | ControlError::Silent | ControlError::CutOff => {
                ExitCode::NotMounted
            }
            ControlError::RuntimeDir { .. } => ExitCode::Usage,
            ControlError::Io { .. } | ControlError::Protocol(_) | ControlError::Refused(_) => {
                ExitCode::Other
            }
        };
        Self::new(code, error)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let code = match &error {
            ConnectError::PlainHttp { .. } | ConnectError::CaFile(_) => ExitCode::Usage,
            ConnectError::Certificate { .. }
            | ConnectError::AuthorityAsServer { .. }
            | ConnectError::Tls { .. }
            | ConnectError::UnknownHost { .. }
            | ConnectError::Unreachable { .. } => ExitCode::Unreachable,
            ConnectError::Redirected { .. }
            | ConnectError::NoServer { .. }
            | ConnectError::OtherVendor { .. }
            | ConnectError::UnknownLogin { .. }
            | ConnectError::NotInstalled { .. }
            | ConnectError::TooOld { .. } => ExitCode::NoServer,
            ConnectError::Maintenance { .. } => ExitCode::Maintenance,
            ConnectError::WrongPassword | ConnectError::TooManyLogins => ExitCode::Credentials,
            ConnectError::NotADirectory { .. } => ExitCode::RemoteDir,
            ConnectError::RemoteDirectory { why, .. } => of_answer(why, ExitCode::RemoteDir),
            ConnectError::Server(why) => of_answer(why, ExitCode::Other),
        };
        Self::new(code, error)
    }
}

/// What concerns the server as a whole says more than the request during which it showed.
fn of_answer(error: &RemoteError, otherwise: ExitCode) -> ExitCode {
    match error {
        RemoteError::Unavailable { maintenance: true, .. } => ExitCode::Maintenance,
        RemoteError::Unauthorized => ExitCode::Credentials,
        error if error.is_offline() => ExitCode::Unreachable,
        _ => otherwise,
    }
}
