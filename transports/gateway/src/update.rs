//! Prepared properties: a report without a document. The paths are looked up once, the values go straight into the form in
//! which they are kept and sent.

use std::sync::Arc;

use parking_lot::RwLock;
use twin_core::ids::TwinId;
use twin_core::limits::{OPS_MAX, REPORTED_BYTES_MAX};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::rules::{check_ops, check_path};
use twin_core::section::SectionKind;
use twin_core::value::Value;
use twin_transports::codec::pack;

use crate::core::append::Drafts;
use crate::draft::{invalid, too_large};
use crate::error::ReportError;
use crate::outbox::body::{inline_path, remove, report_head, set_head};
use crate::outbox::dictionary::{Dictionary, INLINE, PathsNeeded, json_bytes};
use crate::outbox::format::Class;
use crate::patch::leaf;

/// A property of `reported`, prepared by [`crate::Gateway::property`]. Cheap to clone; good for that gateway only.
#[derive(Clone, Debug)]
pub struct Property(Arc<Prepared>);

#[derive(Debug)]
struct Prepared {
    /// Identity of the dictionary that it stands in.
    dictionary: u64,
    path: Path,
    /// `None`: the dictionary has no room for it.
    index: Option<u32>,
    json_bytes: usize,
}

impl Property {
    pub(crate) fn new(pointer: &str, dictionary: &RwLock<Dictionary>) -> Result<Self, ReportError> {
        let path = Path::from_pointer(pointer).map_err(|error| invalid(error.to_string()))?;
        check_path(&path, SectionKind::Reported)?;
        if path.is_root() {
            return Err(invalid("a property is not the whole section: name one, e.g. \"/temperature\"".into()));
        }
        let mut dictionary = dictionary.write();
        let index = dictionary.intern(&path);
        let json_bytes = json_bytes(&path);
        Ok(Self(Arc::new(Prepared { dictionary: dictionary.identity(), path, index, json_bytes })))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

/// What a device reports, property by property, in order. The cheapest way to report: see [`crate::Gateway::update`].
#[derive(Debug)]
pub struct Update {
    twin: TwinId,
    ops: Vec<u8>,
    count: usize,
    paths: PathsNeeded,
    json_bytes: usize,
    dictionary: u64,
    wrong: Option<ReportError>,
}

impl Update {
    /// Of a device; nothing yet.
    pub fn new(twin: TwinId) -> Self {
        Self::with_capacity(twin, 0)
    }

    /// As [`Update::new`], with room for so many bytes of values and their heads, to allocate once.
    pub fn with_capacity(twin: TwinId, bytes: usize) -> Self {
        Self { twin, ops: Vec::with_capacity(bytes), count: 0, paths: 0, json_bytes: 2, dictionary: 0, wrong: None }
    }

    /// Sets a property to a number, a boolean, a text or an array, or replaces it with an object. A value that breaks a rule
    /// is told when the update is given to the gateway, which then takes none of it.
    #[must_use]
    pub fn set(self, property: &Property, value: impl Into<Value>) -> Self {
        self.op(property, &value.into())
    }

    /// Sets a property to a text, without a copy of it in between.
    #[must_use]
    pub fn set_text(mut self, property: &Property, text: &str) -> Self {
        if text.len() > twin_core::limits::STRING_BYTES_MAX {
            return self.op(property, &Value::from(text));
        }
        self.begin(property);
        set_head(&mut self.ops);
        pack::text(&mut self.ops, text);
        self
    }

    /// Removes a property, and all below it.
    #[must_use]
    pub fn remove(mut self, property: &Property) -> Self {
        self.begin(property);
        remove(&mut self.ops);
        self
    }

    fn begin(&mut self, property: &Property) {
        let Prepared { dictionary, path, index, json_bytes } = &*property.0;
        if self.count > 0 && self.dictionary != *dictionary && self.wrong.is_none() {
            self.wrong =
                Some(invalid(format!("the property {path} was prepared by another gateway than the one before it")));
        }
        self.dictionary = *dictionary;
        self.count += 1;
        self.json_bytes += json_bytes;
        pack::array(&mut self.ops, 2);
        if let Some(index) = index {
            pack::uint(&mut self.ops, u64::from(*index));
            self.paths = self.paths.max(index + 1);
        } else {
            inline_path(&mut self.ops, path);
            self.paths = INLINE;
        }
    }

    fn op(mut self, property: &Property, value: &Value) -> Self {
        self.begin(property);
        let path = &property.0.path;
        let begin = self.ops.len();
        set_head(&mut self.ops);
        if leaf(&mut self.ops, value, path.keys().len()).is_none() {
            self.ops.truncate(begin);
            self.general(path, value);
        }
        self
    }

    /// What is not simple, or breaks a rule.
    fn general(&mut self, path: &Path, value: &Value) {
        let path = path.clone();
        let object = matches!(value, Value::Object(_));
        let op =
            if object { Op::Replace { path, value: value.clone() } } else { Op::Set { path, value: value.clone() } };
        if let Err(violation) = check_ops(&[op], SectionKind::Reported) {
            self.wrong.get_or_insert(violation.into());
        }
        pack::map(&mut self.ops, 1);
        pack::text(&mut self.ops, if object { "o" } else { "s" });
        pack::value(&mut self.ops, value);
    }

    pub(crate) fn draft(self, dictionary: u64, drafts: &mut Drafts) -> Result<(), ReportError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.count > 0 && self.dictionary != dictionary {
            return Err(invalid(
                "the update's properties were prepared by another gateway: prepare them by this one".into(),
            ));
        }
        if self.count > OPS_MAX {
            return Err(too_large("update's number of operations", self.count, OPS_MAX));
        }
        // A rough bound, on the safe side for all but texts of control characters.
        let size_bytes = self.json_bytes + self.ops.len();
        if size_bytes > REPORTED_BYTES_MAX {
            return Err(too_large("update", size_bytes, REPORTED_BYTES_MAX));
        }
        report_head(&mut drafts.bodies, self.count);
        drafts.bodies.extend_from_slice(&self.ops);
        drafts.push(self.twin, Class::State, self.paths, None);
        Ok(())
    }
}
