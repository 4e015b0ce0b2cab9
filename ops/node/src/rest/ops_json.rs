//! Path operations as JSON: in deltas and in events.

use serde::Serialize;
use twin_core::op::Op;
use twin_core::value::Value;
use utoipa::ToSchema;

/// One change of one property.
#[derive(Serialize, ToSchema)]
#[schema(as = Op)]
pub(crate) struct OpBody<'a> {
    op: OpKind,
    /// JSON pointer from the section's root.
    path: String,
    /// The new value; absent for `remove`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<&'a Value>,
}

/// What an operation does.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OpKind {
    /// Sets a scalar or an array, or makes sure that an object stands there (value `{}`).
    Set,
    /// Removes the property and all below it.
    Remove,
    /// Puts an object in place of whatever was there; at the root, replaces the section.
    Replace,
}

pub(crate) fn bodies(ops: &[Op]) -> Vec<OpBody<'_>> {
    ops.iter()
        .map(|op| {
            let (kind, value) = match op {
                Op::Set { value, .. } => (OpKind::Set, Some(value)),
                Op::Remove { .. } => (OpKind::Remove, None),
                Op::Replace { value, .. } => (OpKind::Replace, Some(value)),
            };
            OpBody { op: kind, path: op.path().to_string(), value }
        })
        .collect()
}
