//! Signatures of hooks' modules: where an operator names keys, what others have made does not run. Control asks before it keeps a module, and each node
//! before it compiles or loads one, so that whoever has taken over control runs nothing on the nodes.
//!
//! What is signed is the SHA-256 of the module, its 32 bytes, with Ed25519 (RFC 8032). So a node can check a module that it has compiled before by its
//! name alone.
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_proto::hex;
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

/// Keys that may be named.
pub const TRUSTED_KEYS_MAX: usize = 16;
/// Characters of a signature: 64 bytes.
pub const SIGNATURE_CHARS: usize = 86;
/// Signatures of a version that are kept.
pub const SIGNATURES_MAX: usize = 4;
/// Signatures of one module that are looked at: versions of several hooks may have the same module.
pub const SIGNATURES_READ_MAX: usize = 64;
/// What is before the key in a SubjectPublicKeyInfo of Ed25519 (RFC 8410, 4).
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TrustedKey([u8; 32]);

/// Text that is no such key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustedKeyError {
    /// Neither PEM nor 32 bytes.
    #[error(
        "this is no Ed25519 public key: give a file that begins with -----BEGIN PUBLIC KEY----- (openssl pkey -pubout makes it of a private key), or its \
         32 bytes in base64url"
    )]
    NotAKey,
    /// PEM with a private key.
    #[error(
        "this is a private key, and only who signs modules is to have it; give the public one (openssl pkey -pubout)"
    )]
    Private,
    /// A public key of another kind.
    #[error(
        "this public key is not Ed25519; modules are signed with one of those (openssl genpkey -algorithm ed25519)"
    )]
    Kind,
}

impl TrustedKey {
    /// Reads PEM, or 32 bytes in base64url without padding.
    pub fn read(text: &str) -> Result<Self, TrustedKeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(TrustedKeyError::Private);
        }
        if !text.contains("-----BEGIN") {
            let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| TrustedKeyError::NotAKey)?;
            return bytes.try_into().map(Self).map_err(|_| TrustedKeyError::NotAKey);
        }
        let info = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| TrustedKeyError::NotAKey)?;
        let key = info.strip_prefix(SPKI).ok_or(TrustedKeyError::Kind)?;
        key.try_into().map(Self).map_err(|_| TrustedKeyError::Kind)
    }

    /// Its 32 bytes in base64url.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// Why a module is not trusted. The messages are for who uploads it, and for who reads a node's complaints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// There is no signature.
    #[error(
        "the module is not signed, and this server takes signed ones only ([hooks] trusted_keys): sign its SHA-256 with Ed25519 and send the signature as \
         Millstream-Signature (docs/hooks.md, \"Signed modules\")"
    )]
    Unsigned,
    /// What is there cannot be one.
    #[error(
        "this is no signature: give the 64 bytes of an Ed25519 signature in base64url without padding, {SIGNATURE_CHARS} characters"
    )]
    NotASignature,
    /// It is of another key, or of another module.
    #[error(
        "no key of [hooks] trusted_keys has made this signature for this module: sign the SHA-256 of exactly this file, its 32 bytes, with a key whose public \
         half is named there"
    )]
    Foreign,
    /// What no module is called.
    #[error("this is no SHA-256")]
    NoName,
}

/// Keys whose modules may run; none: all modules may.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedKeys(pub Vec<TrustedKey>);

impl TrustedKeys {
    /// Whether the module of this SHA-256 (64 hexadecimal digits) may run. Where it has several signatures, with white space between them, one is enough.
    pub fn check(&self, sha256: &str, signatures: Option<&str>) -> Result<(), Untrusted> {
        if self.0.is_empty() {
            return Ok(());
        }
        let digest: [u8; 32] = hex::decode(sha256).ok_or(Untrusted::NoName)?;
        let signatures = signatures.ok_or(Untrusted::Unsigned)?;
        let mut outcome = Err(Untrusted::NotASignature);
        for signature in signatures.split_whitespace().take(SIGNATURES_READ_MAX) {
            let Ok(signature) = read(signature) else { continue };
            let verifies = |key: &TrustedKey| UnparsedPublicKey::new(&ED25519, key.0).verify(&digest, &signature);
            if self.0.iter().any(|key| verifies(key).is_ok()) {
                return Ok(());
            }
            outcome = Err(Untrusted::Foreign);
        }
        outcome
    }
}

/// These signatures of a module and one more; those that it has stay, for whoever keeps them cannot tell which one is good. `None`: they would be more than
/// `most`.
pub fn joined(known: Option<&str>, more: &str, most: usize) -> Option<String> {
    let known = known.unwrap_or_default();
    let mut all: Vec<&str> = known.split_whitespace().collect();
    if !all.contains(&more) {
        all.push(more);
    }
    (all.len() <= most).then(|| all.join(" "))
}

