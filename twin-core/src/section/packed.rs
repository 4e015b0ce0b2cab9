//! `reported` as it is stored, in memory too: a report that only overwrites leaves is merged into the stored bytes, and the
//! tree is built only for whoever needs one.
//!
//! **Invariant:** [`PackedReported::overwrite`] gives the bytes that the tree would give, or says that it cannot
//! ([`Overwrite::NeedsTree`]). The tree is the definition; the property test beside it compares the two.

use bytes::Bytes;

use super::overwrite::{NeedsTree, merge};
use super::{Reported, SectionKind};
use crate::msgpack::{Malformed, Reader};
use crate::numbers::{Version, WallTime};
use crate::recovery::Raise;
use crate::report::{Effective, PackedReport};

/// A compact JSON text is at most this many times as long as the MessagePack of the same values (a control character takes
/// one byte here and six there): below its bound divided by this, a section certainly fits.
const JSON_BYTES_PER_BYTE_MAX: usize = 6;

/// Bytes left before a root that was just merged: a hot row's head fits in, so that the row is made without a copy.
const HEAD_ROOM_BYTES: usize = 128;
/// What a report makes a root longer by, mostly, at most.
const GROWTH_BYTES: usize = 32;
/// Longest form of what stands before the root.
const SECTION_HEAD_BYTES_MAX: usize = 1 + 9 + 9;

/// `reported` in its stored form.
#[derive(Clone, Debug)]
pub struct PackedReported {
    version: Version,
    updated: WallTime,
    /// The root object as [`super::encode`] writes it, its stamps relative to `updated`.
    root: Root,
}

#[derive(Clone, Debug)]
enum Root {
    Kept(Bytes),
    /// Behind [`HEAD_ROOM_BYTES`]; in no row yet.
    Fresh(Vec<u8>),
}

impl Root {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Kept(bytes) => bytes,
            Self::Fresh(buffer) => &buffer[HEAD_ROOM_BYTES..],
        }
    }
}

impl PartialEq for PackedReported {
    fn eq(&self, other: &Self) -> bool {
        (self.version, self.updated, self.root.bytes()) == (other.version, other.updated, other.root.bytes())
    }
}

/// What became of a report that was to be merged into the stored bytes.
#[derive(Debug, PartialEq)]
pub enum Overwrite {
    /// All of it stood there already.
    Unchanged,
    /// One version more, by these operations of the report.
    Changed(PackedReported, Effective),
    /// Not all of it overwrites a leaf by a scalar that obeys the rules: ask the tree.
    NeedsTree,
}

impl PackedReported {
    /// An empty section at its first version.
    pub fn new(version: Version, now: WallTime) -> Self {
        Self::from(&Reported::new(version, now))
    }

    /// From its stored form, `[version, updated, root]`, which is checked by building the tree once. Returns how many bytes it
    /// took, too.
    pub fn read(bytes: &Bytes) -> Result<(Self, usize), rmp_serde::decode::Error> {
        use serde::de::Error as _;
        let wrong = |error: Malformed| rmp_serde::decode::Error::custom(format_args!("stored reported: {error}"));
        let mut reader = Reader::new(bytes);
        let whole = reader.raw().map_err(wrong)?;
        rmp_serde::from_slice::<Reported>(whole)?;
        let mut inside = Reader::new(whole);
        inside.array().map_err(wrong)?;
        let version = Version::new(inside.unsigned().map_err(wrong)?);
        let updated = WallTime::new(inside.integer().map_err(wrong)?);
        let root = bytes.slice_ref(inside.raw().map_err(wrong)?);
        Ok((Self { version, updated, root: Root::Kept(root) }, reader.at()))
    }

