//! AMF0 values (AMF 0 specification, 2007): what RTMP commands and metadata are written in. Before it in the pipeline:
//! [`crate::rtmp`] has assembled a message; after it: commands are acted on, metadata is read.
//!
//! Objects keep their order, so that what is encoded twice is the same bytes twice.
use crate::limits::{AMF0_DEPTH_MAX, AMF0_ITEMS_MAX, AMF0_STRING_BYTES_MAX};

/// One AMF0 value (section 2).
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Value {
    /// Marker 0.
    Number(f64),
    /// Marker 1.
    Boolean(bool),
    /// Marker 2. Bytes that are not UTF-8 were replaced.
    String(String),
    /// Marker 3: properties in order.
    Object(Vec<(String, Value)>),
    /// Marker 5.
    Null,
    /// Marker 6.
    Undefined,
    /// Marker 7: index of an earlier object; not resolved.
    Reference(u16),
    /// Marker 8: properties in order.
    EcmaArray(Vec<(String, Value)>),
    /// Marker 10.
    StrictArray(Vec<Value>),
    /// Marker 11.
    Date {
        /// Milliseconds since 1970, UTC.
        unix_ms: f64,
        /// Reserved by the specification; minutes where encoders fill it.
        zone: i16,
    },
    /// Marker 12.
    LongString(String),
    /// Marker 13.
    Unsupported,
    /// Marker 15.
    XmlDocument(String),
    /// Marker 16.
    TypedObject {
        /// Name of the class.
        class: String,
        /// Properties in order.
        properties: Vec<(String, Value)>,
    },
}

/// Bytes that are not AMF0, or more of it than is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A value ends behind the end of the bytes.
    #[error("AMF0 value is cut short")]
    Truncated,
    /// A marker that no value starts with. 17 is the switch to AMF3, 4 and 14 are reserved.
    #[error("AMF0 marker {0} is not known")]
    Marker(u8),
    /// Nested deeper than [`AMF0_DEPTH_MAX`].
    #[error("AMF0 values are nested deeper than {AMF0_DEPTH_MAX}")]
    Depth,
    /// More than [`AMF0_ITEMS_MAX`] values.
    #[error("more than {AMF0_ITEMS_MAX} AMF0 values")]
    Items,
    /// More than [`AMF0_STRING_BYTES_MAX`] bytes of strings.
    #[error("more than {AMF0_STRING_BYTES_MAX} bytes of AMF0 strings")]
    Strings,
}

impl Value {
    /// A string value.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// An object of these properties, in this order.
    pub fn object<const N: usize>(properties: [(&str, Value); N]) -> Self {
        Self::Object(properties.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// The text, of either kind of string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::LongString(text) => Some(text),
            _ => None,
        }
    }

    /// The number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value; numbers as encoders that have no booleans send them.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(on) => Some(*on),
            Self::Number(number) => Some(*number != 0.0),
            _ => None,
        }
    }

    /// Properties of an object, typed object or ECMA array.
    pub fn properties(&self) -> Option<&[(String, Value)]> {
        match self {
            Self::Object(properties) | Self::EcmaArray(properties) | Self::TypedObject { properties, .. } => {
                Some(properties)
            }
            _ => None,
        }
    }

    /// The first property of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.properties()?.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Decodes all values in `bytes`; an error if anything is left that is not a value.
pub fn decode(bytes: &[u8]) -> Result<Vec<Value>, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let mut values = Vec::new();
    while let Some(value) = decoder.next_value()? {
        values.push(value);
    }
    Ok(values)
}

