//! A report as it came: path operations in the form of the wire, in the frame's own bytes.
//!
//! On the wire a report is an array of `[path, operation]`; `path` is an index into the table of the stream, `operation` one
//! of `{"s": leaf}` (set), `"d"` (remove), `{"o": object}` (replace). It is checked once, where it arrives, and taken apart
//! only if it cannot be applied as it stands.

use std::sync::Arc;

use bytes::Bytes;

use crate::limits::NESTING_MAX;
use crate::msgpack::{Item, Malformed, Reader};
use crate::op::Op;
use crate::path::Path;
use crate::value::Value;

/// Why bytes are no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Not of the form above.
    #[error("a report's operations cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// An index that no path was added under.
    #[error("there is no path {index}, the table has {known}")]
    UnknownPath {
        /// The index.
        index: u64,
        /// Entries in the table.
        known: usize,
    },
    /// A text that is not UTF-8.
    #[error("a report holds a text that is not UTF-8")]
    Utf8,
    /// Infinite, or not a number.
    #[error("a number must be finite")]
    NotFinite,
    /// Deeper than anything we read.
    #[error("a value nests deeper than {NESTING_MAX} levels")]
    Nesting,
}

/// Path operations, not taken apart. Cheap to clone: table and bytes are shared.
#[derive(Clone, Debug)]
pub struct PackedReport {
    paths: Arc<[Path]>,
    ops: Bytes,
}

impl PartialEq for PackedReport {
    fn eq(&self, other: &Self) -> bool {
        self.unpack() == other.unpack()
    }
}

/// Which operations of a report had an effect, by their places in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effective(u64);

impl Effective {
    /// Operations of the longest report that this can speak of.
    pub(crate) const OPS_MAX: usize = u64::BITS as usize;

    /// None had.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn add(&mut self, at: usize) {
        debug_assert!(at < Self::OPS_MAX, "longer reports are for the tree");
        self.0 |= 1 << at;
    }

    fn has(self, at: usize) -> bool {
        at < Self::OPS_MAX && self.0 & 1 << at != 0
    }

    fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// One operation, its value where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawOp<'a> {
    Set(&'a [u8]),
    Remove,
    Replace(&'a [u8]),
}

impl PackedReport {
    /// Checks that the bytes are one report over this table, all of its texts UTF-8, its numbers finite and its values no
    /// deeper than is read anywhere. The document's own rules are not looked at here.
    pub fn new(paths: Arc<[Path]>, ops: Bytes) -> Result<Self, ReportError> {
        let mut reader = Reader::new(&ops);
        for _ in 0..reader.array()? {
            let index = path_index(&mut reader)?;
            if index >= paths.len() as u64 {
                return Err(ReportError::UnknownPath { index, known: paths.len() });
            }
            match raw_op(&mut reader)? {
                RawOp::Set(value) | RawOp::Replace(value) => check_value(&mut Reader::new(value), NESTING_MAX)?,
                RawOp::Remove => {}
            }
        }
        if !reader.is_at_end() {
            return Err(Malformed::Expected("the report's end").into());
        }
        Ok(Self { paths, ops })
    }

    /// Its length as it came, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.ops.len()
    }

    /// The operations, taken apart.
    pub fn unpack(&self) -> Vec<Op> {
        let mut ops = Vec::new();
        let mut cursor = self.cursor();
        while let Some((path, op)) = cursor.next_op() {
            let path = path.clone();
            ops.push(match op {
                RawOp::Set(value) => Op::Set { path, value: decode(value) },
                RawOp::Remove => Op::Remove { path },
                RawOp::Replace(value) => Op::Replace { path, value: decode(value) },
            });
        }
        ops
    }

    /// The operations that had an effect, in their order: in bytes and with a table of their own, as the frame's are much larger,
    /// and whoever keeps this for a while would keep those.
    #[must_use]
    pub fn only(&self, effective: Effective) -> Self {
        let mut paths = Vec::with_capacity(effective.count());
        let mut ops = Vec::with_capacity(self.ops.len());
        write_marker(rmp::encode::write_array_len(&mut ops, effective.count() as u32));
        let (mut cursor, mut at) = (self.cursor(), 0);
        while let Some((path, op)) = cursor.next_op() {
            if effective.has(at) {
                write_op(&mut ops, paths.len() as u32, op);
                paths.push(path.clone());
            }
            at += 1;
        }
        // No larger than it is: it may be a small part of what came.
        Self { paths: paths.into(), ops: ops.into_boxed_slice().into() }
    }

    /// The paths of its operations, in their order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let mut cursor = self.cursor();
        std::iter::from_fn(move || Some(cursor.next_op()?.0))
    }

    /// Paths in its table.
    #[cfg(test)]
    pub(crate) fn table_paths(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn cursor(&self) -> OpCursor<'_> {
        let mut reader = Reader::new(&self.ops);
        let left = reader.array().unwrap_or(0);
        OpCursor { paths: &self.paths, reader, left }
    }
}