/// A signature's bytes.
pub fn read(signature: &str) -> Result<[u8; 64], Untrusted> {
    // Whoever made it with `base64` has padding, and other characters for two of the 64.
    let plain: String = signature.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    if plain.len() != SIGNATURE_CHARS {
        return Err(Untrusted::NotASignature);
    }
    let bytes = URL_SAFE_NO_PAD.decode(plain).map_err(|_| Untrusted::NotASignature)?;
    bytes.try_into().map_err(|_| Untrusted::NotASignature)
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const OTHER: &str = "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589";

    fn pair() -> (Ed25519KeyPair, TrustedKey) {
        let pair = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref());
        let pair = pair.unwrap();
        let key = TrustedKey(pair.public_key().as_ref().try_into().unwrap());
        (pair, key)
    }

    fn sign(pair: &Ed25519KeyPair, sha256: &str) -> String {
        URL_SAFE_NO_PAD.encode(pair.sign(&hex::decode::<32>(sha256).unwrap()))
    }

    #[test]
    fn only_a_trusted_key_vouches_and_only_for_its_module() {
        let (mine, key) = pair();
        let (other, second) = pair();
        let (foreign, _) = pair();
        let keys = TrustedKeys(vec![key, second]);
        let right = sign(&mine, SHA256);
        assert_eq!(keys.check(SHA256, Some(&right)), Ok(()));
        assert_eq!(keys.check(SHA256, Some(&sign(&other, SHA256))), Ok(()));
        assert_eq!(keys.check(SHA256, Some(&format!(" {}==\n", right.replace('-', "+").replace('_', "/")))), Ok(()));
        assert_eq!(keys.check(SHA256, None), Err(Untrusted::Unsigned));
        assert_eq!(keys.check(SHA256, Some(&sign(&foreign, SHA256))), Err(Untrusted::Foreign));
        assert_eq!(keys.check(OTHER, Some(&right)), Err(Untrusted::Foreign));
        assert_eq!(keys.check("abc", Some(&right)), Err(Untrusted::NoName));
        for garbage in ["", "x", &"A".repeat(85), &"A".repeat(87), &"%".repeat(86), &"é".repeat(43)] {
            assert_eq!(keys.check(SHA256, Some(garbage)), Err(Untrusted::NotASignature), "{garbage:?}");
        }
        assert_eq!(keys.check(SHA256, Some(&"A".repeat(86))), Err(Untrusted::Foreign));
        // One good one among others is enough, in any place.
        let bad = sign(&foreign, SHA256);
        let both = joined(Some(&bad), &right, 2).unwrap();
        assert_eq!((keys.check(SHA256, Some(&both)), joined(Some(&both), &bad, 2)), (Ok(()), Some(both.clone())));
        assert_eq!(keys.check(SHA256, joined(Some(&right), &bad, 2).as_deref()), Ok(()));
        assert_eq!(keys.check(SHA256, Some(&format!("{bad} {bad}"))), Err(Untrusted::Foreign));
        let full = (0..4).fold(None, |all: Option<String>, n| joined(all.as_deref(), &n.to_string(), 4));
        assert_eq!((full.as_deref(), joined(full.as_deref(), "4", 4)), (Some("0 1 2 3"), None));
        // One bit of it.
        let mut bytes = read(&right).unwrap();
        bytes[40] ^= 1;
        assert_eq!(keys.check(SHA256, Some(&URL_SAFE_NO_PAD.encode(bytes))), Err(Untrusted::Foreign));
        assert_eq!(TrustedKeys::default().check(SHA256, None), Ok(()), "nobody has asked for signatures");
    }

    #[test]
    fn keys_are_read_as_pem_and_as_bytes() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let key = TrustedKey::read(pem).unwrap();
        assert_eq!(key.text(), "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
        assert_eq!(TrustedKey::read(&key.text()), Ok(key));
        let p256 = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\nq9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n-----END PUBLIC KEY-----\n";
        assert_eq!(TrustedKey::read(p256), Err(TrustedKeyError::Kind));
        let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        assert_eq!(TrustedKey::read(private), Err(TrustedKeyError::Private));
        for garbage in ["", "AAAA", "-----BEGIN PUBLIC KEY-----\n", "not base64!"] {
            assert_eq!(TrustedKey::read(garbage), Err(TrustedKeyError::NotAKey), "{garbage:?}");
        }
    }
}