/// Reads value after value, within one budget of items and string bytes.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    items_left: usize,
    string_bytes_left: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, items_left: AMF0_ITEMS_MAX, string_bytes_left: AMF0_STRING_BYTES_MAX }
    }

    /// The next value, or none at the end. After an error the position means nothing.
    pub(crate) fn next_value(&mut self) -> Result<Option<Value>, DecodeError> {
        if self.rest.is_empty() { Ok(None) } else { self.value(AMF0_DEPTH_MAX).map(Some) }
    }

    // Recursion is bounded by `depth_left`: AMF0_DEPTH_MAX frames of two small functions.
    fn value(&mut self, depth_left: usize) -> Result<Value, DecodeError> {
        self.items_left = self.items_left.checked_sub(1).ok_or(DecodeError::Items)?;
        let deeper = || depth_left.checked_sub(1).ok_or(DecodeError::Depth);
        let [marker] = self.take()?;
        Ok(match marker {
            0 => Value::Number(f64::from_be_bytes(self.take()?)),
            1 => Value::Boolean(self.take()? != [0]),
            2 => Value::String(self.short_string()?),
            3 => Value::Object(self.object(deeper()?)?),
            5 => Value::Null,
            6 => Value::Undefined,
            7 => Value::Reference(u16::from_be_bytes(self.take()?)),
            8 => {
                // The count is a hint that encoders get wrong; the end marker decides.
                let _count: [u8; 4] = self.take()?;
                Value::EcmaArray(self.object(deeper()?)?)
            }
            10 => {
                let (depth_left, count) = (deeper()?, u32::from_be_bytes(self.take()?));
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(depth_left)?);
                }
                Value::StrictArray(values)
            }
            11 => {
                let unix_ms = f64::from_be_bytes(self.take()?);
                Value::Date { unix_ms, zone: i16::from_be_bytes(self.take()?) }
            }
            12 => Value::LongString(self.long_string()?),
            13 => Value::Unsupported,
            15 => Value::XmlDocument(self.long_string()?),
            16 => {
                let class = self.short_string()?;
                Value::TypedObject { class, properties: self.object(deeper()?)? }
            }
            other => return Err(DecodeError::Marker(other)),
        })
    }

    fn object(&mut self, depth_left: usize) -> Result<Vec<(String, Value)>, DecodeError> {
        let mut properties = Vec::new();
        // Some encoders leave out the end marker of the last object: the end of the bytes then ends it.
        while !self.rest.is_empty() {
            if let Some(rest) = self.rest.strip_prefix(&[0, 0, 9]) {
                self.rest = rest;
                break;
            }
            let name = self.short_string()?;
            properties.push((name, self.value(depth_left)?));
        }
        Ok(properties)
    }

    fn short_string(&mut self) -> Result<String, DecodeError> {
        let length = u16::from_be_bytes(self.take()?);
        self.text(usize::from(length))
    }

    fn long_string(&mut self) -> Result<String, DecodeError> {
        let length = u32::from_be_bytes(self.take()?);
        self.text(length as usize)
    }

    fn text(&mut self, length: usize) -> Result<String, DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        // Checked before and after: a replacement character is longer than the byte it replaces.
        if length > self.string_bytes_left {
            return Err(DecodeError::Strings);
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.string_bytes_left = self.string_bytes_left.checked_sub(text.len()).ok_or(DecodeError::Strings)?;
        Ok(text)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }
}

/// Encodes values one after another.
pub fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        encode_into(&mut out, value);
    }
    out
}

/// Appends one value. Strings that do not fit a 16-bit length become long strings; names are cut to fit.
fn encode_into(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.push(0);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Boolean(on) => out.extend_from_slice(&[1, u8::from(*on)]),
        Value::String(text) if u16::try_from(text.len()).is_ok() => {
            out.push(2);
            put_name(out, text);
        }
        Value::String(text) | Value::LongString(text) => put_long(out, 12, text),
        Value::Object(properties) => {
            out.push(3);
            put_properties(out, properties);
        }
        Value::Null => out.push(5),
        Value::Undefined => out.push(6),
        Value::Reference(index) => {
            out.push(7);
            out.extend_from_slice(&index.to_be_bytes());
        }
        Value::EcmaArray(properties) => {
            out.push(8);
            out.extend_from_slice(&(properties.len() as u32).to_be_bytes());
            put_properties(out, properties);
        }
        Value::StrictArray(values) => {
            out.push(10);
            out.extend_from_slice(&(values.len() as u32).to_be_bytes());
            for value in values {
                encode_into(out, value);
            }
        }
        Value::Date { unix_ms, zone } => {
            out.push(11);
            out.extend_from_slice(&unix_ms.to_be_bytes());
            out.extend_from_slice(&zone.to_be_bytes());
        }
        Value::Unsupported => out.push(13),
        Value::XmlDocument(text) => put_long(out, 15, text),
        Value::TypedObject { class, properties } => {
            out.push(16);
            put_name(out, class);
            put_properties(out, properties);
        }
    }
}

