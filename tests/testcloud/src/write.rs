//! Writing a file, with what a real server does to it on the way (FACTS 0.1, 0.2, 5).
//!
//! A PUT over an existing file streams straight into that file. If it ends early the file keeps what
//! arrived, while the metadata stay as they were: [`Writing`] sees to it whenever it is dropped before
//! its commit, whatever the reason. A new file, and an assembled upload, is written aside and put into
//! its place by the commit.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cloud::Cloud;
use crate::error::DavError;
use crate::files::{Outcome, Still};
use crate::locks::LockGuard;
use crate::path::FilePath;
use crate::stamps::{hex, tag_after_write};
use crate::store::{self, TempPath};
use crate::tree::{File, Kind, Missing, NodeId, Torn, Tree};

/// The newest time that ext4 can hold, in the year 2446: later ones are clipped to it.
const LAST_SECOND: f64 = 15_032_385_535.0;

/// What a client may say about a file with its content; header values as sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    /// `X-OC-Mtime`
    pub mtime: Option<String>,
    /// `X-OC-CTime`
    pub ctime: Option<String>,
    /// `OC-Checksum`
    pub checksums: Option<String>,
}

/// A file after a write.
#[derive(Debug)]
pub(crate) struct Written {
    pub id: NodeId,
    pub etag: String,
    pub outcome: Outcome,
}

enum Place {
    /// Written aside under the lock of its part file, because nothing has the name yet.
    New(TempPath),
    /// Joined aside from the parts of an upload.
    Assembled(TempPath),
    /// Written into the existing file.
    Existing(NodeId),
}

pub(crate) struct Writing {
    cloud: Arc<Cloud>,
    user: String,
    path: FilePath,
    place: Place,
    committed: bool,
    _lock: LockGuard,
}

impl Writing {
    /// Starts a PUT: checks the path and the space, takes the lock and, over an existing file, makes
    /// the old content a version. `required` is the announced length.
    pub(crate) fn put(
        cloud: &Arc<Cloud>,
        user: &str,
        path: &FilePath,
        required: Option<u64>,
        still: Still<'_>,
    ) -> Result<Self, DavError> {
        let exists = Self::check(cloud, user, path)?.is_some();
        {
            let state = cloud.state();
            state.account(user)?.require(path, required.unwrap_or(0))?;
        }
        let lock_on = if exists {
            path.clone()
        } else {
            path.parent().join(&format!("{}.upload.part", path.name()))
        };
        let lock = cloud.locks.exclusive(user, &lock_on)?;
        still()?;
        let place = match Self::check(cloud, user, path)? {
            Some(id) => {
                let mut state = cloud.state();
                cloud.keep_version(&mut state.account_mut(user)?.tree, user, path, id)?;
                fs::File::create(cloud.store.file(user, path))?;
                Place::Existing(id)
            }
            None => {
                let temp = cloud.store.temp();
                fs::File::create(temp.path())?;
                Place::New(temp)
            }
        };
        Ok(Self {
            cloud: Arc::clone(cloud),
            user: user.to_owned(),
            path: path.clone(),
            place,
            committed: false,
            _lock: lock,
        })
    }

    /// Starts putting content that is complete already into its place, as the assembly of a chunked
    /// upload does. `still` has checked the path.
    pub(crate) fn assembled(
        cloud: &Arc<Cloud>,
        user: &str,
        path: &FilePath,
        still: Still<'_>,
    ) -> Result<Self, DavError> {
        let lock = cloud.locks.exclusive(user, path)?;
        still()?;
        Ok(Self {
            cloud: Arc::clone(cloud),
            user: user.to_owned(),
            path: path.clone(),
            place: Place::Assembled(cloud.store.temp()),
            committed: false,
            _lock: lock,
        })
    }

    /// The file at `path`, or none if one can be made there.
    fn check(cloud: &Cloud, user: &str, path: &FilePath) -> Result<Option<NodeId>, DavError> {
        let state = cloud.state();
        let tree = &state.account(user)?.tree;
        if let Some(node) = tree.get(path) {
            return match node.kind {
                Kind::File(_) => Ok(Some(node.id)),
                Kind::Folder { .. } => Err(DavError::conflict("PUT is not allowed on non-files.")),
            };
        }
        let parent = tree.find(&path.parent())?;
        if !parent.is_folder() {
            return Err(Missing::BelowFile(path.parent()).into());
        }
        path.refuse().map_err(DavError::invalid_path)?;
        Ok(None)
    }

    /// Where the content goes.
    pub(crate) fn file(&self) -> PathBuf {
        match &self.place {
            Place::New(temp) | Place::Assembled(temp) => temp.path().to_path_buf(),
            Place::Existing(_) => self.cloud.store.file(&self.user, &self.path),
        }
    }

