use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::content::{Basis, Staging};
use crate::tree::{Account, Attr, Base, Place, Push};
use crate::types::{ContentId, Ino, Time};

struct State {
    holder: tempfile::TempDir,
    tree: Tree,
    staging: Staging,
}

impl State {
    fn new() -> Self {
        let holder = tempfile::tempdir().unwrap();
        let account = Account {
            origin: "https://cloud.example.com".into(),
            user_id: "alice".into(),
            remote_dir: RemotePath::root(),
        };
        let dir = holder.path().join("state");
        let tree = Tree::open(&dir, &account).unwrap();
        let staging = Staging::open(&dir).unwrap();
        Self { holder, tree, staging }
    }

    fn add(&self, parent: Ino, name: &str, body: Body) -> Ino {
        let node = Node {
            ino: Ino(0),
            local: Some(Place::new(parent, Name::new(name.as_bytes()).unwrap())),
            attr: Attr { mode: 0o640, mtime: Time::from_secs(1000), ..Node::fresh_root().attr },
            body,
            push: Push { changed: Time(5), ..Push::default() },
            ..Node::fresh_root()
        };
        self.tree.transact(|tx| Ok::<_, TreeError>(tx.insert(node)?.ino)).unwrap()
    }

    /// A staging file with these bytes at an offset, and the body that names it.
    fn staged(&self, id: u64, basis: Basis, offset: u64, bytes: &[u8]) -> Body {
        let id = StagingId(id);
        let file = self.staging.prepare(id, basis).unwrap().activate().unwrap();
        file.write(offset, bytes).unwrap();
        let base = match basis {
            Basis::Partial { base_len, .. } => Some(Base { content: ContentId(9), len: base_len }),
            _ => None,
        };
        Body::File(Content::Staged { id, base })
    }

    /// Ends the daemon, and rescues.
    fn rescue(self) -> (Report, BTreeMap<String, Vec<u8>>, tempfile::TempDir) {
        let Self { holder, tree, staging } = self;
        drop((tree, staging));
        let (state, target) = (holder.path().join("state"), holder.path().join("target"));
        let before = files(&state);
        let report = rescue(&state, &target, &mut |_| {}).unwrap();
        assert_eq!(files(&state), before, "the state directory was changed");
        let mut saved = files(&target);
        assert_eq!(saved.remove(LIST).unwrap(), report.to_string().into_bytes());
        (report, saved, holder)
    }
}

/// Contents of all files below, and the targets of symlinks.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, at: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = path.symlink_metadata().unwrap();
            if kind.is_symlink() {
                let to = fs::read_link(&path).unwrap();
                into.insert(name, to.into_os_string().into_encoded_bytes());
            } else if kind.is_dir() {
                walk(root, &path, into);
            } else {
                into.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found);
    found
}

fn outcome(report: &Report, path: &str) -> Outcome {
    report.items.iter().find(|item| item.path == path).unwrap().outcome
}

