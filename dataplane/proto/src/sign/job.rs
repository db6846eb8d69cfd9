//! Tokens of a worker's jobs: whoever transcodes a stream reads it, and publishes its renditions, without being a viewer or a publisher that a
//! policy decides about. Before it: the node, which hands them out with each job; after it: the node's ports, which check them.
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::hmac_sha256;
use crate::id::Id;
use crate::secret::Secret;

/// Bytes of a key.
pub const JOB_KEY_BYTES: usize = 32;

/// Makes and checks tokens: random, of one process, and never kept.
#[derive(Clone)]
pub struct JobKey([u8; JOB_KEY_BYTES]);

impl JobKey {
    /// Of these random bytes.
    pub const fn new(bytes: [u8; JOB_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The token of a stream that a job reads, or of a rendition that it publishes.
    pub fn token(&self, id: &Id) -> Secret {
        let mac = hmac_sha256(&self.0, format!("millstream job\n{id}").as_bytes());
        Secret::new(URL_SAFE_NO_PAD.encode(mac))
    }

    /// Whether this is the token of that stream or rendition.
    pub fn admits(&self, id: &Id, token: &str) -> bool {
        self.token(id).matches(token)
    }
}

impl fmt::Debug for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RenditionName;

    #[test]
    fn a_token_is_good_for_its_own_stream_and_process() {
        let (key, other) = (JobKey::new([1; JOB_KEY_BYTES]), JobKey::new([2; JOB_KEY_BYTES]));
        let cam = Id::new("cam").unwrap();
        let small = cam.of_rendition(&RenditionName::new("360p").unwrap());
        let token = key.token(&cam);
        assert!(key.admits(&cam, token.expose()));
        assert!(!key.admits(&small, token.expose()), "who reads may not publish");
        assert!(!other.admits(&cam, token.expose()) && !key.admits(&cam, ""));
        assert_eq!(format!("{key:?}"), "[redacted]");
    }
}
