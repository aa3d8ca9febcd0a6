//! Staging files without a row, and the place where such files go.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Staging, remove_if_there};
use crate::types::StagingId;

/// A file that was moved to `lost+found`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub id: StagingId,
    /// Where its bytes are now; with `.log` after it where only the ranges in that log are its own.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// What a name in the staging directory says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    New,
    Old,
    Log,
}

impl Staging {
    /// Deals with the files that none of the rows (`known`) names: unfinished and settled ones are
    /// deleted, all others with bytes in them moved to `lost+found`. To be called once, at the start,
    /// before any file is prepared.
    pub fn strays(&self, known: &HashSet<StagingId>) -> io::Result<Vec<Stray>> {
        let mut unknown = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            if let Some((id, kind)) = name.to_str().and_then(parse)
                && !known.contains(&id)
            {
                unknown.push((id, kind));
            }
        }
        let mut strays = Vec::new();
        for (id, _) in unknown.iter().filter(|(_, kind)| *kind == Kind::Data) {
            let size = fs::metadata(self.data(*id))?.len();
            if size > 0 {
                let path = self.salvage(*id, &format!("unsent file {}", id.0))?;
                strays.push(Stray { id: *id, path, size });
            }
        }
        for (id, _) in unknown {
            self.remove(id)?;
        }
        Ok(strays)
    }

    /// Moves a file that can never be sent to `lost+found`, under `name` or one like it that is
    /// free, and returns where it is. Of a partial file the log goes with it.
    pub fn salvage(&self, id: StagingId, name: &str) -> io::Result<PathBuf> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.lost_and_found)?;
        let from = self.locate(id)?.ok_or(io::ErrorKind::NotFound)?;
        let into = self.free_name(&name.replace(['/', '\0'], "_"))?;
        let log = self.log(id);
        if log.try_exists()? {
            // A copy: without its log a partial file would pass for a whole one, in either place.
            fs::copy(&log, with_log(&into))?;
            File::open(with_log(&into))?.sync_all()?;
        }
        fs::rename(from, &into)?;
        remove_if_there(&log)?;
        self.lock().remove(&id);
        Ok(into)
    }

    /// The files in `lost+found`, without the logs that go with some of them.
    pub fn lost_and_found(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.lost_and_found) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<PathBuf>>>()?;
        let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
        found.retain(|path| !(is_log(path) && path.with_extension("").exists()));
        found.sort();
        Ok(found)
    }

    fn free_name(&self, name: &str) -> io::Result<PathBuf> {
        let mut path = self.lost_and_found.join(name);
        let mut number = 1_u32;
        while path.try_exists()? || with_log(&path).try_exists()? {
            number += 1;
            path = self.lost_and_found.join(format!("{name} ({number})"));
        }
        Ok(path)
    }
}

pub(super) fn with_log(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".log");
    name.into()
}

pub(super) fn parse(name: &str) -> Option<(StagingId, Kind)> {
    let (number, kind) = match name.split_once('.') {
        None => (name, Kind::Data),
        Some((number, "new")) => (number, Kind::New),
        Some((number, "old")) => (number, Kind::Old),
        Some((number, "log")) => (number, Kind::Log),
        Some(_) => return None,
    };
    number.parse().ok().map(|id| (StagingId(id), kind))
}
