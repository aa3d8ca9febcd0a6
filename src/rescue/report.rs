//! What became of each file of a rescue, for people and for programs.

use std::fmt::{self, Display};

use serde::Serialize;

/// What became of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of it is in the target.
    Whole,
    /// Only what was written here; the rest of the copy is zeros.
    Partial,
    /// A new directory.
    Directory,
    /// Nothing of its content was unsent.
    OnServer,
    /// Has no content.
    Skipped,
    /// Its content is not there.
    Lost,
    /// It could not be read or written.
    Failed,
}

impl Outcome {
    /// Whether nothing of it is missing in the target.
    pub fn is_complete(self) -> bool {
        !matches!(self, Self::Partial | Self::Lost | Self::Failed)
    }
}

/// One file of a rescue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Below the mount point; bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// Below the target; null when nothing of it is there.
    pub saved_as: Option<String>,
    /// Bytes.
    pub size: u64,
    pub outcome: Outcome,
    /// Of a partial file: the parts that were written here, from and up to which byte.
    pub parts: Vec<(u64, u64)>,
    /// What happened, where the outcome does not say it.
    pub note: Option<String>,
}

impl Item {
    pub fn new(path: impl Display, outcome: Outcome) -> Self {
        let path = path.to_string().trim_start_matches('/').to_owned();
        Self { path, saved_as: None, size: 0, outcome, parts: Vec::new(), note: None }
    }

    pub fn failed(path: impl Display, error: impl Display) -> Self {
        Self::new(path, Outcome::Failed).because(error)
    }

    pub fn because(self, note: impl Display) -> Self {
        Self { note: Some(note.to_string()), ..self }
    }

    pub fn saved(self, saved_as: String) -> Self {
        Self { saved_as: Some(saved_as), ..self }
    }

    pub fn of(self, size: u64) -> Self {
        Self { size, ..self }
    }
}

/// What became of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub state_dir: String,
    /// Whose files they are; null when that cannot be read.
    pub account: Option<String>,
    /// Why names could not be read, if so: then everything is in `lost+found`.
    pub names_lost: Option<String>,
    pub items: Vec<Item>,
}

impl Report {
    /// Whether all that was unsent is in the target, under its name.
    pub fn is_complete(&self) -> bool {
        self.names_lost.is_none() && self.items.iter().all(|item| item.outcome.is_complete())
    }

    pub fn count(&self, outcome: Outcome) -> usize {
        self.items.iter().filter(|item| item.outcome == outcome).count()
    }
}

/// The list in the target.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Rescued from {}", self.state_dir)?;
        if let Some(account) = &self.account {
            writeln!(f, "Files of {account}")?;
        }
        if let Some(why) = &self.names_lost {
            writeln!(f, "Names could not be read ({why}): all content is in lost+found")?;
        }
        for item in &self.items {
            let what = match item.outcome {
                Outcome::Whole => "whole",
                Outcome::Partial => "PARTIAL",
                Outcome::Directory => "directory",
                Outcome::OnServer => "on server",
                Outcome::Skipped => "skipped",
                Outcome::Lost => "LOST",
                Outcome::Failed => "FAILED",
            };
            // One line a file, whatever is in its name.
            write!(f, "\n{what:<10} {:>12}  {}", item.size, line(&item.path))?;
            if let Some(saved) = item.saved_as.as_ref().filter(|saved| **saved != item.path) {
                write!(f, "\n{:>24}  as {}", "", line(saved))?;
            }
            if item.outcome == Outcome::Partial {
                let parts: Vec<_> =
                    item.parts.iter().map(|(from, to)| format!("{from}..{to}")).collect();
                let which = match parts.is_empty() {
                    true => "which bytes were written here is not known".to_owned(),
                    false => format!("only the bytes written here: {}", parts.join(", ")),
                };
                let rest = "the rest is zeros in this copy, and on the server";
                write!(f, "\n{:>24}  {which}; {rest}", "")?;
            }
            if let Some(note) = &item.note {
                write!(f, "\n{:>24}  {}", "", line(note))?;
            }
        }
        writeln!(f)
    }
}

fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