fn put_properties(out: &mut Vec<u8>, properties: &[(String, Value)]) {
    for (name, value) in properties {
        put_name(out, name);
        encode_into(out, value);
    }
    out.extend_from_slice(&[0, 0, 9]);
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    let name = name.get(..name.floor_char_boundary(usize::from(u16::MAX))).unwrap_or_default();
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(name.as_bytes());
}

fn put_long(out: &mut Vec<u8>, marker: u8, text: &str) {
    out.push(marker);
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values up to what cannot be read, as commands are read: encoders pad, and append AMF3.
    fn decode_prefix(bytes: &[u8]) -> Vec<Value> {
        let mut decoder = Decoder::new(bytes);
        std::iter::from_fn(|| decoder.next_value().ok().flatten()).collect()
    }

    #[test]
    fn every_kind_round_trips_in_order() {
        let values = vec![
            Value::Number(-1.5),
            Value::Boolean(true),
            Value::string("héllo"),
            Value::object([("z", Value::Number(1.0)), ("a", Value::Null), ("m", Value::object([]))]),
            Value::Undefined,
            Value::Reference(7),
            Value::EcmaArray(vec![("width".into(), Value::Number(1280.0)), (String::new(), Value::Boolean(false))]),
            Value::StrictArray(vec![Value::string("x"), Value::StrictArray(vec![])]),
            Value::Date { unix_ms: 1e12, zone: -60 },
            Value::LongString("long".into()),
            Value::Unsupported,
            Value::XmlDocument("<a/>".into()),
            Value::TypedObject { class: "C".into(), properties: vec![("p".into(), Value::Null)] },
        ];
        let bytes = encode(&values);
        assert_eq!(decode(&bytes).unwrap(), values);
        assert_eq!(encode(&decode(&bytes).unwrap()), bytes);
        for cut in 0..bytes.len() {
            let whole = decode_prefix(&bytes[..cut]);
            assert!(whole.len() <= values.len());
        }
    }

    #[test]
    fn refused() {
        let check = |bytes: &[u8], expected: DecodeError| assert_eq!(decode(bytes), Err(expected), "{bytes:?}");
        check(&[0, 1, 2], DecodeError::Truncated);
        check(&[2, 0, 5, b'a'], DecodeError::Truncated);
        check(&[12, 0xff, 0xff, 0xff, 0xff], DecodeError::Truncated);
        check(&[5, 0x11, 4], DecodeError::Marker(0x11));
        check(&[4], DecodeError::Marker(4));
        check(&[10, 0xff, 0xff, 0xff, 0xff, 5], DecodeError::Truncated);
        check(&[5; AMF0_ITEMS_MAX + 1], DecodeError::Items);
        let mut nulls = vec![10, 0, 0xff, 0xff, 0xff];
        nulls.resize(1 << 20, 5);
        check(&nulls, DecodeError::Items);
        check(&[3, 0, 1, b'a'].repeat(20_000), DecodeError::Depth);
        check(&[10, 0, 0, 0, 1].repeat(20_000), DecodeError::Depth);
        let long = encode(&[Value::LongString("a".repeat(40_000)), Value::LongString("a".repeat(40_000))]);
        check(&long, DecodeError::Strings);
        let mut invalid = vec![2, 0x80, 0];
        invalid.resize(3 + 0x8000, 0xff);
        check(&invalid, DecodeError::Strings);
    }

    #[test]
    fn what_encoders_get_wrong() {
        // No end marker, a wrong count, a number for a boolean, and bytes that are not UTF-8.
        let value = decode(&[8, 0, 0, 0, 99, 0, 1, b'a', 5]).unwrap();
        assert_eq!(value, [Value::EcmaArray(vec![("a".into(), Value::Null)])]);
        assert_eq!(Value::Number(1.0).as_bool(), Some(true));
        assert_eq!(decode(&[2, 0, 2, b'a', 0xff]).unwrap(), [Value::string("a\u{fffd}")]);
        assert_eq!(decode_prefix(&[5, 1, 1, 0x11, 9, 9]), [Value::Null, Value::Boolean(true)]);
    }

    #[test]
    fn strings_past_16_bits_become_long() {
        let text = "ü".repeat(40_000);
        let bytes = encode(&[Value::string(text.clone())]);
        assert_eq!((bytes[0], bytes.len()), (12, 5 + text.len()));
        let named = encode(&[Value::Object(vec![(text, Value::Null)])]);
        assert_eq!(named.len(), 1 + 2 + 65_534 + 1 + 3);
    }
}
