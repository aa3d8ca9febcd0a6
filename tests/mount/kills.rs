//! Programs of many kinds at work while the daemon is killed again and again.
//!
//! `NCFS_TEST_KILLS` says how often instead of ten times; then the kills are up to five seconds apart.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testcloud::Latency;

use crate::harness::{Fixture, for_both, local_tree, noise, python, succeed};

for_both!(programs_notice_only_pauses_however_often_the_daemon_is_killed);

/// What a worker has written, by paths in the mount.
type Written = BTreeMap<String, Vec<u8>>;

/// When to stop.
#[derive(Clone)]
struct Work {
    mount: PathBuf,
    over: Arc<AtomicBool>,
}

impl Work {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    /// Checks what a file holds that was just written.
    fn assert_holds(&self, name: &str, content: &[u8]) {
        let found = fs::read(self.path(name)).unwrap();
        if found != content {
            let equal = found.iter().zip(content).take_while(|(found, wanted)| found == wanted);
            panic!(
                "{name} has {} bytes instead of {}, of which the first {} are right; \
                 read again it is right: {}",
                found.len(),
                content.len(),
                equal.count(),
                fs::read(self.path(name)).unwrap() == content
            );
        }
    }

    fn start<T: Send + 'static>(
        &self,
        worker: impl FnOnce(Self) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let work = self.clone();
        std::thread::spawn(move || worker(work))
    }
}

fn programs_notice_only_pauses_however_often_the_daemon_is_killed() {
    let wanted = std::env::var("NCFS_TEST_KILLS").ok().map(|kills| kills.parse().unwrap());
    let (kills, apart) = (wanted.unwrap_or(10_u32), if wanted.is_some() { 5.0 } else { 2.0 });
    let fixture = Fixture::new();
    fixture.cloud().set_latency(Latency { millis: 10, workers: None });
    let mount = fixture.mount();
    let work = Work { mount: fixture.mountpoint(), over: Arc::default() };

    let saving: Vec<_> = (0..3).map(|n| work.start(move |work| save_files(&work, n))).collect();
    let others = [
        work.start(append_with_fsync),
        work.start(write_big_files),
        work.start(|work| use_files_without_names(&work)),
        work.start(|work| move_directories(&work)),
    ];
    let repository = Repository::new(&fixture);
    let committing = work.start(move |work| repository.commit(&work));
    let database = work.start(|work| insert_rows(&work));
    let longest = work.start(|work| longest_pause(&work));

    for round in 0..kills {
        // Spread evenly, in another order than by size.
        let part = f64::from(round * 7 % 10) / 9.0;
        std::thread::sleep(Duration::from_secs_f64(0.5 + part * (apart - 0.5)));
        let [daemon, _] = mount.processes();
        kill(Pid::from_raw(daemon), Signal::SIGKILL).unwrap();
    }
    work.over.store(true, Ordering::Relaxed);
    let mut written = Written::new();
    for worker in saving.into_iter().chain(others) {
        written.extend(worker.join().unwrap());
    }
    let (commits, rows) = (committing.join().unwrap(), database.join().unwrap());
    let pause = longest.join().unwrap();
    println!("{kills} kills: {commits} commits, {rows} rows, the longest pause {pause:?}");

    assert_eq!(mount.status().restarts, u64::from(kills));
    mount.flush();
    let (here, there) = (local_tree(&fixture.mountpoint()), fixture.server_tree("/"));
    assert_eq!(here.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>());
    for (path, content) in &here {
        assert!(there[path] == *content, "{path} differs on the server");
    }
    for (path, content) in written {
        assert!(here[&path].as_ref() == Some(&content), "{path} is not what was written");
    }
    assert!(!here.keys().any(|path| path.contains("conflict")), "{:?}", here.keys());
    mount.unmount();
    assert!(!fixture.path("state/lost+found").exists());
}

/// As editors do: in place, or beside and renamed over it; and a look at it.
fn save_files(work: &Work, worker: u64) -> Written {
    let mut written = Written::new();
    let mut round = 0;
    while work.goes_on() {
        let name = format!("saved {worker} {}", round % 15);
        let content = noise(worker << 32 | round, (round * 7919 % 90_000) as usize);
        if round % 2 == 0 {
            fs::write(work.path(&name), &content).unwrap();
        } else {
            let draft = work.path(&format!("{name}.draft"));
            let mut file = File::create(&draft).unwrap();
            file.write_all(&content).unwrap();
            file.sync_all().unwrap();
            drop(file);
            fs::rename(draft, work.path(&name)).unwrap();
        }
        work.assert_holds(&name, &content);
        written.insert(name, content);
        round += 1;
    }
    written
}

