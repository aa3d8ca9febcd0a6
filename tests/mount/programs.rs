//! Programs that ask more of a file system than others.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{
    Fixture, as_root, for_both, local_tree, noise, on_every_server, python, succeed,
};

on_every_server!(
    sqlite_works_in_both_journal_modes,
    vim_saves_and_the_file_keeps_its_identity,
    tar_unpacks_with_its_times,
);

for_both!(jupyter_saves_with_few_requests_and_the_file_keeps_its_identity,);

const WRITE: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
mode = db.execute('PRAGMA journal_mode=' + sys.argv[2]).fetchone()[0]
assert mode == sys.argv[2], mode
db.execute('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, text TEXT)')
for round in range(10):
    db.execute('BEGIN')
    db.executemany('INSERT INTO t (text) VALUES (?)', [('x' * 200,)] * 100)
    db.execute('ROLLBACK' if round % 5 == 4 else 'COMMIT')
other = sqlite3.connect(sys.argv[1])
assert other.execute('SELECT count(*) FROM t').fetchone()[0] == 800
db.execute('BEGIN IMMEDIATE')
try:
    sqlite3.connect(sys.argv[1], timeout=0.05).execute('BEGIN IMMEDIATE')
    sys.exit('two writers at once')
except sqlite3.OperationalError:
    pass
db.execute('COMMIT')
";

const CHECK: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
assert db.execute('SELECT count(*), sum(length(text)) FROM t').fetchone() == (800, 160000)
";

fn sqlite_works_in_both_journal_modes(fixture: Fixture) {
    let mount = fixture.mount();
    for mode in ["delete", "wal"] {
        let name = format!("{mode}.db");
        succeed(python().args(["-c", WRITE]).arg(mount.path(&name)).arg(mode));
        succeed(python().args(["-c", CHECK]).arg(mount.path(&name)));
    }
    mount.flush();
    for mode in ["delete", "wal"] {
        let fetched = fixture.path(mode);
        fs::write(&fetched, fixture.download(&format!("/{mode}.db")).unwrap()).unwrap();
        succeed(python().args(["-c", CHECK]).arg(&fetched));
    }
    mount.unmount();
    fixture.empty_cache();
    let mount = fixture.mount();
    succeed(python().args(["-c", CHECK]).arg(mount.path("wal.db")));
}

/// As `jupyter_server.services.contents.fileio.atomic_writing` does it.
fn jupyter_saves_with_few_requests_and_the_file_keeps_its_identity() {
    let fixture = Fixture::new();
    fixture.upload("/work/a.ipynb", &noise(1, 20_000));
    let id = fixture.file_id("/work/a.ipynb");
    let mount = fixture.mount_with(&["--poll-interval", "60s"]);
    assert_eq!(fs::read(mount.path("work/a.ipynb")).unwrap().len(), 20_000);
    let (path, aside) = (mount.path("work/a.ipynb"), mount.path("work/.~a.ipynb"));
    fixture.cloud().reset_requests();
    for round in 2..5 {
        let before = fixture.cloud().counters().total;
        fs::copy(&path, &aside).unwrap();
        let mut options = OpenOptions::new();
        let mut file = options.write(true).truncate(true).open(&path).unwrap();
        file.write_all(&noise(round, 21_000)).unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::remove_file(&aside).unwrap();
        mount.flush();
        assert!(fixture.download("/work/a.ipynb").unwrap() == noise(round, 21_000));
        // One of them is the download.
        let requests = fixture.cloud().counters().total - before - 1;
        assert!(requests <= 3, "{requests}: {:?}", fixture.cloud().requests());
    }
    assert_eq!(fixture.file_id("/work/a.ipynb"), id);
    assert_eq!(fixture.server_tree("/").len(), 2);
}

/// With `backupcopy=no`: the old file is renamed aside, a new one written, the old one removed.
fn vim_saves_and_the_file_keeps_its_identity(fixture: Fixture) {
    fixture.upload("/notes.txt", b"old");
    let id = fixture.file_id("/notes.txt");
    let mount = fixture.mount();
    fs::rename(mount.path("notes.txt"), mount.path("notes.txt~")).unwrap();
    let mut file = File::create_new(mount.path("notes.txt")).unwrap();
    file.write_all(b"new").unwrap();
    file.sync_all().unwrap();
    drop(file);
    fs::remove_file(mount.path("notes.txt~")).unwrap();
    mount.flush();
    assert_eq!(fixture.download("/notes.txt").unwrap(), b"new");
    assert_eq!(fixture.server_tree("/").len(), 1);
    assert_eq!(fixture.file_id("/notes.txt"), id);
}

fn tar_unpacks_with_its_times(fixture: Fixture) {
    let source = fixture.path("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    for number in 0..40 {
        fs::write(source.join(format!("deep/er/{number}")), noise(number, 3000)).unwrap();
    }
    let tar = |arguments: &[&str]| {
        let mut command = Command::new("tar");
        succeed(command.current_dir(fixture.path("")).args(arguments));
    };
    tar(&["--mtime=2020-02-02 02:02:02Z", "-cf", "source.tar", "-C", "source", "deep"]);
    let mount = fixture.mount();
    tar(&["-xf", "source.tar", "-C", "mnt"]);
    assert!(local_tree(&fixture.mountpoint()) == local_tree(&source));
    mount.flush();
    assert!(fixture.server_tree("/") == local_tree(&source));
    if fixture.sets_mtime() {
        assert_eq!(fixture.mtimes(), [1_580_608_922]);
    }
    // The archive is as the directory: contents, modes, owners, times.
    tar(&["--compare", "-f", "source.tar", "-C", "mnt"]);
}

/// Everything that fsx does to a file; what makes the kernel forget pages and what syncs is rarer.
const FSX: &str = "
flen = 262144
[opsize]
max = 65536
[weights]
close_open = 1
invalidate = 0.3
mapread = 1
mapwrite = 1
read = 2
write = 2
truncate = 1
fsync = 0.02
fdatasync = 0.02
posix_fallocate = 1
punch_hole = 1
sendfile = 1
posix_fadvise = 0.5
copy_file_range = 2
";

#[test]
fn fsx_finds_no_byte_that_differs() {
    as_root(|| {
        let fixture = Fixture::new();
        let mount = fixture.mount();
        fs::write(fixture.path("fsx.toml"), FSX).unwrap();
        for seed in ["1", "2"] {
            let mut fsx = Command::new(fsx());
            fsx.current_dir(fixture.path("")).args(["-q", "-f", "fsx.toml", "-P", "."]);
            succeed(fsx.args(["-N", "2000", "-S", seed]).arg(mount.path("fsx.bin")));
            mount.flush();
            let content = fs::read(mount.path("fsx.bin")).unwrap();
            assert!(fixture.download("/fsx.bin").unwrap() == content);
        }
    });
}

/// The File System eXerciser: on the path, or where cargo installs programs.
fn fsx() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let installed = [cargo, home].into_iter().flatten().map(|home| home.join("bin"));
    let mut places = std::env::split_paths(&path).chain(installed).map(|place| place.join("fsx"));
    places.find(|program| program.is_file()).expect("no fsx: make test installs it")
}
