//! What a device reports: as a document, or as prepared properties of the same content.
//!
//! Making it is to cost next to nothing beside what is measured, so the texts of its numbers are measured once, ahead.

use twin_core::ids::TwinId;
use twin_core::json::compact_len;
use twin_core::value::{Members, Value};
use twin_gateway::{Gateway, Property, ReportError, Update};

/// The document's keys, in the order of [`Documents::fields`].
const KEYS: [&str; 12] = [
    "seq",
    "battery",
    "temperature",
    "humidity",
    "signal",
    "pressure",
    "price",
    "page",
    "firmware",
    "model",
    "awake",
    "note",
];

/// The properties of the keys, for updates.
pub(crate) struct Properties([Property; KEYS.len()]);

impl Properties {
    /// Prepares them with this gateway.
    pub(crate) fn of(gateway: &Gateway) -> Result<Self, ReportError> {
        let property = |key: &str| gateway.property(&format!("/{key}"));
        let [a, b, c, d, e, f, g, h, i, j, k, l] = KEYS;
        Ok(Self([
            property(a)?,
            property(b)?,
            property(c)?,
            property(d)?,
            property(e)?,
            property(f)?,
            property(g)?,
            property(h)?,
            property(i)?,
            property(j)?,
            property(k)?,
            property(l)?,
        ]))
    }
}

/// A label's whole report, padded to a size as compact JSON; what changes from one to the next are its measurements.
#[derive(Clone)]
pub(crate) struct Documents {
    size_bytes: usize,
    /// All of it but the values that change.
    fixed_bytes: usize,
    battery: Vec<Measure>,
    temperature: Vec<Measure>,
    humidity: Vec<Measure>,
    pressure: Vec<Measure>,
    price: Vec<Measure>,
    note: String,
}

#[derive(Clone, Copy)]
struct Measure {
    value: f64,
    json_bytes: usize,
}

#[derive(Clone, Copy)]
enum Field<'a> {
    Integer(i64),
    Float(f64),
    Text(&'a str),
    Bool(bool),
}

const FIRMWARE: &str = "4.12.7-r3";
const MODEL: &str = "shelf-label-2.9-bwr";

fn measures(count: u32, of: impl Fn(f64) -> f64) -> Vec<Measure> {
    let measure = |n| {
        let value = of(f64::from(n));
        Measure { value, json_bytes: compact_len(&Value::from(value)) }
    };
    (0..count).map(measure).collect()
}

fn integer_bytes(integer: i64) -> usize {
    compact_len(&Value::from(integer))
}

impl Documents {
    /// Of this size.
    pub(crate) fn new(size_bytes: usize) -> Self {
        let keys: usize = KEYS.iter().map(|key| key.len() + 3).sum();
        Self {
            size_bytes,
            // Braces, commas, and the quotes of three texts.
            fixed_bytes: keys + 2 + KEYS.len() - 1 + 6 + FIRMWARE.len() + MODEL.len(),
            battery: measures(500, |n| 2.5 + n / 1000.0),
            temperature: measures(80, |n| 18.0 + n / 10.0),
            humidity: measures(300, |n| 40.0 + n / 10.0),
            pressure: measures(330, |n| 1000.0 + n / 10.0),
            price: measures(10, |n| 1.99 + n),
            note: "x".repeat(size_bytes),
        }
    }

    fn fields(&self, number: u64) -> [Field<'_>; KEYS.len()] {
        let n = number.cast_signed();
        let at = |measures: &[Measure]| measures[(number % measures.len() as u64) as usize];
        let floats = [&self.battery, &self.temperature, &self.humidity, &self.pressure, &self.price].map(|all| at(all));
        let [battery, temperature, humidity, pressure, price] = floats.map(|measure| Field::Float(measure.value));
        let (signal, page, awake) = (-40 - n % 50, n % 4, n % 2 == 0);
        let bytes = self.fixed_bytes
            + floats.iter().map(|measure| measure.json_bytes).sum::<usize>()
            + integer_bytes(n)
            + integer_bytes(signal)
            + integer_bytes(page)
            + if awake { 4 } else { 5 };
        [
            Field::Integer(n),
            battery,
            temperature,
            humidity,
            Field::Integer(signal),
            pressure,
            price,
            Field::Integer(page),
            Field::Text(FIRMWARE),
            Field::Text(MODEL),
            Field::Bool(awake),
            Field::Text(&self.note[..self.size_bytes.saturating_sub(bytes)]),
        ]
    }

    /// As a document.
    pub(crate) fn document(&self, number: u64) -> Value {
        let mut members = Members::new();
        for (key, field) in KEYS.into_iter().zip(self.fields(number)) {
            let value = match field {
                Field::Integer(integer) => Value::from(integer),
                Field::Float(float) => Value::from(float),
                Field::Text(text) => Value::from(text),
                Field::Bool(bool) => Value::from(bool),
            };
            members.insert(key.into(), value);
        }
        Value::Object(members)
    }

    /// As prepared properties.
    pub(crate) fn update(&self, properties: &Properties, twin: TwinId, number: u64) -> Update {
        let update = Update::with_capacity(twin, self.size_bytes);
        properties.0.iter().zip(self.fields(number)).fold(update, |update, (property, field)| match field {
            Field::Integer(integer) => update.set(property, integer),
            Field::Float(float) => update.set(property, float),
            Field::Text(text) => update.set_text(property, text),
            Field::Bool(bool) => update.set(property, bool),
        })
    }
}

/// One document of this size.
pub(crate) fn document(size_bytes: usize, number: u64) -> Value {
    Documents::new(size_bytes).document(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_size_that_was_asked_for() {
        for number in [1, 77, 12_345_678] {
            assert_eq!(compact_len(&document(300, number)), 300);
        }
    }

    #[test]
    fn two_in_a_row_differ() {
        assert_ne!(document(300, 7), document(300, 8));
    }
}
