//! Certificates with their keys, out of the bytes of files: what is wrong with them, whom they are for, how long they last, and which of them a
//! client gets. Before it: whoever reads the files; after it: [`crate::ServerTls`].
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage};

use crate::challenges::{Challenges, is_authority};
use crate::error::CertificateError;

/// Certificates of a server at most, and keys.
const CERTIFICATES_MAX: usize = 64;
/// Certificates of a chain at most.
const CHAIN_LEN_MAX: usize = 10;
/// No certificate lasts as long: the last second of the year 9999.
const NEVER_S: u64 = 253_402_300_799;

/// A file's name, for messages, and what is in it.
#[derive(Clone, Copy, Debug)]
pub struct PemFile<'a> {
    /// How it is called.
    pub name: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// One certificate with its chain.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The file that it came from.
    pub file: String,
    /// Host names that it is for; `*.example.org` stands for one more label. Addresses are not listed.
    pub names: Vec<String>,
    /// When it begins to be valid and when it ends, seconds since 1970.
    pub valid_s: (u64, u64),
    /// With its key, as rustls takes it.
    key: Arc<CertifiedKey>,
}

/// All certificates of a server.
#[derive(Debug)]
pub struct Certificates {
    list: Vec<Certificate>,
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

/// What clients will not accept of certificates that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// Its time is over.
    #[error("{file}: has expired, {}; clients refuse it", ago(*.since_s))]
    Expired {
        /// Which.
        file: String,
        /// For how long.
        since_s: u64,
    },
    /// Its time has not come.
    #[error("{file}: is not valid yet; look at this machine's clock")]
    Early {
        /// Which.
        file: String,
    },
    /// No certificate is for a name that clients are told.
    #[error("no certificate is for {name}, which public_url names; they are for {}", has(.names))]
    Name {
        /// The name.
        name: String,
        /// What there is instead.
        names: Vec<String>,
    },
}

impl Problem {
    /// Whether the other one is of the same kind, with the same file or name.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Expired { file, .. }, Self::Expired { file: other, .. })
            | (Self::Early { file }, Self::Early { file: other }) => file == other,
            (Self::Name { name, .. }, Self::Name { name: other, .. }) => name == other,
            _ => false,
        }
    }
}

fn ago(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600) {
        (0, 0) => "less than an hour ago".to_owned(),
        (0, hours) => format!("{hours} h ago"),
        (days, _) => format!("{days} days ago"),
    }
}

fn has(names: &[String]) -> String {
    if names.is_empty() { "no host name at all".to_owned() } else { names.join(", ") }
}

impl Certificates {
    /// Out of files with chains, each with the server's own certificate first, and of files with keys, in any order: each certificate finds
    /// its own. A file may be both.
    pub fn from_pem(chains: &[PemFile<'_>], keys: &[PemFile<'_>]) -> Result<Self, CertificateError> {
        let count = chains.len().max(keys.len());
        if count > CERTIFICATES_MAX {
            return Err(CertificateError::TooMany { count, max: CERTIFICATES_MAX });
        }
        let provider = ring::default_provider();
        let mut known = Vec::new();
        for file in keys {
            let name = || file.name.to_owned();
            let key = PrivateKeyDer::from_pem_slice(file.bytes).map_err(|error| match error {
                pem::Error::NoItemsFound => CertificateError::NoKey { file: name() },
                error => not_pem(file.name, &error),
            })?;
            let key = provider.key_provider.load_private_key(key);
            known.push(key.map_err(|error| CertificateError::BadKey { file: name(), error: error.to_string() })?);
        }
        let mut list = Vec::new();
        for file in chains {
            list.push(Certificate::from_pem(*file, &known)?);
        }
        if list.is_empty() {
            return Err(CertificateError::None);
        }
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for certificate in &list {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_default().push(Arc::clone(&certificate.key));
            }
        }
        Ok(Self { list, by_name })
    }

    /// Before there is one: every handshake is refused.
    pub fn none() -> Self {
        Self { list: Vec::new(), by_name: HashMap::new() }
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each of them; the first one is for clients that name no host, or an unknown one.
    pub fn list(&self) -> &[Certificate] {
        &self.list
    }

    /// What clients will not accept at that moment, who come for these names.
    pub fn problems(&self, now_s: u64, wanted: &[String]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for Certificate { file, valid_s: (from, until), .. } in &self.list {
            if now_s > *until {
                problems.push(Problem::Expired { file: file.clone(), since_s: now_s - until });
            } else if now_s < *from {
                problems.push(Problem::Early { file: file.clone() });
            }
        }
        for name in wanted {
            if !self.list.iter().any(|certificate| certificate.is_for(name)) {
                let names = self.list.iter().flat_map(|certificate| certificate.names.iter().cloned()).collect();
                problems.push(Problem::Name { name: name.clone(), names });
            }
        }
        problems
    }

    /// The certificate for a host that a client has named, of those whose key it can check.
    fn choose(&self, name: Option<&str>, fits: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        let of = |name: &str| self.by_name.get(name).and_then(|keys| keys.iter().find(|key| fits(key)));
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            of(&name).or_else(|| of(&wildcard?)).cloned()
        });
        // Encoders come by address, which no client names: they get the first.
        let all = || self.list.iter().map(|certificate| &certificate.key);
        // Where none fits, what is wrong with the client is found out with any.
        named.or_else(|| all().find(|key| fits(key)).or_else(|| all().next()).cloned())
    }
}

