//! What a server is to its TLS clients: which certificates, versions, protocols and tickets. It does not change; another one takes its place, and
//! keeps the tickets' keys. Before it: [`crate::certificates`]; after it: a [`crate::Session`] for each connection.
use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, ProducesTickets};

use crate::certificates::{Certificates, Shown};
use crate::challenges::{ACME_TLS, Challenges};
use crate::error::{CertificateError, TlsError};
use crate::kernel::KernelTls;
use crate::session::Session;

/// What HTTP clients are asked for by ALPN.
pub(crate) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// Tickets that a client of TLS 1.3 gets.
const TICKETS: usize = 2;
/// Encoders get none: they come once, and librtmp with GnuTLS, which several are made with, takes a ticket for an error. TLS 1.2 has its ticket within the
/// handshake.
const TICKETS_FOR_MEDIA: usize = 0;

/// Keys of session tickets, for as long as the process runs: rustls makes a new one every six hours, and takes tickets of the one before.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// With a first key.
    pub fn new() -> Result<Self, CertificateError> {
        ring::Ticketer::new().map(Self).map_err(|error| CertificateError::Setup(error.to_string()))
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// What a port is for: which protocols its clients may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// RTMP, which has no name in ALPN.
    Media,
    /// HTTP/1.1 alone.
    Web,
    /// HTTP/2, which is preferred where it is switched on, and HTTP/1.1.
    Viewers,
}

/// All that a TLS port needs, shared by the shards.
#[derive(Clone)]
pub struct ServerTls {
    media: Arc<ServerConfig>,
    web: Arc<ServerConfig>,
    viewers: Arc<ServerConfig>,
    http2: bool,
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
    tickets: Tickets,
    kernel: Option<Arc<KernelTls>>,
}

impl ServerTls {
    /// With these certificates. Who has a ticket comes back with it, whichever certificates there were then. `http2`: viewers are offered it.
    pub fn new(certificates: Certificates, tickets: &Tickets, http2: bool) -> Result<Self, CertificateError> {
        Self::made(Arc::new(certificates), Arc::default(), tickets, http2, None)
    }

    /// The same, whose sessions the kernel may have; `None`: it may not.
    pub fn with_kernel(&self, kernel: Option<Arc<KernelTls>>) -> Result<Self, CertificateError> {
        Self::made(Arc::clone(&self.certificates), Arc::clone(&self.challenges), &self.tickets, self.http2, kernel)
    }

    /// The same with these challenges pending, and no others.
    pub fn with_challenges(&self, challenges: Arc<Challenges>) -> Result<Self, CertificateError> {
        Self::made(Arc::clone(&self.certificates), challenges, &self.tickets, self.http2, self.kernel.clone())
    }

    fn made(
        certificates: Arc<Certificates>,
        challenges: Arc<Challenges>,
        tickets: &Tickets,
        http2: bool,
        kernel: Option<Arc<KernelTls>>,
    ) -> Result<Self, CertificateError> {
        let config = |alpn: &[&[u8]], challenges: &Arc<Challenges>, tickets_sent: usize| {
            let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
                .map_err(|error| CertificateError::Setup(error.to_string()))?;
            let shown = Shown { certificates: Arc::clone(&certificates), challenges: Arc::clone(challenges) };
            let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(shown));
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            // What a client brings back it keeps itself: nothing is stored here, and no shard waits for another's lock.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.ticketer = Arc::clone(&tickets.0);
            config.send_tls13_tickets = tickets_sent;
            // Early data can be played back by whoever recorded it.
            config.max_early_data_size = 0;
            // Keys leave rustls for the kernel alone.
            config.enable_secret_extraction = kernel.is_some();
            Ok(Arc::new(config))
        };
        let offer = |http2: bool| -> Vec<&[u8]> {
            let preferred = http2.then_some(HTTP2);
            // Last: who offers something else as well is no authority.
            preferred.into_iter().chain([HTTP1]).chain(challenges.has_certificates().then_some(ACME_TLS)).collect()
        };
        let media = config(&[], &Arc::default(), TICKETS_FOR_MEDIA)?;
        let (web, viewers) =
            (config(&offer(false), &challenges, TICKETS)?, config(&offer(http2), &challenges, TICKETS)?);
        Ok(Self { media, web, viewers, http2, certificates, challenges, tickets: tickets.clone(), kernel })
    }

    /// For RTMP.
    pub fn media(&self) -> &Arc<ServerConfig> {
        &self.media
    }

    /// For HTTP/1.1.
    pub fn web(&self) -> &Arc<ServerConfig> {
        &self.web
    }

    /// For ports of that purpose.
    pub fn of(&self, purpose: Purpose) -> &Arc<ServerConfig> {
        match purpose {
            Purpose::Media => &self.media,
            Purpose::Web => &self.web,
            Purpose::Viewers => &self.viewers,
        }
    }

    /// A connection that has just come to a port of that purpose.
    pub fn session(&self, purpose: Purpose) -> Result<Session, TlsError> {
        Session::new(self.of(purpose)).map(|session| session.with_kernel(self.kernel.clone()))
    }

    /// The kernel that may have its sessions.
    pub fn kernel(&self) -> Option<&Arc<KernelTls>> {
        self.kernel.as_ref()
    }

    /// Whether viewers are offered HTTP/2.
    pub fn has_http2(&self) -> bool {
        self.http2
    }

    /// The certificates in use.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The challenges that are pending.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerTls").field(&self.certificates).finish()
    }
}
