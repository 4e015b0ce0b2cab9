//! Random values and operations over few keys, so that they meet often.

use proptest::prelude::*;
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::value::Value;

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "d\"q"])
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (0i64..3).prop_map(Value::from),
        2 => prop::sample::select(vec![0.0, 1.0, 2.5, -1e300]).prop_map(Value::from),
        2 => prop::sample::select(vec!["", "x", "y\n\u{1}\u{e9}"]).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
    ]
}

/// A leaf: scalar or array; arrays may hold objects and nulls.
pub(crate) fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        5 => scalar(),
        1 => prop::collection::vec(prop_oneof![scalar(), Just(Value::Null), object(1, false)], 0..3).prop_map(Value::Array),
    ]
}

/// An object with up to `depth` levels; with nulls as a merge patch has them.
pub(crate) fn object(depth: u32, nulls: bool) -> BoxedStrategy<Value> {
    let inner =
        if depth == 0 { scalar().boxed() } else { prop_oneof![2 => scalar(), 1 => object(depth - 1, nulls)].boxed() };
    let member = if nulls { prop_oneof![3 => inner, 1 => Just(Value::Null)].boxed() } else { inner };
    prop::collection::btree_map(key().prop_map(Box::from), member, 0..4).prop_map(Value::Object).boxed()
}

/// 1 to 3 keys.
pub(crate) fn path() -> impl Strategy<Value = Path> {
    prop::collection::vec(key(), 1..4).prop_map(Path::from_keys)
}

/// A valid operation.
pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (path(), leaf()).prop_map(|(path, value)| Op::Set { path, value }),
        1 => path().prop_map(|path| Op::Set { path, value: Value::empty_object() }),
        3 => path().prop_map(|path| Op::Remove { path }),
        2 => (path(), object(2, false)).prop_map(|(path, value)| Op::Replace { path, value }),
        1 => object(2, false).prop_map(|value| Op::Replace { path: Path::root(), value }),
    ]
}

/// A valid list of operations, which may touch each other.
pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 0..4)
}
