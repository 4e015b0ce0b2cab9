//! Two reports into one: the later operations after the earlier ones, without those that the later ones undo.

use twin_core::limits::{OPS_MAX, REPORTED_BYTES_MAX};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::value::Value;

/// Operations that do what both lists do, one after the other; `None` where that would be too large for one message.
pub(crate) fn coalesce(earlier: &[Op], later: &[Op]) -> Option<Vec<Op>> {
    let mut ops: Vec<Op> = earlier.iter().filter(|op| !later.iter().any(|by| undoes(by, op))).cloned().collect();
    ops.extend(later.iter().cloned());
    let fits = ops.len() <= OPS_MAX && ops.iter().map(weight).sum::<usize>() <= REPORTED_BYTES_MAX;
    fits.then_some(ops)
}

/// Is the earlier operation of no consequence once the later one is done? That is so where the later one decides all at and
/// below its path, and the earlier one acts there.
///
/// Setting a leaf, removing and replacing do; setting `{}` does not, for it keeps an object that stands there. Below the
/// later one's path an earlier operation may have made objects on its way; so does the later one on the same way, unless it
/// removes: then an earlier `set` of something deeper must have left its parents behind, and only an operation at the very
/// same path (whose parents are the same) or an earlier removal (which makes none) is undone.
fn undoes(later: &Op, earlier: &Op) -> bool {
    match later {
        Op::Set { value: Value::Object(_), .. } => false,
        Op::Set { path, .. } | Op::Replace { path, .. } => covers(path, earlier.path()),
        Op::Remove { path } => matches!(earlier, Op::Remove { .. }) && covers(path, earlier.path()),
    }
}

fn covers(above: &Path, below: &Path) -> bool {
    below.keys().starts_with(above.keys())
}

/// A rough size, for the bound.
fn weight(op: &Op) -> usize {
    let keys: usize = op.path().keys().iter().map(|key| key.len() + 1).sum();
    let value = match op {
        Op::Set { value, .. } | Op::Replace { value, .. } => twin_core::json::compact_len(value),
        Op::Remove { .. } => 0,
    };
    keys + value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use twin_core::merge::apply_ops;

    use super::*;

    fn path() -> impl Strategy<Value = Path> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(Path::from_keys)
    }

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            (0i64..3).prop_map(Value::from),
            Just(Value::empty_object()),
            Just(Value::Array(vec![Value::from(1i64)])),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        let object =
            prop::collection::btree_map(prop::sample::select(vec!["a", "b"]).prop_map(Box::from), leaf(), 0..3);
        prop_oneof![
            3 => (path(), leaf()).prop_map(|(path, value)| Op::Set { path, value }),
            2 => path().prop_map(|path| Op::Remove { path }),
            1 => (path(), object).prop_map(|(path, members)| Op::Replace { path, value: Value::Object(members) }),
        ]
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        prop::collection::vec(op(), 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn coalesced_operations_do_what_both_lists_do(start in ops(), earlier in ops(), later in ops()) {
            let mut one_by_one = Value::empty_object();
            apply_ops(&mut one_by_one, start);
            let mut at_once = one_by_one.clone();
            apply_ops(&mut one_by_one, earlier.clone());
            apply_ops(&mut one_by_one, later.clone());
            apply_ops(&mut at_once, coalesce(&earlier, &later).unwrap());
            prop_assert_eq!(one_by_one, at_once);
        }
    }

    #[test]
    fn the_same_leaf_reported_twice_is_one_operation() {
        let set = |n: i64| Op::Set { path: Path::from_keys(["t"]), value: Value::from(n) };
        assert_eq!(coalesce(&[set(1)], &[set(2)]).unwrap(), [set(2)]);
    }
}
