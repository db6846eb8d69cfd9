//! Digests, keyed digests and signatures for guests.
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use spki::der::{Decode as _, Document};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use subtle::ConstantTimeEq as _;

use crate::text::bounded;

fn unknown(what: &str, algorithm: &str, known: &str) -> String {
    format!("{what}: the algorithm {:?} is not known: {known}", bounded(algorithm))
}

const DIGESTS: &str = "md5, sha1, sha256 or sha512";

pub(crate) fn digest(algorithm: &str, parts: &[&[u8]]) -> Result<Vec<u8>, String> {
    fn of<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
        let mut digest = D::new();
        for part in parts {
            digest.update(part);
        }
        digest.finalize().to_vec()
    }
    Ok(match algorithm {
        "md5" => of::<Md5>(parts),
        "sha1" => of::<Sha1>(parts),
        "sha256" => of::<Sha256>(parts),
        "sha512" => of::<Sha512>(parts),
        other => return Err(unknown("digest", other, DIGESTS)),
    })
}

pub(crate) fn hmac(algorithm: &str, key: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
    macro_rules! of {
        ($digest:ty) => {{
            let mut mac = Hmac::<$digest>::new_from_slice(key).map_err(|error| error.to_string())?;
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }};
    }
    Ok(match algorithm {
        "md5" => of!(Md5),
        "sha1" => of!(Sha1),
        "sha256" => of!(Sha256),
        "sha512" => of!(Sha512),
        other => return Err(unknown("hmac", other, DIGESTS)),
    })
}

pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    bool::from(a.ct_eq(b))
}

/// A public key of a binding's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    /// As the kind's verification takes it.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    Ed25519,
}

/// Why a text is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM with a public key in it.
    #[error(
        "not a public key in PEM (\"-----BEGIN PUBLIC KEY-----\"): {0}; `openssl pkey -in private.pem -pubout` writes one"
    )]
    Pem(String),
    /// A key of another kind.
    #[error("a public key of a kind that hooks do not check with ({0}): take RSA, P-256 or Ed25519")]
    Kind(String),
}

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

impl PublicKey {
    /// Reads a key in PEM (SubjectPublicKeyInfo).
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let wrong = |error: spki::der::Error| KeyError::Pem(error.to_string());
        let (label, document) = Document::from_pem(pem.trim()).map_err(wrong)?;
        if label != "PUBLIC KEY" {
            return Err(KeyError::Pem(format!("it is a {label}")));
        }
        let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).map_err(wrong)?;
        let kind = match (info.algorithm.oid, info.algorithm.parameters_oid()) {
            (RSA, _) => Kind::Rsa,
            (EC, Ok(P256)) => Kind::P256,
            (EC, Ok(curve)) => return Err(KeyError::Kind(format!("the curve {curve}"))),
            (ED25519, _) => Kind::Ed25519,
            (other, _) => return Err(KeyError::Kind(other.to_string())),
        };
        let bytes =
            info.subject_public_key.as_bytes().ok_or_else(|| KeyError::Pem("its bits are not whole bytes".into()))?;
        Ok(Self { kind, bytes: bytes.to_vec() })
    }

    /// A raw Ed25519 key.
    pub fn ed25519(bytes: [u8; 32]) -> Self {
        Self { kind: Kind::Ed25519, bytes: bytes.to_vec() }
    }

    /// Whether the signature is right. An error when the algorithm is not one of "RS256", "ES256" and "EdDSA", or not the key's.
    pub fn verify(&self, algorithm: &str, data: &[u8], signature: &[u8]) -> Result<bool, String> {
        let (kind, with): (_, &dyn VerificationAlgorithm) = match algorithm {
            "RS256" => (Kind::Rsa, &signature::RSA_PKCS1_2048_8192_SHA256),
            "ES256" => (Kind::P256, &signature::ECDSA_P256_SHA256_FIXED),
            "EdDSA" => (Kind::Ed25519, &signature::ED25519),
            other => return Err(unknown("verify", other, "RS256, ES256 or EdDSA")),
        };
        if kind != self.kind {
            return Err(format!("verify: the key is {:?}, and {algorithm} needs {kind:?}", self.kind));
        }
        Ok(UnparsedPublicKey::new(with, &self.bytes).verify(data, signature).is_ok())
    }
}
