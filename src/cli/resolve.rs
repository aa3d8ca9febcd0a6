//! `ncfs resolve`: settles a conflict.
//!
//! It does in the mount what people would do by hand, one rename or removal for each copy, so that a
//! crash leaves a conflict settled or as it was. What changed on the server meanwhile is not
//! overwritten, as with any change.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::args::exit_codes;
use super::locate::locate;
use super::output::print;
use crate::failure::{ExitCode, Failure};
use crate::sync::{numbered, original_name};
use crate::types::Name;

/// Settle a conflict: keep the content written here, the server's, or both.
///
/// Where both sides changed a file, the server's content has its name, and what was written here is
/// beside it as "NAME (conflicted copy DATE TIME)". ncfs problems lists them.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("keep").required(true), after_help = exit_codes())]
pub struct ResolveArgs {
    /// The conflict copy, or the file that it belongs to
    pub path: PathBuf,

    /// The copy takes the place of the file, on the server as a new version of it
    #[arg(long, group = "keep")]
    pub keep_mine: bool,

    /// The copies are removed; of those that were sent, the server keeps the last in its trash bin
    /// where it has one
    #[arg(long, group = "keep")]
    pub keep_theirs: bool,

    /// The copies get numbered names, such as "NAME (2)", and are files like others
    #[arg(long, group = "keep")]
    pub keep_both: bool,
}

pub fn run(args: &ResolveArgs) -> Result<ExitCode, Failure> {
    let (record, below) = locate(&args.path)?;
    let path = below.0.iter().fold(record.mountpoint, |path, name| {
        path.join(std::ffi::OsStr::from_bytes(name.as_bytes()))
    });
    let conflict = Conflict::at(&path)?;
    if args.keep_mine {
        conflict.keep_mine()?;
    } else if args.keep_theirs {
        conflict.keep_theirs()?;
    } else {
        conflict.keep_both()?;
    }
    Ok(ExitCode::Success)
}

/// A file and what was written here while it changed elsewhere.
struct Conflict {
    directory: PathBuf,
    /// Its name; of a copy in `.git/ncfs-conflicts`, or whose name was cut, there is no such file.
    original: Name,
    copies: Vec<PathBuf>,
}

impl Conflict {
    fn at(path: &Path) -> Result<Self, Failure> {
        let nothing = || {
            let sentence = format!(
                "{} is no conflict copy, and none is beside it; ncfs problems lists conflicts",
                path.display()
            );
            Failure::new(ExitCode::Usage, sentence)
        };
        let directory = path.parent().ok_or_else(nothing)?.to_owned();
        let name = name_of(path).ok_or_else(nothing)?;
        let (original, copies) = match original_name(&name) {
            Some(original) if path.symlink_metadata().is_ok() => (original, vec![path.to_owned()]),
            _ => {
                let copies = copies_of(&name, &directory).map_err(failed(&directory))?;
                (name, copies)
            }
        };
        if copies.is_empty() {
            return Err(nothing());
        }
        if let Some(tree) = copies.iter().find(|copy| copy.is_dir() && !copy.is_symlink()) {
            let sentence = format!(
                "{} is a directory: compare the two, and move or remove it by hand",
                tree.display()
            );
            return Err(Failure::new(ExitCode::Usage, sentence));
        }
        Ok(Self { directory, original, copies })
    }

    fn original(&self) -> PathBuf {
        self.directory.join(std::ffi::OsStr::from_bytes(self.original.as_bytes()))
    }

    fn keep_mine(&self) -> Result<(), Failure> {
        let original = self.original();
        let [copy] = &self.copies[..] else {
            let names: Vec<_> = self.copies.iter().map(|copy| shown(copy)).collect();
            let sentence = format!(
                "there are several copies of {}: name the one to keep: {}",
                original.display(),
                names.join(", ")
            );
            return Err(Failure::new(ExitCode::Usage, sentence));
        };
        if original.symlink_metadata().is_err() {
            let sentence = format!(
                "there is no {}, so the file that {} belongs to is not known; move it by hand",
                original.display(),
                copy.display()
            );
            return Err(Failure::new(ExitCode::Usage, sentence));
        }
        fs::rename(copy, &original).map_err(failed(copy))?;
        print(&format!("{} has the content of the copy", shown(&original)))
    }

    fn keep_theirs(&self) -> Result<(), Failure> {
        for copy in &self.copies {
            fs::remove_file(copy).map_err(failed(copy))?;
            print(&format!("{} is removed", shown(copy)))?;
        }
        Ok(())
    }

    fn keep_both(&self) -> Result<(), Failure> {
        for copy in &self.copies {
            let kept = self.number(copy).map_err(failed(copy))?;
            print(&format!("{} is now {}", shown(copy), shown(&kept)))?;
        }
        Ok(())
    }

    /// Gives a copy the first name that is free.
    fn number(&self, copy: &Path) -> io::Result<PathBuf> {
        for number in 2..=u32::MAX {
            let Some(name) = numbered(&self.original, number) else { break };
            let free = self.directory.join(std::ffi::OsStr::from_bytes(name.as_bytes()));
            match renameat2(AT_FDCWD, copy, AT_FDCWD, &free, RenameFlags::RENAME_NOREPLACE) {
                Ok(()) => return Ok(free),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::other("no other name is free"))
    }
}

fn copies_of(original: &Name, directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if name_of(&path).and_then(|name| original_name(&name)).as_ref() == Some(original) {
            copies.push(path);
        }
    }
    copies.sort();
    Ok(copies)
}

fn name_of(path: &Path) -> Option<Name> {
    Name::new(path.file_name()?.as_bytes()).ok()
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |cause| {
        let sentence = format!("{}: {cause}; nothing was lost", path.display());
        Failure::new(ExitCode::Other, sentence)
    }
}
