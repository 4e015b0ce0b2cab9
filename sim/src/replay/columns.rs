//! What the columns of a recording mean.

use csv::StringRecord;
use twin_core::merge::ops_of_patch;
use twin_core::rules::{check_ops, check_section};
use twin_core::section::SectionKind;
use twin_core::value::{Members, Number, Value};

use super::recording_error::Wrong;
use super::row::fnv1a;

/// The column that is taken as it stands.
pub const TIMESTAMP: &str = "timestamp";

/// The header of a recording: names of properties, one of them [`TIMESTAMP`].
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    names: Vec<Box<str>>,
    timestamp: usize,
}

impl Columns {
    /// Checks that every column can be a property of a twin.
    pub(crate) fn of(header: &StringRecord) -> Result<Self, Wrong> {
        let names: Vec<Box<str>> = header.iter().map(|name| name.trim().into()).collect();
        let timestamp = names.iter().position(|name| &**name == TIMESTAMP).ok_or(Wrong::NoTimestamp)?;
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(Wrong::ColumnTwice { name: name.to_string() });
            }
            let one = Value::Object(Members::from([(name.clone(), Value::from(0))]));
            check_section(&one, SectionKind::Reported)
                .map_err(|rule| Wrong::Column { name: name.to_string(), rule })?;
            if name.starts_with('$') {
                // `$version` and `$metadata` would be dropped without a word.
                return Err(Wrong::ColumnReserved { name: name.to_string() });
            }
        }
        Ok(Self { names, timestamp })
    }

    /// What a row reports: the timestamp as text, the other cells as numbers. An empty cell says nothing about its property, so
    /// the twin keeps what it had.
    pub(crate) fn reported(&self, record: &StringRecord, line: u64) -> Result<Value, Wrong> {
        let mut members = Members::new();
        for (index, (name, cell)) in self.names.iter().zip(record).enumerate() {
            if index == self.timestamp {
                members.insert(name.clone(), Value::from(cell));
                continue;
            }
            let cell = cell.trim();
            if cell.is_empty() {
                continue;
            }
            let number = number(cell).ok_or_else(|| Wrong::NotANumber {
                line,
                column: name.to_string(),
                cell: cell.chars().take(40).collect(),
            })?;
            members.insert(name.clone(), Value::Number(number));
        }
        let reported = Value::Object(members);
        check_section(&reported, SectionKind::Reported).map_err(|rule| Wrong::Row { line, rule })?;
        check_ops(&ops_of_patch(reported.clone()), SectionKind::Reported).map_err(|rule| Wrong::Row { line, rule })?;
        Ok(reported)
    }

    /// Begins the mark by which a recording is known again.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.names.iter().fold(fnv1a(0, b""), |hash, name| fnv1a(hash, name.as_bytes()))
    }
}

/// A cell as a number: an integer stays one, anything else is a float. `NaN` and infinities are no numbers in JSON.
fn number(cell: &str) -> Option<Number> {
    if let Ok(integer) = cell.parse::<i64>() {
        return Some(Number::Integer(integer));
    }
    cell.parse::<f64>().ok().filter(|float| float.is_finite()).map(Number::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_stay_integers_and_floats_are_read_exactly() {
        assert!(matches!(number("73"), Some(Number::Integer(73))));
        assert!(matches!(number("-0007"), Some(Number::Integer(-7))));
        assert_eq!(number("74.93588199999998"), Some(Number::Float(74.935_881_999_999_98)));
        assert!(matches!(number("1e3"), Some(Number::Float(_))));
    }

    #[test]
    fn what_json_cannot_say_is_no_number() {
        for cell in ["NaN", "inf", "-Infinity", "1e999", "0x10", "1,5", "1_000", "n/a", "--1"] {
            assert!(number(cell).is_none(), "{cell}");
        }
    }
}
