//! TLS as the ports have it: records of anybody's making, and those of a real client that were changed, cut or mixed with others on their way.
use std::io::{Read as _, Write as _};
use std::sync::{Arc, LazyLock};

use millstream_tls::{Certificates, PemFile, Purpose, Records, ServerTls, Session, Tickets, TlsError, whole};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const CERTIFICATE: &[u8] = include_bytes!("../../../../tests/sim/src/secured/certificate.pem");
const KEY: &[u8] = include_bytes!("../../../../tests/sim/src/secured/key.pem");
const NAME: &str = "h.example";

/// A session never holds more: an unfinished handshake or record, and what a vector grows by.
const HELD_BYTES_MAX: usize = 3 * (24 << 10);
/// Bytes that a client and a server say to each other: more teaches nothing.
const SAID_BYTES_MAX: usize = 64 << 10;

static SERVER: LazyLock<ServerTls> = LazyLock::new(|| {
    let file = |bytes| [PemFile { name: "fuzz.pem", bytes }];
    let certificates = Certificates::from_pem(&file(CERTIFICATE), &file(KEY)).expect("a certificate and its key");
    ServerTls::new(certificates, &Tickets::new().expect("keys"), true).expect("a configuration")
});
static CLIENTS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| {
    [&TLS13, &TLS12].map(|version| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CERTIFICATE).expect("PEM")).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[version]).expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    })
});

