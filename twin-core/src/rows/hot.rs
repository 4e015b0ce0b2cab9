//! The hot row: the only one that a report writes. It is written for every report, so it is not taken apart and put together
//! again: `reported` goes from row to row as the bytes that it is stored in.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::Error as _;

use super::{FORMAT, RowError, RowKind};
use crate::mark::Mark;
use crate::msgpack::{Malformed, Reader};
use crate::numbers::AttachmentNo;
use crate::section::PackedReported;

/// What stands before `reported` fits into so many bytes, unless names are long.
const HEAD_BYTES: usize = 128;

/// All that a report writes. Stored as `[attachment, attached, mark, reported]`; what a newer release adds at the end is
/// skipped.
#[derive(Clone, Debug, PartialEq)]
pub struct HotRow {
    /// The latest attachment; before the first of a life, what numbers start above.
    pub attachment: AttachmentNo,
    /// The gateway of that attachment still serves the device, as far as it told.
    pub attached: bool,
    /// The mark of that attachment's gateway.
    pub mark: Option<Mark>,
    /// What the device reported.
    pub reported: PackedReported,
}

impl HotRow {
    /// As it is stored. `reported` shares the row's memory from then on.
    pub fn encode(&mut self) -> Bytes {
        let mut on_stack = [0; HEAD_BYTES];
        let mut room = &mut on_stack[..];
        if self.write_head(&mut room).is_some() {
            let length = HEAD_BYTES - room.len();
            return self.reported.row(&on_stack[..length]);
        }
        let mut head = Vec::with_capacity(2 * HEAD_BYTES);
        let written = self.write_head(&mut head);
        debug_assert!(written.is_some(), "a Vec takes every byte");
        self.reported.row(&head)
    }

    /// All before `reported`. `None`: there is no room.
    fn write_head(&self, out: &mut impl std::io::Write) -> Option<()> {
        out.write_all(&[FORMAT]).ok()?;
        rmp::encode::write_array_len(out, 4).ok()?;
        rmp::encode::write_uint(out, self.attachment.get()).ok()?;
        out.write_all(&[if self.attached { 0xc3 } else { 0xc2 }]).ok()?;
        rmp_serde::encode::write(out, &self.mark).ok()
    }

    /// From its stored form. `reported` shares the row's memory.
    pub fn decode(row: &Bytes) -> Result<Self, RowError> {
        match row.first() {
            None => Err(RowError::Empty { row: RowKind::Hot }),
            Some(&FORMAT) => {
                Self::read(&row.slice(1..)).map_err(|source| RowError::Damaged { row: RowKind::Hot, source })
            }
            Some(&found) => Err(RowError::Format { row: RowKind::Hot, found }),
        }
    }

    fn read(body: &Bytes) -> Result<Self, rmp_serde::decode::Error> {
        let wrong = |error: Malformed| rmp_serde::decode::Error::custom(format_args!("HotRow: {error}"));
        let mut reader = Reader::new(body);
        if reader.array().map_err(wrong)? < 4 {
            return Err(rmp_serde::decode::Error::custom("HotRow lacks a field"));
        }
        let attachment = AttachmentNo::new(reader.unsigned().map_err(wrong)?);
        let attached = reader.bool().map_err(wrong)?;
        let mark =
            Option::<Mark>::deserialize(&mut rmp_serde::Deserializer::from_read_ref(reader.raw().map_err(wrong)?))?;
        let (reported, _) = PackedReported::read(&body.slice(reader.at()..))?;
        Ok(Self { attachment, attached, mark, reported })
    }
}
