//! Validated names. A name from the wire becomes one of these or is refused; paths and keys are made of nothing else.
use std::fmt;
use std::sync::Arc;

use crate::limits::ID_CHARS_MAX;

/// A stream id or an application name: `[A-Za-z0-9_-]{1,64}`; or, made only by [`Id::of_rendition`], the id of a stream's rendition, which has
/// that stream's id, a slash and the rendition's name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Arc<str>);

/// A name that is not an id. Says why, and never repeats the name: it may hold anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Nothing there.
    #[error("the name is empty")]
    Empty,
    /// More than [`ID_CHARS_MAX`] characters.
    #[error("the name has {0} bytes; at most {ID_CHARS_MAX} are allowed")]
    Long(usize),
    /// A character outside `[A-Za-z0-9_-]`.
    #[error("the name has a character that is not allowed at byte {0}; letters, digits, '_' and '-' are")]
    Character(usize),
}

/// Between a stream's id and the name of its rendition; in no other id.
const SLASH: char = '/';

impl Id {
    /// Takes a name that is a valid id.
    pub fn new(name: &str) -> Result<Self, IdError> {
        if name.is_empty() {
            return Err(IdError::Empty);
        }
        if name.len() > ID_CHARS_MAX {
            return Err(IdError::Long(name.len()));
        }
        match name.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'_' || b == b'-')) {
            Some(at) => Err(IdError::Character(at)),
            None => Ok(Self(name.into())),
        }
    }

    /// The id of this stream's rendition of that name.
    pub fn of_rendition(&self, name: &RenditionName) -> Self {
        Self(format!("{}{SLASH}{name}", self.stream_str()).into())
    }

    /// The stream and the name, of a rendition; `None` of any other stream.
    pub fn rendition(&self) -> Option<(Self, RenditionName)> {
        let (stream, name) = self.0.split_once(SLASH)?;
        Some((Self(stream.into()), RenditionName(name.into())))
    }

    /// Whether it is a rendition's.
    pub fn is_rendition(&self) -> bool {
        self.0.contains(SLASH)
    }

    /// The stream that settings, rights and records are of: of a rendition its source's id, else this one.
    pub fn stream(&self) -> Self {
        if self.is_rendition() { Self(self.stream_str().into()) } else { self.clone() }
    }

    fn stream_str(&self) -> &str {
        self.0.split_once(SLASH).map_or(&*self.0, |(stream, _)| stream)
    }

    /// Its place among so many, the same in every process and release: FNV-1a. Ids are made by whoever may make streams, so nobody gains by having
    /// them collide. A rendition has the place of its source.
    pub fn place(&self, places: usize) -> usize {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = self.stream_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, mix);
        // FNV's low bits are weak for short names: fold the high half in.
        ((hash ^ (hash >> 32)) % places.max(1) as u64) as usize
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a rendition, as it stands in paths: the height of its picture, `[0-9]{2,4}p`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RenditionName(Arc<str>);

impl RenditionName {
    /// Takes a name that may be one; `None`: it cannot.
    pub fn new(name: &str) -> Option<Self> {
        let height = name.strip_suffix('p')?;
        let is_height = (2..=4).contains(&height.len()) && height.bytes().all(|byte| byte.is_ascii_digit());
        is_height.then(|| Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RenditionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RenditionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_wire() {
        let check =
            |name: &str, expected: Result<(), IdError>| assert_eq!(Id::new(name).map(|_| ()), expected, "{name:?}");
        check("98724e64-bcd1-4887-af4a-60be440709aa", Ok(()));
        check("a_B-9", Ok(()));
        check("", Err(IdError::Empty));
        check("../etc", Err(IdError::Character(0)));
        check("a%2e", Err(IdError::Character(1)));
        check("a\0b", Err(IdError::Character(1)));
        check("straße", Err(IdError::Character(4)));
        check(&"a".repeat(64), Ok(()));
        check(&"a".repeat(65), Err(IdError::Long(65)));
        check(&"a".repeat(300), Err(IdError::Long(300)));
        check("cam/360p", Err(IdError::Character(3)));
    }

    #[test]
    fn renditions_have_ids_that_no_stream_has_and_their_sources_place() {
        let (cam, name) = (Id::new("cam").unwrap(), RenditionName::new("360p").unwrap());
        let id = cam.of_rendition(&name);
        assert_eq!((id.as_str(), id.rendition()), ("cam/360p", Some((cam.clone(), name.clone()))));
        assert_eq!((id.stream(), cam.stream(), cam.rendition()), (cam.clone(), cam.clone(), None));
        assert!(id.is_rendition() && !cam.is_rendition());
        assert_eq!(id.of_rendition(&name), id, "of the stream, not of its rendition");
        for places in 1..20 {
            assert_eq!(id.place(places), cam.place(places));
        }
        let is_name = |name: &str| RenditionName::new(name).is_some();
        assert!(is_name("1080p") && is_name("90p"));
        for wrong in ["", "p", "9p", "12345p", "360", "360P", "-60p", "+60p", "36/p", "rec", "s", "٣٦٠p"] {
            assert!(!is_name(wrong), "{wrong:?}");
        }
    }
}