/// One file that is open all the time.
fn append_with_fsync(work: Work) -> Written {
    let mut file =
        OpenOptions::new().create_new(true).append(true).read(true).open(work.path("log")).unwrap();
    let mut content = Vec::new();
    while work.goes_on() {
        let line = format!("line {}\n", content.len());
        file.write_all(line.as_bytes()).unwrap();
        file.sync_data().unwrap();
        content.extend(line.as_bytes());
        assert_eq!(file.metadata().unwrap().len(), content.len() as u64);
    }
    let mut found = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut found).unwrap();
    assert!(found == content);
    Written::from([("log".to_owned(), content)])
}

fn write_big_files(work: Work) -> Written {
    let mut written = Written::new();
    let mut round = 0;
    while work.goes_on() {
        let name = format!("big {}", round % 2);
        let content = noise(round, 12 << 20);
        let mut file = File::create(work.path(&name)).unwrap();
        for part in content.chunks(1 << 20) {
            file.write_all(part).unwrap();
        }
        drop(file);
        work.assert_holds(&name, &content);
        written.insert(name, content);
        round += 1;
        std::thread::sleep(Duration::from_millis(300));
    }
    written
}

fn use_files_without_names(work: &Work) -> Written {
    let mut round = 0;
    while work.goes_on() {
        let path = work.path("temporary");
        let mut file =
            OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let content = noise(round, 50_000);
        for part in content.chunks(5_000) {
            file.write_all(part).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut found = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found == content, "round {round}");
        round += 1;
    }
    Written::new()
}

fn move_directories(work: &Work) -> Written {
    let [one, other] = ["tree", "moved tree"].map(|name| work.path(name));
    while work.goes_on() {
        fs::create_dir_all(one.join("a/b")).unwrap();
        for number in 0..10 {
            File::create_new(one.join(format!("a/b/{number}"))).unwrap();
        }
        fs::rename(&one, &other).unwrap();
        let count = fs::read_dir(other.join("a/b")).unwrap().map(Result::unwrap).count();
        assert_eq!(count, 10);
        for number in 0..10 {
            fs::remove_file(other.join(format!("a/b/{number}"))).unwrap();
        }
        for directory in ["a/b", "a", ""] {
            fs::remove_dir(other.join(directory)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Written::new()
}

/// The longest answer to a question that the kernel always passes on.
fn longest_pause(work: &Work) -> Duration {
    let mut longest = Duration::ZERO;
    while work.goes_on() {
        let asked = Instant::now();
        nix::sys::statvfs::statvfs(&work.mount).unwrap();
        longest = longest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    longest
}

struct Repository {
    path: PathBuf,
    home: PathBuf,
}

impl Repository {
    fn new(fixture: &Fixture) -> Self {
        let new = Self { path: fixture.mountpoint().join("repository"), home: fixture.path("") };
        fs::create_dir(&new.path).unwrap();
        new.git(&["init", "--quiet", "--initial-branch", "main"]);
        // Else it goes on in the background.
        new.git(&["config", "gc.auto", "0"]);
        new
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(&self.path).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", &self.home).env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Alice");
            command.env(format!("GIT_{role}_EMAIL"), "alice@example.com");
        }
        String::from_utf8(succeed(&mut command).stdout).unwrap()
    }

    fn commit(&self, work: &Work) -> usize {
        let mut commits = 0;
        while work.goes_on() {
            fs::write(self.path.join(format!("{}", commits % 7)), noise(commits, 3000)).unwrap();
            self.git(&["add", "."]);
            self.git(&["commit", "--quiet", "-m", "A commit"]);
            commits += 1;
        }
        self.git(&["fsck", "--full", "--strict"]);
        assert_eq!(self.git(&["status", "--porcelain"]), "");
        let log = self.git(&["log", "--format=%H"]);
        assert_eq!(log.lines().count() as u64, commits);
        log.lines().count()
    }
}

const INSERT: &str = "
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
assert db.execute('PRAGMA journal_mode=WAL').fetchone()[0] == 'wal'
db.execute('PRAGMA synchronous=FULL')
db.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)')
rows = 0
while not os.path.exists(sys.argv[2]):
    db.execute('BEGIN')
    db.executemany('INSERT INTO t (text) VALUES (?)', [('x' * 200,)] * 20)
    db.execute('COMMIT')
    rows += 20
    assert db.execute('SELECT count(*) FROM t').fetchone()[0] == rows
assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
db.close()
print(rows)
";

fn insert_rows(work: &Work) -> usize {
    let stop = stop_file(&work.mount);
    let child = python()
        .args(["-c", INSERT])
        .args([work.path("rows.db"), stop.clone()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while work.goes_on() {
        std::thread::sleep(Duration::from_millis(20));
    }
    File::create(stop).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Beside the mount.
fn stop_file(mount: &Path) -> PathBuf {
    mount.with_file_name("stop")
}
