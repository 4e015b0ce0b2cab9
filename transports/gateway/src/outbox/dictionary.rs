//! The outbox's property paths as small numbers that never change, so that a body is encoded once: what goes to the disk and
//! onto every stream are the same bytes.
//!
//! A device reports the same few dozen paths for years. The dictionary takes each at its first use and is stored with the
//! outbox; at its bound further paths stand in the bodies as they are, and such bodies are translated when they are sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use twin_core::json::quoted_len;
use twin_core::path::Path;
use twin_transports::intern::path_weight_bytes;

use crate::limits::{DICTIONARY_BYTES_MAX, DICTIONARY_PATHS_MAX};

/// How much of the dictionary a body needs: all indexes in it are below.
pub(crate) type PathsNeeded = u32;
/// The body has paths that are not in the dictionary.
pub(crate) const INLINE: PathsNeeded = u32::MAX;
/// No path ends at a node.
const NONE: u32 = u32::MAX;

/// Tells dictionaries of one process apart.
static DICTIONARIES: AtomicU64 = AtomicU64::new(1);

/// Paths by number, and numbers by path, key by key.
#[derive(Debug)]
pub(crate) struct Dictionary {
    identity: u64,
    entries: Vec<Path>,
    json_bytes: Vec<u32>,
    nodes: Vec<Node>,
    weight_bytes: usize,
}

#[derive(Debug)]
struct Node {
    index: u32,
    children: HashMap<Box<str>, u32, RandomState>,
}

impl Node {
    fn new() -> Self {
        Self { index: NONE, children: HashMap::default() }
    }
}

impl Dictionary {
    /// As the file has it.
    pub(crate) fn load(entries: impl IntoIterator<Item = Path>) -> Self {
        let mut dictionary = Self {
            identity: DICTIONARIES.fetch_add(1, Ordering::Relaxed),
            entries: Vec::new(),
            json_bytes: Vec::new(),
            nodes: vec![Node::new()],
            weight_bytes: 0,
        };
        for path in entries {
            dictionary.add(&path);
        }
        dictionary
    }

    /// Distinguishes it from all others of this process.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    /// In the order of their numbers.
    pub(crate) fn paths(&self) -> &[Path] {
        &self.entries
    }

    /// What the path's keys take as JSON, at most.
    pub(crate) fn json_bytes(&self, index: u32) -> usize {
        self.json_bytes.get(index as usize).map_or(0, |bytes| *bytes as usize)
    }

    /// The node of the section itself.
    pub(crate) const fn root() -> u32 {
        0
    }

    /// The node below by this key.
    pub(crate) fn child(&self, node: u32, key: &str) -> Option<u32> {
        self.nodes[node as usize].children.get(key).copied()
    }

    /// The number of the path that ends at the node.
    pub(crate) fn index_at(&self, node: u32) -> Option<u32> {
        Some(self.nodes[node as usize].index).filter(|index| *index != NONE)
    }

    /// The path's number, if it has one.
    pub(crate) fn find(&self, path: &Path) -> Option<u32> {
        let node = path.keys().iter().try_fold(Self::root(), |node, key| self.child(node, key))?;
        self.index_at(node)
    }

    /// The path's number, its next one if it is new; `None`: there is no room for it.
    pub(crate) fn intern(&mut self, path: &Path) -> Option<u32> {
        if let Some(index) = self.find(path) {
            return Some(index);
        }
        let weight = path_weight_bytes(path);
        if self.entries.len() >= DICTIONARY_PATHS_MAX || self.weight_bytes + weight > DICTIONARY_BYTES_MAX {
            return None;
        }
        Some(self.add(path))
    }

    fn add(&mut self, path: &Path) -> u32 {
        let mut node = Self::root();
        for key in path.keys() {
            node = self.child(node, key).unwrap_or_else(|| {
                let child = self.nodes.len() as u32;
                self.nodes.push(Node::new());
                self.nodes[node as usize].children.insert(key.clone(), child);
                child
            });
        }
        let index = self.entries.len() as u32;
        self.nodes[node as usize].index = index;
        self.entries.push(path.clone());
        self.json_bytes.push(json_bytes(path) as u32);
        self.weight_bytes += path_weight_bytes(path);
        index
    }
}

/// What a path's keys take as JSON, at most: quotes, colon, comma and a brace pair for each.
pub(crate) fn json_bytes(path: &Path) -> usize {
    path.keys().iter().map(|key| quoted_len(key) + 4).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_number_also_after_a_restart() {
        let paths = [Path::from_keys(["a", "b"]), Path::from_keys(["a"]), Path::root(), Path::from_keys(["b", "a"])];
        let mut dictionary = Dictionary::load([]);
        for (index, path) in paths.iter().enumerate() {
            assert_eq!(dictionary.find(path), None);
            assert_eq!(dictionary.intern(path), Some(index as u32));
        }
        let mut loaded = Dictionary::load(dictionary.paths().to_vec());
        for (index, path) in paths.iter().enumerate() {
            assert_eq!(loaded.intern(path), Some(index as u32));
        }
        assert_eq!(loaded.paths(), paths);
    }

    #[test]
    fn at_its_bounds_it_takes_no_more_and_keeps_what_it_has() {
        let mut dictionary = Dictionary::load([]);
        for index in 0..DICTIONARY_PATHS_MAX {
            assert!(dictionary.intern(&Path::from_keys([index.to_string()])).is_some());
        }
        assert_eq!(dictionary.intern(&Path::from_keys(["one more"])), None);
        assert_eq!(dictionary.intern(&Path::from_keys(["7"])), Some(7));
        let mut dictionary = Dictionary::load([]);
        let mut taken = 0;
        while dictionary.intern(&Path::from_keys([format!("{taken}{}", "k".repeat(1000))])).is_some() {
            taken += 1;
        }
        assert!((100..200).contains(&taken), "{taken}");
    }
}
