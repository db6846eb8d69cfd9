//! Tokens of previews: who may look at streams by the API sees a stream's picture in the console without being a viewer that a policy decides about. Pure
//! functions: the wall clock is an argument. Before it: control, which makes them; after it: the nodes' HTTP ports, which check them.
//!
//! The text is `<expiry>.<mac>`: Unix seconds, and the MAC as unpadded base64url of HMAC-SHA256 over `<expiry>/<stream>`, by a key of the master key.
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{MasterKey, hmac_sha256};
use crate::id::Id;
use crate::secret::Secret;

/// The parameter of an address that holds one.
pub const PREVIEW_PARAM: &str = "preview";
/// Digits of an expiry that is read: the year 5138.
const EXPIRY_DIGITS_MAX: usize = 11;

/// Makes and checks tokens. Does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct PreviewKey(Secret);

impl PreviewKey {
    /// That of a master key. Another message than those of streams' secrets, whose ids have no space, and of grants.
    pub fn new(master: &MasterKey) -> Self {
        Self(Secret::new(URL_SAFE_NO_PAD.encode(hmac_sha256(&master.0, b"preview key"))))
    }

    /// A token for this stream, up to, and not including, this second.
    pub fn make(&self, id: &Id, expiry_unix_s: u64) -> Secret {
        let mac = hmac_sha256(self.0.expose().as_bytes(), format!("{expiry_unix_s}/{id}").as_bytes());
        Secret::new(format!("{expiry_unix_s}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }

    /// Until when a token admits to this stream; `None`: it does not.
    pub fn check(&self, text: &str, id: &Id, unix_s: u64) -> Option<u64> {
        let (expiry, _) = text.split_once('.')?;
        let is_number = expiry.len() <= EXPIRY_DIGITS_MAX && expiry.bytes().all(|byte| byte.is_ascii_digit());
        let expiry_unix_s: u64 = expiry.parse().ok().filter(|_| is_number)?;
        // The text that was made, and no other one that means the same.
        (self.make(id, expiry_unix_s).matches(text) && unix_s < expiry_unix_s).then_some(expiry_unix_s)
    }
}

impl fmt::Debug for PreviewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_stream_and_time_and_nothing_else() {
        let (key, other) = (PreviewKey::new(&MasterKey::new([1; 32])), PreviewKey::new(&MasterKey::new([2; 32])));
        let (cam, door) = (Id::new("cam").unwrap(), Id::new("door").unwrap());
        let token = key.make(&cam, 1_000);
        let text = token.expose();
        assert_eq!((key.check(text, &cam, 999), key.check(text, &cam, 1_000)), (Some(1_000), None));
        assert_eq!((key.check(text, &door, 1), other.check(text, &cam, 1)), (None, None));
        let (_, mac) = text.split_once('.').unwrap();
        for wrong in [
            "",
            ".",
            "1000.",
            mac,
            &format!("2000.{mac}"),
            &format!("01000.{mac}"),
            &format!("+1000.{mac}"),
            &format!("{text}x"),
        ] {
            assert_eq!(key.check(wrong, &cam, 1), None, "{wrong}");
        }
        assert_eq!(format!("{key:?}"), "[redacted]");
    }
}
