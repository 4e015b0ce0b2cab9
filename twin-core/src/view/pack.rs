//! Writing a view: once, into one buffer, from the rows as they lie in memory.

use bytes::Bytes;
use serde::Serialize;

use super::TwinView;
use crate::convergence::Rejection;
use crate::ids::{GatewayId, SiteId};
use crate::numbers::{AttachmentNo, Incarnation, Version};
use crate::section::{PackedReported, Section, Tags, Versioned};

/// Bytes of a view beside `reported`, about: numbers, and a small `desired`.
const HEAD_BYTES: usize = 160;

/// What is packed.
pub(crate) struct Shown<'a> {
    pub(crate) incarnation: Incarnation,
    pub(crate) attachment: AttachmentNo,
    pub(crate) tags_version: Version,
    pub(crate) delivered: Version,
    pub(crate) acked: Version,
    pub(crate) rejections: &'a [Rejection],
    pub(crate) desired: &'a Section<Versioned>,
    pub(crate) reported: &'a PackedReported,
    pub(crate) office: Option<(&'a SiteId, Option<&'a GatewayId>, &'a Tags)>,
}

pub(crate) fn pack(shown: &Shown<'_>) -> TwinView {
    let mut out = Vec::with_capacity(HEAD_BYTES + shown.reported.size_bytes());
    out.push(0x99);
    for number in [
        shown.incarnation.get(),
        shown.attachment.get(),
        shown.tags_version.get(),
        shown.delivered.get(),
        shown.acked.get(),
    ] {
        let written = rmp::encode::write_uint(&mut out, number);
        debug_assert!(written.is_ok(), "a Vec takes every byte");
    }
    record(&mut out, &shown.rejections);
    section(&mut out, |out| record(out, shown.desired));
    section(&mut out, |out| shown.reported.write(out));
    match shown.office {
        None => out.push(0xc0),
        Some((site, gateway, tags)) => {
            out.push(0x93);
            record(&mut out, site);
            record(&mut out, &gateway);
            section(&mut out, |out| record(out, tags));
        }
    }
    TwinView { packed: Bytes::from(out) }
}

fn record(out: &mut Vec<u8>, record: &impl Serialize) {
    if let Err(error) = rmp_serde::encode::write(out, record) {
        unreachable!("plain records always encode to memory: {error}");
    }
}

/// What `write` appends, as bytes behind their length.
fn section(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[0xc6, 0, 0, 0, 0]);
    let from = out.len();
    write(out);
    let length = (out.len() - from) as u32;
    out[from - 4..from].copy_from_slice(&length.to_be_bytes());
}
