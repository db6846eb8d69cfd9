//! A viewer's end of TLS, sans-IO: bytes of the server in, plaintext and bytes for the server out. Before it: the event loop reads a socket;
//! after it: [`crate::wire`], which sees no difference.
//!
//! Every record that goes through here is authenticated. Those who only drain keep no session after they have joined: the kernel throws their records
//! away unread, as it does with what plain viewers drain. So of the records of a run, those of joining and sampled viewers are checked.
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

/// Whom to talk to by TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsTarget {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsTarget {
    /// A server that is asked for by this name or address.
    pub(crate) fn new(host: &str) -> Result<Self, String> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let verifier = Arc::new(AnyName(provider));
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Who comes is new: a ticket would spare the server its signature.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name })
    }

    /// A connection that has just been made.
    pub(crate) fn session(&self) -> Result<Secure, Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map(Secure)
    }
}

/// One connection's TLS.
#[derive(Debug)]
pub(crate) struct Secure(ClientConnection);

impl Secure {
    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Takes bytes of the server; what they say is added to `plain`.
    pub(crate) fn take(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        while !bytes.is_empty() {
            // From memory it fails only where rustls has no room, which it has once what came before is read.
            let count = self.0.read_tls(&mut bytes).map_err(|error| Error::General(error.to_string()))?;
            self.0.process_new_packets()?;
            match self.0.reader().read_to_end(plain) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(Error::General(error.to_string())),
                _ => {}
            }
            if count == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Says this, once hands are shaken; what is to be sent now.
    pub(crate) fn say(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // Into memory neither fails; more than rustls keeps is not said here.
        let _ = self.0.writer().write_all(plain);
        while self.0.wants_write() && self.0.write_tls(&mut out).is_ok() {}
        out
    }
}

/// Takes any certificate whose key the server has: those that are tried out are seldom signed, and who else could answer here is no attacker.
#[derive(Debug)]
struct AnyName(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    /// A server's end, whose certificate nobody signed.
    pub(crate) fn server() -> ServerConnection {
        let key = rcgen::generate_simple_self_signed(["elsewhere.example.org".to_owned()]).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let config = builder.with_single_cert(vec![key.cert.der().clone()], private).unwrap();
        ServerConnection::new(Arc::new(config)).unwrap()
    }

    /// Carries bytes until both have said all; what the client heard.
    fn talk(client: &mut Secure, server: &mut ServerConnection, said: &[u8]) -> Result<Vec<u8>, Error> {
        let mut heard = Vec::new();
        let mut to_server = client.say(said);
        loop {
            let mut rest = &to_server[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            let mut to_client = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut to_client).unwrap();
            }
            if to_client.is_empty() {
                return Ok(heard);
            }
            // In pieces, as a socket has them.
            for piece in to_client.chunks(700) {
                client.take(piece, &mut heard)?;
            }
            to_server = client.say(&[]);
        }
    }

    #[test]
    fn both_directions_are_carried_and_a_changed_byte_is_noticed() {
        let mut client = TlsTarget::new("localhost").unwrap().session().unwrap();
        let mut server = server();
        talk(&mut client, &mut server, b"").unwrap();
        assert!(!client.is_handshaking());
        talk(&mut client, &mut server, b"GET /").unwrap();
        let mut asked = [0; 5];
        server.reader().read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"GET /");
        let said = vec![7; 100_000];
        server.writer().write_all(&said[..60_000]).unwrap();
        let heard = talk(&mut client, &mut server, b"").unwrap();
        assert_eq!(heard, said[..60_000]);
        server.writer().write_all(b"changed").unwrap();
        let mut record = Vec::new();
        server.write_tls(&mut record).unwrap();
        record[8] ^= 1;
        assert_eq!(client.take(&record, &mut Vec::new()), Err(Error::DecryptError));
    }
}