#[test]
fn whole_files_come_out_under_their_paths_with_their_times_and_modes() {
    let state = State::new();
    let dir = state.add(Ino::ROOT, "d", Body::Dir { listed: true, tag: None });
    let body = state.staged(1, Basis::Empty, 0, b"content");
    state.add(dir, "a.txt", body);
    state.add(Ino::ROOT, "empty", Body::File(Content::Empty));
    state.add(Ino::ROOT, "link", Body::Symlink((*b"../d/a.txt").into()));
    let (report, saved, holder) = state.rescue();
    assert!(report.is_complete(), "{report}");
    let expected = [("d/a.txt", &b"content"[..]), ("empty", b""), ("link", b"../d/a.txt")];
    assert_eq!(saved, expected.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into());
    let metadata = fs::metadata(holder.path().join("target/d/a.txt")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((metadata.mode() & 0o777, metadata.mtime()), (0o640, 1000));
}

#[test]
fn a_file_that_was_only_partly_here_is_never_passed_off_as_whole() {
    let state = State::new();
    let body = state.staged(1, Basis::Partial { size: 10, base_len: 8 }, 2, b"new");
    state.add(Ino::ROOT, "big", body);
    state.add(Ino::ROOT, "gone", Body::File(Content::Staged { id: StagingId(7), base: None }));
    let (report, saved, _holder) = state.rescue();
    assert!(!report.is_complete());
    let item = &report.items[0];
    assert_eq!((item.outcome, &item.parts[..]), (Outcome::Partial, &[(2, 5), (8, 10)][..]));
    assert_eq!(saved["big.partial"], b"\0\0new\0\0\0\0\0");
    assert_eq!(outcome(&report, "gone"), Outcome::Lost);
    assert_eq!(saved.len(), 1);
}

#[test]
fn content_without_a_row_and_lost_and_found_come_out_too() {
    let state = State::new();
    state.staged(5, Basis::Empty, 0, b"no row");
    state.staged(6, Basis::Empty, 0, b"found before");
    state.staging.salvage(StagingId(6), "kept").unwrap();
    let (report, saved, _holder) = state.rescue();
    assert!(report.is_complete(), "{report}");
    assert_eq!(saved["lost+found/unsent file 5"], b"no row");
    assert_eq!(saved["lost+found/kept"], b"found before");
}

#[test]
fn without_a_readable_database_content_comes_out_without_names() {
    let state = State::new();
    let body = state.staged(1, Basis::Empty, 0, b"content");
    state.add(Ino::ROOT, "a.txt", body);
    let dir = state.holder.path().join("state");
    let State { holder, tree, staging } = state;
    drop((tree, staging));
    let _ = fs::remove_file(dir.join("state.db-wal"));
    fs::write(dir.join("state.db"), b"not a database, and long enough to be read as one").unwrap();
    let target = holder.path().join("target");
    let report = rescue(&dir, &target, &mut |_| {}).unwrap();
    assert!(report.names_lost.is_some() && !report.is_complete(), "{report}");
    assert_eq!(files(&target)["lost+found/unsent file 1"], b"content");
}

#[test]
fn the_name_of_the_list_and_of_a_partial_copy_can_be_taken() {
    let state = State::new();
    let body = state.staged(1, Basis::Empty, 0, b"mine");
    state.add(Ino::ROOT, LIST, body);
    let body = state.staged(2, Basis::Empty, 0, b"whole");
    state.add(Ino::ROOT, "a.partial", body);
    let body = state.staged(3, Basis::Partial { size: 1, base_len: 1 }, 0, b"p");
    state.add(Ino::ROOT, "a", body);
    let (report, saved, _holder) = state.rescue();
    assert_eq!(saved["RESCUED.txt (2)"], b"mine", "{report}");
    let copies = [&saved["a.partial"][..], &saved["a.partial (2)"][..]];
    assert_eq!(copies, [&b"p"[..], b"whole"], "{report}");
}

#[test]
fn a_target_that_is_not_empty_or_inside_the_state_is_refused() {
    let state = State::new();
    let dir = state.holder.path().join("state");
    let State { holder, tree, staging } = state;
    let used = rescue(&dir, &holder.path().join("t"), &mut |_| {});
    assert!(matches!(used, Err(RescueError::Tree(TreeError::InUse(_)))), "{used:?}");
    assert!(!holder.path().join("t").exists());
    drop((tree, staging));
    fs::create_dir(holder.path().join("full")).unwrap();
    fs::write(holder.path().join("full/file"), b"x").unwrap();
    let full = rescue(&dir, &holder.path().join("full"), &mut |_| {});
    assert!(matches!(full, Err(RescueError::NotEmpty(_))), "{full:?}");
    let before = files(&dir);
    let inside = rescue(&dir, &dir.join("staging/new"), &mut |_| {});
    assert!(matches!(inside, Err(RescueError::Inside(_))), "{inside:?}");
    assert_eq!(files(&dir), before);
}

#[test]
fn what_cannot_be_read_to_its_end_has_no_whole_name() {
    let holder = tempfile::tempdir().unwrap();
    let (state, into) = (holder.path().join("state"), holder.path().join("target"));
    fs::create_dir(&state).unwrap();
    let mut target = Target::prepare(&into, &state).unwrap();
    let path = RemotePath(vec![Name::new(*b"a").unwrap()]);
    // A file that was not opened for reading.
    let file = File::create(holder.path().join("unreadable")).unwrap();
    let found = Salvaged { file, size: 7, parts: None };
    let item = save_file(&path, Ok(found), None, &mut target);
    assert_eq!((item.outcome, item.saved_as), (Outcome::Failed, Some("a.partial".to_owned())));
    target.write_list(&Report::default()).unwrap();
    let saved: Vec<_> = files(&into).into_keys().collect();
    assert_eq!(saved, [LIST, "a.partial"]);
}

#[test]
fn what_a_partial_file_holds_comes_out_also_when_its_log_is_gone() {
    let state = State::new();
    let body = state.staged(1, Basis::Partial { size: 10, base_len: 10 }, 2, b"new");
    state.add(Ino::ROOT, "big", body);
    fs::remove_file(state.holder.path().join("state/staging/1.log")).unwrap();
    let (report, saved, _holder) = state.rescue();
    assert_eq!(outcome(&report, "big"), Outcome::Partial, "{report}");
    assert_eq!(saved["big.partial"], b"\0\0new\0\0\0\0\0");
}

#[test]
fn a_partial_copy_of_a_file_with_the_longest_name_fits() {
    let state = State::new();
    let long = "\u{e9}".repeat(125);
    let body = state.staged(1, Basis::Partial { size: 3, base_len: 3 }, 0, b"new");
    state.add(Ino::ROOT, &long, body);
    let (report, saved, _holder) = state.rescue();
    assert_eq!(outcome(&report, &long), Outcome::Partial, "{report}");
    assert_eq!(saved[&("\u{e9}".repeat(123) + ".partial")], b"new");
}
