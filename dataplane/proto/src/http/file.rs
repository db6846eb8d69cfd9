//! What a request for a file gets of it: preconditions and ranges in the order of RFC 9110, 13.2.2. Before it: a request, and what is known of
//! the file; after it: the engine sends a head, and those bytes.
use std::fmt;

use httpdate::HttpDate;

use super::range::{Asked, Wanted};
use super::response::imf_fixdate;
use crate::limits::ENTITY_TAG_CHARS_MAX;

/// A strong entity tag (RFC 9110, 8.8.3): files with the same tag have the same bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EntityTag(Box<str>);

impl EntityTag {
    /// Of this text, which may stand in quotes already, as S3 has it. `None` for weak tags, and for what would be hard to tell apart in a list:
    /// quotes and commas.
    pub fn new(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        let plain = bare.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b','));
        let right = plain && (1..=ENTITY_TAG_CHARS_MAX).contains(&bare.len());
        right.then(|| Self(format!("\"{bare}\"").into()))
    }

    /// As headers have it, in quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a list names it, or all that there are. Weakly: caches that compress on the way weaken tags.
    fn is_in(&self, list: &str, weakly: bool) -> bool {
        list.split(',').map(str::trim).any(|named| {
            let named = if weakly { named.trim_start_matches("W/") } else { named };
            named == "*" || *named == *self.0
        })
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request's preconditions beside `If-None-Match`, as they stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<String>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<String>,
    /// `If-Range`.
    pub if_range: Option<String>,
}

/// What a file is known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validators<'a> {
    /// Its tag.
    pub tag: &'a EntityTag,
    /// When it was changed last, Unix seconds.
    pub modified_unix_s: Option<u64>,
    /// It may be changed again within that second: its date does not say which bytes it has (RFC 9110, 8.8.2.2).
    pub changes: bool,
}

/// A request for a file whose length is not known yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileQuery {
    /// `If-None-Match`, as it stands.
    pub if_none_match: Option<String>,
    /// The other preconditions.
    pub conditions: Option<Box<Conditions>>,
    /// The run of bytes that it asks for; `None`: all of it. `HEAD` has none (RFC 9110, 14.2).
    pub range: Option<Asked>,
}

/// What it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selected {
    /// All of the file: 200.
    Whole,
    /// From this byte up to, and not including, that one: 206.
    Part(u64, u64),
    /// It has it already: 304.
    NotModified,
    /// The file is not the one that it means: 412.
    Failed,
    /// No byte that the file has: 416.
    Nothing,
}

impl FileQuery {
    /// What of a file of `bytes` bytes.
    pub fn select(&self, bytes: u64, file: Validators<'_>) -> Selected {
        let conditions = self.conditions.as_deref();
        let if_match = conditions.and_then(|all| all.if_match.as_deref());
        let unmodified_since = conditions.and_then(|all| all.if_unmodified_since.as_deref());
        let modified_since = conditions.and_then(|all| all.if_modified_since.as_deref());
        let is_meant = match (if_match, unmodified_since) {
            (Some(tags), _) => file.tag.is_in(tags, false),
            (None, Some(date)) => file.is_older(date).unwrap_or(true),
            (None, None) => true,
        };
        if !is_meant {
            return Selected::Failed;
        }
        let is_known = match (&self.if_none_match, modified_since) {
            (Some(tags), _) => file.tag.is_in(tags, true),
            (None, Some(date)) => file.is_older(date).unwrap_or(false),
            (None, None) => false,
        };
        if is_known {
            return Selected::NotModified;
        }
        let same = conditions.and_then(|all| all.if_range.as_deref()).is_none_or(|validator| file.is_same(validator));
        match self.range.filter(|_| same).map(|range| range.of(bytes)) {
            None | Some(Wanted::Whole) => Selected::Whole,
            Some(Wanted::Part(from, to)) => Selected::Part(from, to),
            Some(Wanted::Nothing) => Selected::Nothing,
        }
    }
}

