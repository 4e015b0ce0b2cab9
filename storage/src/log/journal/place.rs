//! Where an entry is.

use std::io;

use redb::StorageBackend;

/// Where an entry's record is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) struct Place {
    /// From the beginning of the file.
    pub(in crate::log) at: u64,
    pub(in crate::log) bytes: u32,
    /// CRC-32 of the record.
    pub(super) check: u32,
}

impl Place {
    /// The record; `InvalidData`: another one is there, or it is damaged.
    pub(in crate::log) fn read(&self, file: &dyn StorageBackend) -> io::Result<Vec<u8>> {
        let mut record = vec![0; self.bytes as usize];
        file.read(self.at, &mut record)?;
        if crc32fast::hash(&record) != self.check {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the record at {} is damaged", self.at)));
        }
        Ok(record)
    }
}
