//! `reported` as it is stored, in memory too: a report that only overwrites leaves is merged into the stored bytes, and the
//! tree is built only for whoever needs one.
//!
//! **Invariant:** [`PackedReported::overwrite`] gives the bytes that the tree would give, or says that it cannot
//! ([`Overwrite::NeedsTree`]). The tree is the definition; the property test beside it compares the two.

use bytes::Bytes;
use smallvec::SmallVec;

use super::encode::STAMP_KEY;
use super::{Reported, SectionKind};
use crate::limits::{DEPTH_MAX, INTEGER_MAX, STRING_BYTES_MAX};
use crate::msgpack::{Item, Malformed, Reader};
use crate::numbers::{Version, WallTime};
use crate::report::{OpCursor, PackedReport, RawOp};
use crate::value::Number;

/// A compact JSON text is at most this many times as long as the MessagePack of the same values (a control character takes
/// one byte here and six there): below its bound divided by this, a section certainly fits.
const JSON_BYTES_PER_BYTE_MAX: usize = 6;

/// Most operations that are looked for one by one; a longer report is for the tree.
const OVERWRITES_MAX: usize = 64;

/// `reported` in its stored form.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedReported {
    version: Version,
    updated: WallTime,
    /// The root object as [`super::encode`] writes it, its stamps relative to `updated`.
    root: Bytes,
}

/// What became of a report that was to be merged into the stored bytes.
#[derive(Debug, PartialEq)]
pub enum Overwrite {
    /// All of it stood there already.
    Unchanged,
    /// One version more.
    Changed(PackedReported),
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
        Ok((Self { version, updated, root }, reader.at()))
    }

    /// Appends its stored form.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_head(out, self.version, self.updated);
        out.extend_from_slice(&self.root);
    }

    /// `$version`.
    pub fn version(&self) -> Version {
        self.version
    }

    /// When it last changed.
    pub fn updated(&self) -> WallTime {
        self.updated
    }

    /// Bytes of its stored form.
    pub fn size_bytes(&self) -> usize {
        self.root.len()
    }

    /// As a tree.
    pub fn to_section(&self) -> Reported {
        let mut stored = Vec::with_capacity(self.root.len() + 20);
        self.write(&mut stored);
        // Made from a tree, or checked when it was read.
        rmp_serde::from_slice(&stored).unwrap_or_else(|error| unreachable!("a stored section is readable: {error}"))
    }

    /// Merges a report into the stored bytes, if all it does is to overwrite leaves.
    pub fn overwrite(&self, report: &PackedReport, now: WallTime) -> Overwrite {
        let length = self.root.len() + report.size_bytes();
        if length * JSON_BYTES_PER_BYTE_MAX > SectionKind::Reported.size_bytes_max() {
            return Overwrite::NeedsTree;
        }
        match self.merge(report, now) {
            Ok(Some(root)) => {
                Overwrite::Changed(Self { version: self.version.next(), updated: now, root: Bytes::from(root) })
            }
            Ok(None) => Overwrite::Unchanged,
            Err(NeedsTree) => Overwrite::NeedsTree,
        }
    }

    fn merge(&self, report: &PackedReport, now: WallTime) -> Result<Option<Vec<u8>>, NeedsTree> {
        let mut out = Vec::with_capacity(self.root.len() + report.size_bytes());
        let later_ms = now.get().wrapping_sub(self.updated.get());
        let mut merge = Merge { ops: Ops::new(report.cursor())?, out: &mut out, later_ms, ahead: false };
        let changed = merge.object(&mut Reader::new(&self.root), 0, &[])?;
        if merge.ops.left > 0 {
            return Err(NeedsTree);
        }
        Ok(changed.then_some(out))
    }
}

impl From<&Reported> for PackedReported {
    fn from(section: &Reported) -> Self {
        let mut stored = Vec::with_capacity(256);
        if let Err(error) = rmp_serde::encode::write(&mut stored, section) {
            unreachable!("a section always encodes to memory: {error}");
        }
        let mut head = Vec::with_capacity(20);
        write_head(&mut head, section.version(), section.updated());
        let root = Bytes::from(stored).slice(head.len()..);
        Self { version: section.version(), updated: section.updated(), root }
    }
}

fn write_head(out: &mut Vec<u8>, version: Version, updated: WallTime) {
    let written = rmp::encode::write_array_len(out, 3)
        .and_then(|_| rmp::encode::write_uint(out, version.get()))
        .and_then(|_| rmp::encode::write_sint(out, updated.get()));
    debug_assert!(written.is_ok(), "a Vec takes every byte");
}

/// The report does something else than overwriting leaves.
#[derive(Debug)]
struct NeedsTree;

