//! A recording: a CSV file that stands for one device.

use std::fs::File;
use std::path::{Path, PathBuf};

use csv::StringRecord;
use twin_core::ids::TwinId;

use super::bounded_read::BoundedRead;
use super::columns::Columns;
use super::recording_error::{RecordingError, Wrong};
use super::row::Row;
use crate::limits::READ_BYTES;

/// A recording that was read through once: every row of it can be reported.
#[derive(Clone, Debug)]
pub struct Recording {
    path: PathBuf,
    device: TwinId,
    source: String,
    rows: u64,
}

impl Recording {
    /// Names the device after the file's stem and reads the file through, so that a wrong row is found before the first one is
    /// reported.
    pub fn check(path: &Path) -> Result<Self, RecordingError> {
        let wrong = |wrong| RecordingError::new(path, wrong);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).ok_or_else(|| wrong(Wrong::Stem))?;
        let device = TwinId::new(stem).map_err(|error| wrong(Wrong::Name(error)))?;
        let mut rows = Rows::open(path)?;
        let mut fingerprint = rows.columns.fingerprint();
        for row in rows.by_ref() {
            let row = row?;
            if row.number == 1 {
                fingerprint = row.fingerprint(fingerprint);
            }
        }
        // A source is a device and what its recording begins with: another recording of the same name starts at its own first
        // row, and one that has grown goes on.
        let source = format!("{device}#{fingerprint:016x}");
        Ok(Self { path: path.to_owned(), device, source, rows: rows.next_number - 1 })
    }

    /// Checks all files. Two with one stem would be one device with two stories, so they are refused.
    pub fn check_all(paths: &[PathBuf]) -> Result<Vec<Self>, RecordingError> {
        let mut recordings: Vec<Self> = Vec::with_capacity(paths.len());
        for path in paths {
            let recording = Self::check(path)?;
            if let Some(other) = recordings.iter().find(|other| other.device == recording.device) {
                let wrong = Wrong::SameDevice { other: other.path.clone(), device: recording.device };
                return Err(RecordingError::new(path, wrong));
            }
            recordings.push(recording);
        }
        Ok(recordings)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The device that it stands for: the file's stem.
    pub fn device(&self) -> &TwinId {
        &self.device
    }

    /// The name under which its position is kept.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Rows below the header.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The rows after the first `done` ones.
    pub fn rows_after(&self, done: u64) -> Result<Rows, RecordingError> {
        if done > self.rows {
            let wrong = Wrong::Shrunk { rows: self.rows, done };
            return Err(RecordingError::new(&self.path, wrong));
        }
        let mut rows = Rows::open(&self.path)?;
        while rows.next_number <= done {
            match rows.next() {
                Some(row) => drop(row?),
                None => return Err(RecordingError::new(&self.path, Wrong::Changed { rows: self.rows })),
            }
        }
        rows.expected = Some(self.rows);
        Ok(rows)
    }
}

/// The rows of a file, in its order.
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    reader: csv::Reader<BoundedRead<File>>,
    columns: Columns,
    record: StringRecord,
    next_number: u64,
    /// How many there were when the file was checked.
    expected: Option<u64>,
    ended: bool,
}

impl Rows {
    fn open(path: &Path) -> Result<Self, RecordingError> {
        let wrong = |wrong| RecordingError::new(path, wrong);
        let metadata = std::fs::metadata(path).map_err(|error| wrong(Wrong::Read(error)))?;
        if !metadata.is_file() {
            return Err(wrong(Wrong::NotAFile));
        }
        let file = File::open(path).map_err(|error| wrong(Wrong::Read(error)))?;
        let mut reader = csv::ReaderBuilder::new().buffer_capacity(READ_BYTES).from_reader(BoundedRead::new(file));
        let header = reader.headers().map_err(|error| wrong(Wrong::from_csv(error, 1)))?;
        let columns = Columns::of(header).map_err(wrong)?;
        let record = StringRecord::new();
        Ok(Self { path: path.to_owned(), reader, columns, record, next_number: 1, expected: None, ended: false })
    }

    fn read(&mut self) -> Result<Option<Row>, RecordingError> {
        let wrong = |wrong| RecordingError::new(&self.path, wrong);
        let from_byte = self.reader.position().byte();
        self.reader.get_mut().next_row();
        let read = self.reader.read_record(&mut self.record);
        let line = self.reader.get_mut().line_at(from_byte);
        let more = read.map_err(|error| wrong(Wrong::from_csv(error, line)))?;
        if !more {
            return match self.expected {
                Some(expected) if self.next_number <= expected => Err(wrong(Wrong::Changed { rows: expected })),
                _ => Ok(None),
            };
        }
        if self.expected.is_some_and(|expected| self.next_number > expected) {
            // It has grown since it was checked; the next run takes the rest.
            return Ok(None);
        }
        let reported = self.columns.reported(&self.record, line).map_err(wrong)?;
        let row = Row { number: self.next_number, line, reported };
        self.next_number += 1;
        Ok(Some(row))
    }
}

impl Iterator for Rows {
    type Item = Result<Row, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.read().transpose();
        // A file that could not be read on is not read on: its rows would be miscounted.
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}
