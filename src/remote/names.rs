//! Which names and paths a server can store (FACTS 3), so that the others are refused at once.

use serde::{Deserialize, Serialize};

use crate::types::{Name, RemotePath};

/// The rules that a server announced in its capabilities, with Nextcloud's own defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRules {
    /// Longest name, bytes of UTF-8.
    pub max_bytes: usize,
    /// Longest path below the mounted directory, bytes of UTF-8 with a slash before each name.
    pub max_path: usize,
    /// Characters that no name may have, beside control characters.
    pub forbidden_characters: Vec<char>,
    /// Whole names, compared without case.
    pub forbidden_names: Vec<String>,
    /// Names without their extension, compared without case.
    pub forbidden_basenames: Vec<String>,
    /// Endings, dot included, compared without case.
    pub forbidden_extensions: Vec<String>,
}

/// Why the server cannot store a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRemoteName {
    #[error("the server stores only names in UTF-8")]
    NotUtf8,
    #[error("the name is too long for the server")]
    TooLong,
    #[error("the path is too long for the server")]
    PathTooLong,
    #[error("the server refuses this name")]
    Refused,
}

/// Longest path in an account of a Nextcloud. It takes 4000 bytes, among them `/USER/files` before
/// the path, and in the place of the last name its own for the time of the upload, which has some 60.
const NEXTCLOUD_PATH: usize = 3900;

impl NameRules {
    /// Anything that is UTF-8 and has up to 255 bytes: a server that announces nothing.
    pub fn permissive() -> Self {
        Self {
            max_bytes: 255,
            max_path: usize::MAX,
            forbidden_characters: Vec::new(),
            forbidden_names: Vec::new(),
            forbidden_basenames: Vec::new(),
            forbidden_extensions: Vec::new(),
        }
    }

    /// What a Nextcloud refuses whatever it announces (FACTS 3).
    pub fn nextcloud() -> Self {
        Self {
            max_bytes: 250,
            max_path: NEXTCLOUD_PATH,
            forbidden_characters: vec!['\\', '/'],
            forbidden_names: vec![".htaccess".into()],
            forbidden_basenames: Vec::new(),
            forbidden_extensions: vec![".part".into(), ".filepart".into()],
        }
    }

    /// The rules below a directory of an account: part of each path is used up.
    pub fn below(self, user_id: &str, dir: &RemotePath) -> Self {
        let used = user_id.len() + dir.bytes();
        Self { max_path: self.max_path.saturating_sub(used), ..self }
    }

    /// How many bytes the path leaves for what is below it, slashes among them. Its names are taken
    /// to be storable.
    pub fn room_below(&self, path: &RemotePath) -> Result<usize, BadRemoteName> {
        self.max_path.checked_sub(path.bytes()).ok_or(BadRemoteName::PathTooLong)
    }

    /// Whether the server can store this name.
    pub fn check(&self, name: &Name) -> Result<(), BadRemoteName> {
        let key = name.key();
        let text = std::str::from_utf8(&key.0).map_err(|_| BadRemoteName::NotUtf8)?;
        if text.len() > self.max_bytes {
            return Err(BadRemoteName::TooLong);
        }
        if text.chars().any(|c| (c as u32) < 0x20 || self.forbidden_characters.contains(&c)) {
            return Err(BadRemoteName::Refused);
        }
        let lower = text.to_lowercase();
        let base = lower.split_once('.').map_or(lower.as_str(), |(base, _)| base);
        let same = |list: &[String], text: &str| list.iter().any(|one| one.to_lowercase() == text);
        if same(&self.forbidden_names, &lower)
            || same(&self.forbidden_basenames, base)
            || self.forbidden_extensions.iter().any(|end| lower.ends_with(&end.to_lowercase()))
        {
            return Err(BadRemoteName::Refused);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deep(levels: usize, last: usize) -> RemotePath {
        let mut names = vec![Name::new(vec![b'd'; 249]).unwrap(); levels];
        names.push(Name::new(vec![b'f'; last]).unwrap());
        RemotePath(names)
    }

    #[test]
    fn a_path_may_be_as_long_as_what_is_above_it_leaves() {
        let rules = NameRules::nextcloud();
        assert_eq!(rules.room_below(&deep(15, 140)), Ok(9));
        assert_eq!(rules.room_below(&deep(15, 150)), Err(BadRemoteName::PathTooLong));
        let below = rules.below("alice", &deep(0, 44));
        assert_eq!(below.room_below(&deep(15, 99)), Ok(0));
        assert_eq!(below.room_below(&deep(15, 100)), Err(BadRemoteName::PathTooLong));
    }

    fn check(name: &[u8]) -> Result<(), BadRemoteName> {
        NameRules::nextcloud().check(&Name::new(name).unwrap())
    }

    #[test]
    fn names_that_nextcloud_refuses_are_refused() {
        for bad in [&b"a\\b"[..], b"x.part", b"X.FilePart", b".HTACCESS", b"new\nline", b"\x01"] {
            assert_eq!(check(bad), Err(BadRemoteName::Refused), "{bad:?}");
        }
        assert_eq!(check(b"\xff\xfe"), Err(BadRemoteName::NotUtf8));
        assert_eq!(check(&[b'x'; 251]), Err(BadRemoteName::TooLong));
    }

    #[test]
    fn names_that_nextcloud_takes_are_taken() {
        for good in [&b"a:b*c?"[..], b"con", b"trailing ", b".lock", b"...", b"part", &[b'x'; 250]]
        {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
    }
}