    /// Makes what was written the file's content.
    ///
    /// A time that cannot be is refused only after the content has been stored (FACTS 0.5).
    pub(crate) fn commit(mut self, claims: &Claims) -> Result<Written, DavError> {
        let mtime = claims.mtime.as_deref().map(parse_time).transpose();
        let ctime = claims.ctime.as_deref().map(parse_time).transpose();
        let cloud = Arc::clone(&self.cloud);
        let now = cloud.stamps.now();
        let new_mtime = mtime.as_ref().ok().copied().flatten().unwrap_or(now);
        let written = self.file();
        let size = fs::metadata(&written)?.len();

        let _target = match self.place {
            Place::New(_) => Some(cloud.locks.exclusive(&self.user, &self.path)?),
            Place::Assembled(_) | Place::Existing(_) => None,
        };
        let mut state = cloud.state();
        let tree = &mut state.account_mut(&self.user)?.tree;
        let parent = tree.find(&self.path.parent())?.id;
        let there = match tree.get(&self.path) {
            Some(node) if node.is_folder() => {
                return Err(DavError::conflict("PUT is not allowed on non-files."));
            }
            node => node.map(|node| node.id),
        };
        let aside = !matches!(self.place, Place::Existing(_));
        if let (Some(id), true) = (there, aside) {
            cloud.keep_version(tree, &self.user, &self.path, id)?;
        }
        let place = cloud.store.file(&self.user, &self.path);
        if aside {
            fs::rename(&written, &place)?;
        }
        store::set_mtime(&place, new_mtime)?;
        let id = match there {
            Some(id) => {
                tree.resize(id, size);
                id
            }
            None => {
                let file = File { size, ..File::default() };
                tree.add_file(parent, self.path.name(), file, new_mtime, &cloud.stamps)
            }
        };
        let node = tree.node_mut(id).ok_or_else(|| DavError::not_found("the file has gone"))?;
        let before = there.is_some().then_some((node.mtime, node.etag.as_str()));
        node.etag = tag_after_write(before, new_mtime, id, size, now);
        node.mtime = new_mtime;
        if let Ok(Some(created)) = ctime {
            node.created = created;
        }
        if let Kind::File(file) = &mut node.kind {
            file.uploaded = now;
            file.checksums.clone_from(&claims.checksums);
            file.torn = None;
        }
        let etag = node.etag.clone();
        tree.propagate(id, &cloud.stamps);
        drop(state);
        self.committed = true;
        mtime?;
        ctime?;
        Ok(Written {
            id,
            etag,
            outcome: match there {
                Some(_) => Outcome::Replaced,
                None => Outcome::Created,
            },
        })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let Place::Existing(id) = self.place else {
            return;
        };
        if self.committed {
            return;
        }
        let size = fs::metadata(self.file()).map_or(0, |meta| meta.len());
        let torn = Torn { size, mtime: self.cloud.stamps.now() };
        let mut state = self.cloud.state();
        if let Some(Kind::File(file)) = state
            .account_mut(&self.user)
            .ok()
            .and_then(|account| account.tree.node_mut(id))
            .map(|node| &mut node.kind)
        {
            file.torn = Some(torn);
        }
    }
}

impl Cloud {
    /// Moves the content of a file to its versions, unless it is empty (FACTS 13) or torn.
    fn keep_version(
        &self,
        tree: &mut Tree,
        user: &str,
        path: &FilePath,
        id: NodeId,
    ) -> Result<(), DavError> {
        let Some(node) = tree.node_mut(id) else {
            return Ok(());
        };
        let mtime = node.mtime;
        let Kind::File(file) = &mut node.kind else {
            return Ok(());
        };
        if file.size == 0 || file.torn.is_some() {
            return Ok(());
        }
        fs::create_dir_all(self.store.versions(user, id))?;
        fs::rename(self.store.file(user, path), self.store.version(user, id, mtime))?;
        file.versions.insert(mtime, file.size);
        Ok(())
    }
}

/// `X-OC-Mtime` as PHP reads it: a number, cut to the second; at most a day after 1970 is refused
/// (FACTS 5).
pub(crate) fn parse_time(value: &str) -> Result<i64, DavError> {
    let number = value
        .parse::<f64>()
        .ok()
        .filter(|_| value.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)));
    let wrong = |what| {
        DavError::internal(
            "InvalidArgumentException",
            format!("X-OC-MTime header must be a valid {what}, got \"{value}\"."),
        )
    };
    let seconds = number.ok_or_else(|| wrong("integer (unix timestamp)"))?;
    if seconds.trunc() <= 86_400.0 {
        return Err(wrong("positive unix timestamp greater than one day"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "clipped to the range before")]
    Ok(seconds.min(LAST_SECOND) as i64)
}

/// Digests of a content on request: `md5`, `sha1`, `sha256` or `all` of them.
pub(crate) struct Digests(Vec<(&'static str, Box<dyn sha2::digest::DynDigest + Send>)>);

impl Digests {
    pub(crate) fn asked(value: &str) -> Self {
        use sha2::digest::DynDigest;
        let known: [(&'static str, Box<dyn DynDigest + Send>); 3] = [
            ("MD5", Box::new(md5::Md5::default())),
            ("SHA1", Box::new(sha1::Sha1::default())),
            ("SHA256", Box::new(sha2::Sha256::default())),
        ];
        Self(
            known
                .into_iter()
                .filter(|(name, _)| value == "all" || value.eq_ignore_ascii_case(name))
                .collect(),
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for (_, digest) in &mut self.0 {
            digest.update(bytes);
        }
    }

    /// Names and hexadecimal values.
    pub(crate) fn finish(self) -> Vec<(&'static str, String)> {
        self.0.into_iter().map(|(name, digest)| (name, hex(&digest.finalize()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_are_read_as_php_reads_them() {
        let time = |value| parse_time(value).ok();
        assert_eq!(time("1600000000.5"), Some(1_600_000_000));
        assert_eq!(time("1600000000.999999999"), Some(1_600_000_001));
        assert_eq!(time("1e9"), Some(1_000_000_000));
        assert_eq!(time("86400"), None);
        assert_eq!(time("86401"), Some(86_401));
        assert_eq!(time("0x5f5e0ff"), None);
        assert_eq!(time("inf"), None);
        assert_eq!(time("99999999999999"), Some(15_032_385_535));
    }
}
