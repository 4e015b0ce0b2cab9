//! The documents that devices report.
//!
//! The makers of load share prepared ones: what a document costs to build would otherwise be charged to the service.

use std::sync::Arc;

use twin_core::ids::TwinId;
use twin_core::json::compact_len;
use twin_core::value::{Members, Number, Value};
use twin_gateway::{Gateway, Property, Update};

/// Documents that differ, so that a device's next one always is a change.
pub(crate) const PREPARED: usize = 64;

/// A label's whole report, padded to this size as compact JSON; what changes from one to the next are its measurements.
pub(crate) fn document(size_bytes: usize, number: u64) -> Value {
    let n = number.cast_signed();
    let float = |value: f64| Value::Number(Number::Float(value));
    let mut members = Members::new();
    let mut put = |key: &str, value: Value| drop(members.insert(key.into(), value));
    put("seq", Value::from(n));
    put("battery", float(2.5 + (n % 500) as f64 / 1000.0));
    put("temperature", float(18.0 + (n % 80) as f64 / 10.0));
    put("humidity", float(40.0 + (n % 300) as f64 / 10.0));
    put("signal", Value::from(-40 - n % 50));
    put("pressure", float(1000.0 + (n % 330) as f64 / 10.0));
    put("price", float(1.99 + (n % 10) as f64));
    put("page", Value::from(n % 4));
    put("firmware", Value::from("4.12.7-r3"));
    put("model", Value::from("shelf-label-2.9-bwr"));
    put("awake", Value::from(n % 2 == 0));
    let mut document = Value::Object(members);
    // `,"note":""` takes 10 bytes.
    let padding = size_bytes.saturating_sub(compact_len(&document) + 10);
    if let Value::Object(members) = &mut document {
        members.insert("note".into(), Value::from("x".repeat(padding).as_str()));
    }
    document
}

/// Documents made beforehand, as values for the SDK and as JSON for peers.
#[derive(Debug)]
pub(crate) struct Documents {
    values: Vec<Arc<Value>>,
    json: Vec<Vec<u8>>,
}

impl Documents {
    pub(crate) fn prepare(size_bytes: usize) -> anyhow::Result<Arc<Self>> {
        let values: Vec<Arc<Value>> =
            (0..PREPARED as u64).map(|number| Arc::new(document(size_bytes, number))).collect();
        let json = values.iter().map(|value| serde_json::to_vec(&**value)).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { values, json }))
    }

    /// One of them; two with neighbouring numbers differ.
    pub(crate) fn value(&self, number: u64) -> Arc<Value> {
        Arc::clone(&self.values[number as usize % PREPARED])
    }

    /// The properties of all of them, prepared for a gateway.
    pub(crate) fn properties(&self, gateway: &Gateway) -> Arc<Vec<Property>> {
        let Some(Value::Object(members)) = self.values.first().map(|value| &**value) else { return Arc::default() };
        // Plain names, which every gateway takes.
        Arc::new(members.keys().filter_map(|key| gateway.property(&format!("/{key}")).ok()).collect())
    }

    /// As [`Documents::value`], property by property.
    pub(crate) fn update(&self, number: u64, device: TwinId, properties: &[Property]) -> Update {
        let mut update = Update::with_capacity(device, 256);
        if let Value::Object(members) = &*self.values[number as usize % PREPARED] {
            for (property, value) in properties.iter().zip(members.values()) {
                update = match value {
                    Value::String(text) => update.set_text(property, text),
                    other => update.set(property, other.clone()),
                };
            }
        }
        update
    }

    /// The same as JSON.
    pub(crate) fn json(&self, number: u64) -> &[u8] {
        &self.json[number as usize % PREPARED]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_size_that_was_asked_for() {
        for number in [1, 77, 12_345_678] {
            assert_eq!(compact_len(&document(300, number)), 300);
        }
        let documents = Documents::prepare(300).unwrap();
        assert!((0..200).all(|number| documents.json(number).len() == 300));
    }

    #[test]
    fn two_in_a_row_differ() {
        assert_ne!(document(300, 7), document(300, 8));
        let documents = Documents::prepare(300).unwrap();
        assert!((0..200).all(|number| documents.value(number) != documents.value(number + 1)));
    }
}
