//! The book holds together: what is generated is fresh, and what is linked is there. That its
//! commands do what the pages show is tested in `tests/mount/book.rs`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages, and the README.
fn pages() -> Vec<PathBuf> {
    fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, into),
                false if path.extension().is_some_and(|end| end == "md") => into.push(path),
                false => {}
            }
        }
    }
    let mut pages = vec![root().join("README.md")];
    walk(&root().join("docs"), &mut pages);
    pages
}

/// The text of a page without blocks and pieces of code.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Where the links of a page lead: what stands between `](` and `)`.
fn links(page: &Path) -> Vec<String> {
    let prose = prose(page);
    let targets = prose.split("](").skip(1);
    targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The names of a page's headings in an address, as mdBook makes them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let name = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || "_- ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(name).collect()
}

#[test]
fn the_reference_of_commands_is_what_the_program_says() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("commands.md");
    let mut program = Command::new(env!("CARGO_BIN_EXE_ncfs"));
    assert!(program.arg("reference").arg(&made).status().unwrap().success());
    let kept = fs::read_to_string(root().join("docs/reference/commands.md")).unwrap_or_default();
    assert!(
        kept == fs::read_to_string(made).unwrap(),
        "docs/reference/commands.md is not what the program says any more; make it anew with:\n  \
         cargo run -- reference docs/reference/commands.md"
    );
}

#[test]
fn every_link_of_the_book_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in links(&page) {
            if link.starts_with("https://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            let is_there =
                target.exists() && (anchor.is_empty() || anchors(&target).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "these lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_page_is_a_chapter() {
    let docs = root().join("docs");
    let chapters: BTreeSet<_> =
        links(&docs.join("SUMMARY.md")).into_iter().map(|link| docs.join(link)).collect();
    let pages = pages().into_iter().filter(|page| page.starts_with(&docs));
    let missing: Vec<_> =
        pages.filter(|page| !page.ends_with("SUMMARY.md") && !chapters.contains(page)).collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}
