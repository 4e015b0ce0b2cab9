//! The document rules as a JSON schema, as far as one can say them: size, depth and number of nodes of a section cannot.

use std::borrow::Cow;

use twin_core::limits::{INTEGER_MAX, KEY_BYTES_MAX, NODES_MAX, STRING_BYTES_MAX};
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// Name of [`SectionInput`]'s schema.
pub(crate) const SECTION_INPUT: &str = "SectionInput";
/// Name of [`ValueInput`]'s schema.
pub(crate) const VALUE_INPUT: &str = "ValueInput";

/// A section as it may be sent.
pub(crate) struct SectionInput;

/// A value in a section as it may be sent.
pub(crate) struct ValueInput;

impl PartialSchema for SectionInput {
    fn schema() -> RefOr<Schema> {
        let key = ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(KEY_BYTES_MAX))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f.$ ]*$"))
            .build();
        let section = ObjectBuilder::new()
            .schema_type(Type::Object)
            .property_names(Some(key))
            .max_properties(Some(NODES_MAX))
            .additional_properties(Some(Ref::from_schema_name(VALUE_INPUT)))
            .description(Some(
                "An object without null values in the end: null removes. At most 10 levels and 1,024 nodes.",
            ));
        section.build().into()
    }
}

impl PartialSchema for ValueInput {
    fn schema() -> RefOr<Schema> {
        let of = |kind: Type| ObjectBuilder::new().schema_type(kind);
        let any =
            AnyOfBuilder::new()
                .item(of(Type::Null))
                .item(of(Type::Boolean))
                .item(of(Type::Number).description(Some(format!(
                    "Written without fraction and exponent it is within {INTEGER_MAX} of 0."
                ))))
                .item(of(Type::String).max_length(Some(STRING_BYTES_MAX)))
                .item(ArrayBuilder::new().items(Ref::from_schema_name(VALUE_INPUT)).max_items(Some(NODES_MAX)))
                .item(Ref::from_schema_name(SECTION_INPUT));
        RefOr::T(Schema::AnyOf(any.build()))
    }
}

impl ToSchema for SectionInput {
    fn name() -> Cow<'static, str> {
        SECTION_INPUT.into()
    }
}

impl ToSchema for ValueInput {
    fn name() -> Cow<'static, str> {
        VALUE_INPUT.into()
    }
}
