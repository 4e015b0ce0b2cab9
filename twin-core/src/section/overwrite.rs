//! Merging a report into a stored section: one walk over both, and the bytes of what comes out.

use smallvec::SmallVec;

use super::encode::STAMP_KEY;
use crate::limits::{DEPTH_MAX, INTEGER_MAX, STRING_BYTES_MAX};
use crate::msgpack::{Item, Malformed, Reader};
use crate::report::{Effective, OpCursor, PackedReport, RawOp};
use crate::value::Number;

/// A leaf is an array of its time and its value.
const LEAF_HEAD: u8 = 0x92;
/// Most operations that are looked for one by one; a longer report is for the tree.
const OVERWRITES_MAX: usize = Effective::OPS_MAX;

/// Appends to `out` the root object with the report's values in it, stamped `later_ms` after the stored one, and tells which
/// operations had an effect. If none had, what was appended is worth nothing.
pub(super) fn merge(
    root: &[u8],
    report: &PackedReport,
    later_ms: i64,
    out: &mut Vec<u8>,
) -> Result<Effective, NeedsTree> {
    let mut merge = Merge { ops: Ops::new(report.cursor())?, root, copied: 0, out: Some(out), later_ms };
    let mut stored = Reader::new(root);
    merge.object(&mut stored, 0, &[])?;
    merge.copy_upto(stored.at());
    if merge.ops.left > 0 {
        return Err(NeedsTree);
    }
    Ok(merge.ops.effective)
}

/// The report does something else than overwriting leaves.
#[derive(Debug)]
pub(super) struct NeedsTree;

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
    #[inline]
    fn equals(self, stored: &[u8]) -> Result<bool, NeedsTree> {
        if self.0 == stored {
            return Ok(true);
        }
        match (is_integer(self.0), is_integer(stored)) {
            // Both in their shortest form.
            (true, true) => Ok(false),
            _ if !is_number(self.0) || !is_number(stored) => Ok(false),
            _ => self.equals_by_value(stored),
        }
    }

    /// Of a float and another number.
    fn equals_by_value(self, stored: &[u8]) -> Result<bool, NeedsTree> {
        let number = |item| match item {
            Item::Integer(integer) => Some(Number::Integer(integer)),
            Item::Float(float) => Some(Number::Float(float)),
            _ => None,
        };
        let (a, b) = (number(Reader::new(self.0).next_item()?), number(Reader::new(stored).next_item()?));
        Ok(a.is_some() && a == b)
    }
}

fn is_integer(value: &[u8]) -> bool {
    matches!(value.first(), Some(0x00..=0x7f | 0xe0..=0xff | 0xcc..=0xd3))
}

fn is_number(value: &[u8]) -> bool {
    is_integer(value) || matches!(value.first(), Some(0xca | 0xcb))
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
    effective: Effective,
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
        Ok(Self { left: list.len(), list, effective: Effective::default(), hint: 0 })
    }

    /// What an operation says of this member of the object at `trail`, if one does; it is carried out with that.
    #[inline]
    fn take(&mut self, trail: &[&[u8]], key: &[u8]) -> Says<'a> {
        for at in (self.hint..self.list.len()).chain(0..self.hint.min(self.list.len())) {
            let op = &mut self.list[at];
            let Some(first) = op.keys.get(trail.len()) else { continue };
            if op.done || first.as_bytes() != key || !op.keys.iter().zip(trail).all(|(a, b)| a.as_bytes() == *b) {
                continue;
            }
            if op.keys.len() > trail.len() + 1 {
                return Says::Holds;
            }
            op.done = true;
            let scalar = op.scalar;
            self.left -= 1;
            self.hint = at + 1;
            return Says::Is(at, scalar);
        }
        Says::Nothing
    }
}

/// What an operation says of a member.
enum Says<'a> {
    Nothing,
    /// It is an object with something in it.
    Holds,
    /// It is this, by the operation at this place.
    Is(usize, Scalar<'a>),
}

/// One walk over the stored object, with the report beside it. What stays as it is is copied in pieces, each from one change to
/// the next; every time is written anew, as all of them count from when the section last changed.
struct Merge<'a, 'o> {
    ops: Ops<'a>,
    root: &'a [u8],
    /// So many bytes of it are copied, or replaced.
    copied: usize,
    /// `None`: only to see whether anything changes.
    out: Option<&'o mut Vec<u8>>,
    /// How much later than the stored section's the new one's time is.
    later_ms: i64,
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
        let age_at = stored.at();
        let age_ms = stored.integer()?;
        // The object's time stands before its members, and they decide it. At the root it is certain to be now, or nothing of
        // this is used.
        let changes = depth == 0 || self.out.is_some() && self.would_change(*stored, pairs - 1, depth, trail)?;
        self.age(age_at, stored.at(), if changes { 0 } else { age_ms.wrapping_add(self.later_ms) });
        let mut changed = false;
        for _ in 1..pairs {
            let key = stored.text()?;
            changed |= self.member(stored, key, depth, trail)?;
        }
        Ok(changed)
    }

    #[inline]
    fn member(
        &mut self,
        stored: &mut Reader<'a>,
        key: &'a [u8],
        depth: usize,
        trail: &[&'a [u8]],
    ) -> Result<bool, NeedsTree> {
        if !stored.pass(&[LEAF_HEAD]) {
            let mut below = trail.to_vec();
            below.push(key);
            return self.object(stored, depth + 1, &below);
        }
        let age_at = stored.at();
        let age_ms = stored.integer()?;
        let value_at = stored.at();
        let value = stored.raw()?;
        let change = match self.ops.take(trail, key) {
            Says::Nothing => None,
            Says::Holds => return Err(NeedsTree),
            Says::Is(at, scalar) => (!scalar.equals(value)?).then_some((at, scalar)),
        };
        let Some((at, scalar)) = change else {
            self.age(age_at, value_at, age_ms.wrapping_add(self.later_ms));
            return Ok(false);
        };
        self.ops.effective.add(at);
        self.age(age_at, stored.at(), 0);
        if let Some(out) = &mut self.out {
            out.extend_from_slice(scalar.0);
        }
        Ok(true)
    }

    /// Would any of the operations that concern this object have an effect? Walks ahead without writing.
    fn would_change(
        &self,
        mut stored: Reader<'a>,
        members: usize,
        depth: usize,
        trail: &[&'a [u8]],
    ) -> Result<bool, NeedsTree> {
        let mut ahead = Merge { ops: self.ops.clone(), root: self.root, copied: 0, out: None, later_ms: self.later_ms };
        let mut changed = false;
        for _ in 0..members {
            let key = stored.text()?;
            changed |= ahead.member(&mut stored, key, depth, trail)?;
        }
        Ok(changed)
    }

    /// Copies what was not copied before this place.
    #[inline]
    fn copy_upto(&mut self, at: usize) {
        if let Some(out) = &mut self.out {
            out.extend_from_slice(self.root.get(self.copied..at).unwrap_or_default());
        }
        self.copied = at;
    }

    /// Copies what is before `from`, and puts a time in the place of what is between it and `to`.
    #[inline]
    fn age(&mut self, from: usize, to: usize, age_ms: i64) {
        self.copy_upto(from);
        self.copied = to;
        let Some(out) = &mut self.out else { return };
        if let Ok(short @ 0..=0x7f) = u8::try_from(age_ms) {
            return out.push(short);
        }
        let written = rmp::encode::write_sint(*out, age_ms);
        debug_assert!(written.is_ok(), "a Vec takes every byte");
    }
}
