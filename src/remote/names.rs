//! Which names a server can store (FACTS 3), so that the others are refused at once.

use crate::types::Name;

/// The rules that a server announced in its capabilities, with Nextcloud's own defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRules {
    /// Longest name, bytes of UTF-8.
    pub max_bytes: usize,
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
    #[error("the server refuses this name")]
    Refused,
}

impl NameRules {
    /// Anything that is UTF-8 and has up to 255 bytes: a server that announces nothing.
    pub fn permissive() -> Self {
        Self {
            max_bytes: 255,
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
            forbidden_characters: vec!['\\', '/'],
            forbidden_names: vec![".htaccess".into()],
            forbidden_basenames: Vec::new(),
            forbidden_extensions: vec![".part".into(), ".filepart".into()],
        }
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
