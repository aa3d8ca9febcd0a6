//! A mount in the foreground, as a service manager sees it.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Fixture, for_both};

for_both!(systemd_is_told_of_the_readiness_and_the_end);

fn systemd_is_told_of_the_readiness_and_the_end() {
    let fixture = Fixture::new();
    let manager = UnixDatagram::bind(fixture.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let receive = || {
        let mut buffer = [0; 1000];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut command = fixture.ncfs();
    command.args(["mount", "--foreground", "--credentials-file", "credentials.json"]);
    command.args(["--state-dir", "state", "--cache-dir", "cache", &fixture.cloud().url(), "mnt"]);
    command.args(["--shutdown-timeout", "100s"]).env("NOTIFY_SOCKET", fixture.path("notify"));
    let mut supervisor = command.stderr(Stdio::null()).spawn().unwrap();
    assert!(receive().starts_with("READY=1\n"));
    assert!(fixture.is_mounted());
    kill(Pid::from_raw(supervisor.id().cast_signed()), Signal::SIGTERM).unwrap();
    let told = receive();
    assert!(told.starts_with("STOPPING=1\n"), "{told}");
    // What the drain may take and the grace after it.
    assert!(told.ends_with("\nEXTEND_TIMEOUT_USEC=115000000"), "{told}");
    assert!(supervisor.wait().unwrap().success());
}
