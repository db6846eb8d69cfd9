//! The settings' part of the OpenAPI document, from the same table that checks them.
use millstream_proto::limits::{PATH_BYTES_MAX, PATHS_MAX};
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{FIELDS, Field, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, Settings, Shape};

impl PartialSchema for Settings {
    fn schema() -> RefOr<Schema> {
        // Stands for what [`json`] says, which `openapi::finish` puts in its place: utoipa's own shapes do not hold all of it.
        Schema::default().into()
    }
}

impl ToSchema for Settings {}

/// The schema.
pub(crate) fn json() -> Value {
    let properties: Map<String, Value> = FIELDS.iter().map(|field| (field.name.to_owned(), describe(field))).collect();
    json!({
        "type": "object",
        "description": "What is said of a stream. Null, in a request, is the default again.",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn describe(field: &Field) -> Value {
    let mut schema = match field.shape {
        Shape::Switch => json!({ "type": ["boolean", "null"] }),
        Shape::Number(min, max) => json!({ "type": ["integer", "null"], "minimum": min, "maximum": max }),
        // Bytes, and characters have at least one.
        Shape::Text(max) | Shape::PushAddresses(max) | Shape::Checked(max, _) => {
            json!({ "type": ["string", "null"], "maxLength": max })
        }
        Shape::Word(words) => {
            let words: Vec<Value> = words.iter().map(|word| json!(word)).chain([Value::Null]).collect();
            json!({ "type": ["string", "null"], "enum": words })
        }
        Shape::Date => json!({
            "type": ["string", "null"],
            "pattern": "^((19[7-9][0-9]|[2-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01]))?$",
            "example": "2030-12-31",
        }),
        Shape::Labels => json!({
            "type": ["object", "null"],
            "additionalProperties": { "type": "string", "maxLength": LABEL_VALUE_BYTES_MAX },
            "propertyNames": { "minLength": 1, "maxLength": LABEL_NAME_BYTES_MAX },
            "maxProperties": LABELS_MAX,
        }),
        Shape::Paths(_) => json!({
            "type": ["array", "null"],
            "items": { "type": "string", "minLength": 1, "maxLength": PATH_BYTES_MAX },
            "maxItems": PATHS_MAX,
        }),
    };
    schema["description"] = json!(field.about);
    // An empty list or object as a default is more than some makers of clients understand; left out it means the same.
    if !matches!(field.shape, Shape::Date | Shape::Labels | Shape::Paths(_)) {
        schema["default"] = field.default.clone();
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_in_the_document() {
        let schema = json();
        for field in FIELDS.iter() {
            let described = &schema["properties"][field.name];
            assert_eq!(described["description"], field.about, "{}", field.name);
        }
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["hls_time"]["maximum"], json!(60));
    }
}