impl From<Malformed> for NeedsTree {
    fn from(_: Malformed) -> Self {
        Self
    }
}

/// A scalar that obeys the rules, encoded as this crate would encode it: it can stand as it is.
#[derive(Clone, Copy, Debug)]
struct Scalar<'a>(&'a [u8]);

impl<'a> Scalar<'a> {
    /// `raw` is one value, checked as every report is. What is not encoded in its shortest form is for the tree.
    fn read(raw: &'a [u8]) -> Result<Self, NeedsTree> {
        let marker = raw.first().copied().unwrap_or(0xc1);
        let stands = match marker {
            // Small integers, truth values, short texts, floats.
            0x00..=0x7f | 0xe0..=0xff | 0xc2 | 0xc3 | 0xa0..=0xbf | 0xcb => true,
            0xcc..=0xd3 => match Reader::new(raw).next_item()? {
                Item::Integer(integer) => {
                    (-INTEGER_MAX..=INTEGER_MAX).contains(&integer)
                        && raw.len() == shortest_bytes(integer)
                        && (marker >= 0xd0) == (integer < 0)
                }
                _ => false,
            },
            0xd9 => raw.len() > 2 + 31,
            0xda => raw.len() > 3 + 255 && raw.len() <= 3 + STRING_BYTES_MAX,
            _ => false,
        };
        if stands { Ok(Self(raw)) } else { Err(NeedsTree) }
    }

    /// Equal to a stored value, numbers by value?
    fn equals(self, stored: &[u8]) -> Result<bool, NeedsTree> {
        if self.0 == stored {
            return Ok(true);
        }
        let number = |item| match item {
            Item::Integer(integer) => Some(Number::Integer(integer)),
            Item::Float(float) => Some(Number::Float(float)),
            _ => None,
        };
        let (a, b) = (number(Reader::new(self.0).next_item()?), number(Reader::new(stored).next_item()?));
        Ok(a.is_some() && a == b)
    }
}

/// Bytes of an integer in its shortest form; from 0 up that is the unsigned one.
fn shortest_bytes(integer: i64) -> usize {
    match integer {
        -32..=0x7f => 1,
        -0x80..=0xff => 2,
        -0x8000..=0xffff => 3,
        -0x8000_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// The operations, and which of them are still to be carried out.
#[derive(Clone)]
struct Ops<'a> {
    list: SmallVec<[Op<'a>; 16]>,
    /// Still to be carried out.
    left: usize,
    /// Most reports say the same properties in the same order each time, and mostly in that of the document: the next is
    /// probably here.
    hint: usize,
}

#[derive(Clone, Copy)]
struct Op<'a> {
    keys: &'a [Box<str>],
    scalar: Scalar<'a>,
    done: bool,
}

impl<'a> Ops<'a> {
    fn new(mut cursor: OpCursor<'a>) -> Result<Self, NeedsTree> {
        let mut list = SmallVec::new();
        while let Some((path, op)) = cursor.next_op() {
            match op {
                RawOp::Set(value) if path.keys().len() <= DEPTH_MAX && list.len() < OVERWRITES_MAX => {
                    list.push(Op { keys: path.keys(), scalar: Scalar::read(value)?, done: false });
                }
                _ => return Err(NeedsTree),
            }
        }
        Ok(Self { left: list.len(), list, hint: 0 })
    }

    /// What an operation says of this member of the object at `trail`, if one does; it is carried out with that.
    fn take(&mut self, trail: &[&[u8]], key: &[u8]) -> Says<'a> {
        for step in 0..self.list.len() {
            let at = (self.hint + step) % self.list.len();
            let op = &mut self.list[at];
            let Some((first, below)) = op.keys.get(trail.len()..).and_then(<[_]>::split_first) else { continue };
            if op.done || first.as_bytes() != key || !op.keys.iter().zip(trail).all(|(a, b)| a.as_bytes() == *b) {
                continue;
            }
            if !below.is_empty() {
                return Says::Holds;
            }
            op.done = true;
            let scalar = op.scalar;
            self.left -= 1;
            self.hint = at + 1;
            return Says::Is(scalar);
        }
        Says::Nothing
    }
}

/// What an operation says of a member.
enum Says<'a> {
    Nothing,
    /// It is an object with something in it.
    Holds,
    /// It is this.
    Is(Scalar<'a>),
}

/// One walk over the stored object, with the report beside it.
struct Merge<'a, 'o> {
    ops: Ops<'a>,
    out: &'o mut Vec<u8>,
    /// How much later than the stored section's the new one's time is.
    later_ms: i64,
    /// Only to see whether anything changes: what is written is not used.
    ahead: bool,
}

