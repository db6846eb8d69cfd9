//! Lists in pages: `?limit=` and `?cursor=`, and what a page looks like. A cursor is the key that the next page begins behind, made
//! unreadable so that nobody builds one.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_store::item::KEY_BYTES_MAX;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Answer, FieldError, Problem};

/// Items of a page where the caller does not say.
const LIMIT_DEFAULT: usize = 50;
/// Items of a page at most.
pub const LIMIT_MAX: usize = 500;

/// Which page of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// At most so many items, 1 to 500 [default: 50].
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
pub fn cursor(key: &str) -> String {
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
