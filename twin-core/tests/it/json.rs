use proptest::prelude::*;
use twin_core::json::{compact_len, parse, to_compact};
use twin_core::value::Value;

use crate::arbitrary::object;

proptest! {
    #[test]
    fn a_text_has_the_length_that_was_computed_and_reads_back(value in object(3, true)) {
        let text = to_compact(&value);
        prop_assert_eq!(text.len(), compact_len(&value));
        prop_assert_eq!(parse(text.as_bytes(), "test").unwrap(), value);
    }

    #[test]
    fn any_string_float_and_integer_has_the_length_that_was_computed(text in any::<String>(), float in any::<f64>(), integer in any::<i64>()) {
        for value in [Value::from(text.as_str()), Value::from(float), Value::from(integer)] {
            prop_assert_eq!(to_compact(&value).len(), compact_len(&value));
        }
    }

    #[test]
    fn random_bytes_are_refused_or_parsed_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(&bytes, "test");
    }

    #[test]
    fn random_json_like_text_is_refused_or_parsed_but_never_panics(text in r#"[\[\]{}",:0-9eE.\-+a\\u ]{0,40}"#) {
        if let Ok(value) = parse(text.as_bytes(), "test") {
            prop_assert_eq!(parse(to_compact(&value).as_bytes(), "test").unwrap(), value);
        }
    }
}
