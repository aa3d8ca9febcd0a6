//! Who we are to the server.
//!
//! Guarantees: a password is never printed, and its bytes are overwritten when the last owner drops
//! it. What the HTTP library makes of it for one request (the Authorization header) lives only as
//! long as that request and is marked sensitive.

pub use crate::secret::Secret;

/// A login name and its app password. The name is the one that the app password was made for: with
/// another name of the same person (the e-mail address) it is refused (FACTS 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub login_name: String,
    pub app_password: Secret,
}

/// Where the credential comes from.
///
/// It is asked before every request, so that a changed file is picked up without a restart: an
/// implementation answers from memory, or looks at no more than a file's times.
pub trait CredentialSource: Send + Sync + 'static {
    /// The credential to use from now on; the last good one when the source cannot be read.
    fn current(&self) -> Credential;
}

/// A credential that never changes.
impl CredentialSource for Credential {
    fn current(&self) -> Credential {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_any_format() {
        let credential =
            Credential { login_name: "alice".into(), app_password: Secret::new("hunter2") };
        let shown = format!("{credential:?} {:#?} {}", credential, credential.app_password);
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
