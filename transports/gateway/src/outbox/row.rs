//! A row of messages that were appended together.
//!
//! Each message is a fixed prefix (length of the body, its place in the chunk, length of the header), the [`Header`], and the
//! body. A row that is rewritten without the messages that are done keeps the places of the others.

use std::ops::Range;

use twin_core::ids::TwinId;
use twin_core::numbers::{Seq, Stay};
use twin_transports::codec::pack;

use crate::outbox::dictionary::PathsNeeded;
use crate::outbox::format::{Class, Header};

/// Bytes before a header.
const PREFIX_BYTES: usize = 8;

/// A row that this release cannot read.
#[derive(Debug, thiserror::Error)]
#[error("chunk {key} in the outbox cannot be read: {message}")]
pub(crate) struct RowError {
    pub(crate) key: u64,
    pub(crate) message: String,
}

/// What is written of a message besides its body.
pub(crate) struct Stamp<'a> {
    pub(crate) twin: &'a TwinId,
    pub(crate) stay: Stay,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    pub(crate) class: Class,
    pub(crate) paths: PathsNeeded,
}

/// Appends a message; returns where its body begins and how many bytes it takes in all.
pub(crate) fn push(row: &mut Vec<u8>, place: u16, stamp: &Stamp<'_>, body: &[u8]) -> (u32, u32) {
    let start = row.len();
    row.extend_from_slice(&(body.len() as u32).to_le_bytes());
    row.extend_from_slice(&place.to_le_bytes());
    row.extend_from_slice(&[0; 2]);
    // A `Header`, by hand: it is written for every message.
    pack::array(row, 6);
    pack::text(row, stamp.twin.as_str());
    pack::array(row, 2);
    pack::uint(row, stamp.stay.boot.get());
    pack::uint(row, u64::from(stamp.stay.counter));
    pack::uint(row, stamp.first.get());
    pack::uint(row, stamp.last.get() - stamp.first.get());
    pack::text(
        row,
        match stamp.class {
            Class::State => "s",
            Class::Event => "e",
            Class::Alarm => "a",
        },
    );
    pack::uint(row, u64::from(stamp.paths));
    // A twin id has at most 128 bytes, so a header is far below 64 KiB.
    let header_bytes = (row.len() - start - PREFIX_BYTES) as u16;
    row[start + 6..start + PREFIX_BYTES].copy_from_slice(&header_bytes.to_le_bytes());
    let at = row.len();
    row.extend_from_slice(body);
    (at as u32, (row.len() - start) as u32)
}

/// A message as it lies in a row.
#[derive(Clone, Debug)]
pub(crate) struct Laid {
    /// Its place in the chunk.
    pub(crate) place: u32,
    pub(crate) header: Range<usize>,
    pub(crate) body: Range<usize>,
    /// With its prefix.
    pub(crate) all: Range<usize>,
}

/// The messages of a row, until the first that does not fit.
pub(crate) fn messages(key: u64, row: &[u8]) -> impl Iterator<Item = Result<Laid, RowError>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= row.len() {
            return None;
        }
        let laid = laid(row, at).ok_or_else(|| RowError { key, message: format!("it is cut off at byte {at}") });
        at = laid.as_ref().map_or(row.len(), |laid| laid.all.end);
        Some(laid)
    })
}

fn laid(row: &[u8], at: usize) -> Option<Laid> {
    let prefix = row.get(at..at + PREFIX_BYTES)?;
    let body_bytes = u32::from_le_bytes(prefix[..4].try_into().ok()?) as usize;
    let place = u32::from(u16::from_le_bytes(prefix[4..6].try_into().ok()?));
    let header_bytes = usize::from(u16::from_le_bytes(prefix[6..].try_into().ok()?));
    let header = at + PREFIX_BYTES..at + PREFIX_BYTES + header_bytes;
    let body = header.end..header.end + body_bytes;
    (body.end <= row.len()).then_some(Laid { place, all: at..body.end, header, body })
}

/// Reads a header. Its last number is one.
pub(crate) fn decode_header(key: u64, bytes: &[u8]) -> Result<Header, RowError> {
    let header: Header = rmp_serde::from_slice(bytes).map_err(|error| RowError { key, message: error.to_string() })?;
    if header.first.get().checked_add(header.more).is_none() {
        let message = format!("number {} and {} more are no numbers", header.first.get(), header.more);
        return Err(RowError { key, message });
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use twin_core::numbers::Boot;

    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written_and_a_cut_one_is_told() {
        let mut row = Vec::new();
        let twin = TwinId::new("label-1").unwrap();
        let stamp = |first: u64| Stamp {
            twin: &twin,
            stay: Stay { boot: Boot::new(3), counter: 2 },
            first: Seq::new(first),
            last: Seq::new(first + 1),
            class: Class::State,
            paths: u32::MAX,
        };
        let (at, _) = push(&mut row, 0, &stamp(7), b"body");
        push(&mut row, 300, &stamp(9), b"");
        let read: Vec<Laid> = messages(1, &row).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.iter().map(|laid| laid.place).collect::<Vec<_>>(), [0, 300]);
        assert_eq!((&row[read[0].body.clone()], read[0].body.start), (&b"body"[..], at as usize));
        let header = decode_header(1, &row[read[1].header.clone()]).unwrap();
        let expected = Header {
            twin: twin.clone(),
            stay: stamp(0).stay,
            first: Seq::new(9),
            more: 1,
            class: Class::State,
            paths: u32::MAX,
        };
        assert_eq!(header, expected);
        assert_eq!(rmp_serde::to_vec(&expected).unwrap(), row[read[1].header.clone()], "as a record is written");
        for cut in 1..row.len() {
            let read: Vec<_> = messages(1, &row[..cut]).collect();
            assert!(read.last().is_some_and(Result::is_err) || cut == read.last().unwrap().as_ref().unwrap().all.end);
        }
    }
}
