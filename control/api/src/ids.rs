//! Ids of what the API makes: random ones, or those of a simulation, which repeats them.
use std::sync::Arc;

use crate::http::problem::Answer;
use crate::model::token::random;

/// Where ids come from.
#[derive(Clone, Default)]
pub struct Ids(Option<Arc<dyn Fn() -> u128 + Send + Sync>>);

impl Ids {
    /// From the system's random bytes.
    pub fn random() -> Self {
        Self::default()
    }

    /// From these numbers: no two may be the same.
    pub fn of(numbers: impl Fn() -> u128 + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(numbers)))
    }

    /// A UUID (RFC 9562, version 4).
    pub(crate) fn uuid(&self) -> Answer<String> {
        let mut bytes = match &self.0 {
            Some(numbers) => numbers().to_be_bytes(),
            None => random::<16>()?,
        };
        bytes[6] = (bytes[6] & 0x0F) | 0x40;
        bytes[8] = (bytes[8] & 0x3F) | 0x80;
        let hex = format!("{:032x}", u128::from_be_bytes(bytes));
        Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
    }
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ids")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::valid_id;

    #[test]
    fn uuids_are_of_version_4() {
        let ids = Ids::random();
        let (one, other) = (ids.uuid().unwrap(), ids.uuid().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"), "{one}");
        valid_id(&one).unwrap();
        assert_eq!(Ids::of(|| 1).uuid().unwrap(), "00000000-0000-4000-8000-000000000001");
    }
}
