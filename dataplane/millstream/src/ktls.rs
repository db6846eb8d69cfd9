//! Whether the kernel makes TLS records (kTLS), and of which ciphers: tried at the start, on connections to itself, because kernels list what they have as
//! a module only once it is loaded. Before it: [`crate::certificates`], which has ports with TLS; after it: sessions, which are given to a kernel that does
//! where `tls.kernel` allows it, the log, the API and `/metrics`.
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use millstream_tls::{Cipher, KernelTls, NONCE_BYTES, Version, crypto_info};
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{TcpTlsTx, TcpUlp};

use crate::settings::values::KernelChoice;

/// A connection within this machine takes less.
const WAIT: Duration = Duration::from_secs(1);
/// A record of data begins with its type and version (RFC 8446, 5.2).
const RECORD: [u8; 3] = [23, 3, 3];
const SAID: &[u8] = b"probe";
const NONCE: [u8; NONCE_BYTES] = [1; NONCE_BYTES];
/// The first that the kernel is asked for.
const ULP: &str = "TCP_ULP \"tls\"";
/// A record's header and tag, and what else is in it: an explicit nonce in TLS 1.2 with GCM, the real type in TLS 1.3.
const HEADER_AND_TAG_BYTES: usize = 5 + 16;
const EXPLICIT_NONCE_BYTES: usize = 8;
const TYPE_BYTES: usize = 1;
const VERSIONS: [Version; 2] = [Version::Tls13, Version::Tls12];
const CIPHERS: [Cipher; 3] = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Chacha20Poly1305];

/// What the kernel made of it.
#[derive(Debug)]
enum Offer {
    /// It made records of these; `changes_keys`: and took other keys after that.
    Made { of: Vec<(Version, Cipher)>, changes_keys: bool },
    /// It has no such part, or is not allowed to load it, or has it without any of these.
    Refused {
        /// What it was asked for.
        step: &'static str,
        error: io::Error,
    },
}

/// The kernel's TLS, as far as this process uses it.
#[derive(Debug)]
pub(crate) struct Ktls {
    offer: Offer,
    /// `None`: sessions are not given to it.
    used: Option<Arc<KernelTls>>,
}

impl Ktls {
    /// Asks it. Takes a moment; a kernel that has the part as a module, and lets this process load it, has it loaded then.
    pub(crate) fn probe(choice: KernelChoice) -> Self {
        let offer = offer();
        let used = match &offer {
            Offer::Made { of, changes_keys } if choice == KernelChoice::Auto => {
                Some(Arc::new(KernelTls::new(of.clone(), *changes_keys)))
            }
            _ => None,
        };
        Self { offer, used }
    }

    /// The kernel, where it may have sessions.
    pub(crate) fn used(&self) -> Option<&Arc<KernelTls>> {
        self.used.as_ref()
    }

    /// Numbers of `/metrics`.
    pub(crate) fn numbers(&self) -> String {
        let offered = u8::from(matches!(self.offer, Offer::Made { .. }));
        let of = |number: fn(&KernelTls) -> u64| self.used().map_or(0, |kernel| number(kernel));
        let (sessions, given, refused) = (of(KernelTls::sessions), of(KernelTls::given), of(KernelTls::refused));
        format!(
            "# HELP millstream_tls_kernel_offered Whether the kernel can make TLS records.\n\
             # TYPE millstream_tls_kernel_offered gauge\n\
             millstream_tls_kernel_offered {offered}\n\
             # HELP millstream_tls_kernel_sessions Connections whose TLS records the kernel makes.\n\
             # TYPE millstream_tls_kernel_sessions gauge\n\
             millstream_tls_kernel_sessions {sessions}\n\
             # HELP millstream_tls_kernel_given Connections that the kernel was given, to make their TLS records.\n\
             # TYPE millstream_tls_kernel_given counter\n\
             millstream_tls_kernel_given_total {given}\n\
             # HELP millstream_tls_kernel_refused Connections that the kernel did not take; their TLS records are made in user space, or they were closed.\n\
             # TYPE millstream_tls_kernel_refused counter\n\
             millstream_tls_kernel_refused_total {refused}\n"
        )
    }
}

impl fmt::Display for Ktls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.offer, &self.used) {
            (Offer::Made { of, .. }, Some(_)) => write!(f, "made by the kernel, where much is sent: {}", Listed(of)),
            (Offer::Made { of, .. }, None) => {
                write!(f, "made in user space; the kernel could make them (tls.kernel = \"auto\"): {}", Listed(of))
            }
            (Offer::Refused { step, error }, _) => {
                write!(f, "made in user space; the kernel refuses {step}: {error}")
            }
        }
    }
}

