//! Dirty content that is only read: for `ncfs rescue`. Nothing here renames, cuts or deletes a file.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::log::Log;
use super::strays::{Kind, parse, with_log};
use super::{StagingError, lost};
use crate::content::Extents;
use crate::types::{ByteRange, StagingId};

/// The staging files of one state directory.
pub struct Salvage {
    dir: PathBuf,
    lost_and_found: PathBuf,
}

/// What there is of one file.
#[derive(Debug)]
pub struct Salvaged {
    pub file: File,
    /// Bytes of the whole file.
    pub size: u64,
    /// What of it is here; `None`: all. Empty where that is not known: then the rest of the file is
    /// zeros.
    pub parts: Option<Vec<ByteRange>>,
}

/// Content that no row names.
#[derive(Debug)]
pub struct Nameless {
    /// What it can be called.
    pub name: String,
    pub found: Result<Salvaged, StagingError>,
}

impl Salvage {
    pub fn at(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("staging"), lost_and_found: state_dir.join("lost+found") }
    }

    /// The file of a row, which says whether it was made as a partial one.
    pub fn open(&self, id: StagingId, partial: bool) -> Result<Salvaged, StagingError> {
        for suffix in ["", ".old", ".new"] {
            let path = self.dir.join(format!("{}{suffix}", id.0));
            if path.try_exists()? {
                let log = partial.then(|| self.dir.join(format!("{}.log", id.0)));
                return open(&path, log.as_deref(), Some(id));
            }
        }
        Err(StagingError::Lost(id))
    }

    /// Everything in `lost+found`, and the staging files that are not among `known`.
    pub fn nameless(&self, known: &HashSet<StagingId>) -> io::Result<Vec<Nameless>> {
        let mut found = Vec::new();
        for path in entries(&self.dir)? {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(parse);
            let Some((id, Kind::Data)) = name.filter(|(id, _)| !known.contains(id)) else {
                continue;
            };
            let log = with_log(&path);
            let log = log.try_exists()?.then_some(log);
            let opened = open(&path, log.as_deref(), Some(id));
            if !opened.as_ref().is_ok_and(|file| file.size == 0) {
                found.push(Nameless { name: format!("unsent file {}", id.0), found: opened });
            }
        }
        for path in entries(&self.lost_and_found)? {
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            if is_log && path.with_extension("").try_exists()? {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let id = name.strip_prefix("unsent file ").and_then(|id| id.parse().ok());
            let log = with_log(&path);
            let log = log.try_exists()?.then_some(log);
            let opened = open(&path, log.as_deref(), id.map(StagingId));
            found.push(Nameless { name, found: opened });
        }
        Ok(found)
    }
}

/// Without the id of the file its log cannot be read, and without the log it is not known which parts
/// are its own: what is here is given all the same.
fn open(path: &Path, log: Option<&Path>, id: Option<StagingId>) -> Result<Salvaged, StagingError> {
    let file = File::open(path).map_err(|error| lost(id.unwrap_or(StagingId(0)), error))?;
    let size = file.metadata()?.len();
    let Some(log) = log else { return Ok(Salvaged { file, size, parts: None }) };
    let replayed = match (id, File::open(log)) {
        (Some(id), Ok(log)) => Log::replay(&log, id)?.0,
        (Some(_), Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error.into());
        }
        _ => None,
    };
    let Some(replayed) = replayed else {
        return Ok(Salvaged { file, size, parts: Some(Vec::new()) });
    };
    if replayed.whole {
        return Ok(Salvaged { file, size, parts: None });
    }
    let mut parts: Extents = replayed.written;
    parts.insert(ByteRange::new(replayed.base_len, replayed.size));
    let size = replayed.size;
    let parts = parts.covered(ByteRange::new(0, size));
    Ok(Salvaged { file, size, parts: Some(parts) })
}

/// The files in a directory, in the order of their names; none if it is not there.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