/// A connection. The highest bit of the first byte has hands shaken before the rest, the next one is TLS 1.2, the lowest three say in how large pieces
/// the server reads. Then steps: a byte that says what is done, one with a length, and so many bytes for it.
pub fn tls(data: &[u8]) {
    let (first, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let mut line = Line::new(*first);
    if first & 0x80 != 0 {
        line.settle();
        assert!(!line.server.is_handshaking() && line.server.is_http2());
    }
    while let [what, length, behind @ ..] = rest {
        let (bytes, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        line.step(what % 8, bytes);
    }
    if line.is_honest {
        line.settle();
        assert_eq!(line.error, None);
        assert_eq!(line.heard, line.said, "what a client says is heard, all of it and once");
    }
    // What it still says never fails the process.
    let _ = line.server.send(b"more", &mut line.out);
    line.server.close(&mut line.out);
    line.check_output();
}

struct Line {
    client: ClientConnection,
    server: Session,
    piece_bytes: usize,
    /// What the client said, and what the server heard.
    said: Vec<u8>,
    heard: Vec<u8>,
    out: Records,
    error: Option<TlsError>,
    /// Nothing but the client's own records has come, all of them and in order.
    is_honest: bool,
    is_closed: bool,
}

impl Line {
    fn new(first: u8) -> Self {
        let config = Arc::clone(&CLIENTS[usize::from(first & 0x40 != 0)]);
        let mut client = ClientConnection::new(config, ServerName::try_from(NAME).expect("a name")).expect("a client");
        client.set_buffer_limit(None);
        let lengths = [usize::MAX, 1, 2, 3, 7, 11, 128, 1536];
        Self {
            client,
            server: Session::new(SERVER.of(Purpose::Viewers)).expect("a session"),
            piece_bytes: lengths[usize::from(first % 8)],
            said: Vec::new(),
            heard: Vec::new(),
            out: Records::new(),
            error: None,
            is_honest: true,
            is_closed: false,
        }
    }

    fn step(&mut self, what: u8, bytes: &[u8]) {
        match what {
            0 => {
                self.is_honest &= bytes.is_empty();
                self.hear(bytes.to_vec());
            }
            1 => {
                let records = self.records(bytes);
                self.hear(records);
            }
            2 => {
                let mut records = self.records(b"changed");
                let bits = records.len() * 8;
                for at in bytes.iter().map(|byte| usize::from(*byte) * 37).filter(|at| *at < bits) {
                    records[at / 8] ^= 1 << (at % 8);
                }
                self.is_honest &= records.is_empty() || bytes.is_empty();
                self.hear(records);
            }
            3 => {
                let mut records = self.records(b"cut off");
                let cut = usize::from(bytes.first().copied().unwrap_or(1));
                self.is_honest &= records.is_empty();
                records.truncate(records.len().saturating_sub(cut));
                self.hear(records);
            }
            4 => {
                // Twice: the second one has a number that was used.
                let records = self.records(bytes);
                self.is_honest &= records.is_empty();
                self.hear(records.clone());
                self.hear(records);
            }
            5 => self.server_says(bytes),
            6 => {
                self.is_honest &= !self.client.is_handshaking();
                self.client.send_close_notify();
                self.is_closed = true;
                let records = self.records(b"");
                self.hear(records);
            }
            // Both go on as far as they can.
            _ => self.settle(),
        }
    }

    /// What the client has to send, with this said.
    fn records(&mut self, says: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        if !self.client.is_handshaking() && !self.is_closed && self.said.len() < SAID_BYTES_MAX {
            // One that was told of a failure says nothing more.
            if self.client.writer().write_all(says).is_ok() {
                self.said.extend_from_slice(says);
            }
        }
        while self.client.wants_write() {
            self.client.write_tls(&mut records).expect("a vector takes it");
        }
        records
    }

    /// The server reads these.
    fn hear(&mut self, mut bytes: Vec<u8>) {
        let count = whole(&bytes);
        assert!(count <= bytes.len());
        let length = self.piece_bytes.min(bytes.len()).max(1);
        for piece in bytes.chunks_mut(length) {
            let before = self.heard.len();
            let heard = self.server.receive(piece, &mut self.heard, &mut self.out);
            match (heard, &self.error) {
                (Ok(()), None) => {}
                (Err(error), None) => {
                    assert!(!error.to_string().is_empty() && !error.label().is_empty());
                    self.error = Some(error);
                }
                (heard, Some(_)) => {
                    assert_eq!(heard, Err(TlsError::Closed), "an error is the last");
                    assert_eq!(self.heard.len(), before, "nothing is heard behind an error");
                }
            }
            assert!(self.server.holds() <= HELD_BYTES_MAX, "{}", self.server.holds());
        }
        self.check_output();
    }

    fn server_says(&mut self, bytes: &[u8]) {
        let is_said = self.server.send(bytes, &mut self.out).is_ok();
        self.check_output();
        let got = self.client_hears();
        if is_said && self.is_honest && !self.is_closed {
            assert_eq!(got.as_deref(), Some(bytes), "what the server says is heard");
        }
    }

    /// The client takes what is there for it; `None`: it will not.
    fn client_hears(&mut self) -> Option<Vec<u8>> {
        if self.is_closed {
            // Debug builds of rustls do not stand a failure behind a goodbye.
            self.out.clear();
            return Some(Vec::new());
        }
        let mut got = Vec::new();
        let mut rest = self.out.as_slice();
        let mut is_fine = true;
        while !rest.is_empty() && is_fine {
            is_fine = self.client.read_tls(&mut rest).is_ok_and(|count| count > 0)
                && self.client.process_new_packets().is_ok();
            // It says "would block" where there is nothing, and that is all there is.
            let _ = self.client.reader().read_to_end(&mut got);
        }
        self.out.clear();
        is_fine.then_some(got)
    }

    /// Goes on until neither has anything to say, or one is gone.
    fn settle(&mut self) {
        loop {
            let records = self.records(b"");
            if records.is_empty() && self.out.is_empty() || self.error.is_some() {
                return;
            }
            self.hear(records);
            if self.client_hears().is_none() {
                assert!(!self.is_honest, "a client of ours is told nothing that it cannot read");
                return;
            }
        }
    }

    /// What is there for the peer is whole records.
    fn check_output(&self) {
        let mut rest = self.out.as_slice();
        while let [kind, 3, 1..=3, high, low, behind @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            assert!((20..=23).contains(kind) && length <= behind.len() && length <= (16 << 10) + 256);
            rest = &behind[length..];
        }
        assert!(rest.is_empty(), "half a record");
    }
}
