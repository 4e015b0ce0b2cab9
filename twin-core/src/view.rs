//! A reading of a twin as bytes: what a gateway is sent and REST renders from, without a tree of values in between.
//!
//! A view is a MessagePack array that only ever grows at its end:
//! `[incarnation, attachment, tags version, delivered, acked, rejections, desired, reported, office]`. The sections are the bytes
//! that they are stored as, each behind its length, so that whoever wants one property passes the rest at once. `office` is what
//! only the back office is shown: `[site, gateway, tags]`; for gateways it is nil.
//!
//! **Invariant:** a view shows what [`Twin::document`](crate::twin::Twin::document) shows of the same twin. The trees are the
//! definition; the property tests compare the two.
//!
//! What is read from a view is checked as it is read: bytes that are no view are a [`ViewError`], never a panic.

mod converge;
mod json;
mod pack;
mod plain;
mod stored;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::convergence::Rejection;
use crate::ids::{GatewayId, SiteId};
use crate::limits::NESTING_MAX;
use crate::msgpack::{Item, Malformed, Reader};
use crate::numbers::{AttachmentNo, Incarnation, Version, WallTime};
use crate::path::Path;
use crate::section::{Reported, Section, Versioned};
use crate::value::Value;

pub(crate) use pack::{Shown, pack};
use stored::{Kind, StoredSection};

/// For whom a view is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Shown everything.
    BackOffice,
    /// A gateway of this site: tags are not shown, and twins of other sites do not exist.
    Site(SiteId),
}

/// Bytes that are no view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Not of the form above.
    #[error("a twin's view cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// A text that is not UTF-8.
    #[error("a twin's view holds a text that is not UTF-8")]
    Utf8,
    /// Infinite, or not a number.
    #[error("a twin's view holds a number that is not finite")]
    NotFinite,
    /// Deeper than anything we read.
    #[error("a twin's view nests deeper than {NESTING_MAX} levels")]
    Nesting,
    /// A record in it is none.
    #[error("a twin's view holds something that cannot be read: {0}")]
    Record(String),
}

/// A reading of a twin. It holds its bytes and shares them with whatever they came in: see [`TwinView::detached`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinView {
    packed: Bytes,
}

/// What stands where in a view.
#[derive(Clone, Copy)]
struct Parts<'a> {
    incarnation: u64,
    attachment: u64,
    tags_version: u64,
    delivered: u64,
    acked: u64,
    rejections: &'a [u8],
    desired: StoredSection<'a>,
    reported: StoredSection<'a>,
    office: Reader<'a>,
}

/// What only the back office is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Office {
    /// The twin's site.
    pub site: SiteId,
    /// The gateway of the current attachment, if one is attached.
    pub gateway: Option<GatewayId>,
}

impl TwinView {
    /// From its bytes, which are not looked at yet.
    pub fn new(packed: Bytes) -> Self {
        Self { packed }
    }

    /// Its bytes.
    pub fn packed(&self) -> &Bytes {
        &self.packed
    }

    /// The same view in memory of its own: a view that is kept keeps the whole frame that it came in.
    pub fn detached(&self) -> Self {
        Self { packed: Bytes::copy_from_slice(&self.packed) }
    }

