//! The trait that every store implements, and what its calls take and give. Before it: the recorder, which puts; after it: those who play
//! and list. `tests/contract.rs` is the suite that every implementation runs.
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;

use crate::body::{Body, Crc32, Sums};
use crate::error::{ErrorKind, ObjectError};
use crate::key::Key;
use crate::limits::HEADER_BYTES_MAX;

/// What a call comes to, later. Calls are made on a tokio runtime.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ObjectError>> + Send + 'a>>;

/// The bytes of an object as they come. It ends with an error where they are fewer than promised, never without one.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, ObjectError>> + Send>>;

/// Objects by key. No call is repeated within: one that fails is the caller's to try again ([`ObjectError::retry`]), and each ends within a
/// time of the store's own. A key that is the folder of another one cannot be put everywhere: directories refuse it.
pub trait ObjectStore: Send + Sync + 'static {
    /// Writes an object, or replaces it. Nobody ever reads a part of it: it is there as a whole once this has succeeded (durably), and as it
    /// was before when this has failed. After an error of [`ErrorKind::Unavailable`], or when the future is dropped, it is one or the other.
    fn put(&self, key: &Key, body: Body, meta: Meta) -> Answer<'_, Sums>;

    /// What is stored under this key.
    fn head(&self, key: &Key) -> Answer<'_, Option<Stored>>;

    /// Reads an object or a part of it; [`ErrorKind::NotFound`] where there is none.
    fn get(&self, key: &Key, span: Span) -> Answer<'_, Reading>;

    /// Removes an object; content with none.
    fn delete(&self, key: &Key) -> Answer<'_, ()>;

    /// Objects in a folder (all where it is `None`) at any depth, in order of their keys, that come behind `after`; at most `limit` and
    /// [`PAGE_KEYS_MAX`](crate::limits::PAGE_KEYS_MAX).
    fn list(&self, folder: Option<&Key>, after: Option<&Key>, limit: usize) -> Answer<'_, Page>;

    /// An address at which anybody can read the object until it expires; `None` where the store has no server of its own.
    fn presign(&self, key: &Key, expiry: Duration) -> Answer<'_, Option<PresignedUrl>>;

    /// Tries whether the store can be used as it is set up, and says what is wrong with it and what to do otherwise.
    fn probe(&self) -> Answer<'_, Probe>;

    /// Removes what puts left behind that were cut off longer ago than this, by a kill, say. Gives how many there were.
    fn sweep(&self, older_than: Duration) -> Answer<'_, u64>;

    /// Where it is, for messages: without secrets.
    fn place(&self) -> String;
}

/// What is told about an object to those who get it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// The media type. Directories do not keep it: there it is what [`Key::content_type`] says.
    pub content_type: Cow<'static, str>,
    /// How long caches may keep it. Directories do not keep it: there it is for who serves them to say.
    pub cache_control: Cow<'static, str>,
}

impl Meta {
    /// The media type of the key's extension, and this Cache-Control.
    pub fn of(key: &Key, cache_control: impl Into<Cow<'static, str>>) -> Self {
        Self { content_type: key.content_type().into(), cache_control: cache_control.into() }
    }

    /// Refuses what cannot be a header.
    pub(crate) fn check(&self) -> Result<(), ObjectError> {
        for (name, value) in [("Content-Type", &self.content_type), ("Cache-Control", &self.cache_control)] {
            let fits = !value.is_empty() && value.len() <= HEADER_BYTES_MAX;
            if !fits || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                return Err(ObjectError::invalid(format!(
                    "{value:.80?} cannot be the {name} of an object: 1 to {HEADER_BYTES_MAX} printable ASCII characters are taken"
                )));
            }
        }
        Ok(())
    }
}

/// What a store says of an object without reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its length.
    pub bytes: u64,
    /// Its checksum, where the store keeps one beside it. [`confirm`](crate::confirm) reads the object where it does not.
    pub crc32: Option<Crc32>,
    /// Another one for each content, in quotes, as the header of that name.
    pub etag: String,
    /// When it was put, Unix ms.
    pub modified_ms: u64,
    /// The media type.
    pub content_type: String,
    /// What was put with it, where the store keeps it.
    pub cache_control: Option<String>,
}

