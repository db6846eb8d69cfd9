//! What goes wrong with certificates, which is the operator's to mend, and with connections, which is their client's.
use rustls::{AlertDescription, Error};

use crate::stranger::Stranger;

/// What rustls says where [`crate::certificates::Shown`] has nothing for a client.
const NO_CERTIFICATE: &str = "no server certificate chain resolved";

/// Why files with certificates and keys cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is none at all.
    #[error("no certificate is given")]
    None,
    /// More than are looked through.
    #[error(
        "{count} certificates or keys are given; {max} of each are enough for many names, as a certificate may have a hundred"
    )]
    TooMany {
        /// How many.
        count: usize,
        /// The most.
        max: usize,
    },
    /// The text is not PEM.
    #[error("{file}: is not PEM: {error}; give the file that begins with -----BEGIN")]
    NotPem {
        /// Which file.
        file: String,
        /// What is wrong; nothing that the file holds.
        error: String,
    },
    /// PEM without what is looked for.
    #[error(
        "{file}: holds no certificate; give the chain that the authority sent, the server's own certificate first (fullchain.pem)"
    )]
    NoCertificate {
        /// Which file.
        file: String,
    },
    /// What should be a certificate is none.
    #[error("{file}: its first certificate cannot be read: {error}")]
    NotReadable {
        /// Which file.
        file: String,
        /// What is wrong.
        error: String,
    },
    /// PEM without a key.
    #[error(
        "{file}: holds no private key; give the file that begins with -----BEGIN PRIVATE KEY-----, and no passphrase on it"
    )]
    NoKey {
        /// Which file.
        file: String,
    },
    /// A key that cannot be used.
    #[error(
        "{file}: its key cannot be used: {error}; ECDSA P-256 or P-384, RSA of 2048 bits and more, and Ed25519 can"
    )]
    BadKey {
        /// Which file.
        file: String,
        /// What is wrong.
        error: String,
    },
    /// The keys are of other certificates.
    #[error(
        "{file}: none of the keys given belongs to this certificate; give the key that it was asked for with. The server's own certificate has to be the first of the file, before its authority's"
    )]
    OtherKey {
        /// Which certificate's file.
        file: String,
    },
    /// The cryptography does not work.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Why a challenge of an authority cannot be shown.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// The authority's token is none, or its answer is too long.
    #[error("the authority's token is not one: it is empty, too long, or has other characters than base64url")]
    Token,
    /// There are as many as there may be.
    #[error("more challenges than {max} are pending", max = crate::challenges::CHALLENGES_MAX)]
    TooMany,
    /// The key of a challenge's certificate cannot be used.
    #[error("the key of a challenge's certificate cannot be used: {0}")]
    Key(String),
}

/// Why a connection cannot go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// It speaks something else.
    #[error("{0}")]
    Stranger(Stranger),
    /// It knows only versions or ciphers that are not offered any more.
    #[error(
        "the client offers nothing that is safe today ({0}): TLS 1.2 or 1.3 with an AEAD cipher is what this port takes"
    )]
    Old(String),
    /// It does not accept what it was shown.
    #[error("the client refused: {0}")]
    Refused(String),
    /// It speaks none of the protocols of the port.
    #[error("the client speaks no protocol of this port (ALPN)")]
    NoProtocol,
    /// There is nothing to show it.
    #[error(
        "there is no certificate to show: there is none yet, or an authority asks for a challenge that is not pending"
    )]
    NoCertificate,
    /// A record cannot be decrypted, or its bytes were changed.
    #[error("a record cannot be decrypted: its bytes were changed on the way, or never were TLS")]
    Record,
    /// More than a handshake needs.
    #[error("more than {0} bytes of a handshake")]
    Long(usize),
    /// The session is closed.
    #[error("the session takes no more data")]
    Closed,
    /// As much as its cipher is safe for was sent, and there are no other keys.
    #[error("the keys of the session are used up: the client is to connect once more")]
    KeysUsedUp,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl TlsError {
    /// A word for counters.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Stranger(_) => "tls_missing",
            Self::Old(_) => "tls_old",
            Self::Refused(_) => "tls_refused",
            Self::NoProtocol => "tls_no_protocol",
            Self::NoCertificate => "tls_no_certificate",
            Self::Record => "tls_record",
            Self::Long(_) | Self::Closed | Self::KeysUsedUp | Self::Other(_) => "tls_failed",
        }
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::DecryptError => Self::Record,
            Error::NoApplicationProtocol => Self::NoProtocol,
            // It has no word of its own for it.
            Error::General(words) if words == NO_CERTIFICATE => Self::NoCertificate,
            // Each of these is something that TLS 1.2 as it is used today has, and the client has not.
            Error::PeerIncompatible(lacking) => Self::Old(format!("{lacking:?}")),
            Error::AlertReceived(alert) => refused(alert),
            other => Self::Other(other.to_string()),
        }
    }
}

/// What an alert of the peer's stands for.
pub(crate) fn refused(alert: AlertDescription) -> TlsError {
    TlsError::Refused(alert_words(alert))
}

fn alert_words(alert: AlertDescription) -> String {
    let hint = match alert {
        AlertDescription::UnknownCA => ", it does not know the authority that signed the certificate",
        AlertDescription::CertificateExpired => ", the certificate has expired",
        AlertDescription::CertificateUnknown | AlertDescription::BadCertificate => {
            ", it does not accept the certificate: its name, its age or its authority"
        }
        _ => "",
    };
    format!("{alert:?}{hint}")
}
