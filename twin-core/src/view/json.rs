//! A view as JSON, written as it is read. **Invariant:** byte for byte what serde_json writes of the document's values: ETags
//! are hashes of it, whichever way it was made.

use super::converge::{self, Property};
use super::stored::{Changed, Entered, Kind, StoredSection, key, skip, text};
use super::{OpenView, TwinView, ViewError};
use crate::convergence::Convergence;
use crate::limits::NESTING_MAX;
use crate::msgpack::{Item, Malformed, Reader};
use crate::numbers::WallTime;
use crate::section::METADATA_KEY;
use crate::time_text::rfc3339_bytes;

const LAST_UPDATED: &str = "$lastUpdated";

impl TwinView {
    /// See [`OpenView::write_tags_json`].
    pub fn write_tags_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        self.open()?.write_tags_json(out)
    }

    /// See [`OpenView::write_desired_json`].
    pub fn write_desired_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        self.open()?.write_desired_json(out)
    }

    /// See [`OpenView::write_reported_json`].
    pub fn write_reported_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        self.open()?.write_reported_json(out)
    }

    /// See [`OpenView::write_plain_desired_json`].
    pub fn write_plain_desired_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        self.open()?.write_plain_desired_json(out)
    }

    /// See [`OpenView::write_plain_reported_json`].
    pub fn write_plain_reported_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        self.open()?.write_plain_reported_json(out)
    }

    /// See [`OpenView::write_convergence_json`].
    pub fn write_convergence_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        self.open()?.write_convergence_json(out)
    }
}

impl OpenView<'_> {
    /// Appends `tags`, plain. An error in a view that a gateway was sent.
    pub fn write_tags_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        let (_, tags) = self.0.office()?.ok_or(Malformed::Expected("a view for the back office"))?;
        Writer::new(&tags, out).node(&mut tags.root.clone(), NESTING_MAX)
    }

    /// Appends `desired` with `$version` and `$metadata`.
    pub fn write_desired_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        Writer::new(&self.0.desired, out).section()
    }

    /// Appends `reported` with `$version` and `$metadata`.
    pub fn write_reported_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        Writer::new(&self.0.reported, out).section()
    }

    /// Appends `desired`, plain: as it may be sent back.
    pub fn write_plain_desired_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        let desired = &self.0.desired;
        Writer::new(desired, out).node(&mut desired.root.clone(), NESTING_MAX)
    }

    /// Appends `reported`, plain.
    pub fn write_plain_reported_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        let reported = &self.0.reported;
        Writer::new(reported, out).node(&mut reported.root.clone(), NESTING_MAX)
    }

    /// Appends [`TwinView::convergence`].
    pub fn write_convergence_json(&self, out: &mut Vec<u8>) -> Result<(), ViewError> {
        out.push(b'{');
        for (at, Property { pointer, version, state }) in converge::properties(&self.0)?.into_iter().enumerate() {
            comma(out, at);
            string(out, &pointer);
            out.extend_from_slice(b":{");
            if let Convergence::Rejected { reason } = &state {
                out.extend_from_slice(b"\"reason\":");
                string(out, reason);
                out.push(b',');
            }
            out.extend_from_slice(b"\"state\":\"");
            out.extend_from_slice(state.name().as_bytes());
            out.extend_from_slice(b"\",\"version\":");
            number(out, version.get());
            out.push(b'}');
        }
        out.push(b'}');
        Ok(())
    }
}

struct Writer<'a, 'o> {
    section: StoredSection<'a>,
    out: &'o mut Vec<u8>,
    /// The time written last: most nodes of a section changed together.
    time: Option<(WallTime, [u8; 24])>,
}

impl<'a, 'o> Writer<'a, 'o> {
    fn new(section: &StoredSection<'a>, out: &'o mut Vec<u8>) -> Self {
        Self { section: *section, out, time: None }
    }

