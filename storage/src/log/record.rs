//! An entry's record.

use std::io;

use bytes::Bytes;

use crate::codec;
use crate::consensus::Entry;
use crate::seal::Seal;
use crate::sharing;

/// What a sealed record is bound to.
fn place(group: u32, index: u64) -> [u8; 12] {
    let mut place = [0; 12];
    place[..4].copy_from_slice(&group.to_be_bytes());
    place[4..].copy_from_slice(&index.to_be_bytes());
    place
}

/// The record as it is written. `size_hint`: about as many bytes.
pub(super) fn make(seal: Option<&Seal>, group: u32, entry: &Entry, size_hint: usize) -> io::Result<Vec<u8>> {
    let record = codec::encode(entry, size_hint)?;
    Ok(match seal {
        None => record,
        Some(seal) => seal.seal(&[&place(group, entry.log_id.index)], &record),
    })
}

/// The entry. Its rows are slices of one buffer: whoever keeps some of them copies them.
pub(super) fn read(seal: Option<&Seal>, group: u32, index: u64, record: Vec<u8>) -> io::Result<Entry> {
    let record: Bytes = match seal {
        None => record.into(),
        Some(seal) => {
            let opened = seal.unseal(&[&place(group, index)], &record);
            opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?.into()
        }
    };
    let entry: Entry = sharing::within(&record, || codec::decode(&record))?;
    if entry.log_id.index == index {
        return Ok(entry);
    }
    let found = entry.log_id.index;
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("entry {found} of group {group} is in the place of {index}"),
    ))
}
