//! A marker as texts: the attributes of an `EXT-X-DATERANGE`, and the body of a DASH event. Before it: whoever marks a stream, with names and values
//! that can be anything; after it: [`crate::hls::media`] and [`crate::dash::mpd`]. The form of FLV and RTMP is [`crate::flv::marker_body`].
use std::fmt::Write as _;

/// What stands before the name of an attribute that is not the protocol's own (RFC 8216bis 4.4.5.1).
const OWN: &str = "X-";

/// Attributes of an `EXT-X-DATERANGE` with these names and values, in their order. A name is in upper case behind `X-`, with `-` for what may not stand in
/// one; of two that come out the same the first counts. A value keeps its text, but for `%`, `"` and control characters, which are escaped as in
/// URLs: a quoted string cannot hold them.
pub fn attributes<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs {
        let of = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '-' };
        let name: String = OWN.chars().chain(name.chars().map(of)).collect();
        if name.len() > OWN.len() && !all.iter().any(|(known, _)| *known == name) {
            all.push((name, quotable(value)));
        }
    }
    all
}

fn quotable(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut utf8 = [0; 4];
    for c in value.chars() {
        if c == '%' || c == '"' || c.is_control() {
            for byte in c.encode_utf8(&mut utf8).bytes() {
                // Writing to a string cannot fail, here and below.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The marker as a JSON array, as viewers of FLV get it: `["marker",unix_ms,"name","value",...]`. It may stand between the tags of an XML document.
pub fn json<'a>(unix_ms: u64, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = format!("[\"marker\",{unix_ms}");
    for (name, value) in pairs {
        for text in [name, value] {
            out.push_str(",\"");
            push_escaped(&mut out, text);
            out.push('"');
        }
    }
    out.push(']');
    out
}

/// As JSON has it, and without what XML reads as markup or does not allow.
fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '<' | '>' | '&' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(&str, &str); 5] = [
        ("kind", "goal"),
        ("Team name", "A \"é\" & <b>"),
        ("", "nameless"),
        ("KIND", "again"),
        ("n", "1\n50% \u{ffff}\\"),
    ];

    #[test]
    fn attributes_are_unique_and_their_values_can_be_quoted() {
        let found = attributes(PAIRS.into_iter());
        let expected = [("X-KIND", "goal"), ("X-TEAM-NAME", "A %22é%22 & <b>"), ("X-N", "1%0A50%25 \u{ffff}\\")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn json_has_all_pairs_and_no_markup() {
        let found = json(7, PAIRS.into_iter());
        assert!(
            found.starts_with("[\"marker\",7,\"kind\",\"goal\",\"Team name\",\"A \\\"é\\\" \\u0026 \\u003cb\\u003e\""),
            "{found}"
        );
        assert!(found.ends_with(",\"n\",\"1\\u000a50% \\uffff\\\\\"]"), "{found}");
        assert!(!found.contains(['<', '>', '&', '\n', '\u{ffff}']), "{found}");
        assert_eq!(json(7, std::iter::empty()), "[\"marker\",7]");
    }
}