impl<'a> Merge<'a, '_> {
    /// Copies the object that comes next in `stored`, overwriting as the operations say; tells whether any had an effect.
    fn object(&mut self, stored: &mut Reader<'a>, depth: usize, trail: &[&'a [u8]]) -> Result<bool, NeedsTree> {
        if depth > DEPTH_MAX {
            return Err(NeedsTree);
        }
        let pairs = stored.map()?;
        if pairs == 0 || stored.text()? != STAMP_KEY.as_bytes() {
            return Err(NeedsTree);
        }
        let age_ms = stored.integer()?;
        self.object_head(pairs);
        // The object's time stands before its members, and they decide it. At the root it is certain to be now, or nothing of
        // this is used.
        let changes = depth == 0 || !self.ahead && self.would_change(*stored, pairs - 1, depth, trail)?;
        self.age(if changes { 0 } else { age_ms.wrapping_add(self.later_ms) });
        let mut changed = false;
        for _ in 1..pairs {
            let from = *stored;
            let key = stored.text()?;
            self.out.extend_from_slice(raw_between(from, *stored));
            changed |= self.member(stored, key, depth, trail)?;
        }
        Ok(changed)
    }

    fn member(
        &mut self,
        stored: &mut Reader<'a>,
        key: &'a [u8],
        depth: usize,
        trail: &[&'a [u8]],
    ) -> Result<bool, NeedsTree> {
        let mut ahead = *stored;
        match ahead.next_item()? {
            Item::Array(2) => {
                *stored = ahead;
                let age_ms = stored.integer()?;
                let value = stored.raw()?;
                self.array_of_two();
                let change = match self.ops.take(trail, key) {
                    Says::Nothing => None,
                    Says::Holds => return Err(NeedsTree),
                    Says::Is(scalar) => (!scalar.equals(value)?).then_some(scalar),
                };
                if let Some(scalar) = change {
                    self.age(0);
                    self.out.extend_from_slice(scalar.0);
                } else {
                    self.age(age_ms.wrapping_add(self.later_ms));
                    self.out.extend_from_slice(value);
                }
                Ok(change.is_some())
            }
            Item::Map(_) => {
                let mut below = trail.to_vec();
                below.push(key);
                self.object(stored, depth + 1, &below)
            }
            _ => Err(NeedsTree),
        }
    }

    /// Would any of the operations that concern this object have an effect? Walks ahead without writing.
    fn would_change(
        &self,
        mut stored: Reader<'a>,
        members: usize,
        depth: usize,
        trail: &[&'a [u8]],
    ) -> Result<bool, NeedsTree> {
        let mut unwritten = Vec::new();
        let mut ahead = Merge { ops: self.ops.clone(), out: &mut unwritten, later_ms: self.later_ms, ahead: true };
        let mut changed = false;
        for _ in 0..members {
            let key = stored.text()?;
            changed |= ahead.member(&mut stored, key, depth, trail)?;
        }
        Ok(changed)
    }

    fn object_head(&mut self, pairs: usize) {
        let written = rmp::encode::write_map_len(self.out, pairs as u32)
            .and_then(|_| rmp::encode::write_str(self.out, STAMP_KEY));
        debug_assert!(written.is_ok(), "a Vec takes every byte");
    }

    fn array_of_two(&mut self) {
        self.out.push(0x92);
    }

    #[inline]
    fn age(&mut self, age_ms: i64) {
        if let Ok(short @ 0..=0x7f) = u8::try_from(age_ms) {
            return self.out.push(short);
        }
        let written = rmp::encode::write_sint(self.out, age_ms);
        debug_assert!(written.is_ok(), "a Vec takes every byte");
    }
}

/// The bytes that a reader passed.
fn raw_between<'a>(from: Reader<'a>, to: Reader<'a>) -> &'a [u8] {
    from.rest().get(..to.at() - from.at()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;
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
            tree.apply(ops.clone(), at(9000)).unwrap().unwrap();
            assert_eq!(overwritten(&before, &ops), Overwrite::Changed(PackedReported::from(&tree)), "{ops:?}");
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
            assert_eq!(before.overwrite(&report(ours), at(9000)), Overwrite::Changed((&tree).into()), "{ours:?}");
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
                let merged = packed.overwrite(&PackedReport::from(&ops[..]), at(now));
                let effect = tree.apply(ops, at(now)).unwrap();
                match merged {
                    Overwrite::NeedsTree => {}
                    Overwrite::Unchanged => prop_assert_eq!(effect, None),
                    Overwrite::Changed(changed) => {
                        prop_assert!(effect.is_some());
                        prop_assert_eq!(changed, PackedReported::from(&tree));
                    }
                }
                prop_assert_eq!(&PackedReported::from(&tree).to_section(), &tree);
            }
        }
    }
}