impl Validators<'_> {
    fn modified(self) -> Option<HttpDate> {
        imf_fixdate(self.modified_unix_s?).parse().ok()
    }

    /// Whether it has not changed since; `None` where that is no date, or the file has none.
    fn is_older(self, date: &str) -> Option<bool> {
        let since: HttpDate = date.trim().parse().ok()?;
        Some(self.modified()? <= since)
    }

    /// Whether `If-Range` means these bytes (RFC 9110, 13.1.5): compared strongly.
    fn is_same(self, validator: &str) -> bool {
        let validator = validator.trim();
        if validator.ends_with('"') {
            return *validator == *self.tag.0;
        }
        !self.changes && validator.parse::<HttpDate>().is_ok_and(|date| self.modified() == Some(date))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sunday, 06-Nov-94 08:49:38 GMT";

    /// What a request with these headers gets of a file of 100 bytes.
    fn select(headers: &[(&str, &str)], range: Option<&str>) -> Selected {
        let tag = EntityTag::new("abc").unwrap();
        let get = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let conditions = Conditions {
            if_match: get("im"),
            if_modified_since: get("ims"),
            if_unmodified_since: get("ius"),
            if_range: get("ir"),
        };
        let query = FileQuery {
            if_none_match: get("inm"),
            conditions: Some(Box::new(conditions)),
            range: range.and_then(Asked::parse),
        };
        let validators = Validators { tag: &tag, modified_unix_s: Some(784_111_777), changes: get("grows").is_some() };
        query.select(100, validators)
    }

    #[test]
    fn tags() {
        assert_eq!(EntityTag::new("\"5d41-2\"").unwrap().to_string(), "\"5d41-2\"");
        assert_eq!(EntityTag::new("5d41-2"), EntityTag::new("\"5d41-2\""));
        for wrong in ["", "\"\"", "W/\"a\"", "a b", "a\"b", "a,b", "ä", "\"a", &"a".repeat(129)] {
            assert_eq!(EntityTag::new(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn case_59_what_a_client_has_it_is_not_sent_again() {
        for known in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert_eq!(select(&[("inm", known)], Some("bytes=0-1")), Selected::NotModified, "{known}");
        }
        for other in ["\"x\"", "abc", "", "\"abc-gzip\""] {
            // The date does not count beside a tag.
            assert_eq!(select(&[("inm", other), ("ims", DATE)], None), Selected::Whole, "{other}");
        }
        for (date, expected) in [
            (DATE, Selected::NotModified),
            (LATER, Selected::NotModified),
            ("Sun Nov  6 08:49:37 1994", Selected::NotModified),
            (BEFORE, Selected::Whole),
            ("yesterday", Selected::Whole),
        ] {
            assert_eq!(select(&[("ims", date)], None), expected, "{date}");
        }
    }

    #[test]
    fn who_means_another_file_gets_none() {
        for (headers, expected) in [
            ([("im", "\"abc\"")], Selected::Whole),
            ([("im", "*")], Selected::Whole),
            ([("im", "W/\"abc\"")], Selected::Failed),
            ([("im", "\"x\"")], Selected::Failed),
            ([("ius", DATE)], Selected::Whole),
            ([("ius", BEFORE)], Selected::Failed),
            ([("ius", "never")], Selected::Whole),
        ] {
            assert_eq!(select(&headers, None), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_range_of_another_file_is_the_whole_of_this_one() {
        let part = Selected::Part(10, 20);
        let check = |headers: &[(&str, &str)], expected| {
            assert_eq!(select(headers, Some("bytes=10-19")), expected, "{headers:?}");
        };
        check(&[], part);
        check(&[("ir", "\"abc\"")], part);
        check(&[("ir", "W/\"abc\"")], Selected::Whole);
        check(&[("ir", "\"x\"")], Selected::Whole);
        check(&[("ir", DATE)], part);
        // Its date says nothing of a file that grows.
        check(&[("ir", DATE), ("grows", "")], Selected::Whole);
        check(&[("ir", LATER)], Selected::Whole);
        check(&[("ir", "soon")], Selected::Whole);
        assert_eq!(select(&[], Some("bytes=100-")), Selected::Nothing);
        assert_eq!(select(&[("ir", "\"x\"")], Some("bytes=100-")), Selected::Whole);
        assert_eq!(select(&[], Some("bytes=0-1,5-6")), Selected::Whole);
    }
}