    /// For whoever asks for more than one thing: what stands where is looked for once.
    pub fn open(&self) -> Result<OpenView<'_>, ViewError> {
        Ok(OpenView(self.parts()?))
    }

    fn parts(&self) -> Result<Parts<'_>, ViewError> {
        let mut reader = Reader::new(&self.packed);
        if reader.array()? < 9 {
            return Err(Malformed::Expected("a view of 9 fields or more").into());
        }
        Ok(Parts {
            incarnation: reader.unsigned()?,
            attachment: reader.unsigned()?,
            tags_version: reader.unsigned()?,
            delivered: reader.unsigned()?,
            acked: reader.unsigned()?,
            rejections: reader.raw()?,
            desired: StoredSection::read(binary(&mut reader)?, Kind::Desired)?,
            reported: StoredSection::read(binary(&mut reader)?, Kind::Reported)?,
            office: reader,
        })
    }

    /// See [`OpenView::version`].
    pub fn version(&self) -> Result<u64, ViewError> {
        Ok(self.open()?.version())
    }

    /// Which life of the id.
    pub fn incarnation(&self) -> Result<Incarnation, ViewError> {
        Ok(self.open()?.incarnation())
    }

    /// The current attachment; 0: never attached, or in an earlier life only.
    pub fn attachment(&self) -> Result<AttachmentNo, ViewError> {
        Ok(AttachmentNo::new(self.parts()?.attachment))
    }

    /// `desired.$version`
    pub fn desired_version(&self) -> Result<Version, ViewError> {
        Ok(self.parts()?.desired.version)
    }

    /// `reported.$version`
    pub fn reported_version(&self) -> Result<Version, ViewError> {
        Ok(self.parts()?.reported.version)
    }

    /// When `reported` last changed.
    pub fn reported_at(&self) -> Result<WallTime, ViewError> {
        Ok(self.parts()?.reported.updated)
    }

    /// Up to which version of `desired` the device's gateway has it.
    pub fn delivered(&self) -> Result<Version, ViewError> {
        Ok(Version::new(self.parts()?.delivered))
    }

    /// Up to which version of `desired` the device acknowledged it.
    pub fn acked(&self) -> Result<Version, ViewError> {
        Ok(Version::new(self.parts()?.acked))
    }

    /// All of `reported`, plain.
    pub fn reported(&self) -> Result<Value, ViewError> {
        self.parts()?.reported.to_value()
    }

    /// All of `desired`, plain.
    pub fn desired(&self) -> Result<Value, ViewError> {
        self.parts()?.desired.to_value()
    }

    /// What is reported at a path; `None`: nothing.
    pub fn reported_value(&self, at: &Path) -> Result<Option<Value>, ViewError> {
        self.parts()?.reported.value(at)
    }

    /// What is desired at a path; `None`: nothing.
    pub fn desired_value(&self, at: &Path) -> Result<Option<Value>, ViewError> {
        self.parts()?.desired.value(at)
    }

    /// `reported` with the time of each node.
    pub fn reported_section(&self) -> Result<Reported, ViewError> {
        record(self.parts()?.reported.whole)
    }

    /// `desired` with version and time of each node.
    pub fn desired_section(&self) -> Result<Section<Versioned>, ViewError> {
        record(self.parts()?.desired.whole)
    }

    /// How far the device has followed, per property: `{"/price": {"state", "version", "reason"?}}`.
    pub fn convergence(&self) -> Result<Value, ViewError> {
        Ok(converge::to_value(converge::properties(&self.parts()?)?))
    }

    /// See [`OpenView::office`].
    pub fn office(&self) -> Result<Option<Office>, ViewError> {
        self.open()?.office()
    }

    /// See [`OpenView::steering_etag`].
    pub fn steering_etag(&self) -> Result<String, ViewError> {
        Ok(self.open()?.steering_etag())
    }
}

/// A view of which is known what stands where.
pub struct OpenView<'a>(Parts<'a>);

impl OpenView<'_> {
    /// Bytes of `desired` and `reported`, as they are stored.
    pub fn size_bytes(&self) -> usize {
        self.0.desired.whole.len() + self.0.reported.whole.len()
    }

    /// Version of the whole twin: rises with every effective change of any section.
    pub fn version(&self) -> u64 {
        let Parts { tags_version, desired, reported, .. } = &self.0;
        // Each is 1 or above; anything else is no view of ours, and must not overflow either.
        let sum = tags_version.wrapping_add(desired.version.get()).wrapping_add(reported.version.get());
        sum.wrapping_sub(2)
    }

    /// Which life of the id.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation::new(self.0.incarnation)
    }

    /// What only the back office is shown; `None` in a gateway's view.
    pub fn office(&self) -> Result<Option<Office>, ViewError> {
        let Some((mut reader, _)) = self.0.office()? else { return Ok(None) };
        let site = record(reader.raw()?)?;
        Ok(Some(Office { site, gateway: record(reader.raw()?)? }))
    }

    /// What `If-Match` of REST compares: see [`TwinDocument`](crate::document::TwinDocument::steering_etag).
    pub fn steering_etag(&self) -> String {
        let Parts { incarnation, tags_version, desired, .. } = &self.0;
        format!("{incarnation}-{tags_version}-{}", desired.version)
    }
}

impl<'a> Parts<'a> {
    fn rejections(&self) -> Result<Vec<Rejection>, ViewError> {
        record(self.rejections)
    }

    /// At the site of the back office's part, and the tags.
    fn office(&self) -> Result<Option<(Reader<'a>, StoredSection<'a>)>, ViewError> {
        let mut reader = self.office;
        match reader.next_item()? {
            Item::Null => Ok(None),
            Item::Array(3..) => {
                let from = reader;
                reader.raw()?;
                reader.raw()?;
                Ok(Some((from, StoredSection::read(binary(&mut reader)?, Kind::Tags)?)))
            }
            _ => Err(Malformed::Expected("what the back office is shown").into()),
        }
    }
}

fn binary<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    match reader.next_item()? {
        Item::Binary(bytes) => Ok(bytes),
        _ => Err(Malformed::Expected("the bytes of a section")),
    }
}

fn record<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ViewError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    // A section with its own array, its stamps and what they enclose.
    deserializer.set_max_depth(NESTING_MAX + 4);
    T::deserialize(&mut deserializer).map_err(|error| ViewError::Record(error.to_string()))
}
