//! Records that only ever grow at the end.
//!
//! Rows on disk and frames on the wire are MessagePack arrays. A reader skips elements it does not know and fills
//! missing ones with their default, so old and new releases read each other's records. rmp-serde's own array form
//! refuses both; [`record!`](crate::record) is the form that does not.

/// Declares a struct that serializes as an array whose unknown trailing elements are skipped on reading. Fields may be
/// added at the end, with `= default` for what a missing one means; they are never moved or removed. A missing field
/// without a default is an error that names it.
#[macro_export]
macro_rules! record {
    (@missing $access:ident, $name:ident, $field:ident) => {
        return Err(<$access::Error as ::serde::de::Error>::custom(
            concat!(stringify!($name), " lacks its field ", stringify!($field)),
        ))
    };
    (@missing $access:ident, $name:ident, $field:ident, $default:expr) => { $default };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$fmeta:meta])* $fvis:vis $field:ident : $type:ty $(= $default:expr)? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[$fmeta])* $fvis $field: $type, )*
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use ::serde::ser::SerializeTuple as _;
                const FIELDS: usize = [$(stringify!($field)),*].len();
                let mut tuple = serializer.serialize_tuple(FIELDS)?;
                $( tuple.serialize_element(&self.$field)?; )*
                tuple.end()
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct RecordVisitor;
                impl<'de> ::serde::de::Visitor<'de> for RecordVisitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str(concat!("an array: ", stringify!($name)))
                    }
                    fn visit_seq<A: ::serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<$name, A::Error> {
                        $( let $field: $type = match seq.next_element()? {
                            Some(value) => value,
                            None => $crate::record!(@missing A, $name, $field $(, $default)?),
                        }; )*
                        while seq.next_element::<::serde::de::IgnoredAny>()?.is_some() {}
                        Ok($name { $($field),* })
                    }
                }
                deserializer.deserialize_seq(RecordVisitor)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    record! {
        #[derive(Debug, PartialEq)]
        struct Old { a: u32, b: String }
    }
    record! {
        #[derive(Debug, PartialEq)]
        struct New { a: u32, b: String, c: Option<u8> = None, d: Vec<u8> = vec![] }
    }

    #[test]
    fn old_readers_skip_what_new_writers_add() {
        let bytes = rmp_serde::to_vec(&New { a: 1, b: "x".into(), c: Some(3), d: vec![1, 2] }).unwrap();
        assert_eq!(rmp_serde::from_slice::<Old>(&bytes).unwrap(), Old { a: 1, b: "x".into() });
    }

    #[test]
    fn new_readers_fill_what_old_writers_lack() {
        let bytes = rmp_serde::to_vec(&Old { a: 1, b: "x".into() }).unwrap();
        assert_eq!(rmp_serde::from_slice::<New>(&bytes).unwrap(), New { a: 1, b: "x".into(), c: None, d: vec![] });
    }

    #[test]
    fn a_missing_field_without_a_default_is_named() {
        let bytes = rmp_serde::to_vec(&(1u32,)).unwrap();
        assert!(rmp_serde::from_slice::<Old>(&bytes).unwrap_err().to_string().contains("Old lacks its field b"));
    }
}