impl From<&[Op]> for PackedReport {
    /// What a gateway would send for these operations.
    fn from(ops: &[Op]) -> Self {
        let mut bytes = Vec::new();
        let wire: Vec<(u32, WireOp<'_>)> =
            ops.iter().enumerate().map(|(at, op)| (at as u32, WireOp::from(op))).collect();
        if let Err(error) = rmp_serde::encode::write(&mut bytes, &wire) {
            unreachable!("plain operations always encode to memory: {error}");
        }
        Self { paths: ops.iter().map(|op| op.path().clone()).collect(), ops: bytes.into() }
    }
}

#[derive(serde::Serialize)]
enum WireOp<'a> {
    #[serde(rename = "s")]
    Set(&'a Value),
    #[serde(rename = "d")]
    Remove,
    #[serde(rename = "o")]
    Replace(&'a Value),
}

impl<'a> From<&'a Op> for WireOp<'a> {
    fn from(op: &'a Op) -> Self {
        match op {
            Op::Set { value, .. } => Self::Set(value),
            Op::Remove { .. } => Self::Remove,
            Op::Replace { value, .. } => Self::Replace(value),
        }
    }
}

/// Walks the operations of a report that was checked. Copied to look ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpCursor<'a> {
    paths: &'a [Path],
    reader: Reader<'a>,
    left: usize,
}

impl<'a> OpCursor<'a> {
    #[inline]
    pub(crate) fn next_op(&mut self) -> Option<(&'a Path, RawOp<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let path = self.paths.get(path_index(&mut self.reader).ok()? as usize)?;
        Some((path, raw_op(&mut self.reader).ok()?))
    }
}

/// Appends `[path, operation]`.
fn write_op(out: &mut Vec<u8>, path: u32, op: RawOp<'_>) {
    write_marker(rmp::encode::write_array_len(out, 2));
    write_marker(rmp::encode::write_uint(out, path.into()));
    let (kind, value) = match op {
        RawOp::Set(value) => (b's', value),
        RawOp::Replace(value) => (b'o', value),
        RawOp::Remove => return out.extend_from_slice(&[0xa1, b'd']),
    };
    out.extend_from_slice(&[0x81, 0xa1, kind]);
    out.extend_from_slice(value);
}

fn write_marker<T, E>(written: Result<T, E>) {
    debug_assert!(written.is_ok(), "a Vec takes every byte");
}

/// Enters `[path, operation]` as far as the path.
#[inline]
fn path_index(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    if reader.array()? != 2 {
        return Err(Malformed::Expected("[path, operation]"));
    }
    reader.unsigned()
}

#[inline]
fn raw_op<'a>(reader: &mut Reader<'a>) -> Result<RawOp<'a>, Malformed> {
    // Nearly all of them.
    if reader.pass(&[0x81, 0xa1, b's']) {
        return Ok(RawOp::Set(reader.raw()?));
    }
    match reader.next_item()? {
        Item::Text(b"d") => Ok(RawOp::Remove),
        Item::Map(1) => match reader.text()? {
            b"s" => Ok(RawOp::Set(reader.raw()?)),
            b"o" => Ok(RawOp::Replace(reader.raw()?)),
            _ => Err(Malformed::Expected("an operation")),
        },
        _ => Err(Malformed::Expected("an operation")),
    }
}

