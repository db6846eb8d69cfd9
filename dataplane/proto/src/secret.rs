//! Text that must not reach a log, a metric, an error page or an answer that did not ask for it.
use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A secret string. `Debug` and `Display` print `[redacted]`; only [`Secret::expose`] gives the text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for computing with it, never for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the secret, in a time that tells nothing about either.
    pub fn matches(&self, given: &str) -> bool {
        // Of digests, so that not even the lengths are compared.
        Sha256::digest(&self.0).ct_eq(&Sha256::digest(given)).into()
    }

    /// Whether there is no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
