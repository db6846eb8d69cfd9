//! TLS for [`super::client`]: rustls, with the authorities that this machine trusts, and more where some are given.
use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The machine's authorities, read once: a file of some hundred kilobytes.
static OF_MACHINE: OnceLock<Result<Authorities, String>> = OnceLock::new();

/// Which authorities are trusted to sign a server's certificate.
#[derive(Clone)]
pub struct Authorities(Arc<ClientConfig>);

impl Authorities {
    /// Those that this machine trusts.
    pub fn of_machine() -> Result<Self, String> {
        OF_MACHINE.get_or_init(|| Self::new(of_machine())).clone()
    }

    /// Those, and the ones in this text in PEM. A machine that trusts nobody is enough then.
    pub fn and_these(pem: &[u8]) -> Result<Self, String> {
        let mut roots = of_machine();
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| "it is not PEM: give the file that begins with -----BEGIN")?;
            roots.add(certificate).map_err(|error| format!("a certificate in it cannot be used: {error}"))?;
        }
        if roots.len() == before {
            return Err("it holds no certificate".to_owned());
        }
        Self::new(roots)
    }

    fn new(roots: RootCertStore) -> Result<Self, String> {
        if roots.is_empty() {
            let advice = "install ca-certificates, or name a file of authorities in SSL_CERT_FILE";
            return Err(format!("this machine has no certificate authorities that it trusts; {advice}"));
        }
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be used: {error}"))?;
        Ok(Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }

    /// Speaks TLS on a connection to this host.
    pub(super) async fn connect(&self, host: &str, socket: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| "no certificate can be for this host".to_owned())?;
        let connector = TlsConnector::from(Arc::clone(&self.0));
        connector.connect(name, socket).await.map_err(|error| format!("TLS: {error}"))
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorities")
    }
}

fn of_machine() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Machines have some old certificates that cannot be read; one that can is needed.
    roots.add_parsable_certificates(found.certs);
    roots
}
