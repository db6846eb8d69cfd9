//! Whether the kernel could make TLS records (kTLS): tried at the start, on a connection to itself. It is only said: records are made in user space,
//! by rustls, whatever the answer. Before it: [`crate::serve`], which has ports with TLS; after it: the log and `/metrics`.
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{TcpTlsTx, TcpUlp, TlsCryptoInfo};

/// A connection within this machine takes less.
const WAIT: Duration = Duration::from_secs(1);
/// A record of data begins with its type and version (RFC 8446, 5.2).
const RECORD: [u8; 3] = [23, 3, 3];
/// Header, what is said, type and tag.
const SAID: &[u8] = b"probe";
const RECORD_BYTES: usize = 5 + SAID.len() + 1 + 16;

/// What the kernel made of it.
#[derive(Debug)]
pub(crate) enum Ktls {
    /// It made a record of AES-128-GCM.
    Offered,
    /// It has no such part, or is not allowed to load it, or has it without this cipher.
    Refused {
        /// What it was asked for.
        step: &'static str,
        error: io::Error,
    },
}

impl Ktls {
    /// Asks it. Takes a moment; a kernel that has the part as a module, and lets this process load it, has it loaded then.
    pub(crate) fn probe() -> Self {
        probe().unwrap_or_else(|(step, error)| Self::Refused { step, error })
    }

    /// Numbers of `/metrics`.
    pub(crate) fn numbers(&self) -> String {
        let offered = u8::from(matches!(self, Self::Offered));
        format!(
            "# HELP millstream_tls_kernel_offered Whether the kernel could make TLS records; they are made in user space either way.\n\
             # TYPE millstream_tls_kernel_offered gauge\n\
             millstream_tls_kernel_offered {offered}\n"
        )
    }
}

impl fmt::Display for Ktls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offered => f.write_str("the kernel could make them"),
            Self::Refused { step, error } => write!(f, "the kernel refuses {step}: {error}"),
        }
    }
}

fn probe() -> Result<Ktls, (&'static str, io::Error)> {
    let of = |step| move |error: io::Error| (step, error);
    let of_kernel = |step| move |error: Errno| (step, io::Error::from(error));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(of("a port"))?;
    let at = listener.local_addr().map_err(of("a port"))?;
    let mut ours = TcpStream::connect_timeout(&at, WAIT).map_err(of("a connection to itself"))?;
    let mut theirs = accept_from(&listener, &ours).map_err(of("a connection to itself"))?;
    theirs.set_read_timeout(Some(WAIT)).map_err(of("a connection to itself"))?;
    setsockopt(&ours, TcpUlp::default(), b"tls").map_err(of_kernel("TCP_ULP \"tls\""))?;
    let keys = libc::tls12_crypto_info_aes_gcm_128 {
        info: libc::tls_crypto_info { version: libc::TLS_1_3_VERSION, cipher_type: libc::TLS_CIPHER_AES_GCM_128 },
        iv: [1; libc::TLS_CIPHER_AES_GCM_128_IV_SIZE],
        key: [2; libc::TLS_CIPHER_AES_GCM_128_KEY_SIZE],
        salt: [3; libc::TLS_CIPHER_AES_GCM_128_SALT_SIZE],
        rec_seq: [0; libc::TLS_CIPHER_AES_GCM_128_REC_SEQ_SIZE],
    };
    setsockopt(&ours, TcpTlsTx, &TlsCryptoInfo::Aes128Gcm(keys)).map_err(of_kernel("TLS_TX with AES-128-GCM"))?;
    ours.write_all(SAID).map_err(of("a record"))?;
    let mut record = [0; RECORD_BYTES];
    theirs.read_exact(&mut record).map_err(of("a record"))?;
    if record.starts_with(&RECORD) {
        Ok(Ktls::Offered)
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
        let ktls = Ktls::probe();
        // Asking for it loads it, where that is allowed; then it is in this list.
        let listed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
        let is_listed = listed.split_whitespace().any(|name| name == "tls");
        match &ktls {
            Ktls::Offered => assert!(is_listed, "{listed:?}"),
            Ktls::Refused { step, .. } => assert_eq!(step.starts_with("TCP_ULP"), !is_listed, "{ktls} {listed:?}"),
        }
        println!("{ktls}");
        let offered = u8::from(matches!(ktls, Ktls::Offered));
        assert!(ktls.numbers().ends_with(&format!("\nmillstream_tls_kernel_offered {offered}\n")));
    }
}
