//! Pending challenges of an ACME authority: answers to its requests over HTTP (http-01, RFC 8555, 8.3), and certificates for its handshakes
//! (tls-alpn-01, RFC 8737). Before it: whoever orders certificates; after it: [`crate::ServerTls`], which shows them to the authority alone.
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;

use crate::error::ChallengeError;

/// The one protocol that an authority offers by ALPN when it looks for a challenge's certificate.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";
/// Challenges that are pending at a time: a certificate has a hundred names at most.
pub const CHALLENGES_MAX: usize = 128;
/// Bytes of a token. Let's Encrypt's have 43; the standard asks for 22 at least, and names no maximum.
const TOKEN_BYTES_MAX: usize = 128;
/// Bytes of an answer: the token, a dot, and the digest of a key, which has 43.
const ANSWER_BYTES_MAX: usize = TOKEN_BYTES_MAX + 64;

/// What is shown to an authority. It does not change; another one takes its place.
#[derive(Clone, Default)]
pub struct Challenges {
    answers: HashMap<String, String>,
    certificates: HashMap<String, Arc<CertifiedKey>>,
}

impl Challenges {
    /// Adds the answer for a token of http-01.
    pub fn answer(&mut self, token: &str, answer: &str) -> Result<(), ChallengeError> {
        self.has_room()?;
        if !is_token(token) || answer.len() > ANSWER_BYTES_MAX {
            return Err(ChallengeError::Token);
        }
        self.answers.insert(token.to_owned(), answer.to_owned());
        Ok(())
    }

    /// Adds the certificate that is shown for a name by tls-alpn-01.
    pub fn certificate(
        &mut self,
        name: &str,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), ChallengeError> {
        self.has_room()?;
        let key = ring::default_provider().key_provider.load_private_key(key);
        let key = key.map_err(|error| ChallengeError::Key(error.to_string()))?;
        self.certificates.insert(name.to_ascii_lowercase(), Arc::new(CertifiedKey::new(vec![certificate], key)));
        Ok(())
    }

    fn has_room(&self) -> Result<(), ChallengeError> {
        let count = self.answers.len() + self.certificates.len();
        if count < CHALLENGES_MAX { Ok(()) } else { Err(ChallengeError::TooMany) }
    }

    /// What an authority is answered that asks for this token; `None`: it is not pending.
    pub fn find(&self, token: &str) -> Option<&str> {
        self.answers.get(token).map(String::as_str)
    }

    /// Whether an authority may come by TLS.
    pub(crate) fn has_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// The certificate for an authority that has come by TLS: one that offers this protocol and no other.
    pub(crate) fn for_authority(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificates.get(&hello.server_name()?.to_ascii_lowercase()).map(Arc::clone)
    }
}

/// Whether a client is an authority that looks for a challenge's certificate.
pub(crate) fn is_authority(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none())
}

/// Tokens are of the alphabet of base64url (RFC 8555, 8.3), so that nothing else is looked for in the table.
fn is_token(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(good)
}

// By hand: who has an answer can pass for this server before an authority.
impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answers, certificates) = (self.answers.len(), self.certificates.len());
        f.debug_struct("Challenges").field("answers", &answers).field("certificates", &certificates).finish()
    }
}
