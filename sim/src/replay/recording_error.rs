//! What is wrong with a recording.

use std::io;
use std::path::{Path, PathBuf};

use twin_core::ids::{IdError, TwinId};
use twin_core::refusal::RuleViolation;

use super::bounded_read::RowTooLong;
use super::columns::TIMESTAMP;

/// A recording that cannot be replayed. Nothing of it was reported by this run, unless it changed under way.
#[derive(Debug, thiserror::Error)]
#[error("{}: {wrong}", path.display())]
pub struct RecordingError {
    path: PathBuf,
    wrong: Box<Wrong>,
}

impl RecordingError {
    pub(crate) fn new(path: &Path, wrong: Wrong) -> Self {
        Self { path: path.to_owned(), wrong: Box::new(wrong) }
    }

    /// Which file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What about it.
    pub fn wrong(&self) -> &Wrong {
        &self.wrong
    }
}

/// What about it.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// It has no name that is text.
    #[error("the file's name has no stem that is UTF-8; the stem names the device")]
    Stem,
    /// Its stem is no twin id.
    #[error("the file's stem names the device: {0}")]
    Name(IdError),
    /// Two files for one device.
    #[error("{} already stands for device {device}; rename one, or replay one after the other from two --state folders", other.display())]
    SameDevice {
        /// The other file.
        other: PathBuf,
        /// The device.
        device: TwinId,
    },
    /// A folder, a pipe.
    #[error("not a file; a recording is read twice (once to check it), so it must be one")]
    NotAFile,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// A row without an end.
    #[error("line {line}: {RowTooLong}")]
    TooLong {
        /// The line.
        line: u64,
    },
    /// Not text.
    #[error("line {line}: not UTF-8")]
    NotText {
        /// The line.
        line: u64,
    },
    /// Another number of cells than the header.
    #[error("line {line}: {found} cells where the header has {expected}")]
    Cells {
        /// The line.
        line: u64,
        /// Cells found.
        found: u64,
        /// Cells in the header.
        expected: u64,
    },
    /// Another complaint of the CSV reader.
    #[error("line {line}: not CSV: {message}")]
    Csv {
        /// The line.
        line: u64,
        /// What it says.
        message: String,
    },
    /// No timestamp column.
    #[error("the header has no column {TIMESTAMP:?}; the first line must name the columns")]
    NoTimestamp,
    /// A column twice.
    #[error("the header names column {name:?} twice; each is a property of the twin, so rename one")]
    ColumnTwice {
        /// The column.
        name: String,
    },
    /// A column that cannot be a property.
    #[error("column {name:?} cannot be a property of a twin: {rule}")]
    Column {
        /// The column.
        name: String,
        /// The rule that it breaks.
        rule: RuleViolation,
    },
    /// A column whose name is the twin's own.
    #[error("column {name:?} cannot be a property of a twin: names that begin with '$' are reserved")]
    ColumnReserved {
        /// The column.
        name: String,
    },
    /// A cell that is no number.
    #[error(
        "line {line}, column {column:?}: {cell:?} is not a number; leave the cell empty where nothing was measured"
    )]
    NotANumber {
        /// The line.
        line: u64,
        /// The column.
        column: String,
        /// The cell, or its beginning.
        cell: String,
    },
    /// A row that no twin would take.
    #[error("line {line}: {rule}")]
    Row {
        /// The line.
        line: u64,
        /// The rule that it breaks.
        rule: RuleViolation,
    },
    /// Fewer rows than were reported of it.
    #[error("has {rows} rows, but {done} were reported of it before; give the whole file, or another --state")]
    Shrunk {
        /// Rows now.
        rows: u64,
        /// Rows reported.
        done: u64,
    },
    /// It was cut while it was replayed.
    #[error("had {rows} rows when it was checked and has fewer now; leave the file alone during the replay")]
    Changed {
        /// Rows when checked.
        rows: u64,
    },
}

impl Wrong {
    /// What the CSV reader says of a row that begins at this line.
    pub(crate) fn from_csv(error: csv::Error, line: u64) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error)
                if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<RowTooLong>) =>
            {
                Self::TooLong { line }
            }
            csv::ErrorKind::Io(error) => Self::Read(error),
            csv::ErrorKind::Utf8 { .. } => Self::NotText { line },
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                Self::Cells { line, found: len, expected: expected_len }
            }
            other => Self::Csv { line, message: format!("{other:?}") },
        }
    }
}