/// What [`Value`]'s own decoder would take.
fn check_value(reader: &mut Reader<'_>, levels: usize) -> Result<(), ReportError> {
    match reader.next_item()? {
        Item::Null | Item::Bool(_) | Item::Integer(_) => Ok(()),
        Item::Float(float) if float.is_finite() => Ok(()),
        Item::Float(_) => Err(ReportError::NotFinite),
        Item::Text(text) => check_text(text),
        Item::Binary(_) => Err(Malformed::Expected("a JSON value").into()),
        Item::Array(elements) => {
            let levels = levels.checked_sub(1).ok_or(ReportError::Nesting)?;
            (0..elements).try_for_each(|_| check_value(reader, levels))
        }
        Item::Map(pairs) => {
            let levels = levels.checked_sub(1).ok_or(ReportError::Nesting)?;
            (0..pairs).try_for_each(|_| {
                check_text(reader.text()?)?;
                check_value(reader, levels)
            })
        }
    }
}

fn check_text(text: &[u8]) -> Result<(), ReportError> {
    std::str::from_utf8(text).map(|_| ()).map_err(|_| ReportError::Utf8)
}

fn decode(value: &[u8]) -> Value {
    // Checked where the report arrived.
    rmp_serde::from_slice(value).unwrap_or_else(|error| unreachable!("a checked value always decodes: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn paths(pointers: &[&str]) -> Arc<[Path]> {
        pointers.iter().map(|pointer| Path::from_pointer(pointer).unwrap()).collect()
    }

    #[test]
    fn a_report_is_taken_apart_into_what_was_packed() {
        let value = parse(br#"{"x": [1, null, "y"], "z": {}}"#, "test").unwrap();
        let ops = [
            Op::Set { path: Path::from_pointer("/b").unwrap(), value: Value::from(2.5) },
            Op::Remove { path: Path::from_pointer("/c/d").unwrap() },
            Op::Replace { path: Path::from_pointer("/a").unwrap(), value },
        ];
        let packed = PackedReport::from(&ops[..]);
        let checked = PackedReport::new(packed.paths.clone(), packed.ops.clone()).unwrap();
        assert_eq!(checked.unpack(), ops);
    }

    #[test]
    fn what_is_kept_of_a_report_takes_no_more_than_it_has() {
        let large = Value::from("x".repeat(60_000).as_str());
        let ops = [
            Op::Set { path: Path::from_pointer("/large").unwrap(), value: large },
            Op::Set { path: Path::from_pointer("/small").unwrap(), value: Value::from(7) },
        ];
        let mut small = Effective::default();
        small.add(1);
        let kept = PackedReport::from(&ops[..]).only(small);
        assert_eq!(kept.unpack(), ops[1..]);
        let (length, owned) = (kept.size_bytes(), kept.ops.try_into_mut().unwrap());
        assert_eq!(owned.capacity(), length);
    }

    #[test]
    fn what_serde_would_refuse_is_refused() {
        let check = |bytes: &[u8]| PackedReport::new(paths(&["/a"]), Bytes::copy_from_slice(bytes)).map(|_| ());
        assert_eq!(check(&[0x91, 0x92, 0x00, 0x81, 0xa1, b's', 0x01]), Ok(()));
        assert_eq!(check(&[0x91, 0x92, 0x05, 0xa1, b'd']), Err(ReportError::UnknownPath { index: 5, known: 1 }));
        assert_eq!(check(&[0x91, 0x92, 0x00, 0x81, 0xa1, b's', 0xa1, 0xff]), Err(ReportError::Utf8));
        let nan = [&[0x91, 0x92, 0x00, 0x81, 0xa1, b's', 0xcb][..], &f64::NAN.to_be_bytes()].concat();
        assert_eq!(check(&nan), Err(ReportError::NotFinite));
        let deep = [&[0x91, 0x92, 0x00, 0x81, 0xa1, b's'][..], &[0x91; 65], &[0xc0]].concat();
        assert_eq!(check(&deep), Err(ReportError::Nesting));
        for wrong in [
            &[0x91, 0x92, 0x00, 0x81, 0xa1, b'q', 0x01][..],
            &[0x91, 0x92, 0x00, 0x01],
            &[0x91, 0x91, 0x00],
            &[0x90, 0x90],
        ] {
            assert!(matches!(check(wrong), Err(ReportError::Malformed(_))), "{wrong:?}");
        }
    }
}
