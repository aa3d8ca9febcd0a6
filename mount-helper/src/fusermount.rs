//! `fusermount3`, the setuid program that mounts for ordinary users.
//!
//! It sends the descriptor of `/dev/fuse` as SCM_RIGHTS over the socket whose number it finds in
//! `_FUSE_COMMFD` (libfuse, util/fusermount.c), and reports errors as text only.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::{MountError, Options, Result, SUBTYPE, pass_to_child};

const PROGRAM: &str = "fusermount3";
/// Where it is when a service runs with a bare `PATH`.
const USUAL_PLACES: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];

pub(crate) fn find() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(USUAL_PLACES.iter().map(PathBuf::from))
        .map(|directory| directory.join(PROGRAM))
        .find(|program| program.is_absolute() && program.is_file())
        .ok_or(MountError::NoFusermount)
}

pub(crate) fn mount(path: &Path, options: &Options) -> Result<OwnedFd> {
    let failed = |cause: std::io::Error| MountError::Refused { path: path.to_owned(), cause };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut command = Command::new(find()?);
    command.arg("-o").arg(option_list(options)).arg("--").arg(path);
    let number = pass_to_child(&mut command, theirs.into());
    command.env("_FUSE_COMMFD", number.to_string());
    run(command, path)?;
    receive(&ours).map_err(failed)?.ok_or_else(|| MountError::Fusermount {
        path: path.to_owned(),
        message: "it did not hand over the descriptor".to_owned(),
    })
}

pub(crate) fn unmount(path: &Path, lazy: bool) -> Result<()> {
    let mut command = Command::new(find()?);
    command.arg("-u");
    if lazy {
        command.arg("-z");
    }
    command.arg("--").arg(path);
    run(command, path)
}

/// Waits for the program and makes an error of what it wrote. Consumes the command, so that our end
/// of what was passed to the child is closed.
fn run(mut command: Command, path: &Path) -> Result<()> {
    let output =
        command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).output().map_err(
            |cause| MountError::Fusermount { path: path.to_owned(), message: cause.to_string() },
        )?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    // Each line begins with the name under which it was started.
    let message = text.trim().split_once(": ").map_or("", |(_, message)| message);
    Err(explain(message, path))
}

fn explain(message: &str, path: &Path) -> MountError {
    let path = path.to_owned();
    if message.contains("user_allow_other") {
        MountError::AllowOtherRefused
    } else if message.contains("Device or resource busy") {
        MountError::Busy(path)
    } else if message.contains("not found in") {
        MountError::NotMounted(path)
    } else if message.is_empty() {
        MountError::Fusermount { path, message: "it gave no reason".to_owned() }
    } else {
        MountError::Fusermount { path, message: message.to_owned() }
    }
}

fn option_list(options: &Options) -> String {
    // A comma ends an option unless a backslash stands before it.
    let source = options.source.replace('\\', "\\\\").replace(',', "\\,");
    let mut list = format!("default_permissions,nosuid,nodev,fsname={source},subtype={SUBTYPE}");
    list.push_str(if options.read_only { ",ro" } else { ",rw" });
    if options.no_exec {
        list.push_str(",noexec");
    }
    if options.allow_other {
        list.push_str(",allow_other");
    }
    if let Some(bytes) = options.max_read {
        list.push_str(&format!(",max_read={bytes}"));
    }
    list
}

/// Takes the descriptor out of the one message that `fusermount3` sends; `None` when there is none.
fn receive(socket: &UnixStream) -> std::io::Result<Option<OwnedFd>> {
    let mut byte = [0u8; 1];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut buffers,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let Some(descriptor) = descriptors.first()
        {
            // SAFETY: the kernel has just made this descriptor for us, and nothing else knows it.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(*descriptor) }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_the_source_does_not_become_an_option() {
        let options = Options { source: "https://a/x,suid".to_owned(), ..Options::default() };
        assert!(option_list(&options).contains("fsname=https://a/x\\,suid,subtype=ncfs"));
    }

    #[test]
    fn a_refused_allow_other_names_the_file_to_change() {
        let message = "option allow_other only allowed if 'user_allow_other' is set in \
                       /etc/fuse.conf";
        let error = explain(message, Path::new("/m"));
        assert!(matches!(error, MountError::AllowOtherRefused));
        assert!(error.to_string().contains("/etc/fuse.conf"));
    }
}
