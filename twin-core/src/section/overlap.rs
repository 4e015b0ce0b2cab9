//! Do the operations of a list touch each other? Where none does, each is effective or not by itself.

use crate::op::Op;
use crate::path::Path;

/// Is one path equal to, above or below another of the list?
pub(super) fn any_overlap(ops: &[Op]) -> bool {
    // Translated patches come in key order: then neighbours suffice, and nothing is allocated. In sorted order all
    // that stands between a path and a path below it is below it, too, so an overlap always shows between neighbours.
    let in_order = ops.windows(2).all(|pair| pair[0].path() < pair[1].path());
    if in_order {
        return ops.windows(2).any(|pair| pair[0].path().covers(pair[1].path()));
    }
    let mut paths: Vec<&Path> = ops.iter().map(Op::path).collect();
    paths.sort_unstable();
    paths.windows(2).any(|pair| pair[0].covers(pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remove(pointer: &str) -> Op {
        Op::Remove { path: Path::from_pointer(pointer).unwrap() }
    }

    #[test]
    fn overlaps_are_found_in_any_order_and_siblings_are_none() {
        let overlap = |pointers: &[&str]| any_overlap(&pointers.iter().map(|p| remove(p)).collect::<Vec<_>>());
        assert!(!overlap(&["/a", "/b", "/b-c", "/bc/d"]));
        assert!(!overlap(&["/b", "/a"]));
        assert!(overlap(&["/a", "/a/b"]));
        assert!(overlap(&["/a/b/c", "/z", "/a/b"]));
        assert!(overlap(&["/a", "/a"]));
        assert!(overlap(&["/x", ""]));
    }
}
