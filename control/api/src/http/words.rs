//! What is wrong with a body, a query or a path, in words of our own: the libraries that read them speak of types and of themselves, and
//! repeat what was sent, however long it is.
use axum::extract::rejection::{PathRejection, QueryRejection};
use serde_json::error::Category;

use super::problem::{FieldError, Problem};

/// Characters of a name from outside that an answer repeats.
const NAME_CHARS_MAX: usize = 64;

/// A name from outside as an answer repeats it.
pub(crate) fn name(text: &str) -> String {
    let mut chars = text.chars().filter(|c| !c.is_control());
    let mut shown: String = chars.by_ref().take(NAME_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// A body that is no JSON, or not the JSON that is expected.
pub(crate) fn body(error: &serde_json::Error) -> Problem {
    let at = format!("line {} column {}", error.line(), error.column());
    let error = match error.classify() {
        Category::Data => data(&error.to_string(), &at),
        Category::Eof if error.column() == 0 => FieldError::new("body", "there is none; send JSON, such as {}"),
        Category::Eof => FieldError::new("body", format!("it ends too early, at {at}: a quote or a bracket is open")),
        _ if error.to_string().starts_with("recursion limit") => {
            FieldError::new("body", format!("too many brackets are within each other, at {at}"))
        }
        _ => FieldError::new("body", format!("this is no JSON, at {at}: look for a quote, a comma or a bracket there")),
    };
    Problem::fields(vec![error])
}

/// The text between the first two of these marks.
fn quoted(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}

fn data(text: &str, at: &str) -> FieldError {
    let expected = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    // What was sent may hold the word as well; what is expected is last.
    let expected = expected.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    // Names that the types have: nothing from outside.
    let list = || expected.trim_start_matches("one of ").replace('`', "");
    if text.starts_with("unknown field ") {
        let field = name(quoted(text).unwrap_or("body"));
        return FieldError::new(
            field,
            format!(
                "there is no such field; there is {}",
                if expected.is_empty() { "none".to_owned() } else { list() }
            ),
        );
    }
    if text.starts_with("missing field ") {
        return FieldError::new(name(quoted(text).unwrap_or("body")), "missing; give it");
    }
    if text.starts_with("duplicate field ") {
        return FieldError::new(name(quoted(text).unwrap_or("body")), "it is there twice; give it once");
    }
    if text.starts_with("unknown variant ") {
        return FieldError::new("body", format!("{at}: give {}", expected.replace('`', "")));
    }
    // Said by a type of ours.
    if let Some(give) = text.strip_prefix("give ") {
        let give = give.rsplit_once(" at line ").map_or(give, |(give, _)| give);
        return FieldError::new("body", format!("{at}: give {give}"));
    }
    let found = text.split_once(": ").map_or("", |(_, found)| found);
    let found = match found.split([' ', ',']).next().unwrap_or_default() {
        "string" => "text",
        "integer" | "floating" => "a number",
        "boolean" => "true or false",
        "map" => "an object",
        "sequence" => "a list",
        "null" | "unit" => "null",
        _ => "something else",
    };
    let give = match expected {
        "a string" | "a borrowed string" | "string or map" => "text",
        "a boolean" => "true or false",
        "u64" | "u32" | "u16" | "u8" | "usize" => "a whole number, 0 or more, that is not too large",
        "a map" => "an object, {...}",
        "a sequence" => "a list, [...]",
        _ if expected.starts_with("struct ") => "an object, {...}",
        _ => "what /api/v1/openapi.json says",
    };
    FieldError::new("body", format!("{at}: this is {found}; give {give}"))
}

/// A query that is not what is expected.
pub(crate) fn query(rejection: &QueryRejection) -> Problem {
    let text = rejection.body_text();
    let said = text.split_once("query string: ").map_or(text.as_str(), |(_, said)| said);
    let is_name = |field: &&str| field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let error = if said.starts_with("duplicate field ") {
        FieldError::new(name(quoted(said).unwrap_or("query")), "it is there twice; give it once")
    } else {
        let field = said.split_once(": ").map(|(field, _)| field).filter(is_name).unwrap_or("query");
        let number =
            said.contains("invalid digit") || said.contains("number too large") || said.contains("empty string");
        let give = if number {
            "give a whole number that is not too large"
        } else {
            "this is not what is expected; see /api/v1/openapi.json"
        };
        FieldError::new(name(field), give)
    };
    Problem::fields(vec![error])
}

/// A part of a path that is not what is expected.
pub(crate) fn path(_: &PathRejection) -> Problem {
    Problem::bad_request(
        "a part of the path is not what is expected there (a number, or UTF-8 text); see /api/v1/openapi.json",
    )
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "id")]
        _id: String,
        #[serde(rename = "kind")]
        _kind: Option<Kind>,
        #[serde(rename = "count")]
        _count: Option<u64>,
        #[serde(rename = "on")]
        _on: Option<bool>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Auth,
        Motion,
    }

    #[test]
    fn what_is_wrong_is_said_in_words_of_our_own_without_the_value() {
        let check = |body: &str, parts: &[&str]| {
            let error = serde_json::from_str::<Sample>(body).unwrap_err();
            let said = format!("{:?}", super::body(&error));
            for part in parts {
                assert!(said.contains(part), "{body}: {said}");
            }
            for word in ["struct", "u64", "EOF", "expected", "hush", "deserialize", "`"] {
                assert!(!said.contains(word), "{word} in {said}");
            }
            assert!(said.len() < 600, "{said}");
        };
        check("", &["there is none; send JSON"]);
        check("{", &["ends too early", "line 1 column 1"]);
        check("{ nonsense", &["no JSON", "line 1 column 3"]);
        check(&"[".repeat(1_000), &["this is a list"]);
        check("[1]", &["body"]);
        check("7", &["this is a number; give an object"]);
        check(
            r#"{"hush": 1}"#.replace("hush", &"k".repeat(60_000)).as_str(),
            &["no such field; there is id, kind, count, on", "..."],
        );
        check("{}", &["id", "missing"]);
        check(r#"{"id": 1}"#, &["line 1 column 8: this is a number; give text"]);
        check(r#"{"id": "a", "id": "b"}"#, &["twice"]);
        check(r#"{"id": "a", "kind": "hush"}"#, &["line 1 column 26: give auth or motion"]);
        check(r#"{"id": "a", "count": -1}"#, &["give a whole number, 0 or more"]);
        check(r#"{"id": "a", "count": "hush"}"#, &["this is text; give a whole number"]);
        check(r#"{"id": "a", "on": "hush, expected u64"}"#, &["give true or false"]);
    }
}
