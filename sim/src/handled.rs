//! What became of dead letters in their owner's hands. The outbox only knows that they are gone; whoever counts rows must know
//! whether they were said again or thrown away.
//!
//! Noted durably **before** the letters are touched. A crash in between leaves letters that are noted and still there: what is there
//! counts as there, whatever is noted.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twin_gateway::{Class, DeadLetter};

use crate::limits::HANDLED_MAX;
use crate::state_file;

/// The file in the state folder.
const FILE: &str = "handled.json";
const VERSION: u32 = 1;

/// What was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    /// Said again, as a new message.
    Replayed,
    /// Thrown away.
    Discarded,
}

/// A letter that was handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) device: String,
    /// How many messages of state it covered.
    pub(crate) rows: u64,
    pub(crate) how: How,
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    letters: BTreeMap<u64, Entry>,
}

/// Why the note cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HandledError {
    /// The file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// What it says.
    #[error("{} is not what this program wrote: {message}; move it away, and what it said of dead letters is forgotten", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// Letters that were handled, by their number.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Handled(BTreeMap<u64, Entry>);

impl Handled {
    pub(crate) fn load(folder: &Path) -> Result<Self, HandledError> {
        let path = folder.join(FILE);
        let bytes = match state_file::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(HandledError::File { path, source }),
        };
        let written: Result<Written, _> = serde_json::from_slice(&bytes);
        match written {
            Ok(written) if written.version == VERSION => Ok(Self(written.letters)),
            Ok(Written { version, .. }) => {
                let message = format!("version {version}, this release writes {VERSION}");
                Err(HandledError::Content { path, message })
            }
            Err(error) => Err(HandledError::Content { path, message: error.to_string() }),
        }
    }

    pub(crate) fn save(&self, folder: &Path) -> Result<(), HandledError> {
        let path = folder.join(FILE);
        let written = Written { version: VERSION, letters: self.0.clone() };
        serde_json::to_vec(&written)
            .map_err(io::Error::from)
            .and_then(|bytes| state_file::write(folder, FILE, &bytes))
            .map_err(|source| HandledError::File { path, source })
    }

    /// What was done with it last is what counts. Past the bound the oldest are forgotten.
    pub(crate) fn note(&mut self, number: u64, letter: &DeadLetter, how: How) {
        let rows = match letter.class {
            Class::State => rows_of(letter),
            Class::Event | Class::Alarm => 0,
        };
        self.0.insert(number, Entry { device: letter.twin.to_string(), rows, how });
        while self.0.len() > HANDLED_MAX {
            self.0.pop_first();
        }
    }

    /// Nothing was done with it.
    pub(crate) fn forget(&mut self, number: u64) {
        self.0.remove(&number);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.0.iter().map(|(number, entry)| (*number, entry))
    }
}

/// How many messages it covered.
pub(crate) fn rows_of(letter: &DeadLetter) -> u64 {
    letter.last.get() - letter.first.get() + 1
}

#[cfg(test)]
mod tests {
    use twin_core::ids::TwinId;
    use twin_core::numbers::{Seq, Stay};

    use super::*;

    fn letter(first: u64, last: u64) -> DeadLetter {
        DeadLetter {
            twin: TwinId::new("d").unwrap(),
            class: Class::State,
            stay: Stay::default(),
            first: Seq::new(first),
            last: Seq::new(last),
            code: "x".into(),
            message: String::new(),
            body: None,
        }
    }

    #[test]
    fn what_is_saved_is_loaded_again_and_the_last_word_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Handled::load(folder.path()).unwrap(), Handled::default());
        let mut handled = Handled::default();
        handled.note(7, &letter(1, 3), How::Replayed);
        handled.note(7, &letter(1, 3), How::Discarded);
        handled.save(folder.path()).unwrap();
        let loaded = Handled::load(folder.path()).unwrap();
        assert_eq!(loaded, handled);
        let entries: Vec<_> = loaded.iter().collect();
        assert_eq!(entries, [(7, &Entry { device: "d".into(), rows: 3, how: How::Discarded })]);
        std::fs::write(folder.path().join(FILE), "{}").unwrap();
        assert!(Handled::load(folder.path()).unwrap_err().to_string().contains("handled.json"));
    }

    #[test]
    fn the_list_has_a_bound() {
        let mut handled = Handled::default();
        for number in 0..HANDLED_MAX as u64 + 5 {
            handled.note(number, &letter(1, 1), How::Discarded);
        }
        assert_eq!((handled.iter().count(), handled.iter().next().map(|(number, _)| number)), (HANDLED_MAX, Some(5)));
    }
}
