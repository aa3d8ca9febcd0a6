//! `testcloud`: the server from the command line.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use testcloud::{Config, Testcloud};
use tokio::signal::unix::{SignalKind, signal};

/// A small Nextcloud-compatible server for trying things out.
///
/// It prints its address and credentials and serves until it is interrupted. It is a test server:
/// plain HTTP, passwords in memory, no trash, and anybody on this machine may control it through
/// /testcloud/.
#[derive(Parser)]
#[command(version, after_help = HELP)]
struct Arguments {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Keep the files below DIR/<user>/files/ and serve what is there already; without it they are in
    /// a temporary directory and gone afterwards
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// A user and a login password; may be given several times
    #[arg(long = "user", value_name = "NAME:PASSWORD", value_parser = user, default_value = "alice:alice")]
    users: Vec<(String, String)>,
}

const HELP: &str = "\
Examples:
  testcloud --user alice:secret --dir /tmp/cloud
  curl -u alice:secret -T notes.txt http://127.0.0.1:8080/remote.php/dav/files/alice/notes.txt
  curl -X PUT -H 'Content-Type: application/json' -d '{\"millis\": 40}' http://127.0.0.1:8080/testcloud/latency
  curl http://127.0.0.1:8080/testcloud/requests";

fn user(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() && !password.is_empty() => {
            Ok((name.to_owned(), password.to_owned()))
        }
        _ => Err("expected NAME:PASSWORD".to_owned()),
    }
}

/// Ends at SIGINT or SIGTERM, so that the temporary directory is removed.
async fn interrupted() -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminated.recv() => Ok(()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let arguments = Arguments::parse();
    let mut testcloud = Testcloud::start(Config {
        listen: arguments.listen,
        dir: arguments.dir,
        users: arguments.users.clone(),
        ..Config::default()
    })?;
    println!("serving at {}", testcloud.url());
    for (user, password) in &arguments.users {
        println!("user {user}, password {password}: {}/", testcloud.files_url(user));
        println!("  app password {}", testcloud.add_app_password(user));
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(interrupted())?;
    testcloud.stop();
    Ok(())
}
