//! Decoding without copying: byte strings that are slices of the record they stand in.
//!
//! A start reads every entry since the last checkpoint back, and most of its rows are replaced by later ones before anybody looks at
//! them. So a row's key and value are not given buffers of their own while an entry is decoded; whoever keeps one copies it.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};

thread_local! {
    /// The record that this thread decodes.
    static RECORD: RefCell<Option<Bytes>> = const { RefCell::new(None) };
}

/// Makes what `decode` gives [`bytes()`] to read slices of `record`, where they lie in it.
pub(crate) fn within<T>(record: &Bytes, decode: impl FnOnce() -> T) -> T {
    /// Also where decoding panics: the next record of this thread is another one.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            RECORD.set(None);
        }
    }
    let _reset = Reset;
    RECORD.set(Some(record.clone()));
    decode()
}

/// The bytes as a slice of the record, if they lie in it.
fn shared(bytes: &[u8]) -> Option<Bytes> {
    RECORD.with_borrow(|record| {
        let record = record.as_ref()?;
        let from = bytes.as_ptr().addr().checked_sub(record.as_ptr().addr())?;
        let to = from.checked_add(bytes.len())?;
        (to <= record.len()).then(|| record.slice(from..to))
    })
}

struct Slice;

impl<'de> Visitor<'de> for Slice {
    type Value = Bytes;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("byte string")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Bytes, E> {
        Ok(shared(bytes).unwrap_or_else(|| Bytes::copy_from_slice(bytes)))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }
}

/// For `deserialize_with`: a byte string.
pub(crate) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_bytes(Slice)
}

/// For `deserialize_with`: a byte string, or nothing.
pub(crate) fn optional_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    #[derive(Deserialize, Serialize)]
    #[serde(transparent)]
    struct Inner(#[serde(deserialize_with = "bytes")] Bytes);
    Ok(Option::<Inner>::deserialize(deserializer)?.map(|inner| inner.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::entry::RowChange;
    use crate::families::Family;

    fn row() -> RowChange {
        RowChange::put(Family::TwinHot, Bytes::from_static(b"label-1"), Bytes::from(vec![7; 500]))
    }

    #[test]
    fn the_rows_of_a_record_are_slices_of_it() {
        let rows = vec![row(), RowChange::delete(Family::Home, Bytes::from_static(b"label-2"))];
        let record = Bytes::from(codec::encode(&rows, 0).expect("rows encode"));
        let decode = || codec::decode::<Vec<RowChange>>(&record).expect("it was just written");
        let decoded = within(&record, decode);
        assert_eq!(decoded, rows);
        let value = decoded[0].value.as_ref().expect("it was put");
        assert!(record.as_ptr_range().contains(&value.as_ptr()), "not copied");
        assert!(record.as_ptr_range().contains(&decoded[1].key.as_ptr()), "not copied");
        assert_eq!(decode(), rows, "and by itself it is copied");
    }

    #[test]
    fn bytes_that_lie_elsewhere_are_copied() {
        let (record, other) = (Bytes::from(vec![0; 64]), codec::encode(&row(), 0).expect("rows encode"));
        let decoded: RowChange = within(&record, || codec::decode(&other).expect("it was just written"));
        assert_eq!(decoded, row());
    }
}