    /// Appends its stored form.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_head(out, self.version, self.updated);
        out.extend_from_slice(self.root.bytes());
    }

    /// A row of `head` and its stored form, whose memory they share from then on.
    pub(crate) fn row(&mut self, head: &[u8]) -> Bytes {
        match std::mem::replace(&mut self.root, Root::Kept(Bytes::new())) {
            Root::Fresh(mut buffer) if head.len() + SECTION_HEAD_BYTES_MAX <= HEAD_ROOM_BYTES => {
                let mut section_head = [0; SECTION_HEAD_BYTES_MAX];
                let mut room = &mut section_head[..];
                write_head(&mut room, self.version, self.updated);
                let length = SECTION_HEAD_BYTES_MAX - room.len();
                let middle = HEAD_ROOM_BYTES - length;
                let from = middle - head.len();
                buffer[from..middle].copy_from_slice(head);
                buffer[middle..HEAD_ROOM_BYTES].copy_from_slice(&section_head[..length]);
                let row = Bytes::from(buffer);
                self.root = Root::Kept(row.slice(HEAD_ROOM_BYTES..));
                row.slice(from..)
            }
            root => {
                let mut row = Vec::with_capacity(head.len() + SECTION_HEAD_BYTES_MAX + root.bytes().len());
                row.extend_from_slice(head);
                write_head(&mut row, self.version, self.updated);
                let head_bytes = row.len();
                row.extend_from_slice(root.bytes());
                let row = Bytes::from(row);
                self.root = Root::Kept(row.slice(head_bytes..));
                row
            }
        }
    }

    /// `$version`.
    pub fn version(&self) -> Version {
        self.version
    }

    /// When it last changed.
    pub fn updated(&self) -> WallTime {
        self.updated
    }

    /// Raises the version; no node has one of its own.
    pub(crate) fn raise(&mut self, by: Raise) {
        self.version = Version::new(by.number(self.version.get()));
    }

    /// Bytes of its stored form.
    pub fn size_bytes(&self) -> usize {
        self.root.bytes().len()
    }

    /// As a tree.
    pub fn to_section(&self) -> Reported {
        let mut stored = Vec::with_capacity(self.size_bytes() + SECTION_HEAD_BYTES_MAX);
        self.write(&mut stored);
        // Made from a tree, or checked when it was read.
        rmp_serde::from_slice(&stored).unwrap_or_else(|error| unreachable!("a stored section is readable: {error}"))
    }

    /// Merges a report into the stored bytes, if all it does is to overwrite leaves. The operations that [`Overwrite::Changed`] names
    /// are those that the tree would call effective.
    pub fn overwrite(&self, report: &PackedReport, now: WallTime) -> Overwrite {
        let length = self.size_bytes() + report.size_bytes();
        if length * JSON_BYTES_PER_BYTE_MAX > SectionKind::Reported.size_bytes_max() {
            return Overwrite::NeedsTree;
        }
        let later_ms = now.get().wrapping_sub(self.updated.get());
        // Most reports leave the length about as it was.
        let mut buffer = Vec::with_capacity(HEAD_ROOM_BYTES + self.size_bytes() + GROWTH_BYTES);
        buffer.resize(HEAD_ROOM_BYTES, 0);
        match merge(self.root.bytes(), report, later_ms, &mut buffer) {
            Ok(effective) if effective.is_none() => Overwrite::Unchanged,
            Ok(effective) => {
                let changed = Self { version: self.version.next(), updated: now, root: Root::Fresh(buffer) };
                Overwrite::Changed(changed, effective)
            }
            Err(NeedsTree) => Overwrite::NeedsTree,
        }
    }
}

impl From<&Reported> for PackedReported {
    fn from(section: &Reported) -> Self {
        let mut stored = Vec::with_capacity(256);
        if let Err(error) = rmp_serde::encode::write(&mut stored, section) {
            unreachable!("a section always encodes to memory: {error}");
        }
        let mut head = Vec::with_capacity(SECTION_HEAD_BYTES_MAX);
        write_head(&mut head, section.version(), section.updated());
        let root = Root::Kept(Bytes::from(stored).slice(head.len()..));
        Self { version: section.version(), updated: section.updated(), root }
    }
}

