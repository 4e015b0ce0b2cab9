//! What a gateway process was promised and told, written down so that it outlives its kill.
//!
//! A line is one `write` to the page cache, which a killed process cannot take back. `p DEVICE N`: report N is durable in the
//! outbox. `a DEVICE N`: report N was acked. `r DEVICE N`: refused for good, which the audit does not expect.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context as _;

/// The writing side.
pub(crate) struct Journal {
    file: Mutex<File>,
}

impl Journal {
    /// Opens it to go on at its end.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path).context("the journal")?;
        // Ends a line that a kill may have torn.
        file.write_all(b"\n")?;
        Ok(Self { file: Mutex::new(file) })
    }

    pub(crate) fn promised(&self, device: u32, number: u64) -> anyhow::Result<()> {
        self.write(&format!("p {device} {number}\n"))
    }

    pub(crate) fn acked(&self, device: u32, number: u64) -> anyhow::Result<()> {
        self.write(&format!("a {device} {number}\n"))
    }

    pub(crate) fn refused(&self, device: u32, number: u64) -> anyhow::Result<()> {
        self.write(&format!("r {device} {number}\n"))
    }

    fn write(&self, line: &str) -> anyhow::Result<()> {
        let mut file = self.file.lock().map_err(|_| anyhow::anyhow!("a writer of the journal panicked"))?;
        file.write_all(line.as_bytes()).context("the journal")
    }
}

/// How far one device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last report that is durable in the outbox.
    pub(crate) promised: u64,
    /// The last report that was acked.
    pub(crate) acked: u64,
}

/// The reading side: takes in what was added since it last looked.
#[derive(Debug)]
pub(crate) struct JournalReader {
    path: PathBuf,
    offset: u64,
    torn: String,
    devices: Vec<Progress>,
    /// Acks read so far; those that a kill kept from being written are not among them.
    acks: u64,
    refused: u64,
}

impl JournalReader {
    pub(crate) fn new(path: PathBuf, devices: u32) -> Self {
        let devices = vec![Progress::default(); devices as usize];
        Self { path, offset: 0, torn: String::new(), devices, acks: 0, refused: 0 }
    }

    /// Reads what is new. A journal that does not exist yet is empty.
    pub(crate) fn catch_up(&mut self) -> anyhow::Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).context("the journal"),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = std::mem::take(&mut self.torn);
        self.offset += file.read_to_string(&mut text)? as u64;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.torn = text.split_off(whole);
        for line in text.lines() {
            self.take(line);
        }
        Ok(())
    }

    /// A line that a kill tore says nothing.
    fn take(&mut self, line: &str) {
        let mut fields = line.split(' ');
        let (Some(kind), Some(device), Some(number)) = (fields.next(), fields.next(), fields.next()) else { return };
        let (Ok(device), Ok(number)) = (device.parse::<usize>(), number.parse::<u64>()) else { return };
        let Some(progress) = self.devices.get_mut(device) else { return };
        match kind {
            "p" => progress.promised = progress.promised.max(number),
            "a" => {
                self.acks += 1;
                progress.acked = progress.acked.max(number);
            }
            "r" => self.refused += 1,
            _ => {}
        }
    }

    pub(crate) fn devices(&self) -> &[Progress] {
        &self.devices
    }

    pub(crate) fn acks(&self) -> u64 {
        self.acks
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_in_pieces_and_a_torn_line_harms_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut reader = JournalReader::new(path.clone(), 2);
        reader.catch_up().unwrap();
        let journal = Journal::open(&path).unwrap();
        journal.promised(1, 7).unwrap();
        journal.write("a 1").unwrap();
        reader.catch_up().unwrap();
        assert_eq!(reader.devices(), [Progress::default(), Progress { promised: 7, acked: 0 }]);
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        journal.acked(0, 3).unwrap();
        journal.acked(9, 3).unwrap();
        journal.refused(1, 7).unwrap();
        reader.catch_up().unwrap();
        assert_eq!(reader.devices(), [Progress { promised: 0, acked: 3 }, Progress { promised: 7, acked: 0 }]);
        assert_eq!((reader.acks(), reader.refused()), (1, 1));
    }
}
