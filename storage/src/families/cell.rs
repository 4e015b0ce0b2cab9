//! Cells, in the directory: lineage and replicas.
//!
//! Key: the cell's number, four bytes, big-endian. Key format version 1.

use bytes::Bytes;
use twin_core::numbers::CellId;

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::Cell;

/// The row of one cell.
pub fn key(cell: CellId) -> Bytes {
    Bytes::copy_from_slice(&cell.get().to_be_bytes())
}

/// The cell that a row belongs to.
pub fn decode(key: &[u8]) -> Result<CellId, KeyError> {
    <[u8; 4]>::try_from(key)
        .map(|number| CellId::new(u32::from_be_bytes(number)))
        .map_err(|_| KeyError::new(FAMILY, key, "not a cell number of four bytes"))
}