/// What of an object is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// All of it.
    All,
    /// From this byte to its end.
    From(u64),
    /// From a byte to another one, which is the last: `bytes=0-1` are two.
    Within(u64, u64),
    /// So many at its end.
    Last(u64),
}

impl Span {
    /// The bytes of an object of this length; `None` where it has none of them.
    pub fn of(self, bytes: u64) -> Option<Range<u64>> {
        match self {
            Self::All => Some(0..bytes),
            Self::From(first) => (first < bytes).then_some(first..bytes),
            Self::Within(first, last) => {
                (first < bytes && first <= last).then(|| first..last.saturating_add(1).min(bytes))
            }
            Self::Last(count) => (count > 0 && bytes > 0).then(|| bytes.saturating_sub(count)..bytes),
        }
    }

    pub(crate) fn refused(self, key: &Key, bytes: u64) -> ObjectError {
        ObjectError::new(ErrorKind::Range, format!("{key} has {bytes} bytes, and none of the range {self:?}"))
    }
}

/// An object that is being read.
pub struct Reading {
    /// What it is, as a whole.
    pub stored: Stored,
    /// Which of its bytes come.
    pub range: Range<u64>,
    /// The bytes.
    pub chunks: Chunks,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("stored", &self.stored).field("range", &self.range).finish_non_exhaustive()
    }
}

/// An object in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Its length.
    pub bytes: u64,
    /// When it was put, Unix ms.
    pub modified_ms: u64,
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// In order of their keys.
    pub objects: Vec<Listed>,
    /// Give this as `after` for the page that follows; `None` on the last one.
    pub next: Option<Key>,
}

impl Page {
    /// The page of these, of which there is one more than wanted if another page follows.
    pub(crate) fn of(mut objects: Vec<Listed>, limit: usize) -> Self {
        let more = objects.len() > limit;
        objects.truncate(limit);
        let next = if more { objects.last().map(|last| last.key.clone()) } else { None };
        Self { objects, next }
    }
}

/// An address that carries a permission: who has it can read the object.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedUrl(pub(crate) String);

impl PresignedUrl {
    /// The address, to be given to the one reader that it is for, and to no log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0.split('?').next().unwrap_or_default();
        write!(f, "PresignedUrl({address}?[redacted])")
    }
}

/// A store that can be used.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Probe {
    /// What does not work all the same, such as deleting and listing, and what that means.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_those_of_http_ranges() {
        assert_eq!(Span::All.of(0), Some(0..0));
        assert_eq!((Span::From(3).of(5), Span::From(5).of(5)), (Some(3..5), None));
        assert_eq!((Span::Within(0, 1).of(5), Span::Within(3, u64::MAX).of(5)), (Some(0..2), Some(3..5)));
        assert_eq!((Span::Within(5, 9).of(5), Span::Within(3, 2).of(5)), (None, None));
        assert_eq!((Span::Last(2).of(5), Span::Last(9).of(5)), (Some(3..5), Some(0..5)));
        assert_eq!((Span::Last(0).of(5), Span::Last(1).of(0)), (None, None));
    }

    #[test]
    fn a_presigned_address_does_not_get_into_logs() {
        let url = PresignedUrl("https://b.example/k?X-Amz-Signature=abc".to_owned());
        assert!(!format!("{url:?}").contains("abc"));
    }

    #[test]
    fn a_header_cannot_bring_another_one() {
        let key = Key::parse("a.mp4").expect("a key");
        for bad in ["", "a\r\nx: y", "ä", &"a".repeat(257)] {
            assert!(Meta::of(&key, bad.to_owned()).check().is_err(), "{bad:?}");
        }
        assert!(Meta::of(&key, "public, max-age=31536000, immutable").check().is_ok());
    }
}
