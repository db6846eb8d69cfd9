//! Query strings of push URLs, play URLs and HTTP requests: decoded, bounded, and secret by default, since signatures travel in them.
//!
//! They are read leniently, because stream keys of other systems end up here: what this server need not understand refuses nobody.
use crate::limits::{QUERY_PARAMS_MAX, STREAM_KEY_BYTES_MAX};
use crate::secret::Secret;

/// Decoded parameters, in order, duplicates kept. Values do not print.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Params(Vec<(String, Secret)>);

/// A query string that is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// More than [`STREAM_KEY_BYTES_MAX`] bytes.
    #[error("the query has {0} bytes; at most {STREAM_KEY_BYTES_MAX} are allowed")]
    Long(usize),
}

/// Parameters that this server acts on: they are kept also where [`QUERY_PARAMS_MAX`] others stand before them.
const ACTED_ON: [&str; 7] = ["sign", "token", "jwt", "start", "_HLS_msn", "_HLS_part", "_HLS_skip"];
/// Values kept of one parameter beyond the maximum: the second shows that it stands there twice.
const KEPT_BEYOND_MAX: usize = 2;

impl Params {
    /// Parses what follows the `?`. A parameter without `=` has an empty value; `+` stays `+`, since base64 and URLs use it. A name or
    /// value that is not percent-encoded UTF-8 stays as it is written.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        if query.len() > STREAM_KEY_BYTES_MAX {
            return Err(QueryError::Long(query.len()));
        }
        let mut params = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| percent_decode(text).unwrap_or_else(|| text.to_owned());
            params.add(decoded(name), Secret::new(decoded(value)));
        }
        Ok(params)
    }

    fn add(&mut self, name: String, value: Secret) {
        let needed = ACTED_ON.contains(&name.as_str()) && self.all(&name).count() < KEPT_BEYOND_MAX;
        if self.0.len() < QUERY_PARAMS_MAX || needed {
            self.0.push((name, value));
        }
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of that name, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.expose())
    }

    /// Appends another place's parameters, as when server URL and stream key both carry some.
    pub fn append(&mut self, other: Self) {
        for (name, value) in other.0 {
            self.add(name, value);
        }
    }

    /// Without those that this does not keep, by name.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    /// The parameters in order. Values are as secret as the URL was.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The parameters as a query string again, for a redirect: with the values, so it is as secret as they are.
    pub fn to_query(&self) -> Secret {
        let mut query = String::new();
        for (name, value) in &self.0 {
            if !query.is_empty() {
                query.push('&');
            }
            percent_encode(name, &mut query);
            query.push('=');
            percent_encode(value.expose(), &mut query);
        }
        Secret::new(query)
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The text without its escapes; `None` for a `%` that two hexadecimal digits do not follow, or bytes that are not UTF-8 once decoded.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            decoded.push((high * 16 + low) as u8);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// Appends the text with all but RFC 3986's unreserved characters as escapes.
pub fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_in_order() {
        let check = |query: &str, expected: &[(&str, &str)]| {
            let params = Params::parse(query).unwrap();
            let pairs: Vec<_> = params.0.iter().map(|(n, v)| (n.as_str(), v.expose())).collect();
            assert_eq!(pairs, expected, "{query:?}");
        };
        check("", &[]);
        check("sign=1-ab", &[("sign", "1-ab")]);
        check("a=1&&b&a=%32", &[("a", "1"), ("b", ""), ("a", "2")]);
        check("x=a+b%2B%e4%bd%a0", &[("x", "a+b+你")]);
    }

    #[test]
    fn written_again() {
        let check = |query: &str, expected: &str| {
            let params = Params::parse(query).unwrap();
            let written = params.to_query();
            assert_eq!((written.expose(), Params::parse(written.expose())), (expected, Ok(params)), "{query:?}");
        };
        check("", "");
        check("a=1&&b&sign=v2-1-x_~", "a=1&b=&sign=v2-1-x_~");
        check("x=a+b%2B%e4%bd%a0%0d%0a", "x=a%2Bb%2B%E4%BD%A0%0D%0A");
    }

    #[test]
    fn case_57_what_need_not_be_understood_refuses_nobody() {
        let check = |query: &str, name: &str, value: &str| {
            assert_eq!(Params::parse(query).unwrap().get(name), Some(value), "{query:?}");
        };
        check("pass=100%", "pass", "100%");
        check("a=%2&sign=x", "sign", "x");
        check("a=%zz%41", "a", "%zz%41");
        check("a=%ff", "a", "%ff");
        check("%=1&b=%42", "b", "B");
        let many = (0..100).map(|n| format!("p{n}=v&")).collect::<Vec<_>>().concat();
        let params = Params::parse(&format!("{many}sign=1-a&more=1&sign=2-b&sign=3-c&start=next")).unwrap();
        assert_eq!(params.all("sign").collect::<Vec<_>>(), ["1-a", "2-b"], "a second one is noticed");
        assert_eq!((params.get("p31"), params.get("p32"), params.get("start")), (Some("v"), None, Some("next")));
        assert_eq!(params.len(), QUERY_PARAMS_MAX + 3);
        // The same where two places have some.
        let mut params = Params::parse(&many).unwrap();
        params.append(Params::parse("x=1&sign=1-a").unwrap());
        assert_eq!((params.get("x"), params.get("sign")), (None, Some("1-a")));
        assert_eq!(Params::parse(&"a".repeat(2049)), Err(QueryError::Long(2049)));
    }

    #[test]
    fn values_do_not_print() {
        assert!(!format!("{:?}", Params::parse("sign=hush").unwrap()).contains("hush"));
    }
}
