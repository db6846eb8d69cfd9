//! Lists in pages: `?limit=` and `?cursor=`, and what a page looks like. A cursor is the key that the next page begins behind, made
//! unreadable so that nobody builds one.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_store::item::KEY_BYTES_MAX;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Answer, FieldError, Problem};

/// Items of a page where the caller does not say.
const LIMIT_DEFAULT: usize = 50;
/// Bytes of the items of a page: it ends before the item that would pass this, and has one at least.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
/// Items of a page at most.
pub const LIMIT_MAX: usize = 500;

/// Which page of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// At most so many items, 1 to 500 [default: 50]; fewer where they are long: a page has about a mebibyte at most, and its `next` goes on.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<usize>,
    /// The `next` of the page before; left out for the first page.
    #[param(max_length = 1024)]
    pub cursor: Option<String>,
}

impl Paging {
    /// How many items.
    pub fn limit(&self) -> Answer<usize> {
        match self.limit {
            None => Ok(LIMIT_DEFAULT),
            Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
            Some(_) => Err(Problem::fields(vec![FieldError::new("limit", format!("give 1 to {LIMIT_MAX}"))])),
        }
    }

    /// The key that the page begins behind.
    pub fn after(&self) -> Answer<Option<String>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let key = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match key {
            Some(key) if key.len() <= KEY_BYTES_MAX => Ok(Some(key)),
            _ => Err(Problem::fields(vec![FieldError::new("cursor", "give the next of the page before, as it was")])),
        }
    }
}

/// The cursor that stands for a key.
pub(crate) fn cursor(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// Some items of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// The cursor of the next page; null where this is the last one.
    pub next: Option<String>,
}

/// A page as it is sent: its items are JSON already, because their length decides how many there are.
pub(crate) type Filled = Page<Box<RawValue>>;

impl Filled {
    /// The first of these items that fit into a page, each with the key that the next page begins behind where it is the last one; `next` is
    /// that key where all of them do.
    pub(crate) fn fill<T: Serialize>(items: impl IntoIterator<Item = (String, T)>, next: Option<&str>) -> Self {
        let mut page = Self { items: Vec::new(), next: next.map(cursor) };
        let (mut bytes, mut last) = (0, String::new());
        for (key, item) in items {
            // What is shown is made of text, numbers and maps with text keys, and always has a JSON form.
            let Ok(item) = to_raw_value(&item) else { continue };
            // With what is between two items.
            bytes += item.get().len() + 1;
            if bytes > PAGE_BYTES_MAX && !page.items.is_empty() {
                page.next = Some(cursor(&last));
                break;
            }
            page.items.push(item);
            last = key;
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_by_bytes_and_says_where_the_next_one_begins() {
        let items = |count: usize, bytes: usize| (0..count).map(move |n| (n.to_string(), "x".repeat(bytes)));
        let check = |count, bytes, next: Option<&str>, expected: usize, expected_next: Option<&str>| {
            let page = Filled::fill(items(count, bytes), next);
            assert_eq!((page.items.len(), page.next), (expected, expected_next.map(cursor)), "{count} of {bytes}");
        };
        check(3, 10, None, 3, None);
        check(3, 10, Some("2"), 3, Some("2"));
        check(3, 400_000, None, 2, Some("1"));
        check(500, 10_000, Some("499"), 104, Some("103"));
        check(2, 2_000_000, None, 1, Some("0"));
        check(0, 0, Some("7"), 0, Some("7"));
    }
}
