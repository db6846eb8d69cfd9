//! Who may: the secrets of streams and the signatures made with them (`sign=` of a push or play URL). Pure functions: the wall
//! clock is an argument. Before it: [`crate::query`] has decoded the URL's parameters; after it: a policy turns the answer into a
//! verdict.
//!
//! Two forms exist. [`legacy`] (`<exp>-<md5>`) is what encoders in the field hold; [`v2`] (`v2-<exp>-<mac>`) names the action, so it
//! can admit play too. A legacy signature names none: it is a publish signature, and admits nothing else. [`webhook`] signs what is sent
//! to others, [`grant`] the paths that admitted viewers play by, [`preview`] the console's previews, [`job`] what a worker
//! reads and publishes, [`worker`] who is a node's worker.
//!
//! Invariants: digests are compared in constant time and never as text; the expiry is looked at only once the digest is found
//! right, so that an error tells a stranger nothing but "wrong".
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::id::Id;
use crate::limits::{SIGN_BYTES_MAX, SIGN_EXPIRY_DIGITS_MAX};
use crate::secret::Secret;

pub mod grant;
pub mod job;
pub mod legacy;
pub mod preview;
pub mod v2;
pub mod webhook;
pub mod worker;

/// Bytes of a master key.
pub const MASTER_KEY_BYTES: usize = 32;

/// What a signature is good for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Push a stream.
    Publish,
    /// Watch a stream.
    Play,
}

impl Action {
    /// The word that is signed, and that events, the API and hooks have for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Play => "play",
        }
    }
}

/// What a signature has to be for.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Publish or play.
    pub action: Action,
    /// The application: `stream`.
    pub app: &'a Id,
    /// The stream.
    pub id: &'a Id,
}

/// The secrets that may have made a signature.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// The stream's own secrets, one per generation that is in force: they admit both forms.
    pub stream: &'a [Secret],
    /// Secrets of an older system: they verify the legacy form only.
    pub legacy: &'a [Secret],
}

/// Why a signature does not admit. Never holds the signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// No `sign` parameter.
    #[error("the URL has no sign parameter")]
    Missing,
    /// More than one `sign` parameter, in server URL and stream key together.
    #[error("the URL has more than one sign parameter")]
    Duplicate,
    /// Neither of the two forms.
    #[error("the signature has neither the form <seconds>-<md5> nor v2-<seconds>-<mac>")]
    Malformed,
    /// Made with a right secret, and too old.
    #[error("the signature expired {} ago", span(*since))]
    Expired {
        /// Seconds between the expiry and now.
        since: u64,
    },
    /// Made with another secret, or for another stream, application, action or expiry.
    #[error("the signature is wrong")]
    Wrong,
}

/// Checks the `sign` parameters of a request (all of them: exactly one is allowed) against a claim. `unix_s` is the wall clock;
/// a signature admits up to, and not including, the second that it names.
pub fn verify<'a>(
    mut signs: impl Iterator<Item = &'a str>,
    claim: Claim<'_>,
    keys: Keys<'_>,
    unix_s: u64,
) -> Result<(), SignError> {
    let sign = signs.next().ok_or(SignError::Missing)?;
    if signs.next().is_some() {
        return Err(SignError::Duplicate);
    }
    if sign.len() > SIGN_BYTES_MAX {
        return Err(SignError::Malformed);
    }
    let (expiry, right) = match sign.strip_prefix(v2::PREFIX) {
        Some(rest) => v2::check(rest, claim, keys)?,
        None => legacy::check(sign, claim, keys)?,
    };
    admits(expiry, right, unix_s)
}

fn admits(expiry: u64, right: bool, unix_s: u64) -> Result<(), SignError> {
    if !right {
        return Err(SignError::Wrong);
    }
    match unix_s.checked_sub(expiry) {
        None => Ok(()),
        Some(since) => Err(SignError::Expired { since }),
    }
}

/// A time in the largest unit that says enough: people read it.
fn span(seconds: u64) -> String {
    const UNITS: [(u64, u64, &str); 5] = [
        // From how many seconds on, how many one has, its name.
        (2 * YEAR_S, YEAR_S, "years"),
        (2 * MONTH_S, MONTH_S, "months"),
        (2 * 86_400, 86_400, "days"),
        (2 * 3_600, 3_600, "hours"),
        (2 * 60, 60, "minutes"),
    ];
    const YEAR_S: u64 = 31_556_952;
    const MONTH_S: u64 = YEAR_S / 12;
    match UNITS.iter().find(|(from, ..)| seconds >= *from) {
        Some((_, unit, name)) => format!("{} {name}", seconds / unit),
        None => format!("{seconds} s"),
    }
}

/// Unix seconds as signatures write them: decimal digits and nothing else, no more than [`SIGN_EXPIRY_DIGITS_MAX`] of them.
pub fn parse_expiry(text: &str) -> Option<u64> {
    let decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !decimal || text.len() > SIGN_EXPIRY_DIGITS_MAX {
        return None;
    }
    text.parse().ok()
}

/// The key that every stream's secret is made from. Does not print.
#[derive(Clone)]
pub struct MasterKey([u8; MASTER_KEY_BYTES]);

/// A text that is not a master key. Never holds the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a master key is {MASTER_KEY_BYTES} bytes as unpadded base64url (43 characters) on one line, and this is not one"
)]
pub struct MasterKeyError;

impl MasterKey {
    /// A key of these random bytes.
    pub const fn new(bytes: [u8; MASTER_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads the content of a `master-key` file: one line, with or without its end.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let bytes = URL_SAFE_NO_PAD.decode(line).map_err(|_| MasterKeyError)?;
        bytes.try_into().map(Self).map_err(|_| MasterKeyError)
    }

    /// The line that a `master-key` file holds, without its end.
    pub fn to_text(&self) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode(self.0))
    }

    /// Tells whether two processes have the same key, and nothing about the key: a MAC of fixed words, cut short.
    pub fn check(&self) -> String {
        let mac = hmac_sha256(&self.0, b"millstream master key check");
        URL_SAFE_NO_PAD.encode(mac.split_at(12).0)
    }

    /// The secret of a stream: base64url(HMAC-SHA256(master, id + "\n" + generation)).
    pub fn stream_secret(&self, id: &Id, generation: u64) -> Secret {
        let message = format!("{id}\n{generation}");
        Secret::new(URL_SAFE_NO_PAD.encode(hmac_sha256(&self.0, message.as_bytes())))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// HMAC-SHA256. The key is brought to block size here (RFC 2104: hashed when longer, then padded with zeros), because the
/// constructor for such a key cannot fail, and so nothing in this crate has to handle or assert away a failure.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    let hashed: [u8; 32];
    let short = if key.len() > block.len() {
        hashed = Sha256::digest(key).into();
        hashed.as_slice()
    } else {
        key
    };
    for (to, from) in block.iter_mut().zip(short) {
        *to = *from;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
