//! Validated names. A name from the wire becomes one of these or is refused; paths and keys are made of nothing else.
use std::fmt;
use std::sync::Arc;

use crate::limits::ID_CHARS_MAX;

/// A stream id or an application name: `[A-Za-z0-9_-]{1,64}`. Cheap to clone.
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

    /// Its place among so many, the same in every process and release: FNV-1a. Ids are made by whoever may make streams, so nobody gains by having
    /// them collide.
    pub fn place(&self, places: usize) -> usize {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = self.0.bytes().fold(0xcbf2_9ce4_8422_2325_u64, mix);
        // FNV's low bits are weak for short names: fold the high half in.
        ((hash ^ (hash >> 32)) % places.max(1) as u64) as usize
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
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
    }
}
