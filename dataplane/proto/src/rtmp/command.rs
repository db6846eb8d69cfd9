//! Commands (RTMP 1.0, section 7.2): read from a message, and the answers that real servers give. Before it in the pipeline:
//! [`super::message`]; after it: the sessions act on them.
use super::message::{Message, kind};
use crate::amf0::{Decoder, Value};
use crate::limits::RTMP_DESCRIPTION_BYTES_MAX;

/// A command message, taken apart. Not `Debug`: arguments hold keys.
#[derive(Clone, PartialEq)]
pub struct Command {
    /// What is to be done.
    pub name: String,
    /// Number that the answer repeats; 0 where no answer is expected.
    pub transaction: f64,
    /// The command object; null for most commands.
    pub object: Value,
    /// Further arguments.
    pub args: Vec<Value>,
}

impl Command {
    /// Reads a command; none if there is no name. In AMF0, in AMF3's wrapper (type 17: a byte 0, then AMF0) or without. What
    /// follows the readable values is left out: encoders pad, and append AMF3.
    pub fn parse(message: &Message) -> Option<Self> {
        let mut decoder = Decoder::new(unwrap_amf3(message.type_id, &message.payload));
        let Ok(Some(Value::String(name) | Value::LongString(name))) = decoder.next_value() else { return None };
        let transaction = decoder.next_value().ok()?.and_then(|value| value.as_number()).unwrap_or(0.0);
        let mut rest = std::iter::from_fn(|| decoder.next_value().ok().flatten());
        let object = rest.next().unwrap_or(Value::Null);
        Some(Self { name, transaction, object, args: rest.collect() })
    }

    /// An argument as text; empty where there is none.
    pub fn text(&self, index: usize) -> &str {
        self.args.get(index).and_then(Value::as_str).unwrap_or_default()
    }

    /// A text of the information object that the first argument of a status is; empty where there is none.
    pub fn info(&self, name: &str) -> &str {
        self.args.first().and_then(|info| info.get(name)).and_then(Value::as_str).unwrap_or_default()
    }
}

/// The AMF0 part of a command or data payload: types 15 and 17 have a byte 0 in front of it.
pub(super) fn unwrap_amf3(type_id: u8, payload: &[u8]) -> &[u8] {
    match (type_id, payload) {
        (kind::DATA_AMF3 | kind::COMMAND_AMF3, [0, rest @ ..]) => rest,
        _ => payload,
    }
}

/// An answer's information object.
fn information(level: &str, code: &str, description: &str) -> Vec<(String, Value)> {
    let cut = description.floor_char_boundary(RTMP_DESCRIPTION_BYTES_MAX);
    let description = description.get(..cut).unwrap_or_default();
    let properties = [("level", level), ("code", code), ("description", description)];
    properties.map(|(name, text)| (name.to_owned(), Value::string(text))).into()
}

/// `onStatus`, or its relatives `onFCPublish` and `onFCSubscribe`.
pub(super) fn status(name: &str, level: &str, code: &str, description: &str) -> [Value; 4] {
    [Value::string(name), Value::Number(0.0), Value::Null, Value::Object(information(level, code, description))]
}

/// `_result` without anything in it but `value`.
pub(super) fn result(transaction: f64, value: Value) -> [Value; 4] {
    [Value::string("_result"), Value::Number(transaction), Value::Null, value]
}

/// The answer to `connect` (section 7.2.1.1), with the version that clients know from Adobe's server. The specification does not say
/// in which of its two objects the enhancements stand, and clients look in either: they stand in both.
pub(super) fn connect_result(transaction: f64, object_encoding: f64, enhancements: Vec<(String, Value)>) -> [Value; 4] {
    let mut properties =
        vec![("fmsVer".to_owned(), Value::string("FMS/3,0,1,123")), ("capabilities".to_owned(), Value::Number(31.0))];
    properties.extend(enhancements.iter().cloned());
    let mut information = information("status", "NetConnection.Connect.Success", "Connection succeeded.");
    information.push(("objectEncoding".to_owned(), Value::Number(object_encoding)));
    information.extend(enhancements);
    [Value::string("_result"), Value::Number(transaction), Value::Object(properties), Value::Object(information)]
}

/// `_error` for `connect`.
pub(super) fn connect_error(transaction: f64, description: &str) -> [Value; 4] {
    let information = information("error", "NetConnection.Connect.Rejected", description);
    [Value::string("_error"), Value::Number(transaction), Value::Null, Value::Object(information)]
}
