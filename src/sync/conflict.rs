//! The names of conflict copies: `STEM (conflicted copy YYYY-MM-DD HHMMSS).EXT`.

use std::sync::Arc;

use crate::remote::NameRules;
use crate::tree::{Body, Node, Place, Push, TreeError, Tx};
use crate::types::{Ino, Name, Time};

/// What stands between the stem of a copy's name and its stamp; the tree finds copies by it.
const MARK: &str = " (conflicted copy ";

/// Names tried before giving up: "(2)", "(3)", ...
const NUMBERED: u32 = 10_000;

/// A free place for our content of a file whose name stays with the server's: beside it, or, inside
/// a `.git` directory, in `.git/ncfs-conflicts/`, for a stray ref breaks git.
///
/// The stamp in the name is UTC.
pub fn copy_place(
    tx: &mut Tx<'_>,
    place: &Place,
    now: Time,
    rules: &NameRules,
) -> Result<Place, TreeError> {
    let parent = match git_dir(tx, place)? {
        Some(git) => conflicts_dir(tx, &git, now)?,
        None => place.parent,
    };
    for number in 1..NUMBERED {
        let name = copy_name(&place.name, now, number, rules.max_bytes);
        let candidate = Place::new(parent, name);
        if tx.child(parent, &candidate.name.key())?.is_none() && tx.holder(&candidate)?.is_none() {
            return Ok(candidate);
        }
    }
    Err(TreeError::Corrupt("no free name for a conflict copy".into()))
}

/// The `.git` directory above a place, if there is one.
fn git_dir(tx: &mut Tx<'_>, place: &Place) -> Result<Option<Arc<Node>>, TreeError> {
    let mut at = place.parent;
    while let Some(node) = tx.node(at)? {
        let Some(local) = &node.local else { return Ok(None) };
        if local.name.as_bytes() == b".git" {
            return Ok(Some(node));
        }
        at = local.parent;
    }
    Ok(None)
}

/// `ncfs-conflicts` in a `.git` directory, made if it is not there.
fn conflicts_dir(tx: &mut Tx<'_>, git: &Node, now: Time) -> Result<Ino, TreeError> {
    let name = Name::new(*b"ncfs-conflicts").map_err(|bad| TreeError::Corrupt(bad.to_string()))?;
    match tx.child(git.ino, &name.key())? {
        Some(dir) if dir.is_dir() => Ok(dir.ino),
        Some(_) => Ok(git.ino),
        None => {
            let dir = Node {
                ino: Ino(0),
                body: Body::Dir { listed: true, tag: None },
                local: Some(Place::new(git.ino, name)),
                synced: None,
                push: Push { changed: now, ..Push::default() },
                ..git.clone()
            };
            Ok(tx.insert(dir)?.ino)
        }
    }
}

fn copy_name(name: &Name, now: Time, number: u32, max_bytes: usize) -> Name {
    let text = String::from_utf8_lossy(name.as_bytes()).into_owned();
    let (stem, extension) = parts(&text);
    let stamp = httpdate::fmt_http_date(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.secs().max(0) as u64),
    );
    let mark = match number {
        1 => format!("{MARK}{})", compact(&stamp)),
        _ => format!("{MARK}{} {number})", compact(&stamp)),
    };
    let mut stem = stem.to_owned();
    while stem.len() + mark.len() + extension.len() > max_bytes && stem.pop().is_some() {}
    // Valid by construction; the name itself is the fallback of the type.
    Name::new(format!("{stem}{mark}{extension}").into_bytes()).unwrap_or_else(|_| name.clone())
}

/// What stands before and behind a mark in a name.
fn parts(name: &str) -> (&str, &str) {
    // A leading dot does not begin an extension.
    match name.rfind('.').filter(|at| *at > 0 && name.len() - at <= 32) {
        Some(dot) => name.split_at(dot),
        None => (name, ""),
    }
}

/// A name beside `original` for a copy that is kept as a file of its own: `STEM (2).EXT`.
pub fn numbered(original: &Name, number: u32) -> Option<Name> {
    let (stem, extension) = parts(original.as_str()?);
    Name::new(format!("{stem} ({number}){extension}").into_bytes()).ok()
}

/// The name that a conflict copy yielded, by the copy's own; `None` for a name that is none. Of a
/// copy whose stem was cut to fit, it is the name with the cut stem.
pub fn original_name(copy: &Name) -> Option<Name> {
    let text = copy.as_str()?;
    let (stem, rest) = text.rsplit_once(MARK)?;
    let (stamp, extension) = rest.split_once(')')?;
    let mut parts = stamp.split(' ');
    let is_number = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let date: Vec<&str> = parts.next()?.split('-').collect();
    let is_stamp = matches!(date[..], [year, month, day]
        if is_number(year, 4) && is_number(month, 2) && is_number(day, 2))
        && is_number(parts.next()?, 6);
    if !is_stamp || parts.any(|number| number.parse::<u32>().is_err()) {
        return None;
    }
    Name::new(format!("{stem}{extension}").into_bytes()).ok()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as `1994-11-06 084937`.
fn compact(http_date: &str) -> String {
    let parts: Vec<&str> = http_date.split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, ..] = parts[..] else {
        return http_date.replace([',', ':'], "");
    };
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month).map_or(0, |at| at + 1);
    format!("{year}-{month:02}-{day} {hour}{minute}{second}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, number: u32) -> String {
        let name = Name::new(name.as_bytes()).unwrap();
        copy_name(&name, Time::from_secs(784_111_777), number, 250).to_string()
    }

    #[test]
    fn a_conflict_copy_keeps_its_extension() {
        assert_eq!(named("a.ipynb", 1), "a (conflicted copy 1994-11-06 084937).ipynb");
        assert_eq!(named("Makefile", 2), "Makefile (conflicted copy 1994-11-06 084937 2)");
        assert_eq!(named(".bashrc", 1), ".bashrc (conflicted copy 1994-11-06 084937)");
    }

    #[test]
    fn the_name_that_a_copy_yielded_is_read_from_its_own() {
        let original = |name: &str| {
            let name = Name::new(name.as_bytes()).unwrap();
            original_name(&name).map(|name| name.to_string())
        };
        for name in ["a.ipynb", "Makefile", ".bashrc", "a (1).tar.gz"] {
            for number in [1, 2] {
                assert_eq!(original(&named(name, number)).as_deref(), Some(name));
            }
        }
        for name in ["a.txt", "a (conflicted copy).txt", "a (conflicted copy of mine 2).txt"] {
            assert_eq!(original(name), None);
        }
    }

    #[test]
    fn a_copy_that_is_kept_is_none_any_more() {
        for (name, kept) in [("a.ipynb", "a (2).ipynb"), (".bashrc", ".bashrc (2)")] {
            let kept_as = numbered(&Name::new(name.as_bytes()).unwrap(), 2).unwrap();
            assert_eq!(kept_as.to_string(), kept);
            assert_eq!(original_name(&kept_as), None);
        }
    }

    #[test]
    fn a_conflict_copy_of_a_long_name_fits_and_stays_text() {
        let long = "\u{e9}".repeat(123) + ".md";
        let copy = named(&long, 1);
        assert!(copy.len() <= 250 && copy.ends_with(").md"), "{copy}");
    }
}
