//! Plain values of a stored section, and of a path in it.

use super::ViewError;
use super::stored::{Entered, StoredSection, key, skip, text};
use crate::limits::NESTING_MAX;
use crate::msgpack::{Item, Malformed, Reader};
use crate::path::Path;
use crate::value::{Members, Value};

impl<'a> StoredSection<'a> {
    pub(super) fn to_value(self) -> Result<Value, ViewError> {
        self.node_value(&mut self.root.clone(), NESTING_MAX)
    }

    /// The value at a path. Paths do not go into arrays.
    pub(super) fn value(&self, at: &Path) -> Result<Option<Value>, ViewError> {
        let mut reader = self.root;
        for wanted in at.keys() {
            let Entered::Object { members, .. } = self.enter(&mut reader)? else { return Ok(None) };
            let mut found = false;
            for _ in 0..members {
                if reader.text()? == wanted.as_bytes() {
                    found = true;
                    break;
                }
                reader.raw()?;
            }
            if !found {
                return Ok(None);
            }
        }
        self.node_value(&mut reader, NESTING_MAX).map(Some)
    }

    fn node_value(&self, reader: &mut Reader<'a>, levels: usize) -> Result<Value, ViewError> {
        match self.enter(reader)? {
            Entered::Leaf { behind, .. } => {
                let value = value(reader, levels)?;
                skip(reader, behind)?;
                Ok(value)
            }
            Entered::Object { members, .. } => {
                let levels = levels.checked_sub(1).ok_or(ViewError::Nesting)?;
                object(reader, members, |reader| self.node_value(reader, levels))
            }
        }
    }
}

/// The plain value that comes next.
pub(super) fn value(reader: &mut Reader<'_>, levels: usize) -> Result<Value, ViewError> {
    let below = || levels.checked_sub(1).ok_or(ViewError::Nesting);
    Ok(match reader.next_item()? {
        Item::Null => Value::Null,
        Item::Bool(value) => value.into(),
        Item::Integer(value) => value.into(),
        Item::Float(value) if value.is_finite() => value.into(),
        Item::Float(_) => return Err(ViewError::NotFinite),
        Item::Text(bytes) => text(bytes)?.into(),
        Item::Binary(_) => return Err(Malformed::Expected("a JSON value").into()),
        Item::Array(elements) => {
            let levels = below()?;
            // No capacity from the claim, which may be any.
            let mut items = Vec::new();
            for _ in 0..elements {
                items.push(value(reader, levels)?);
            }
            Value::Array(items)
        }
        Item::Map(members) => {
            let levels = below()?;
            object(reader, members, |reader| value(reader, levels))?
        }
    })
}

fn object<'a>(
    reader: &mut Reader<'a>,
    members: usize,
    mut member: impl FnMut(&mut Reader<'a>) -> Result<Value, ViewError>,
) -> Result<Value, ViewError> {
    let mut object = Members::new();
    for _ in 0..members {
        let key = key(reader)?.into();
        object.insert(key, member(reader)?);
    }
    Ok(Value::Object(object))
}
