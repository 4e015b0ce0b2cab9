//! Any bytes as rows of an outbox, for its fuzz target: what a damaged file may hold is read with the decoders of a start and of a
//! session, and written as they write it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use twin_core::numbers::Seq;
use twin_core::path::Path;

use crate::outbox::body::{decode_body, encode_body};
use crate::outbox::dead_letters::DeadLetter;
use crate::outbox::dictionary::Dictionary;
use crate::outbox::format::{DeadLettersRow, FlashRow, Note, OutboxMeta, TwinRow, encode_record};
use crate::outbox::row::{Stamp, decode_header, messages, push};

/// The kinds of rows, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// A path of the dictionary.
    Path,
    Chunk,
    Note,
    Twin,
    DeadLetter,
    Meta,
    Flash,
    DeadLetters,
}

impl RowKind {
    const ALL: [Self; 8] =
        [Self::Path, Self::Chunk, Self::Note, Self::Twin, Self::DeadLetter, Self::Meta, Self::Flash, Self::DeadLetters];
}

/// Bytes before a row: its kind, and its length.
const HEAD_BYTES: usize = 5;

/// Reads rows, each behind its kind and its length, and writes them again: the dictionary's first, of which bodies may need more than
/// before. `None`: one of them cannot be read. For the fuzz target: what is written is read again, and written as the same.
#[doc(hidden)]
pub fn outbox_rows_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let rows = split(bytes);
    let paths = rows.iter().filter(|(kind, _)| *kind == RowKind::Path).map(|(_, row)| rmp_serde::from_slice(row).ok());
    let mut dictionary = Dictionary::load(paths.collect::<Option<Vec<Path>>>()?);
    let mut others = Vec::new();
    for (kind, row) in rows {
        let again = match kind {
            RowKind::Path => continue,
            RowKind::Chunk => chunk_again(row, &mut dictionary)?,
            RowKind::Note => record_again::<Note>(row)?,
            RowKind::Twin => record_again::<TwinRow>(row)?,
            RowKind::DeadLetter => record_again::<DeadLetter>(row)?,
            RowKind::Meta => record_again::<OutboxMeta>(row)?,
            RowKind::Flash => record_again::<FlashRow>(row)?,
            RowKind::DeadLetters => record_again::<DeadLettersRow>(row)?,
        };
        put(&mut others, kind, &again);
    }
    let mut out = Vec::new();
    dictionary.paths().iter().for_each(|path| put(&mut out, RowKind::Path, &encode_record(path)));
    out.extend(others);
    Some(out)
}

/// Appends a row as [`outbox_rows_again`] takes it.
pub(crate) fn put(out: &mut Vec<u8>, kind: RowKind, row: &[u8]) {
    out.push(kind as u8);
    out.extend_from_slice(&(row.len() as u32).to_be_bytes());
    out.extend_from_slice(row);
}

/// The rows. One that claims more than is there has what is there.
fn split(mut bytes: &[u8]) -> Vec<(RowKind, &[u8])> {
    let mut rows = Vec::new();
    while let Some(([kind, length @ ..], rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let (row, rest) = rest.split_at(rest.len().min(u32::from_be_bytes(*length) as usize));
        rows.push((RowKind::ALL[usize::from(*kind) % RowKind::ALL.len()], row));
        bytes = rest;
    }
    rows
}

fn record_again<T: Serialize + DeserializeOwned>(row: &[u8]) -> Option<Vec<u8>> {
    rmp_serde::from_slice::<T>(row).ok().map(|record| encode_record(&record))
}

/// The messages of a chunk, and what they say.
fn chunk_again(row: &[u8], dictionary: &mut Dictionary) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for laid in messages(1, row) {
        let laid = laid.ok()?;
        let header = decode_header(1, &row[laid.header]).ok()?;
        let said = decode_body(header.class, &row[laid.body], dictionary).ok()?;
        let mut body = Vec::new();
        let paths = encode_body(&said, dictionary, &mut body);
        let stamp = Stamp {
            twin: &header.twin,
            stay: header.stay,
            first: header.first,
            last: Seq::new(header.first.get() + header.more),
            class: header.class,
            paths,
        };
        push(&mut out, laid.place as u16, &stamp, &body);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_whose_numbers_have_no_end_is_refused() {
        let mut row = Vec::new();
        let twin = twin_core::ids::TwinId::new("label").unwrap();
        let stamp = Stamp {
            twin: &twin,
            stay: twin_core::numbers::Stay::default(),
            first: Seq::new(2),
            last: Seq::new(u64::MAX),
            class: crate::outbox::format::Class::Event,
            paths: 0,
        };
        push(&mut row, 0, &stamp, b"\xa1n\xc0");
        let rows = |row: &[u8]| {
            let mut rows = Vec::new();
            put(&mut rows, RowKind::Chunk, row);
            outbox_rows_again(&rows)
        };
        assert!(rows(&row).is_some());
        // One more than there are numbers: `more` is the eight bytes behind its head.
        let more = (u64::MAX - 2).to_be_bytes();
        let at = row.windows(8).position(|bytes| bytes == more).unwrap();
        row[at..at + 8].fill(0xff);
        assert_eq!(rows(&row), None);
    }
}
