//! A session whose records the kernel makes (kTLS): the keys that it is given, and how many sessions there are of that kind. Before it:
//! [`crate::Session`] of a finished handshake; after it: `engine/io`, which gives the keys to the socket, and [`crate::receiver`].
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use nix::sys::socket::sockopt::TlsCryptoInfo;
use rustls::crypto::cipher::AeadKey;
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};
use zeroize::Zeroize as _;

/// Bytes of a nonce that GCM in TLS 1.2 calls implicit; the rest is explicit, in each record (RFC 5288, 3).
pub(crate) const SALT_BYTES: usize = 4;
/// Bytes of a nonce of any of these ciphers.
pub const NONCE_BYTES: usize = 12;
/// Keeps explicit nonces of the kernel away from those of rustls: see [`SendKeys::new`].
const FAR_AWAY: u8 = 0x80;

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// A cipher that kernels have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    Chacha20Poly1305,
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Chacha20Poly1305 => "ChaCha20-Poly1305",
        })
    }
}

impl Version {
    pub(crate) fn of(version: Option<ProtocolVersion>) -> Option<Self> {
        match version? {
            ProtocolVersion::TLSv1_2 => Some(Self::Tls12),
            ProtocolVersion::TLSv1_3 => Some(Self::Tls13),
            _ => None,
        }
    }
}

impl Cipher {
    /// That of a suite; `None`: no kernel has it.
    pub(crate) fn of(suite: rustls::SupportedCipherSuite) -> Option<Self> {
        use rustls::CipherSuite as Suite;
        match suite.suite() {
            Suite::TLS13_AES_128_GCM_SHA256
            | Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(Self::Aes128Gcm),
            Suite::TLS13_AES_256_GCM_SHA384
            | Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(Self::Aes256Gcm),
            Suite::TLS13_CHACHA20_POLY1305_SHA256
            | Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(Self::Chacha20Poly1305),
            _ => None,
        }
    }
}

/// What the kernel of this machine makes records with, and how it is used: one for the process.
#[derive(Debug)]
pub struct KernelTls {
    offered: Vec<(Version, Cipher)>,
    changes_keys: bool,
    sessions: AtomicU64,
    given: AtomicU64,
    refused: AtomicU64,
}

impl KernelTls {
    /// Of a kernel that was seen to make records of these. `changes_keys`: it takes other keys for a session of TLS 1.3 that it has.
    pub fn new(offered: Vec<(Version, Cipher)>, changes_keys: bool) -> Self {
        let zero = AtomicU64::default;
        Self { offered, changes_keys, sessions: zero(), given: zero(), refused: zero() }
    }

    pub(crate) fn offers(&self, version: Version, cipher: Cipher) -> bool {
        self.offered.contains(&(version, cipher))
    }

    /// Sessions whose records it makes now.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Sessions that it was given since the start.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Sockets that it did not take: their records are made in user space, or, where their keys were out already, they are closed.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// A session that is counted while it is held.
pub(crate) struct Counted(Arc<KernelTls>);

impl Counted {
    pub(crate) fn new(kernel: Arc<KernelTls>) -> Self {
        kernel.given.fetch_add(1, Ordering::Relaxed);
        kernel.sessions.fetch_add(1, Ordering::Relaxed);
        Self(kernel)
    }

    pub(crate) fn changes_keys(&self) -> bool {
        self.0.changes_keys
    }

    /// It is not with the kernel after all.
    pub(crate) fn failed(&self) {
        self.0.count_refused();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keys of the sending direction, as the kernel takes them. They are overwritten when they are dropped.
pub struct SendKeys {
    version: Version,
    cipher: Cipher,
    key: AeadKey,
    nonce: [u8; NONCE_BYTES],
    sequence: u64,
}

impl SendKeys {
    /// `sequence`: the number of the next record.
    ///
    /// In TLS 1.2 with GCM each record carries its explicit nonce, and two records of the same nonce give the key away. rustls makes it of the number of
    /// the record, by exclusive or; the kernel counts up from what it is given. So it begins where rustls does not come to: with the highest bit turned.
    pub(crate) fn new(
        version: Version,
        cipher: Cipher,
        sequence: u64,
        secrets: ConnectionTrafficSecrets,
    ) -> Option<Self> {
        let (key, iv) = key_and_iv(secrets)?;
        let mut nonce: [u8; NONCE_BYTES] = iv.as_ref().try_into().ok()?;
        if version == Version::Tls12 && cipher != Cipher::Chacha20Poly1305 {
            nonce[SALT_BYTES] ^= FAR_AWAY;
        }
        Some(Self { version, cipher, key, nonce, sequence })
    }

    /// Of TLS.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Which cipher they are for.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The key itself, as long as the cipher's are.
    pub fn key(&self) -> &[u8] {
        self.key.as_ref()
    }

    /// The first nonce.
    pub fn nonce(&self) -> [u8; NONCE_BYTES] {
        self.nonce
    }

    /// The number of the next record.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Drop for SendKeys {
    fn drop(&mut self) {
        // The key does so itself.
        self.nonce.zeroize();
    }
}

// By hand: keys are in there.
impl fmt::Debug for SendKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, cipher, sequence, .. } = self;
        write!(f, "SendKeys({version:?}, {cipher}, {sequence})")
    }
}

/// What a kernel is told of a direction, without its key, which is all zeros here: that is written in its place. `sequence`: the number of the next record.
pub fn crypto_info(version: Version, cipher: Cipher, nonce: [u8; NONCE_BYTES], sequence: u64) -> TlsCryptoInfo {
    let version = match version {
        Version::Tls12 => libc::TLS_1_2_VERSION,
        Version::Tls13 => libc::TLS_1_3_VERSION,
    };
    let info = |cipher_type| libc::tls_crypto_info { version, cipher_type };
    // Where a cipher has a salt, that is the first bytes of each nonce, and the rest is the first one's.
    let [a, b, c, d, iv @ ..] = nonce;
    let (salt, rec_seq): ([u8; SALT_BYTES], _) = ([a, b, c, d], sequence.to_be_bytes());
    match cipher {
        Cipher::Aes128Gcm => TlsCryptoInfo::Aes128Gcm(libc::tls12_crypto_info_aes_gcm_128 {
            info: info(libc::TLS_CIPHER_AES_GCM_128),
            iv,
            key: [0; libc::TLS_CIPHER_AES_GCM_128_KEY_SIZE],
            salt,
            rec_seq,
        }),
        Cipher::Aes256Gcm => TlsCryptoInfo::Aes256Gcm(libc::tls12_crypto_info_aes_gcm_256 {
            info: info(libc::TLS_CIPHER_AES_GCM_256),
            iv,
            key: [0; libc::TLS_CIPHER_AES_GCM_256_KEY_SIZE],
            salt,
            rec_seq,
        }),
        Cipher::Chacha20Poly1305 => TlsCryptoInfo::Chacha20Poly1305(libc::tls12_crypto_info_chacha20_poly1305 {
            info: info(libc::TLS_CIPHER_CHACHA20_POLY1305),
            iv: nonce,
            key: [0; libc::TLS_CIPHER_CHACHA20_POLY1305_KEY_SIZE],
            salt: [],
            rec_seq,
        }),
    }
}

/// Secrets of rustls, whichever cipher they are for.
pub(crate) fn key_and_iv(secrets: ConnectionTrafficSecrets) -> Option<(AeadKey, rustls::crypto::cipher::Iv)> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Some((key, iv)),
        _ => None,
    }
}