/// Ciphers with their versions.
struct Listed<'a>(&'a [(Version, Cipher)]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(list) = self;
        for (index, version) in VERSIONS.into_iter().enumerate() {
            let ciphers: Vec<_> = list.iter().filter(|(of, _)| *of == version).map(|(_, c)| c.to_string()).collect();
            let name = if version == Version::Tls13 { "TLS 1.3" } else { "TLS 1.2" };
            let ciphers = if ciphers.is_empty() { "nothing".to_owned() } else { ciphers.join(", ") };
            write!(f, "{}{name} with {ciphers}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

fn offer() -> Offer {
    let (mut made, mut changes_keys) = (Vec::new(), true);
    let mut refused = None;
    for (version, cipher) in VERSIONS.into_iter().flat_map(|version| CIPHERS.map(|cipher| (version, cipher))) {
        match try_one(version, cipher) {
            Ok(changes) => {
                made.push((version, cipher));
                changes_keys &= changes || version == Version::Tls12;
            }
            // It has no such part, whatever the cipher.
            Err((step @ ULP, error)) => return Offer::Refused { step, error },
            Err(why) => {
                refused.get_or_insert(why);
            }
        }
    }
    match refused.filter(|_| made.is_empty()) {
        Some((step, error)) => Offer::Refused { step, error },
        None => Offer::Made { of: made, changes_keys },
    }
}

/// Has it make a record of these; whether it then takes other keys.
fn try_one(version: Version, cipher: Cipher) -> Result<bool, (&'static str, io::Error)> {
    let of = |step| move |error: io::Error| (step, error);
    let of_kernel = |step| move |error: Errno| (step, io::Error::from(error));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(of("a port"))?;
    let at = listener.local_addr().map_err(of("a port"))?;
    let mut ours = TcpStream::connect_timeout(&at, WAIT).map_err(of("a connection to itself"))?;
    let mut theirs = accept_from(&listener, &ours).map_err(of("a connection to itself"))?;
    theirs.set_read_timeout(Some(WAIT)).map_err(of("a connection to itself"))?;
    setsockopt(&ours, TcpUlp::default(), b"tls").map_err(of_kernel(ULP))?;
    // A key of zeros: the connection carries no secret.
    let info = crypto_info(version, cipher, NONCE, 0);
    setsockopt(&ours, TcpTlsTx, &info).map_err(of_kernel("TLS_TX"))?;
    ours.write_all(SAID).map_err(of("a record"))?;
    let more = match (version, cipher) {
        (Version::Tls13, _) => TYPE_BYTES,
        (Version::Tls12, Cipher::Chacha20Poly1305) => 0,
        (Version::Tls12, _) => EXPLICIT_NONCE_BYTES,
    };
    let mut record = vec![0; HEADER_AND_TAG_BYTES + SAID.len() + more];
    theirs.read_exact(&mut record).map_err(of("a record"))?;
    let body_bytes = record.len() - 5;
    if record.starts_with(&RECORD) && record.get(3..5) == Some(&[0, u8::try_from(body_bytes).unwrap_or(0)]) {
        Ok(setsockopt(&ours, TcpTlsTx, &info).is_ok())
    } else {
        Err(("a record", io::Error::new(io::ErrorKind::InvalidData, "what comes out is none")))
    }
}

/// The other end of that connection; others of this machine may come before it.
fn accept_from(listener: &TcpListener, ours: &TcpStream) -> io::Result<TcpStream> {
    const STRANGERS_MAX: usize = 16;
    let expected = ours.local_addr()?;
    for _ in 0..STRANGERS_MAX {
        let (theirs, peer) = listener.accept()?;
        if peer == expected {
            return Ok(theirs);
        }
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_and_its_answer_is_the_one_that_it_lists() {
        let ktls = Ktls::probe(KernelChoice::Auto);
        // Asking for it loads it, where that is allowed; then it is in this list.
        let listed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
        let is_listed = listed.split_whitespace().any(|name| name == "tls");
        match &ktls.offer {
            Offer::Made { of, .. } => assert!(is_listed && !of.is_empty(), "{listed:?}"),
            Offer::Refused { step, .. } => assert_eq!(step.starts_with("TCP_ULP"), !is_listed, "{ktls} {listed:?}"),
        }
        println!("{ktls}");
        let offered = u8::from(matches!(ktls.offer, Offer::Made { .. }));
        assert!(ktls.numbers().contains(&format!("\nmillstream_tls_kernel_offered {offered}\n")));
        assert_eq!(ktls.used().is_some(), offered == 1);
        assert!(Ktls::probe(KernelChoice::Off).used().is_none());
    }

    #[test]
    fn what_it_offers_is_said_and_whether_it_is_used() {
        let made = vec![(Version::Tls13, Cipher::Aes128Gcm), (Version::Tls13, Cipher::Chacha20Poly1305)];
        let used = Some(Arc::new(KernelTls::new(made.clone(), true)));
        let offer = |of| Offer::Made { of, changes_keys: true };
        assert_eq!(
            Ktls { offer: offer(made.clone()), used }.to_string(),
            "made by the kernel, where much is sent: TLS 1.3 with AES-128-GCM, ChaCha20-Poly1305; TLS 1.2 with nothing"
        );
        assert_eq!(
            Ktls { offer: offer(made), used: None }.to_string(),
            "made in user space; the kernel could make them (tls.kernel = \"auto\"): TLS 1.3 with AES-128-GCM, \
             ChaCha20-Poly1305; TLS 1.2 with nothing"
        );
        let error = io::Error::from(io::ErrorKind::NotFound);
        let refused = Ktls { offer: Offer::Refused { step: "TCP_ULP \"tls\"", error }, used: None };
        assert!(refused.to_string().starts_with("made in user space; the kernel refuses TCP_ULP \"tls\": "));
    }
}
