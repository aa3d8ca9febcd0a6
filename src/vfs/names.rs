//! Which bytes can be a name, and which names have one spelling.

use unicode_normalization::UnicodeNormalization;

use super::{Result, Vfs};
use crate::sync::BadRemoteName;
use crate::tree::{Node, Place, Tx};
use crate::types::Name;

impl Vfs {
    /// A name that is about to be made: refused at once when the server cannot store it.
    pub(super) fn storable(&self, bytes: &[u8]) -> Result<Name> {
        let name = Name::new(bytes)?;
        self.names.check(&name)?;
        Ok(name)
    }

    /// Refuses a place whose path is too long for the server.
    pub(super) fn reachable(&self, tx: &mut Tx<'_>, place: &Place) -> Result<()> {
        let Some(dir) = tx.local_path(place.parent)? else { return Ok(()) };
        self.names.room_below(&dir.join(&place.name))?;
        Ok(())
    }

    /// Refuses a place for a node where it, or something below it, has too long a path. A Nextcloud
    /// answers 500 to such a MOVE after it has renamed the directory on its disk.
    pub(super) fn reachable_with_all_below(
        &self,
        tx: &mut Tx<'_>,
        node: &Node,
        place: &Place,
    ) -> Result<()> {
        let Some(dir) = tx.local_path(place.parent)? else { return Ok(()) };
        let path = dir.join(&place.name);
        let room = self.names.room_below(&path)?;
        let longer = tx.local_path(node.ino)?.is_none_or(|old| path.bytes() > old.bytes());
        if node.is_dir() && longer && tx.has_path_below(node.ino, room)? {
            return Err(BadRemoteName::PathTooLong.into());
        }
        Ok(())
    }
}

/// Whether the name is written one way only. Of other names the kernel may not remember where they
/// lead: it knows nothing of NFC, so what is done under one spelling would leave what it remembers
/// of the other wrong.
pub(super) fn has_one_spelling(name: &Name) -> bool {
    match name.as_str() {
        None => true,
        Some(text) => {
            text.is_ascii() || (text.nfc().eq(text.chars()) && text.nfd().eq(text.chars()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> bool {
        has_one_spelling(&Name::new(text.as_bytes()).unwrap())
    }

    #[test]
    fn only_names_that_compose_or_decompose_have_several_spellings() {
        assert!(one("plain.txt") && one("\u{65e5}\u{672c}") && one("\u{df}"));
        assert!(!one("caf\u{e9}") && !one("cafe\u{301}") && !one("\u{212b}"));
    }
}
