//! Certificates made for tests, and a client of rustls that sends and takes as little at a time as it is told.
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rcgen::{
    CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::{CertificateError, Certificates, PemFile, Purpose, Records, ServerTls, Session, Tickets, TlsError};

/// An authority that clients of these tests trust.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key in PEM.
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        Self::named("Authority of tests")
    }

    pub(super) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// For these names, valid from one year to another.
    pub(super) fn sign(&self, names: &[&str], years: (i32, i32)) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let issuer: &Issuer<'_, KeyPair> = &self.issuer;
        let certificate = params.signed_by(&key, issuer).unwrap();
        Pair { chain: certificate.pem() + &self.issuer.pem(), key: key.serialize_pem() }
    }
}

pub(super) const YEARS: (i32, i32) = (2000, 2100);

/// Certificates out of these.
pub(super) fn certificates(pairs: &[&Pair]) -> Result<Certificates, CertificateError> {
    let chains: Vec<_> = pairs.iter().map(|pair| PemFile { name: "chain.pem", bytes: pair.chain.as_bytes() }).collect();
    let keys: Vec<_> = pairs.iter().rev().map(|pair| PemFile { name: "key.pem", bytes: pair.key.as_bytes() }).collect();
    Certificates::from_pem(&chains, &keys)
}

pub(super) fn server(pairs: &[&Pair]) -> ServerTls {
    ServerTls::new(certificates(pairs).unwrap(), &Tickets::new().unwrap(), true).unwrap()
}

/// How a client is set up.
pub(super) fn client_config(
    root: CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Both ends of a connection, and what is between them.
pub(super) struct Line {
    pub(super) client: ClientConnection,
    pub(super) server: Session,
    /// What the server has read.
    pub(super) plain: Vec<u8>,
    /// Bytes for the client that it has not taken.
    pub(super) out: Records,
    /// Bytes that the server gets at a time.
    pub(super) step: usize,
}

impl Line {
    pub(super) fn new(server: &ServerTls, client: &Arc<ClientConfig>, name: &str) -> Self {
        let purpose = if client.alpn_protocols.is_empty() { Purpose::Media } else { Purpose::Web };
        let mut client =
            ClientConnection::new(Arc::clone(client), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
        client.set_buffer_limit(None);
        Self {
            client,
            server: Session::new(server.of(purpose)).unwrap(),
            plain: Vec::new(),
            out: Records::new(),
            step: usize::MAX,
        }
    }

    /// Bytes that the client has to send.
    pub(super) fn take_from_client(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Hands these to the server, a step at a time.
    pub(super) fn give_server(&mut self, mut bytes: Vec<u8>) -> Result<(), TlsError> {
        let step = self.step.min(bytes.len()).max(1);
        bytes.chunks_mut(step).try_for_each(|bytes| self.server.receive(bytes, &mut self.plain, &mut self.out))
    }

    /// Hands the client what is there for it; what it then reads.
    pub(super) fn give_client(&mut self) -> Result<Vec<u8>, rustls::Error> {
        let mut rest = self.out.as_slice();
        let mut got = Vec::new();
        while !rest.is_empty() {
            let mut some = &rest[..rest.len().min(self.step)];
            let before = some.len();
            self.client.read_tls(&mut some).unwrap();
            rest = &rest[before - some.len()..];
            self.client.process_new_packets()?;
            // It says "would block" where there is nothing, and that is all there is.
            let _ = self.client.reader().read_to_end(&mut got);
        }
        self.out.clear();
        Ok(got)
    }

    /// Goes on until neither has anything to say.
    pub(super) fn settle(&mut self) -> Result<Vec<u8>, TlsError> {
        let mut got = Vec::new();
        loop {
            let bytes = self.take_from_client();
            if bytes.is_empty() && self.out.is_empty() {
                return Ok(got);
            }
            self.give_server(bytes)?;
            got.extend(self.give_client().map_err(TlsError::from)?);
        }
    }

    /// The client says this.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.client.writer().write_all(bytes).unwrap();
    }

    /// The server says this; what the client reads of it.
    pub(super) fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.server.send(bytes, &mut self.out).unwrap();
        self.give_client().unwrap()
    }
}
