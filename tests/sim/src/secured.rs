//! A peer's connection, with TLS on it or without: some peers come by the ports that have it. Before it: the made-up network; after it: encoders and
//! viewers, which see no difference.
//!
//! TLS is that of the product at the server's end and rustls's own at the peer's. What is drawn for its keys changes no length: the certificate signs by
//! Ed25519, and so walks are the same whatever the keys are.
use std::cell::RefCell;
use std::io::{self, Cursor, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millstream_engine_simulated::config::TlsConfig;
use millstream_engine_simulated::io::{Line, Port, Stream, connect};
use millstream_tls::{Certificates, PemFile, ServerTls, Tickets};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::plan::Way;
use crate::walk::sleep_ms;

const CERTIFICATE: &[u8] = include_bytes!("secured/certificate.pem");
const KEY: &[u8] = include_bytes!("secured/key.pem");
const NAME: &str = "h.example";
/// How often it is tried whether a line has room again.
const FULL_MS: u64 = 3;

/// The ports with TLS.
pub(crate) fn config(rtmp: SocketAddr, http: SocketAddr) -> TlsConfig {
    let file = |bytes| [PemFile { name: "walk.pem", bytes }];
    let certificates = Certificates::from_pem(&file(CERTIFICATE), &file(KEY)).expect("a certificate and its key");
    let server = ServerTls::new(certificates, &Tickets::new().expect("keys"), true).expect("a configuration");
    TlsConfig { server, rtmp: Some(rtmp), http: Some(http) }
}

/// Whether this peer comes over TLS. Those of proxies say something before it.
fn is_secure(number: usize) -> bool {
    Way::of(number) == Way::Direct && number % 7 == 2
}

/// Connects, and begins to shake hands where the peer does that.
pub(crate) async fn open(number: usize, port: Port, from: IpAddr, line: Line) -> io::Result<Secured> {
    let port = match port {
        Port::Rtmp if is_secure(number) => Port::Rtmps,
        Port::Http if is_secure(number) => Port::Https,
        port => port,
    };
    let stream = connect(port, from, line).await?;
    let tls = matches!(port, Port::Rtmps | Port::Https).then(|| Box::new(RefCell::new(Client::new(&[]))));
    Ok(Secured { stream, tls })
}

/// Connects, and asks for HTTP/2 within TLS.
pub(crate) async fn open_http2(from: IpAddr, line: Line) -> io::Result<Secured> {
    let stream = connect(Port::Https, from, line).await?;
    Ok(Secured { stream, tls: Some(Box::new(RefCell::new(Client::new(&[b"h2"])))) })
}

/// A peer's end.
pub(crate) struct Secured {
    stream: Stream,
    tls: Option<Box<RefCell<Client>>>,
}

struct Client {
    connection: ClientConnection,
    /// Records that the line has no room for.
    out: BytesMut,
}

impl Client {
    /// `alpn`: what it asks for.
    fn new(alpn: &[&[u8]]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CERTIFICATE).expect("PEM")).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(NAME).expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        Self { connection, out: BytesMut::new() }
    }

    /// Sends what waits, as far as there is room.
    fn flush(&mut self, stream: &Stream) -> io::Result<()> {
        while self.connection.wants_write() {
            let mut records = Vec::new();
            self.connection.write_tls(&mut records)?;
            self.out.extend_from_slice(&records);
        }
        while !self.out.is_empty() {
            match stream.write_now(&self.out)? {
                0 => break,
                count => drop(self.out.split_to(count)),
            }
        }
        Ok(())
    }

    /// Takes what came off the line; what it says. A record that the peer cannot take for one is a defect of the server.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut rest, mut plain) = (Cursor::new(bytes), Vec::new());
        while rest.position() < bytes.len() as u64 {
            self.connection.read_tls(&mut rest).expect("room for records");
            self.connection.process_new_packets().unwrap_or_else(|error| panic!("a torn record: {error}"));
            match self.connection.reader().read_to_end(&mut plain) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
                _ => {}
            }
        }
        plain
    }
}

impl Secured {
    /// Waits for something, and reads at most so much of it, or of its records; no bytes at the end.
    pub(crate) async fn read(&self, bytes_max: usize) -> io::Result<Bytes> {
        loop {
            let bytes = self.stream.read(bytes_max).await?;
            if let Some(bytes) = self.decrypt(bytes)? {
                return Ok(bytes);
            }
        }
    }

    /// Reads what is there; `None` where nothing is.
    pub(crate) fn read_now(&self, bytes_max: usize) -> io::Result<Option<Bytes>> {
        match self.stream.read_now(bytes_max)? {
            Some(bytes) => self.decrypt(bytes),
            None => Ok(None),
        }
    }

    /// `None`: there is nothing to be told yet.
    fn decrypt(&self, bytes: Bytes) -> io::Result<Option<Bytes>> {
        let Some(tls) = &self.tls else { return Ok(Some(bytes)) };
        if bytes.is_empty() {
            return Ok(Some(bytes));
        }
        let tls = &mut *tls.borrow_mut();
        let plain = tls.take(&bytes);
        tls.flush(&self.stream)?;
        Ok((!plain.is_empty()).then(|| plain.into()))
    }

    /// Writes what there is room for.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.stream.write_now(bytes) };
        let tls = &mut *tls.borrow_mut();
        tls.flush(&self.stream)?;
        if !tls.out.is_empty() {
            return Ok(0);
        }
        let count = tls.connection.writer().write(bytes)?;
        tls.flush(&self.stream)?;
        Ok(count)
    }

    /// Writes all of it, by and by: records are sent in the order in which they are made, also those that reading has made meanwhile.
    pub(crate) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_now(bytes)? {
                0 => sleep_ms(FULL_MS).await,
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }

    /// Says by TLS that nothing more comes, as far as there is room.
    pub(crate) fn close(&self) -> io::Result<()> {
        let Some(tls) = &self.tls else { return Ok(()) };
        let tls = &mut *tls.borrow_mut();
        tls.connection.send_close_notify();
        tls.flush(&self.stream)
    }

    /// Cuts the line, which nobody is told of; who calls it never drops this.
    pub(crate) fn sever(&self) {
        self.stream.sever();
    }

    /// Writes all of it, and says by TLS that nothing more comes.
    pub(crate) async fn end_with(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &self.tls else { return self.stream.write(bytes).await };
        let records = {
            let tls = &mut *tls.borrow_mut();
            // More than rustls holds is lost, as where a peer leaves before it has sent all.
            let _ = tls.connection.writer().write(bytes)?;
            tls.connection.send_close_notify();
            tls.flush(&self.stream)?;
            std::mem::take(&mut tls.out)
        };
        self.stream.write(&records).await
    }

    /// Cuts the line, which nobody is told of.
    pub(crate) fn cut(self) {
        self.stream.cut();
    }

    /// Whether hands have been shaken.
    pub(crate) fn has_shaken_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.borrow().connection.is_handshaking())
    }
}