/// What handshakes of a port are answered with.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) certificates: Arc<Certificates>,
    /// Those that the port answers.
    pub(crate) challenges: Arc<Challenges>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_authority(&hello) {
            return self.challenges.for_authority(&hello);
        }
        let schemes = hello.signature_schemes();
        self.certificates.choose(hello.server_name(), |key| key.key.choose_scheme(schemes).is_some())
    }
}

impl Certificate {
    fn from_pem(file: PemFile<'_>, known: &[Arc<dyn rustls::sign::SigningKey>]) -> Result<Self, CertificateError> {
        let name = || file.name.to_owned();
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(file.bytes)
            .take(CHAIN_LEN_MAX)
            .collect::<Result<_, _>>()
            .map_err(|error| not_pem(file.name, &error))?;
        let Some(own) = chain.first() else { return Err(CertificateError::NoCertificate { file: name() }) };
        let not_readable =
            |error: webpki::Error| CertificateError::NotReadable { file: name(), error: error.to_string() };
        let parsed = EndEntityCert::try_from(own).map_err(not_readable)?;
        let names: Vec<String> = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let valid_s = validity(&parsed).map_err(not_readable)?;
        let belongs = |key: &&Arc<dyn rustls::sign::SigningKey>| {
            CertifiedKey::new(chain.clone(), Arc::clone(key)).keys_match().is_ok()
        };
        let key =
            known.iter().find(belongs).map(Arc::clone).ok_or_else(|| CertificateError::OtherKey { file: name() })?;
        Ok(Self { file: name(), names, valid_s, key: Arc::new(CertifiedKey::new(chain.clone(), key)) })
    }

    /// Whether clients that come for this host, a name or an address, accept it.
    pub fn is_for(&self, host: &str) -> bool {
        let Ok(host) = ServerName::try_from(host) else { return false };
        let own = self.key.cert.first().and_then(|own| EndEntityCert::try_from(own).ok());
        own.is_some_and(|own| own.verify_is_valid_for_subject_name(&host).is_ok())
    }
}

/// What is wrong with text that is to be PEM. Nothing of the text is told: where the line ends of a key are lost, all of it is one line, which its reader
/// takes for a mark and would quote.
fn not_pem(file: &str, error: &pem::Error) -> CertificateError {
    let error = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end, or its line ends are lost",
        pem::Error::IllegalSectionStart { .. } => "a section does not begin as one does",
        pem::Error::Base64Decode(_) => "what is between its marks is not base64",
        _ => "its sections cannot be read",
    };
    CertificateError::NotPem { file: file.to_owned(), error: error.to_owned() }
}

/// From when to when a certificate is valid. Its reader tells it only as the reason of a refusal, and looks at the time before anything else: it is
/// asked about a moment before all certificates and one behind them.
fn validity(certificate: &EndEntityCert<'_>) -> Result<(u64, u64), webpki::Error> {
    let at = |moment_s| {
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(moment_s));
        certificate.verify_for_usage(&[], &[], &[], moment, KeyUsage::server_auth(), None, None).err()
    };
    let from_s = match at(0) {
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
        Some(error @ (webpki::Error::BadDer | webpki::Error::BadDerTime)) => return Err(error),
        _ => 0,
    };
    let until_s = match at(NEVER_S) {
        Some(webpki::Error::CertExpired { not_after, .. }) => not_after.as_secs(),
        Some(error @ (webpki::Error::BadDer | webpki::Error::BadDerTime | webpki::Error::InvalidCertValidity)) => {
            return Err(error);
        }
        _ => NEVER_S,
    };
    Ok((from_s, until_s))
}
