//! Where the bytes of a file are, for those who ask rather than read.

use std::path::PathBuf;

use super::{Bodies, BodyError};
use crate::tree::{Content, Node};
use crate::types::ByteRange;

impl Bodies {
    /// How many bytes of a node's content are on this machine. Never waits for the network.
    pub fn bytes_here(&self, node: &Node) -> Result<u64, BodyError> {
        if !node.is_file() {
            return Ok(0);
        }
        let held = self.look(node.ino)?;
        Ok(match held.content {
            Content::Empty => 0,
            Content::Remote(content) => self.cache.peek(content).map_or(0, |version| {
                let whole = ByteRange::new(0, version.size());
                version.present(whole).iter().map(ByteRange::len).sum()
            }),
            Content::Staged { .. } => held.staged.map_or(0, |staged| {
                let missing: u64 = staged.gaps().iter().map(ByteRange::len).sum();
                staged.size().saturating_sub(missing)
            }),
        })
    }

    /// What is in `lost+found`: content without a name.
    pub fn lost_and_found(&self) -> std::io::Result<Vec<PathBuf>> {
        self.staging.lost_and_found()
    }
}
