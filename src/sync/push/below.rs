//! Everything that the server holds in a directory: one listing, or one for each directory in it
//! where `Depth: infinity` is refused.

use futures_util::StreamExt;

use super::Pusher;
use crate::remote::{Depth, Entry, RemoteError};
use crate::types::RemotePath;

impl Pusher {
    /// All entries below a directory. By levels it is not one moment, but later than the call.
    pub(super) async fn list_below(&self, path: &RemotePath) -> Result<Vec<Entry>, RemoteError> {
        let depth = match self.remote.capabilities().depth_infinity {
            true => Depth::Everything,
            false => Depth::Children,
        };
        let mut found = Vec::new();
        let mut dirs = vec![path.clone()];
        while let Some(dir) = dirs.pop() {
            let mut listing = match self.remote.list(&dir, depth).await {
                Ok(listing) => listing,
                // Gone since it was seen: there is nothing below it.
                Err(RemoteError::NotFound) if dir != *path => continue,
                Err(error) => return Err(error),
            };
            while let Some(entry) = listing.entries.next().await {
                let entry = entry?;
                if entry.path == dir {
                    continue;
                }
                let is_child = entry.path.parent().as_ref() == Some(&dir);
                if entry.is_dir && is_child && depth == Depth::Children {
                    dirs.push(entry.path.clone());
                }
                found.push(entry);
            }
        }
        Ok(found)
    }
}
