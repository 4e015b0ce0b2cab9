//! One series of the audit log: files of bounded size, of which the oldest goes when there are too many.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use twin_small_file::read_small_file;

use super::line::{Kind, Line};
use crate::limits::{AUDIT_FILE_BYTES_MAX, AUDIT_FILE_READ_BYTES_MAX, AUDIT_FILES_MAX};

/// The series' newest file, open at its end.
#[derive(Debug)]
pub(super) struct Series {
    dir: PathBuf,
    kind: Kind,
    file: File,
    /// What is whole in the newest file.
    bytes: u64,
    /// Numbers of the files, oldest first. Never empty.
    numbers: VecDeque<u64>,
    /// Something is not synced.
    dirty: bool,
}

/// Name of a file: numbers sort as text.
fn path(dir: &Path, kind: Kind, number: u64) -> PathBuf {
    dir.join(format!("{}-{number:010}.jsonl", kind.as_str()))
}

/// The numbers of a series' files, ascending.
fn numbers(dir: &Path, kind: Kind) -> io::Result<VecDeque<u64>> {
    let prefix = format!("{}-", kind.as_str());
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".jsonl")?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers.into())
}

/// The series' files, newest first. Files may go while they are read.
pub(super) fn newest_first(dir: &Path, kind: Kind) -> io::Result<impl Iterator<Item = PathBuf>> {
    Ok(numbers(dir, kind)?.into_iter().rev().map(move |number| path(dir, kind, number)).collect::<Vec<_>>().into_iter())
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

impl Series {
    /// Opens the series, and says which number its last line has.
    pub(super) fn open(dir: &Path, kind: Kind) -> io::Result<(Self, u64)> {
        let mut numbers = numbers(dir, kind)?;
        if numbers.is_empty() {
            numbers.push_back(1);
        }
        // The newest may have been made just before a crash.
        let last =
            numbers.iter().rev().find_map(|number| last_line(&path(dir, kind, *number)).transpose()).transpose()?;
        let newest = numbers.back().copied().unwrap_or(1);
        let newest = path(dir, kind, newest);
        let content = content_of(&newest)?.unwrap_or_default();
        let file = open_file(&newest)?;
        // A crash may have left a part of a line: what follows must not be read as its end.
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) as u64;
        if whole < content.len() as u64 {
            file.set_len(whole)?;
        }
        let series = Self { dir: dir.to_owned(), kind, file, bytes: whole, numbers, dirty: false };
        Ok((series, last.map_or(0, |line| line.n)))
    }

    /// Appends a line, which ends with its line feed: all of it, or nothing.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > AUDIT_FILE_BYTES_MAX {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(line) {
            // A part of it may be there. If it cannot be cut off, the next line ends it, and reading skips what is no line.
            if self.file.set_len(self.bytes).is_err() {
                let _ = self.file.write_all(b"\n");
                self.bytes = self.file.seek(SeekFrom::End(0)).unwrap_or(self.bytes);
            }
            return Err(error);
        }
        self.bytes += line.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// Puts on the disk what was appended.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let number = self.numbers.back().map_or(1, |number| number + 1);
        self.file = open_file(&path(&self.dir, self.kind, number))?;
        self.bytes = 0;
        self.numbers.push_back(number);
        // The file's name is durable only with its folder.
        File::open(&self.dir)?.sync_all()?;
        while self.numbers.len() > AUDIT_FILES_MAX
            && let Some(oldest) = self.numbers.pop_front()
        {
            // One that cannot be removed now is not counted any more, but found at the next start.
            let _ = fs::remove_file(path(&self.dir, self.kind, oldest));
        }
        Ok(())
    }
}

fn last_line(path: &Path) -> io::Result<Option<Line>> {
    let content = content_of(path)?;
    Ok(content
        .and_then(|content| content.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice(line).ok())))
}

/// All of a file; `None`: it is not there.
pub(super) fn content_of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_small_file(path, AUDIT_FILE_READ_BYTES_MAX).map_err(io::Error::from) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // Which of them it is, the system does not say.
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Record;

    fn line(n: u64) -> Vec<u8> {
        let line = Line { n, at: String::new(), record: Record::new(Kind::Changes, "x".repeat(400)) };
        let mut bytes = serde_json::to_vec(&line).unwrap();
        bytes.push(b'\n');
        bytes
    }

    #[test]
    fn a_torn_line_is_cut_off_and_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut series, last) = Series::open(dir.path(), Kind::Changes).unwrap();
        assert_eq!(last, 0);
        series.append(&line(1)).unwrap();
        series.append(&line(2)).unwrap();
        series.append(&line(3)[..50]).unwrap();
        drop(series);
        let (mut series, last) = Series::open(dir.path(), Kind::Changes).unwrap();
        assert_eq!(last, 2);
        series.append(&line(3)).unwrap();
        drop(series);
        assert_eq!(Series::open(dir.path(), Kind::Changes).unwrap().1, 3);
        assert_eq!(Series::open(dir.path(), Kind::Security).unwrap().1, 0, "another series");
    }

    #[test]
    fn a_series_has_a_bound_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let (mut series, _) = Series::open(dir.path(), Kind::Changes).unwrap();
        let per_file = AUDIT_FILE_BYTES_MAX / line(1).len() as u64;
        let lines = per_file * (AUDIT_FILES_MAX as u64 + 3);
        for n in 1..=lines {
            series.append(&line(n)).unwrap();
        }
        let files: Vec<_> = newest_first(dir.path(), Kind::Changes).unwrap().collect();
        assert_eq!(files.len(), AUDIT_FILES_MAX);
        for file in &files {
            assert!(fs::metadata(file).unwrap().len() <= AUDIT_FILE_BYTES_MAX);
        }
        assert_eq!(last_line(&files[0]).unwrap().unwrap().n, lines);
    }

    #[test]
    fn on_a_full_disk_a_line_is_refused_and_none_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let (mut series, _) = Series::open(dir.path(), Kind::Changes).unwrap();
        series.append(&line(1)).unwrap();
        let real = std::mem::replace(&mut series.file, OpenOptions::new().append(true).open("/dev/full").unwrap());
        let error = series.append(&line(2)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        series.file = real;
        series.append(&line(2)).unwrap();
        drop(series);
        assert_eq!(Series::open(dir.path(), Kind::Changes).unwrap().1, 2);
    }
}
