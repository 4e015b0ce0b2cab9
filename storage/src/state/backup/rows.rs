//! How rows lie in a backup: family (1 byte), length of the key (2), length of the value (4; all bits set: the row is gone), key, value.
//! Numbers are big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::BackupError;
use crate::families::Family;
use crate::limits::KEY_BYTES_MAX;

/// Instead of a value's length.
const GONE: u32 = u32::MAX;
/// Bytes before key and value.
const HEAD_BYTES: usize = 7;

/// A row as a backup has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRow {
    /// The key family.
    pub family: Family,
    /// The key, without the group.
    pub key: Bytes,
    /// The value; `None`: the row is gone, if it came before.
    pub value: Option<Bytes>,
}

/// Rows on their way into a backup.
#[derive(Debug, Default)]
pub(super) struct RowsChunk {
    pub(super) count: u32,
    pub(super) bytes: BytesMut,
}

impl RowsChunk {
    pub(super) fn put(&mut self, family: Family, key: &[u8], value: Option<&[u8]>) {
        self.bytes.reserve(HEAD_BYTES + key.len() + value.map_or(0, <[u8]>::len));
        self.bytes.put_u8(family.number());
        self.bytes.put_u16(key.len() as u16);
        self.bytes.put_u32(value.map_or(GONE, |value| value.len() as u32));
        self.bytes.put_slice(key);
        self.bytes.put_slice(value.unwrap_or_default());
        self.count += 1;
    }
}

/// What one row takes in a backup.
pub(super) fn row_bytes(key: usize, value: usize) -> u64 {
    (HEAD_BYTES + key + value) as u64
}

/// Reads the rows of a [`super::BackupChunk::Rows`] back.
pub fn read_rows(mut bytes: Bytes) -> Result<Vec<BackupRow>, BackupError> {
    let malformed = |why: &'static str| BackupError::Malformed(why);
    let mut rows = Vec::new();
    while bytes.has_remaining() {
        if bytes.remaining() < HEAD_BYTES {
            return Err(malformed("a row is cut short"));
        }
        let number = bytes.get_u8();
        let family = Family::from_number(number).ok_or(BackupError::Family(number))?;
        let (key, value) = (usize::from(bytes.get_u16()), bytes.get_u32());
        let value_bytes = if value == GONE { 0 } else { value as usize };
        if key == 0 || key > KEY_BYTES_MAX || bytes.remaining() < key.saturating_add(value_bytes) {
            return Err(malformed("a row is longer than what holds it"));
        }
        let key = bytes.split_to(key);
        let content = bytes.split_to(value_bytes);
        rows.push(BackupRow { family, key, value: (value != GONE).then_some(content) });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_as_they_were_put_and_what_is_cut_is_refused() {
        let mut chunk = RowsChunk::default();
        chunk.put(Family::TwinHot, b"label-1", Some(b"hot"));
        chunk.put(Family::Home, b"label-2", None);
        chunk.put(Family::Site, b"s", Some(b""));
        assert_eq!(chunk.count, 3);
        let bytes = chunk.bytes.freeze();
        let rows = read_rows(bytes.clone()).expect("just written");
        assert_eq!(rows.len(), 3);
        assert_eq!((rows[0].key.as_ref(), rows[0].value.as_deref()), (&b"label-1"[..], Some(&b"hot"[..])));
        assert_eq!((rows[1].family, &rows[1].value), (Family::Home, &None));
        assert_eq!(rows[2].value.as_deref(), Some(&b""[..]));
        let whole_rows = [7 + 7 + 3, 2 * 14 + 3, bytes.len()];
        for at in (1..bytes.len()).filter(|at| !whole_rows.contains(at)) {
            assert!(read_rows(bytes.slice(..at)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_family_of_a_newer_release_is_named() {
        let refused = read_rows(Bytes::from_static(&[99, 0, 1, 0, 0, 0, 0, b'x'])).expect_err("nobody knows it");
        assert!(refused.to_string().contains("99"), "{refused}");
    }
}
