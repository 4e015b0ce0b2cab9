//! What a message weighs for admission: about the memory it takes while it waits. A byte on the wire can be 40 bytes of
//! memory (an array of nulls), so the encoded size would let a gateway take far more than the budget says.

use twin_core::command::StateBody;
use twin_core::path::Path;
use twin_core::value::Value;

use crate::intern::Received;

/// A command with its sender, reply and place among those that wait.
const COMMAND_BYTES: usize = 256;
/// A value without what it points to, and a map's or vector's share.
const NODE_BYTES: usize = 48;

pub(super) fn command_bytes() -> usize {
    COMMAND_BYTES
}

pub(super) fn message_bytes(body: &Received) -> usize {
    match body {
        // Stays as it came until it is applied.
        Received::Report(report) => COMMAND_BYTES + report.size_bytes(),
        Received::Other(body) => state_bytes(body),
        Received::Alarm(alarm) => event_bytes(&alarm.name, &alarm.payload),
    }
}

fn state_bytes(body: &StateBody) -> usize {
    COMMAND_BYTES
        + match body {
            StateBody::Report(ops) => ops
                .iter()
                .map(|op| {
                    path_bytes(op.path())
                        + match op {
                            twin_core::op::Op::Set { value, .. } | twin_core::op::Op::Replace { value, .. } => {
                                value_bytes(value)
                            }
                            twin_core::op::Op::Remove { .. } => 0,
                        }
                })
                .sum(),
            StateBody::DesiredRejected { path, reason, .. } => path_bytes(path) + reason.len(),
            StateBody::DesiredApplied(_) | StateBody::Lost => 0,
        }
}

pub(super) fn event_bytes(name: &str, payload: &Value) -> usize {
    COMMAND_BYTES + name.len() + value_bytes(payload)
}

fn path_bytes(path: &Path) -> usize {
    NODE_BYTES + path.keys().iter().map(|key| 16 + key.len()).sum::<usize>()
}

fn value_bytes(value: &Value) -> usize {
    NODE_BYTES
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(value_bytes).sum(),
            Value::Object(members) => members.iter().map(|(key, value)| 16 + key.len() + value_bytes(value)).sum(),
        }
}
