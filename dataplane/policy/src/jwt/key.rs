//! Keys that tokens are verified with, each of one algorithm: a shared secret, or a public key as PEM (`BEGIN PUBLIC KEY`).
use std::fmt;

use millstream_proto::secret::Secret;
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

/// How a token is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// HMAC with SHA-256: whoever can verify can sign.
    Hs256,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// As `alg` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// Shortest shared secret, bytes: one that can be guessed lets everybody sign (RFC 7518, 3.2 asks for 32).
pub const SECRET_BYTES_MIN: usize = 16;

/// A key that tokens may be signed with.
#[derive(Clone)]
pub struct Key {
    /// Its id, as tokens name it; `None`: it is tried with all of its algorithm.
    pub kid: Option<String>,
    verifier: Verifier,
}

#[derive(Clone)]
enum Verifier {
    Hs256(hmac::Key),
    Rs256(UnparsedPublicKey<Vec<u8>>),
    Es256(UnparsedPublicKey<Vec<u8>>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

/// Text that is no key. Never holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A secret that can be guessed.
    #[error("the secret has {0} bytes; give at least {SECRET_BYTES_MIN}, better 32 random ones")]
    Short(usize),
    /// No PEM with a public key.
    #[error(
        "this is not a public key in PEM; it begins with -----BEGIN PUBLIC KEY----- (openssl pkey -pubout makes it of a private key)"
    )]
    NotPem,
    /// PEM with a private key.
    #[error("this is a private key, and only the issuer is to have it; give the public one (openssl pkey -pubout)")]
    Private,
    /// A public key of another kind.
    #[error("this public key is neither RSA of 2048 to 8192 bits (RS256) nor ECDSA on P-256 (ES256)")]
    Kind,
}

impl Key {
    /// A shared secret (HS256).
    pub fn secret(kid: Option<String>, secret: &Secret) -> Result<Self, KeyError> {
        let bytes = secret.expose().as_bytes();
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(KeyError::Short(bytes.len()));
        }
        Ok(Self { kid, verifier: Verifier::Hs256(hmac::Key::new(hmac::HMAC_SHA256, bytes)) })
    }

    /// A public key as PEM: RS256 or ES256, whichever kind it is of.
    pub fn public(kid: Option<String>, pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NotPem)?;
        let verifier = match public_key(&info).ok_or(KeyError::Kind)? {
            (Algorithm::Es256, point) => {
                Verifier::Es256(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.to_vec()))
            }
            (_, key) => Verifier::Rs256(UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.to_vec())),
        };
        Ok(Self { kid, verifier })
    }

    /// The only one that it verifies.
    pub const fn algorithm(&self) -> Algorithm {
        match self.verifier {
            Verifier::Hs256(_) => Algorithm::Hs256,
            Verifier::Rs256(_) => Algorithm::Rs256,
            Verifier::Es256(_) => Algorithm::Es256,
        }
    }

    /// Whether it has made this signature.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Hs256(key) => hmac::verify(key, message, signature).is_ok(),
            Verifier::Rs256(key) | Verifier::Es256(key) => key.verify(message, signature).is_ok(),
        }
    }
}

/// AlgorithmIdentifier of RSA keys: rsaEncryption, NULL (RFC 3279, 2.3.1).
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// The same of keys on P-256: id-ecPublicKey, secp256r1 (RFC 5480, 2.1.1).
const P256: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Least and most bytes of an RSA key: 2048 and 8192 bits with what is around them.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 260..=1_100;
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// What `ring` calls the key: what is inside a SubjectPublicKeyInfo, with its algorithm.
fn public_key(info: &[u8]) -> Option<(Algorithm, &[u8])> {
    let (info, rest) = element(SEQUENCE, info)?;
    let (algorithm, bits) = element(SEQUENCE, info)?;
    let (bits, after) = element(BIT_STRING, bits)?;
    // No bits are unused in the last byte.
    let (&0, key) = bits.split_first()? else { return None };
    if !rest.is_empty() || !after.is_empty() {
        return None;
    }
    match algorithm {
        RSA if RSA_BYTES.contains(&key.len()) => Some((Algorithm::Rs256, key)),
        // Uncompressed.
        P256 if key.len() == 65 && key.first() == Some(&4) => Some((Algorithm::Es256, key)),
        _ => None,
    }
}

/// The content of a DER element with this tag, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, der) = der.split_first()?;
    let (&first, der) = der.split_first()?;
    let (length, der) = match first {
        short @ 0..=0x7f => (usize::from(short), der),
        0x81 => der.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => der.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    if found == tag { der.split_at_checked(length) } else { None }
}
