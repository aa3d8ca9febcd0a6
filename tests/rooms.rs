//! Which room uses which: calls go down the list, never up.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each room and the rooms below it that it may use.
const ROOMS: [(&str, &[&str]); 22] = [
    ("main", &["cli"]),
    ("lib", ALL),
    ("cli", ALL),
    ("daemon", ALL),
    ("supervise", &["config"]),
    ("rescue", &["tree", "content"]),
    ("control", &["vfs", "sync", "content", "config"]),
    ("fuse", &["vfs"]),
    ("vfs", &["tree", "content", "sync"]),
    ("sync", &["tree", "content", "remote"]),
    ("content", &["tree", "remote"]),
    ("tree", &[]),
    ("remote", &["server_url"]),
    // What a mount is told; the credential is the remote's.
    ("config", &["credential_file", "server_url", "remote"]),
    ("credential_file", &["server_url", "remote"]),
    // Its files are credentials files; its test reads one as such.
    ("accounts", &["credential_file", "server_url", "remote"]),
    ("server_url", &[]),
    ("path_text", &[]),
    ("clock", &[]),
    ("request", &[]),
    ("fault", &[]),
    // What a mount remembers while it lives, whoever serves it.
    ("mount_memory", &[]),
];

/// What every room may use, and what uses none.
const LEAVES: [&str; 8] =
    ["types", "clock", "failure", "fault", "path_text", "secret", "request", "mount_memory"];

const ALL: &[&str] = &[
    "cli",
    "daemon",
    "supervise",
    "rescue",
    "control",
    "fuse",
    "vfs",
    "sync",
    "content",
    "tree",
    "remote",
    "config",
    "credential_file",
    "accounts",
    "server_url",
];

/// Crates that one room hides from the others.
const HIDDEN: [(&str, &str); 4] =
    [("fuser", "fuse"), ("rusqlite", "tree"), ("reqwest", "remote"), ("clap", "cli")];

#[test]
fn every_room_uses_only_what_is_below_it() {
    let mut found = Vec::new();
    for file in sources() {
        let room = room_of(&file);
        let allowed = ROOMS.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
        let text = std::fs::read_to_string(Path::new("src").join(&file)).unwrap();
        for (line, used) in rooms_used(&file, &without_comments(&text)) {
            let is_allowed = used == room
                || LEAVES.contains(&used.as_str())
                || allowed.is_some_and(|allowed| allowed.contains(&used.as_str()));
            if !is_allowed {
                found.push(format!("src/{}:{line}: {room} uses {used}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "not below it in the list of rooms:\n{}", found.join("\n"));
}

#[test]
fn every_library_stays_in_its_room() {
    let mut found = Vec::new();
    for file in sources() {
        let text = std::fs::read_to_string(Path::new("src").join(&file)).unwrap();
        for (number, line) in without_comments(&text).lines().enumerate() {
            for (library, room) in HIDDEN {
                // A derived ValueEnum is how an option's type names its values.
                let is_used = words(line).any(|word| word == library)
                    && !line.contains("clap::ValueEnum")
                    && (line.contains(&format!("{library}::")) || line.contains("use "));
                if is_used && room_of(&file) != room {
                    let file = file.display();
                    found.push(format!("src/{file}:{}: only {room} uses {library}", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn paths_are_found_in_every_form() {
    let text = "use crate::vfs::{Vfs};\nuse crate::{\n    tree::Tree,\n    sync,\n};\n\
                let x = super::super::remote::get(); // crate::fuse\nsuper::content::x();\n";
    let found = rooms_used(Path::new("control/server.rs"), &without_comments(text));
    let found: Vec<_> = found.iter().map(|(line, room)| (*line, room.as_str())).collect();
    assert_eq!(found, [(1, "vfs"), (2, "sync"), (2, "tree"), (6, "remote")]);
}

/// All source files, relative to `src`.
fn sources() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix("src").unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    assert!(found.len() > 50, "{found:?}");
    found.sort();
    found
}

fn room_of(file: &Path) -> String {
    let first = file.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The same lines without what follows `//`. That it may be in a string does not matter here.
fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Rooms that a file names by a path from the crate's root, with the line where each path begins.
fn rooms_used(file: &Path, text: &str) -> Vec<(usize, String)> {
    let mut above = file.with_extension("").iter().count();
    if file.file_name().is_some_and(|name| name == "mod.rs") {
        above -= 1;
    }
    let roots = ["crate::".to_owned(), "super::".repeat(above)];
    let known: BTreeSet<&str> =
        ROOMS.iter().map(|(name, _)| *name).chain(LEAVES).chain(ALL.iter().copied()).collect();
    let mut found = BTreeSet::new();
    for root in roots {
        for (at, _) in text.match_indices(root.as_str()) {
            let before = &text[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            for name in first_names(&text[at + root.len()..]) {
                if known.contains(name.as_str()) {
                    found.insert((line, name));
                }
            }
        }
    }
    found.into_iter().collect()
}

/// `vfs` of `vfs::{A, B}`, and `tree` and `sync` of `{tree::Tree, sync}`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return words(path).next().map(str::to_owned).into_iter().collect();
    };
    let mut names = vec![String::new()];
    let mut depth = 0;
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            character => names.last_mut().unwrap().push(character),
        }
    }
    names.iter().filter_map(|name| words(name).next().map(str::to_owned)).collect()
}
