//! Records read by hand: arrays that only ever grow at the end, see [`twin_core::wire`].

use twin_core::msgpack::{Malformed, Reader};

/// A record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRecord {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("a {0} lacks a field")]
    Short(&'static str),
}

/// Begins a record of which `known` fields are known; says how many it has.
pub(super) fn fields(reader: &mut Reader<'_>, known: usize, what: &'static str) -> Result<usize, BadRecord> {
    let fields = reader.array()?;
    if fields < known { Err(BadRecord::Short(what)) } else { Ok(fields) }
}

/// Passes over what a newer release put at its end.
pub(super) fn skip(reader: &mut Reader<'_>, values: usize) -> Result<(), Malformed> {
    (0..values).try_for_each(|_| reader.raw().map(|_| ()))
}
