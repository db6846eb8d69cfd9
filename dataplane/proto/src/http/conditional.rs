//! Entity tags (RFC 9110, 8.8.3) and conditional requests (13.1.2): a player that asks for a playlist that it has is told so in a few bytes.
//! Before it: a request's `If-None-Match`; after it: the engine answers 304 or the text.
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};

/// The tag of a text, in one of its two forms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    hash: u64,
    /// Of the compressed form: other bytes, so another tag.
    gzip: bool,
}

impl Tag {
    /// What the tag of a text is made of: the same on every node, so that a player may move between them.
    pub fn hash(text: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(text);
        hasher.finish()
    }

    /// The tag of a text with this hash.
    pub fn new(hash: u64, gzip: bool) -> Self {
        Self { hash, gzip }
    }

    /// Which form of the text the client has, if the `If-None-Match` header names one. Compared weakly, as caches that compress or unpack
    /// on the way weaken tags.
    pub fn known_by(self, if_none_match: &str) -> Option<Self> {
        let asked: Vec<&str> = if_none_match.split(',').map(|tag| tag.trim().trim_start_matches("W/")).collect();
        if asked.contains(&"*") {
            return Some(self);
        }
        let forms = [self, Self { gzip: !self.gzip, ..self }];
        forms.into_iter().find(|form| asked.contains(&form.to_string().as_str()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:016x}{}\"", self.hash, if self.gzip { "-gzip" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_59_a_tag_says_which_text_and_which_form() {
        let (plain, gzip) = (Tag::new(Tag::hash(b"a"), false), Tag::new(Tag::hash(b"a"), true));
        assert_ne!(plain.to_string(), gzip.to_string());
        assert_ne!(Tag::hash(b"a"), Tag::hash(b"b"));
        let check = |header: &str, expected: Option<Tag>| assert_eq!(plain.known_by(header), expected, "{header}");
        check("*", Some(plain));
        check(&plain.to_string(), Some(plain));
        check(&format!("\"x\", W/{plain}"), Some(plain));
        check(&gzip.to_string(), Some(gzip));
        check(&Tag::new(7, false).to_string(), None);
        check("", None);
        check(plain.to_string().trim_matches('"'), None);
    }
}
