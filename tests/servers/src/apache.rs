//! Apache 2.4 as one process, with a configuration of its own.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{User, chown, geteuid};

use crate::USER;

/// Where its WebDAV directory is: not at the top, as on most servers.
pub const PREFIX: &str = "/dav";

const PROGRAM: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";
const LOADED: [&str; 9] = [
    "mpm_event",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_user",
    "auth_basic",
    "alias",
    "dav",
    "dav_fs",
];
/// [`crate::PASSWORD`] as `htpasswd -s` writes it.
const PASSWORD_HASH: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
/// Who it runs as when root starts it: Apache refuses to serve as root.
const SERVICE_USER: &str = "www-data";

/// Apache with `home/files` as its WebDAV directory; all that it needs besides is in `home`.
pub fn command(home: &Path, address: SocketAddr) -> io::Result<Command> {
    let service = home.join("apache");
    if !service.is_dir() {
        fs::create_dir(&service)?;
        hand_over(&service)?;
    }
    fs::write(service.join("users"), format!("{USER}:{PASSWORD_HASH}\n"))?;
    let configuration = service.join("httpd.conf");
    fs::write(&configuration, text(home, &service, address))?;
    let mut command = Command::new(PROGRAM);
    // One process, which one signal ends.
    command.arg("-X").arg("-f").arg(configuration).stdin(Stdio::null());
    Ok(command)
}

/// Gives a path to the user that Apache runs as.
pub fn hand_over(path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let user = User::from_name(SERVICE_USER)?
        .ok_or_else(|| io::Error::other(format!("there is no user {SERVICE_USER}")))?;
    Ok(chown(path, Some(user.uid), Some(user.gid))?)
}

fn text(home: &Path, service: &Path, address: SocketAddr) -> String {
    let (home, service) = (home.display(), service.display());
    let modules: String = LOADED
        .iter()
        .map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n"))
        .collect();
    let user = match geteuid().is_root() {
        true => format!("User {SERVICE_USER}\nGroup {SERVICE_USER}\n"),
        false => String::new(),
    };
    format!(
        "{modules}{user}\
         ServerRoot {service}\n\
         ServerName 127.0.0.1\n\
         Listen {address}\n\
         PidFile {service}/pid\n\
         ErrorLog {service}/error.log\n\
         Mutex file:{service} default\n\
         DocumentRoot {service}\n\
         DavLockDB {service}/locks\n\
         Alias {PREFIX} {home}/files\n\
         <Directory {home}/files>\n\
         Dav On\n\
         AuthType Basic\n\
         AuthName files\n\
         AuthUserFile {service}/users\n\
         Require valid-user\n\
         </Directory>\n"
    )
}