fn write_head(out: &mut impl std::io::Write, version: Version, updated: WallTime) {
    let written = rmp::encode::write_array_len(out, 3)
        .and_then(|_| rmp::encode::write_uint(out, version.get()))
        .and_then(|_| rmp::encode::write_sint(out, updated.get()));
    debug_assert!(written.is_ok(), "there is room for the longest form");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;
    use crate::limits::{INTEGER_MAX, STRING_BYTES_MAX};
    use crate::op::Op;
    use crate::path::Path;
    use crate::value::Value;
    use proptest::prelude::*;

    fn at(ms: i64) -> WallTime {
        WallTime::new(ms)
    }

    fn section(json: &str) -> Reported {
        let mut section = Reported::new(Version::new(1), at(1000));
        let value = parse(json.as_bytes(), "test").unwrap();
        section.apply(vec![Op::Replace { path: Path::root(), value }], at(5000)).unwrap();
        section
    }

    fn set(pointer: &str, value: impl Into<Value>) -> Op {
        Op::Set { path: Path::from_pointer(pointer).unwrap(), value: value.into() }
    }

    fn overwritten(section: &Reported, ops: &[Op]) -> Overwrite {
        PackedReported::from(section).overwrite(&PackedReport::from(ops), at(9000))
    }

    #[test]
    fn leaves_are_overwritten_at_any_depth_and_in_any_order() {
        let before = section(r#"{"a": 1, "b": {"c": "x", "d": {"e": true}}, "f": 2.5, "g": [1]}"#);
        for ops in [
            vec![set("/a", 2), set("/b/d/e", false), set("/f", "text")],
            vec![set("/f", 3), set("/b/c", "y")],
            vec![set("/b/c", "x"), set("/f", 7)],
            vec![set("/g", 5)],
        ] {
            let mut tree = before.clone();
            let told = tree.apply(ops.clone(), at(9000)).unwrap().unwrap();
            let Overwrite::Changed(changed, effective) = overwritten(&before, &ops) else { panic!("{ops:?}") };
            assert_eq!(changed, PackedReported::from(&tree), "{ops:?}");
            assert_eq!(PackedReport::from(&ops[..]).only(effective).unpack(), told, "{ops:?}");
        }
    }

    #[test]
    fn what_stands_there_already_changes_nothing_numbers_by_value() {
        let before = section(r#"{"a": 3, "b": {"c": "x"}, "z": 0.0}"#);
        for ops in [vec![], vec![set("/a", 3.0)], vec![set("/a", 3), set("/b/c", "x")], vec![set("/z", -0.0)]] {
            assert_eq!(overwritten(&before, &ops), Overwrite::Unchanged, "{ops:?}");
        }
    }

    #[test]
    fn everything_else_is_for_the_tree() {
        let before = section(r#"{"a": 3, "b": {"c": "x"}}"#);
        let long = "x".repeat(STRING_BYTES_MAX + 1);
        for ops in [
            vec![set("/new", 1)],
            vec![set("/b", 1)],
            vec![set("/a/below", 1)],
            vec![set("/a", Value::Array(vec![]))],
            vec![set("/a", Value::empty_object())],
            vec![set("/a", 1), set("/a", 2)],
            vec![set("/a", INTEGER_MAX + 1)],
            vec![set("/a", long.as_str())],
            vec![Op::Remove { path: Path::from_pointer("/a").unwrap() }],
            vec![Op::Replace { path: Path::root(), value: Value::empty_object() }],
        ] {
            assert_eq!(overwritten(&before, &ops), Overwrite::NeedsTree, "{ops:?}");
        }
    }

    #[test]
    fn numbers_and_texts_in_a_longer_form_than_ours_are_for_the_tree() {
        let before = PackedReported::from(&section(r#"{"a": 3}"#));
        let report = |value: &[u8]| {
            let ops = [&[0x91, 0x92, 0x00, 0x81, 0xa1, b's'][..], value].concat();
            PackedReport::new([Path::from_keys(["a"])].into(), ops.into()).unwrap()
        };
        for longer in [
            &[0xcc, 0x05][..],
            &[0xcd, 0x00, 0xff],
            &[0xd0, 0x05],
            &[0xd2, 0x00, 0x01, 0x11, 0x70],
            &[0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xd9, 0x01, b'x'],
            &[0xda, 0x00, 0x01, b'x'],
            &[0xca, 0x3f, 0x80, 0x00, 0x00],
        ] {
            assert_eq!(before.overwrite(&report(longer), at(9000)), Overwrite::NeedsTree, "{longer:?}");
        }
        for ours in [&[0xcc, 0x80][..], &[0xd0, 0x80], &[0xcd, 0x01, 0x00], &[0xff], &[0xa1, b'x']] {
            let mut tree = before.to_section();
            tree.apply(report(ours).unpack(), at(9000)).unwrap().unwrap();
            let Overwrite::Changed(changed, _) = before.overwrite(&report(ours), at(9000)) else { panic!("{ours:?}") };
            assert_eq!(changed, (&tree).into(), "{ours:?}");
        }
    }

    #[test]
    fn a_stored_section_is_read_back_and_what_follows_it_is_left() {
        let packed = PackedReported::from(&section(r#"{"a": {"b": [1, "x"]}, "c": -1}"#));
        let mut bytes = Vec::new();
        packed.write(&mut bytes);
        let length = bytes.len();
        bytes.extend_from_slice(b"\xc0\xc0");
        assert_eq!(PackedReported::read(&bytes.into()).unwrap(), (packed, length));
        assert!(PackedReported::read(&Bytes::from_static(&[0x93, 1, 2, 0x80])).is_err());
        assert!(PackedReported::read(&Bytes::from_static(&[0x93, 1, 2, 0x81, 0xa1, b'$'])).is_err());
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::from),
            (-3_i64..300).prop_map(Value::from),
            prop::sample::select(vec![0.0, -0.0, 1.0, 2.5, 299.0]).prop_map(Value::from),
            prop::sample::select(vec!["", "x", "ü", "a longer text than thirty-one bytes, to be sure"])
                .prop_map(Value::from),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        let path =
            prop::collection::vec(prop::sample::select(vec!["a", "b", "ba", "c"]), 1..4).prop_map(Path::from_keys);
        prop_oneof![
            8 => (path.clone(), scalar()).prop_map(|(path, value)| Op::Set { path, value }),
            1 => path.prop_map(|path| Op::Remove { path }),
        ]
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_tree(reports in prop::collection::vec((prop::collection::vec(op(), 0..6), -5_i64..100_000), 1..12)) {
            let mut tree = Reported::new(Version::new(7), at(0));
            let mut now = 0;
            for (ops, later_ms) in reports {
                now += later_ms;
                let packed = PackedReported::from(&tree);
                let report = PackedReport::from(&ops[..]);
                let merged = packed.overwrite(&report, at(now));
                let effect = tree.apply(ops, at(now)).unwrap();
                match merged {
                    Overwrite::NeedsTree => {}
                    Overwrite::Unchanged => prop_assert_eq!(effect, None),
                    Overwrite::Changed(changed, effective) => {
                        prop_assert_eq!(changed, PackedReported::from(&tree));
                        let told = report.only(effective);
                        prop_assert_eq!(told.table_paths(), told.paths().count(), "no path that it does not need");
                        prop_assert_eq!(Some(told.unpack()), effect);
                    }
                }
                prop_assert_eq!(&PackedReported::from(&tree).to_section(), &tree);
            }
        }
    }
}
