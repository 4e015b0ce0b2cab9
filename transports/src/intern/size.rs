//! Upper bounds of encoded sizes, and what an interned entry weighs. Cheap, and never too low.

use twin_core::ids::TwinId;
use twin_core::path::Path;

/// MessagePack's longest length prefix.
const PREFIX_BYTES: usize = 5;
/// A state or event message without its body: index, stay, numbers, array and map prefixes.
pub(super) const MESSAGE_BYTES: usize = 64;
/// A batch without its lists' elements: frame, number, list prefixes, trace context.
pub(super) const BATCH_BYTES: usize = 256;

fn text_bytes_max(text: &str) -> usize {
    PREFIX_BYTES + text.len()
}

/// What an entry counts towards [`crate::limits::INTERNED_BYTES_MAX`], on both sides; at least its encoded size.
pub(super) fn twin_weight_bytes(twin: &TwinId) -> usize {
    PREFIX_BYTES + twin.as_str().len()
}

/// What an interned path counts towards [`crate::limits::INTERNED_BYTES_MAX`]; at least its encoded size.
pub fn path_weight_bytes(path: &Path) -> usize {
    PREFIX_BYTES + path.keys().iter().map(|key| text_bytes_max(key)).sum::<usize>()
}
