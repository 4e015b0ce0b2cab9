//! Convergence where the sections lie: the members of both stand in key order, so that one walk along the two finds what
//! [`Progress`](crate::convergence::Progress) finds in the trees.

use super::plain::value;
use super::stored::{Entered, StoredSection, key, skip};
use super::{Parts, ViewError};
use crate::convergence::{Convergence, Rejection, derive};
use crate::limits::NESTING_MAX;
use crate::msgpack::{Malformed, Reader};
use crate::numbers::Version;
use crate::path::Path;
use crate::value::{Members, Value};

/// One property of `desired`.
#[derive(Debug)]
pub(super) struct Property {
    /// JSON pointer.
    pub(super) pointer: Box<str>,
    pub(super) version: Version,
    pub(super) state: Convergence,
}

/// Members of an object still to be passed.
#[derive(Clone, Copy)]
struct Side<'a> {
    reader: Reader<'a>,
    left: usize,
}

struct Walk<'a, 'p> {
    parts: &'p Parts<'a>,
    rejections: Vec<Rejection>,
    keys: Vec<&'a str>,
    found: Vec<Property>,
}

/// Every property of `desired`, by its pointer.
pub(super) fn properties(parts: &Parts<'_>) -> Result<Vec<Property>, ViewError> {
    let (desired, _, members) = parts.desired.enter_root()?;
    if members == 0 {
        return Ok(Vec::new());
    }
    let (reported, _, left) = parts.reported.enter_root()?;
    let mut walk = Walk { parts, rejections: parts.rejections()?, keys: Vec::new(), found: Vec::new() };
    walk.members(&mut Side { reader: desired, left: members }, Some(Side { reader: reported, left }), NESTING_MAX)?;
    let mut found = walk.found;
    // Keys in order are pointers in order, unless a key holds what sorts before '/' or is escaped.
    found.sort_unstable_by(|a, b| a.pointer.cmp(&b.pointer));
    Ok(found)
}

/// As [`Progress::to_json`](crate::convergence::Progress::to_json).
pub(super) fn to_value(properties: Vec<Property>) -> Value {
    let entry = |Property { pointer, version, state }: Property| {
        let mut entry = Members::new();
        entry.insert("state".into(), state.name().into());
        entry.insert("version".into(), i64::try_from(version.get()).unwrap_or(i64::MAX).into());
        if let Convergence::Rejected { reason } = state {
            entry.insert("reason".into(), Value::String(reason.into()));
        }
        (pointer, Value::Object(entry))
    };
    Value::Object(properties.into_iter().map(entry).collect())
}

impl<'a> Walk<'a, '_> {
    fn members(
        &mut self,
        desired: &mut Side<'a>,
        mut reported: Option<Side<'a>>,
        levels: usize,
    ) -> Result<(), ViewError> {
        let levels = levels.checked_sub(1).ok_or(ViewError::Nesting)?;
        for _ in 0..desired.left {
            let wanted = key(&mut desired.reader)?;
            let shown = match &mut reported {
                Some(side) => side.find(wanted)?,
                None => None,
            };
            self.keys.push(wanted);
            self.node(&mut desired.reader, shown, levels)?;
            self.keys.pop();
        }
        Ok(())
    }

    /// The node of `desired` that comes next, beside what is reported in its place.
    fn node(&mut self, desired: &mut Reader<'a>, shown: Option<Reader<'a>>, levels: usize) -> Result<(), ViewError> {
        let Parts { desired: section, reported, .. } = self.parts;
        let (changed, same) = match section.enter(desired)? {
            Entered::Leaf { changed, behind } => {
                let wanted = desired.raw()?;
                skip(desired, behind)?;
                (changed, is_reported(reported, shown, wanted)?)
            }
            Entered::Object { changed, members: 0 } => (changed, object(reported, shown)?.is_some()),
            Entered::Object { members, .. } => {
                let mut side = Side { reader: *desired, left: members };
                let shown = object(reported, shown)?;
                self.members(&mut side, shown, levels)?;
                *desired = side.reader;
                return Ok(());
            }
        };
        let version = changed.version.ok_or(Malformed::Expected("a version"))?;
        let rejections = &self.rejections;
        let covered = (!rejections.is_empty()).then(|| Path::from_keys(self.keys.iter().copied()));
        let state = derive(rejections, covered.as_ref(), version, same, self.parts.acked(), self.parts.delivered());
        self.found.push(Property { pointer: pointer(&self.keys), version, state });
        Ok(())
    }
}

impl Parts<'_> {
    fn acked(&self) -> Version {
        Version::new(self.acked)
    }

    fn delivered(&self) -> Version {
        Version::new(self.delivered)
    }
}

impl<'a> Side<'a> {
    /// Passes members up to the one of this key: at its node, if there is one. Keys are asked for in order.
    fn find(&mut self, wanted: &str) -> Result<Option<Reader<'a>>, ViewError> {
        while self.left > 0 {
            let mut ahead = self.reader;
            let found = ahead.text()?;
            if found > wanted.as_bytes() {
                return Ok(None);
            }
            let node = ahead;
            ahead.raw()?;
            self.reader = ahead;
            self.left -= 1;
            if found == wanted.as_bytes() {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }
}

/// Is this plain value what is reported here?
fn is_reported<'a>(reported: &StoredSection<'a>, shown: Option<Reader<'a>>, wanted: &[u8]) -> Result<bool, ViewError> {
    let Some(mut shown) = shown else { return Ok(false) };
    let Entered::Leaf { .. } = reported.enter(&mut shown)? else { return Ok(false) };
    let shown = shown.raw()?;
    if shown == wanted {
        return Ok(true);
    }
    // Equal by value all the same: 3 and 3.0.
    Ok(value(&mut Reader::new(shown), NESTING_MAX)? == value(&mut Reader::new(wanted), NESTING_MAX)?)
}

/// The members of what is reported here, if it is an object.
fn object<'a>(reported: &StoredSection<'a>, shown: Option<Reader<'a>>) -> Result<Option<Side<'a>>, ViewError> {
    let Some(mut reader) = shown else { return Ok(None) };
    Ok(match reported.enter(&mut reader)? {
        Entered::Object { members, .. } => Some(Side { reader, left: members }),
        Entered::Leaf { .. } => None,
    })
}

fn pointer(keys: &[&str]) -> Box<str> {
    let mut pointer = String::with_capacity(keys.iter().map(|key| key.len() + 1).sum());
    for key in keys {
        pointer.push('/');
        for character in key.chars() {
            match character {
                '~' => pointer.push_str("~0"),
                '/' => pointer.push_str("~1"),
                other => pointer.push(other),
            }
        }
    }
    pointer.into()
}
