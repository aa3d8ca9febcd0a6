//! What systemd is told of a mount in the foreground, sd_notify(3): a datagram to the socket that
//! `NOTIFY_SOCKET` names, if there is one.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The files can be used.
pub fn ready() {
    tell("READY=1\nSTATUS=Mounted");
}

/// The end has begun, and may take this long, whatever the unit says.
pub fn stopping(at_most: Duration) {
    let micros = at_most.as_micros();
    tell(&format!("STOPPING=1\nSTATUS=Sending what is pending\nEXTEND_TIMEOUT_USEC={micros}"));
}

fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let told =
        UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), &address?));
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager does not listen");
    }
}