    /// The root with `$metadata` and `$version` among its members: all stand in the order of their keys.
    fn section(&mut self) -> Result<(), ViewError> {
        let (mut reader, _, members) = self.section.enter_root()?;
        let mut own = 0;
        self.out.push(b'{');
        for at in 0..members {
            let key = key(&mut reader)?;
            if own == 0 && key > METADATA_KEY {
                self.own_members(at)?;
                own = 2;
            }
            comma(self.out, at + own);
            string(self.out, key);
            self.out.push(b':');
            self.node(&mut reader, NESTING_MAX)?;
        }
        if own == 0 {
            self.own_members(members)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn own_members(&mut self, at: usize) -> Result<(), ViewError> {
        comma(self.out, at);
        self.out.extend_from_slice(b"\"$metadata\":");
        self.metadata(&mut self.section.root.clone(), NESTING_MAX)?;
        self.out.extend_from_slice(b",\"$version\":");
        number(self.out, self.section.version.get());
        Ok(())
    }

    /// The plain value of the node that comes next.
    fn node(&mut self, reader: &mut Reader<'a>, levels: usize) -> Result<(), ViewError> {
        match self.section.enter(reader)? {
            Entered::Leaf { behind, .. } => {
                value(self.out, reader, levels)?;
                skip(reader, behind)
            }
            Entered::Object { members, .. } => {
                let levels = levels.checked_sub(1).ok_or(ViewError::Nesting)?;
                self.out.push(b'{');
                for at in 0..members {
                    comma(self.out, at);
                    string(self.out, key(reader)?);
                    self.out.push(b':');
                    self.node(reader, levels)?;
                }
                self.out.push(b'}');
                Ok(())
            }
        }
    }

    /// When, and by which version, the node that comes next changed, and what is below it.
    fn metadata(&mut self, reader: &mut Reader<'a>, levels: usize) -> Result<(), ViewError> {
        self.out.push(b'{');
        match self.section.enter(reader)? {
            Entered::Leaf { changed, behind } => {
                self.stamp(changed, 0);
                skip(reader, 1 + behind)?;
            }
            Entered::Object { changed, members } => {
                let levels = levels.checked_sub(1).ok_or(ViewError::Nesting)?;
                let mut own = None;
                for at in 0..members {
                    let key = key(reader)?;
                    if own.is_none() && key > LAST_UPDATED {
                        own = Some(self.stamp(changed, at));
                    }
                    comma(self.out, at + own.unwrap_or(0));
                    string(self.out, key);
                    self.out.push(b':');
                    self.metadata(reader, levels)?;
                }
                if own.is_none() {
                    self.stamp(changed, members);
                }
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// The stamp's members, behind so many others; says how many.
    fn stamp(&mut self, changed: Changed, behind: usize) -> usize {
        let mut members = 0;
        if let Some(at) = changed.at {
            let text = match self.time {
                Some((last, text)) if last == at => text,
                _ => self.time.insert((at, rfc3339_bytes(at))).1,
            };
            comma(self.out, behind);
            self.out.extend_from_slice(b"\"$lastUpdated\":\"");
            self.out.extend_from_slice(&text);
            self.out.push(b'"');
            members += 1;
        }
        if let Some(version) = changed.version {
            comma(self.out, behind + members);
            self.out.extend_from_slice(b"\"$lastUpdatedVersion\":");
            number(self.out, version.get());
            members += 1;
        }
        debug_assert!(members > 0 || self.section.kind == Kind::Tags, "only tags remember nothing");
        members
    }
}

/// The plain value that comes next.
fn value(out: &mut Vec<u8>, reader: &mut Reader<'_>, levels: usize) -> Result<(), ViewError> {
    let below = || levels.checked_sub(1).ok_or(ViewError::Nesting);
    match reader.next_item()? {
        Item::Null => out.extend_from_slice(b"null"),
        Item::Bool(true) => out.extend_from_slice(b"true"),
        Item::Bool(false) => out.extend_from_slice(b"false"),
        Item::Integer(value) => json(out, &value),
        Item::Float(value) if value.is_finite() => json(out, &value),
        Item::Float(_) => return Err(ViewError::NotFinite),
        Item::Text(bytes) => string(out, text(bytes)?),
        Item::Binary(_) => return Err(Malformed::Expected("a JSON value").into()),
        Item::Array(elements) => {
            let levels = below()?;
            out.push(b'[');
            for at in 0..elements {
                comma(out, at);
                value(out, reader, levels)?;
            }
            out.push(b']');
        }
        Item::Map(members) => {
            let levels = below()?;
            out.push(b'{');
            for at in 0..members {
                comma(out, at);
                string(out, key(reader)?);
                out.push(b':');
                value(out, reader, levels)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn comma(out: &mut Vec<u8>, behind: usize) {
    if behind > 0 {
        out.push(b',');
    }
}

/// As documents show a number from 0 up.
fn number(out: &mut Vec<u8>, raw: u64) {
    json(out, &i64::try_from(raw).unwrap_or(i64::MAX));
}

#[allow(clippy::needless_bitwise_bool, reason = "what never stops is done for many bytes at once")]
fn string(out: &mut Vec<u8>, text: &str) {
    let escapes = text.bytes().fold(false, |found, byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    if escapes {
        return json(out, text);
    }
    // Nearly all of them.
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, scalar: &T) {
    if let Err(error) = serde_json::to_writer(out, scalar) {
        unreachable!("a finite scalar always has a JSON form: {error}");
    }
}
