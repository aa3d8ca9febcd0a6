//! The control socket from end to end, with a daemon that does as the test says.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ncfs::control::{
    Client, ControlError, Daemon, Explanation, FlushOutcome, Problem, Problems, Progress, Record,
    RefreshOutcome, RetryOutcome, RuntimeDir, Server, State, Status, Subject,
};
use ncfs::types::{Ino, Name, RemotePath};
use tokio::sync::{Notify, watch};

/// Sends one of two files, then waits for the test.
#[derive(Default)]
struct Fake {
    flushed: std::sync::Mutex<Vec<(RemotePath, Option<Duration>)>>,
    go_on: Notify,
    ended: Arc<Notify>,
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Daemon for Fake {
    fn status(&self) -> Status {
        let problem = Problem {
            path: "a.txt".to_owned(),
            reason: "it is too big for the quota".to_owned(),
            what_to_do: "free some space".to_owned(),
            ..Problem::default()
        };
        Status {
            version: Status::VERSION,
            state: State::Draining,
            pending_files: 2,
            oldest_pending_s: Some(7),
            problems: vec![problem],
            ..Status::default()
        }
    }

    async fn flush(
        &self,
        below: RemotePath,
        timeout: Option<Duration>,
        progress: watch::Sender<Progress>,
    ) -> FlushOutcome {
        let _ended = NotifyOnDrop(Arc::clone(&self.ended));
        self.flushed.lock().unwrap().push((below, timeout));
        progress.send_replace(Progress { files_left: 1, files_total: 2, ..Progress::default() });
        self.go_on.notified().await;
        FlushOutcome { files_left: 1, reason: Some("time is up".to_owned()), ..Default::default() }
    }

    async fn shutdown(
        &self,
        _timeout: Option<Duration>,
        _progress: watch::Sender<Progress>,
    ) -> FlushOutcome {
        FlushOutcome::default()
    }

    fn problems(&self) -> Problems {
        Problems { problems: self.status().problems, more: 5, ..Problems::default() }
    }

    async fn retry(
        &self,
        below: RemotePath,
        timeout: Duration,
        _progress: watch::Sender<Progress>,
    ) -> Result<RetryOutcome, String> {
        self.flushed.lock().unwrap().push((below, Some(timeout)));
        Ok(RetryOutcome { tried: 1, sent: 1, ..RetryOutcome::default() })
    }

    fn explain(&self, subject: Subject) -> Result<Explanation, String> {
        match subject {
            Subject::Ino(ino) => Ok(Explanation { ino: ino.0, ..Explanation::default() }),
            Subject::Path(path) => Err(format!("nothing is known of {path}")),
        }
    }

    async fn refresh(&self, _: RemotePath, _: Duration) -> Result<RefreshOutcome, String> {
        Ok(RefreshOutcome { names: 3, ..RefreshOutcome::default() })
    }

    fn upgrade(&self) {}
}

struct Fixture {
    holder: tempfile::TempDir,
    daemon: Arc<Fake>,
    server: Server,
}

impl Fixture {
    fn new() -> Self {
        let holder = tempfile::tempdir().unwrap();
        let directory = RuntimeDir::at(holder.path().join("run")).unwrap();
        let daemon = Arc::new(Fake::default());
        let server =
            Server::start(directory, PathBuf::from("/m"), "/state".into(), daemon.clone()).unwrap();
        Self { holder, daemon, server }
    }

    fn record(&self) -> Record {
        self.server.record().clone()
    }
}

async fn blocking<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(body).await.unwrap()
}

#[tokio::test]
async fn a_status_arrives_as_the_daemon_gave_it() {
    let fixture = Fixture::new();
    let record = fixture.record();
    let status = blocking(move || Client::connect(&record).unwrap().status().unwrap()).await;
    assert_eq!(status, fixture.daemon.status());
}

#[tokio::test]
async fn a_flush_shows_progress_before_its_outcome() {
    let fixture = Fixture::new();
    let record = fixture.record();
    let daemon = Arc::clone(&fixture.daemon);
    let below = RemotePath(vec![Name::new(&b"n\xffo"[..]).unwrap()]);
    let asked = below.clone();
    let (seen, outcome) = blocking(move || {
        let mut seen = Vec::new();
        let timeout = Some(Duration::from_millis(1500));
        let mut client = Client::connect(&record).unwrap();
        let outcome = client.flush(&asked, timeout, |progress| {
            seen.push(progress);
            if progress.files_total == 2 {
                daemon.go_on.notify_one();
            }
        });
        (seen, outcome.unwrap())
    })
    .await;
    assert!(seen.iter().any(|progress| progress.files_left == 1), "{seen:?}");
    assert_eq!((outcome.files_left, outcome.reason.as_deref()), (1, Some("time is up")));
    let flushed = fixture.daemon.flushed.lock().unwrap().clone();
    assert_eq!(flushed, [(below, Some(Duration::from_millis(1500)))]);
}

#[tokio::test]
async fn one_connection_asks_for_one_thing_after_the_other() {
    let fixture = Fixture::new();
    let record = fixture.record();
    let path = RemotePath(vec![Name::new(&b"n\xffo"[..]).unwrap()]);
    let asked = path.clone();
    blocking(move || {
        let mut client = Client::connect(&record).unwrap();
        assert_eq!(client.problems().unwrap().more, 5);
        let timeout = Duration::from_secs(3);
        assert_eq!(client.retry(&asked, timeout, |_| {}).unwrap().sent, 1);
        assert_eq!(client.refresh(&asked, timeout).unwrap().names, 3);
        assert_eq!(client.explain(&Subject::Ino(Ino(7))).unwrap().ino, 7);
        let unknown = client.explain(&Subject::Path(asked)).unwrap_err();
        assert!(unknown.to_string().starts_with("nothing is known of"), "{unknown}");
    })
    .await;
    let retried = fixture.daemon.flushed.lock().unwrap().clone();
    assert_eq!(retried, [(path, Some(Duration::from_secs(3)))]);
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_flush() {
    let fixture = Fixture::new();
    let record = fixture.record();
    let stream = blocking(move || {
        let mut stream = UnixStream::connect(&record.socket).unwrap();
        stream.write_all(b"{\"version\":1,\"command\":\"flush\"}\n").unwrap();
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
        stream
    })
    .await;
    drop(stream);
    tokio::time::timeout(Duration::from_secs(10), fixture.daemon.ended.notified()).await.unwrap();
}

#[tokio::test]
async fn a_request_of_another_version_is_refused_with_a_reason() {
    let fixture = Fixture::new();
    let record = fixture.record();
    let answer = blocking(move || {
        let mut stream = UnixStream::connect(&record.socket).unwrap();
        stream.write_all(b"{\"version\":9,\"command\":\"status\"}\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await;
    assert!(answer.contains("version 9 is not spoken here"), "{answer}");
}

#[tokio::test]
async fn a_second_daemon_for_the_same_mount_point_is_refused() {
    let fixture = Fixture::new();
    let directory = RuntimeDir::at(fixture.holder.path().join("run")).unwrap();
    let again = Server::start(directory, "/m".into(), "/other".into(), fixture.daemon.clone());
    assert!(matches!(again, Err(ControlError::AlreadyServed(path)) if path == Path::new("/m")));
}

#[tokio::test]
async fn a_stopped_server_leaves_nothing_behind() {
    let fixture = Fixture::new();
    fixture.server.stop().await;
    let left = std::fs::read_dir(fixture.holder.path().join("run")).unwrap().count();
    assert_eq!(left, 0);
}
