//! The sending side's tables.

use std::collections::HashMap;

use twin_core::ids::TwinId;
use twin_core::path::Path;

use super::size::{path_weight_bytes, twin_weight_bytes};
use crate::limits::{INTERNED_BYTES_MAX, INTERNED_PATHS_MAX, INTERNED_TWINS_MAX};

/// A table has no room for one more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What the current batch has added so far; to come back to when a message does not fit.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    twins: usize,
    paths: usize,
}

/// What goes out with a batch.
pub(super) struct Added {
    pub(super) reset: bool,
    pub(super) twins: Vec<TwinId>,
    pub(super) paths: Vec<Path>,
}

#[derive(Default)]
pub(super) struct Tables {
    twins: HashMap<TwinId, u32>,
    paths: HashMap<Path, u32>,
    weight_bytes: usize,
    reset: bool,
    added_twins: Vec<TwinId>,
    added_paths: Vec<Path>,
    added_bytes: usize,
}

impl Tables {
    pub(super) fn is_empty(&self) -> bool {
        self.twins.is_empty() && self.paths.is_empty()
    }

    /// Encoded size of what the batch adds.
    pub(super) fn added_bytes(&self) -> usize {
        self.added_bytes
    }

    /// Empties the tables, on the other side too when the batch arrives. Only at the beginning of a batch.
    pub(super) fn reset(&mut self) {
        *self = Self { reset: true, ..Self::default() };
    }

    pub(super) fn twin(&mut self, twin: &TwinId) -> Result<u32, Full> {
        if let Some(index) = self.twins.get(twin) {
            return Ok(*index);
        }
        let weight = twin_weight_bytes(twin);
        if self.twins.len() == INTERNED_TWINS_MAX || self.weight_bytes + weight > INTERNED_BYTES_MAX {
            return Err(Full);
        }
        let index = self.twins.len() as u32;
        self.twins.insert(twin.clone(), index);
        self.added_twins.push(twin.clone());
        self.weight_bytes += weight;
        self.added_bytes += weight;
        Ok(index)
    }

    pub(super) fn path(&mut self, path: &Path) -> Result<u32, Full> {
        if let Some(index) = self.paths.get(path) {
            return Ok(*index);
        }
        let weight = path_weight_bytes(path);
        if self.paths.len() == INTERNED_PATHS_MAX || self.weight_bytes + weight > INTERNED_BYTES_MAX {
            return Err(Full);
        }
        let index = self.paths.len() as u32;
        self.paths.insert(path.clone(), index);
        self.added_paths.push(path.clone());
        self.weight_bytes += weight;
        self.added_bytes += weight;
        Ok(index)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { twins: self.added_twins.len(), paths: self.added_paths.len() }
    }

    /// Takes back what was added since the mark.
    pub(super) fn rollback(&mut self, mark: Mark) {
        for twin in self.added_twins.drain(mark.twins..) {
            self.twins.remove(&twin);
            let weight = twin_weight_bytes(&twin);
            self.weight_bytes -= weight;
            self.added_bytes -= weight;
        }
        for path in self.added_paths.drain(mark.paths..) {
            self.paths.remove(&path);
            let weight = path_weight_bytes(&path);
            self.weight_bytes -= weight;
            self.added_bytes -= weight;
        }
    }

    pub(super) fn take_added(&mut self) -> Added {
        self.added_bytes = 0;
        Added {
            reset: std::mem::take(&mut self.reset),
            twins: std::mem::take(&mut self.added_twins),
            paths: std::mem::take(&mut self.added_paths),
        }
    }
}
