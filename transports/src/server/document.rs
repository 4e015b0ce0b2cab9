//! A twin as gateways see it.

use twin_core::document::TwinDocument;
use twin_core::value::{Members, Value};

/// Tags are the back office's and not shown.
pub(super) fn document_for_gateways(document: TwinDocument) -> Value {
    let properties = [("desired", document.desired), ("reported", document.reported)];
    object([
        ("deviceId", document.id.as_str().into()),
        ("version", number(document.version)),
        ("incarnation", number(document.incarnation.get())),
        ("site", document.site.as_str().into()),
        ("properties", object(properties)),
        ("convergence", document.convergence),
    ])
}

fn number(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect::<Members>())
}
