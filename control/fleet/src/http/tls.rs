//! TLS for [`super::client`]: rustls, with the authorities that this machine trusts.
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The machine's authorities, read once: a file of some hundred kilobytes.
static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();

/// Speaks TLS on a connection to this host.
pub(super) async fn connect(host: &str, socket: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let config = CONFIG.get_or_init(config).clone()?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| "no certificate can be for this host".to_owned())?;
    TlsConnector::from(config).connect(name, socket).await.map_err(|error| format!("TLS: {error}"))
}

fn config() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Machines have some old certificates that cannot be read; one that can is needed.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let advice = "install ca-certificates, or name a file of authorities in SSL_CERT_FILE";
        return Err(format!("this machine has no certificate authorities that it trusts; {advice}"));
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
