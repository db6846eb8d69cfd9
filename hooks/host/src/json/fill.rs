//! Puts what an author has given over the defaults, and refuses what would have no effect.
use serde_json::{Map, Value, json};

use crate::json::EventError;
use crate::text::bounded;

/// The defaults of a question.
pub(super) struct Template {
    /// All fields. Lists are lists of pairs.
    pub(super) of: Value,
    /// What a client is where one is given and the default is none.
    pub(super) client: Value,
}

/// The question with what is given put over the defaults.
pub(super) fn fill(template: &Template, given: Value, place: &str) -> Result<Value, EventError> {
    over(template, &template.of, given, place)
}

fn over(template: &Template, default: &Value, given: Value, place: &str) -> Result<Value, EventError> {
    match (default, given) {
        (Value::Object(fields), Value::Object(given)) => {
            let mut all = fields.clone();
            for (name, given) in given {
                let place = below(place, &bounded(&name));
                let Some(field) = all.get_mut(&name) else { return Err(unknown(place, fields)) };
                *field = over(template, field, given, &place)?;
            }
            Ok(Value::Object(all))
        }
        (Value::Array(_), given) => pairs(given, place),
        // The one thing that may be there or not: who a notice is about.
        (Value::Null, Value::Null) => Ok(Value::Null),
        (Value::Null, given) => over(template, &template.client, given, place),
        (Value::Number(_), given @ Value::Number(_))
        | (Value::String(_), given @ Value::String(_))
        | (Value::Bool(_), given @ Value::Bool(_)) => Ok(given),
        (default, given) => {
            let message = format!("must be {}, and is {}", kind_of(default), kind_of(&given));
            Err(EventError::value(place, message))
        }
    }
}

fn unknown(place: String, fields: &Map<String, Value>) -> EventError {
    let known = fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    EventError::Unknown { place, known: format!("there are {known}") }
}

/// A list of pairs, from such a list or from an object of texts.
pub(super) fn pairs(given: Value, place: &str) -> Result<Value, EventError> {
    match given {
        Value::Object(given) => {
            let pair = |(name, value): (String, Value)| match value {
                Value::String(_) => Ok(json!({ "name": name, "value": value })),
                other => {
                    let message = format!("must be a text, and is {}", kind_of(&other));
                    Err(EventError::value(below(place, &bounded(&name)), message))
                }
            };
            given.into_iter().map(pair).collect()
        }
        Value::Array(given) => {
            let form = "must be {\"name\": \"...\", \"value\": \"...\"}";
            for (at, pair) in given.iter().enumerate() {
                let is_text = |name: &str| pair.get(name).is_some_and(Value::is_string);
                if !is_text("name") || !is_text("value") || pair.as_object().is_none_or(|pair| pair.len() != 2) {
                    return Err(EventError::value(format!("{place}[{at}]"), form));
                }
            }
            Ok(Value::Array(given))
        }
        other => {
            let message = format!("must be an object of texts or a list of pairs, and is {}", kind_of(&other));
            Err(EventError::value(place, message))
        }
    }
}

/// A place below another one.
pub(super) fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// What a value is, for people.
pub(super) const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
