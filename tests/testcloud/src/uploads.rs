//! Chunked upload v2: an open upload and its parts (FACTS 9).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cloud::Cloud;
use crate::error::DavError;
use crate::files::{Still, blocking};
use crate::path::FilePath;
use crate::write::{Claims, Writing, Written};

/// The member of an upload that stands for all parts joined.
pub(crate) const JOINED: &str = ".file";

pub(crate) struct Upload {
    /// The tag of [`JOINED`], which no client can know a use for.
    pub etag: String,
    pub mtime: i64,
    pub parts: BTreeMap<PartName, Part>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub id: u64,
    pub size: u64,
    pub mtime: i64,
}

/// Part names in natural order: 1, 9, 10.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartName(u64, String);

impl PartName {
    pub(crate) fn new(name: &str) -> Self {
        Self(name.parse().unwrap_or(u64::MAX), name.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.1
    }
}

impl Upload {
    pub(crate) fn size(&self) -> u64 {
        self.parts.values().map(|part| part.size).sum()
    }
}

fn missing(folder: &str) -> DavError {
    DavError::not_found(format!("File with name //{folder} could not be located"))
}

impl Cloud {
    pub(crate) fn open_upload(&self, user: &str, folder: &str) -> Result<(), DavError> {
        let mut state = self.state();
        let uploads = &mut state.account_mut(user)?.uploads;
        if uploads.contains_key(folder) {
            return Err(DavError::exists_already());
        }
        fs::create_dir(self.store.upload(user, folder))?;
        let upload = Upload {
            etag: self.stamps.folder_tag(),
            mtime: self.stamps.now(),
            parts: BTreeMap::new(),
        };
        uploads.insert(folder.to_owned(), upload);
        Ok(())
    }

    /// Runs `look` on an open upload.
    pub(crate) fn upload<T>(
        &self,
        user: &str,
        folder: &str,
        look: impl FnOnce(&Upload) -> T,
    ) -> Result<T, DavError> {
        let state = self.state();
        let uploads = &state.account(user)?.uploads;
        uploads.get(folder).map(look).ok_or_else(|| missing(folder))
    }

    /// Makes the file at `content` a part; true if it is a new one.
    pub(crate) fn add_part(
        &self,
        user: &str,
        folder: &str,
        name: &str,
        content: &std::path::Path,
    ) -> Result<bool, DavError> {
        let mut state = self.state();
        let uploads = &mut state.account_mut(user)?.uploads;
        let upload = uploads.get_mut(folder).ok_or_else(|| missing(folder))?;
        let size = fs::metadata(content)?.len();
        fs::rename(content, self.store.upload(user, folder).join(name))?;
        let part = Part { id: self.stamps.next_id(), size, mtime: self.stamps.now() };
        upload.mtime = part.mtime;
        upload.etag = self.stamps.folder_tag();
        Ok(upload.parts.insert(PartName::new(name), part).is_none())
    }

    /// Removes one part, or the upload with all.
    pub(crate) fn abort(
        &self,
        user: &str,
        folder: &str,
        part: Option<&str>,
    ) -> Result<(), DavError> {
        let mut state = self.state();
        let uploads = &mut state.account_mut(user)?.uploads;
        let dir = self.store.upload(user, folder);
        match part {
            None => {
                uploads.remove(folder).ok_or_else(|| missing(folder))?;
                fs::remove_dir_all(dir)?;
            }
            Some(name) => {
                let upload = uploads.get_mut(folder).ok_or_else(|| missing(folder))?;
                let part = upload.parts.remove(&PartName::new(name));
                part.ok_or_else(|| missing(&format!("{folder}/{name}")))?;
                fs::remove_file(dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Joins the parts into the file at `to`; after any error they are still there.
    pub(crate) async fn assemble(
        self: &Arc<Self>,
        user: &str,
        folder: &str,
        (taker, to): (&str, &FilePath),
        claims: &Claims,
        still: Still<'_>,
    ) -> Result<Written, DavError> {
        to.refuse().map_err(DavError::invalid_path)?;
        let dir = self.store.upload(user, folder);
        let (parts, size) = self.upload(user, folder, |upload| {
            let names = upload.parts.keys();
            let parts: Vec<PathBuf> = names.map(|name| dir.join(name.as_str())).collect();
            (parts, upload.size())
        })?;
        self.state().account(taker)?.require(&to.parent(), size)?;
        let writing = Writing::assembled(self, taker, to, still)?;
        let whole = writing.file();
        blocking(move || join(&parts, &whole)).await?;
        let written = writing.commit(claims)?;
        self.abort(user, folder, None)?;
        Ok(written)
    }
}

fn join(parts: &[PathBuf], whole: &std::path::Path) -> io::Result<()> {
    let mut whole = fs::File::create(whole)?;
    for part in parts {
        io::copy(&mut fs::File::open(part)?, &mut whole)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::PartName;

    #[test]
    fn parts_are_in_natural_order() {
        let mut names = ["10", "abc", "9", "00001"].map(PartName::new);
        names.sort();
        assert_eq!(names.map(|name| name.as_str().to_owned()), ["00001", "9", "10", "abc"]);
    }
}
