//! One connection's TLS: bytes of the peer in, plaintext and bytes for the peer out. It holds no buffer between two calls but an unfinished record.
//! Before it: the socket's reader and writer in `engine/io`; after it: the protocols, which see no difference.
use std::fmt;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{ProtocolVersion, ServerConfig};

use crate::challenges::ACME_TLS;
use crate::error::TlsError;
use crate::records::Records;
use crate::server::HTTP2;
use crate::stranger::Stranger;

/// Bytes of an unfinished handshake that are held. A ClientHello with a post-quantum key share has about 2,000; the longest record has 16,640.
const HANDSHAKE_BYTES_MAX: usize = 24 << 10;
/// Plaintext of a record at most (RFC 8446, 5.1), and what a record adds to it at most: header, nonce, type, tag, all rounded up.
const RECORD_BYTES_MAX: usize = 16 << 10;
const RECORD_ADDS: usize = 64;
/// A record's header, and what may follow it encrypted in TLS 1.2 (RFC 5246, 6.2.3), which allows more than TLS 1.3.
const HEADER_BYTES: usize = 5;
const PAYLOAD_BYTES_MAX: usize = (16 << 10) + (2 << 10);
/// Types of records (RFC 8446, 5.1), and the bytes of one of TLS 1.3 with an alert: level, description, type and tag behind its header.
const ALERT: u8 = 21;
const ENCRYPTED: u8 = 23;
const ENCRYPTED_ALERT_BYTES: usize = HEADER_BYTES + 2 + 1 + 16;
/// Turns of the state machine that bring nothing, in one call: more than any flight has messages.
const TURNS_MAX: usize = 64;

/// How many of these are worth a look, as bytes of a handshake: the whole records that they begin with, or all of them where something is no record,
/// or one that is longer than any. Of a record that is not whole there is nothing to do but to wait for the rest, so that who sends its bytes one by
/// one does not have the work of a handshake done for each.
pub fn whole(bytes: &[u8]) -> usize {
    let mut whole = 0;
    loop {
        let rest = bytes.get(whole..).unwrap_or_default();
        match rest.first() {
            None => return whole,
            Some(20..=23) => {}
            Some(_) => return bytes.len(),
        }
        let &[_, _, _, high, low, ..] = rest else { return whole };
        let payload_bytes = usize::from(u16::from_be_bytes([high, low]));
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return bytes.len();
        }
        let record_bytes = HEADER_BYTES + payload_bytes;
        if rest.len() < record_bytes {
            return whole;
        }
        whole += record_bytes;
    }
}

/// A server's end of a TLS connection.
pub struct Session {
    /// Boxed: it is moved with the connection.
    connection: Box<UnbufferedServerConnection>,
    /// An unfinished record, or handshake message, of the peer.
    incoming: Vec<u8>,
    /// Something has come.
    greeted: bool,
    /// The peer has said that it sends no more.
    ended: bool,
    /// It cannot go on.
    failed: bool,
}

impl Session {
    /// A connection that has just come.
    pub fn new(config: &Arc<ServerConfig>) -> Result<Self, TlsError> {
        let connection = Box::new(UnbufferedServerConnection::new(Arc::clone(config))?);
        Ok(Self { connection, incoming: Vec::new(), greeted: false, ended: false, failed: false })
    }

    /// The handshake is not over: nothing can be said yet.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The peer has said that it sends no more (`close_notify`).
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of the peer that are held because more of their record is to come.
    pub fn holds(&self) -> usize {
        self.incoming.capacity()
    }

    /// The peer is an authority that has come for a challenge's certificate, and has seen it: there is nothing to say to it (RFC 8737, 3).
    pub fn is_challenge(&self) -> bool {
        self.connection.alpn_protocol() == Some(ACME_TLS)
    }

    /// HTTP/2 was agreed on.
    pub fn is_http2(&self) -> bool {
        self.connection.alpn_protocol() == Some(HTTP2)
    }

    /// Version and cipher, for the log.
    pub fn describe(&self) -> String {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        let cipher = self.connection.negotiated_cipher_suite();
        let http = if self.is_http2() { ", HTTP/2" } else { "" };
        cipher.map_or_else(|| version.to_owned(), |cipher| format!("{version} {:?}{http}", cipher.suite()))
    }

    /// Takes bytes of the peer, which are used up. Plaintext is added to `plain`, what the peer is to get to `out`, which is also to be sent when
    /// this fails: it is the alert.
    pub fn receive(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, out: &mut Records) -> Result<(), TlsError> {
        if self.failed {
            return Err(TlsError::Closed);
        }
        // What comes behind its goodbye is to be ignored (RFC 8446, 6.1).
        if self.ended || bytes.is_empty() {
            return Ok(());
        }
        if !self.greeted {
            self.greeted = true;
            if let Some(stranger) = Stranger::of(bytes) {
                self.failed = true;
                return Err(TlsError::Stranger(stranger));
            }
        }
        let result = if self.incoming.is_empty() {
            let result = self.process(bytes, plain, out);
            if let Ok(used) = result {
                self.incoming.extend_from_slice(bytes.get(used..).unwrap_or_default());
            }
            result
        } else {
            let mut incoming = std::mem::take(&mut self.incoming);
            incoming.extend_from_slice(bytes);
            let result = self.process(&mut incoming, plain, out);
            if let Ok(used) = result
                && used < incoming.len()
            {
                incoming.drain(..used);
                self.incoming = incoming;
            }
            result
        };
        if let Err(error) = result {
            self.failed = true;
            self.incoming = Vec::new();
            return Err(error);
        }
        if self.ended {
            self.incoming = Vec::new();
        }
        if self.incoming.len() > HANDSHAKE_BYTES_MAX {
            self.failed = true;
            self.incoming = Vec::new();
            return Err(TlsError::Long(HANDSHAKE_BYTES_MAX));
        }
        Ok(())
    }

    /// Lets the state machine look at these; how many bytes it is done with.
    fn process(&mut self, incoming: &mut [u8], plain: &mut Vec<u8>, out: &mut Records) -> Result<usize, TlsError> {
        let (mut used, mut idle) = (0, 0);
        // Each turn uses bytes up, or is one of few: it ends by itself.
        while idle < TURNS_MAX {
            let rest = incoming.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(rest);
            idle = if discard == 0 { idle + 1 } else { 0 };
            let waits = match state {
                Err(error) => {
                    self.alert(incoming.get_mut(used + discard..).unwrap_or_default(), out);
                    return Err(error.into());
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    idle = 0;
                    false
                }
                Ok(ConnectionState::ReadEarlyData(mut early)) => {
                    // None is asked for; what comes all the same is not taken.
                    while let Some(record) = early.next_record() {
                        discard += record?.discard;
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(|free| data.encode(free), out)?;
                    idle = 0;
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    false
                }
                // Waits for bytes, or for something to say; or has nothing more to do.
                Ok(_) => true,
            };
            used += discard;
            if waits {
                break;
            }
        }
        Ok(used)
    }

    /// Takes out what the state machine has to say about its failure. The alert is the last of it: asked once more, it would look at what has come behind.
    fn alert(&mut self, rest: &mut [u8], out: &mut Records) {
        for _ in 0..TURNS_MAX {
            let before = out.len();
            match self.connection.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if encode(|free| data.encode(free), out).is_err() {
                        return;
                    }
                }
                _ => return,
            }
            if out.as_slice().get(before..).is_some_and(is_alert) {
                return;
            }
        }
    }

    /// Encrypts this for the peer: added to `out`. Nothing is kept of it.
    pub fn send(&mut self, plain: &[u8], out: &mut Records) -> Result<(), TlsError> {
        self.write(out, |traffic, out| {
            let records = plain.len() / RECORD_BYTES_MAX + 1;
            let mut room = plain.len() + records * RECORD_ADDS;
            loop {
                match traffic.encrypt(plain, out.free(room)) {
                    Ok(count) => {
                        out.advance(count);
                        return Ok(());
                    }
                    // With an update of the keys before it.
                    Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size }))
                        if required_size > room =>
                    {
                        room = required_size;
                    }
                    Err(_) => return Err(TlsError::Closed),
                }
            }
        })
    }

    /// Says that nothing more comes; nothing where the handshake is not over.
    pub fn close(&mut self, out: &mut Records) {
        let closed = self.write(out, |traffic, out| match traffic.queue_close_notify(out.free(2 * RECORD_ADDS)) {
            Ok(count) => {
                out.advance(count);
                Ok(())
            }
            Err(_) => Err(TlsError::Closed),
        });
        // One that cannot say it any more is closed either way.
        drop(closed);
    }

    fn write(
        &mut self,
        out: &mut Records,
        write: impl FnOnce(
            &mut rustls::unbuffered::WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut Records,
        ) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        if self.failed {
            return Err(TlsError::Closed);
        }
        for _ in 0..TURNS_MAX {
            // All of what came is looked at when it comes: here is at most an unfinished record.
            match self.connection.process_tls_records(&mut self.incoming).state? {
                ConnectionState::WriteTraffic(mut traffic) => return write(&mut traffic, out),
                ConnectionState::EncodeTlsData(mut data) => encode(|free| data.encode(free), out)?,
                ConnectionState::TransmitTlsData(mut data) => {
                    if let Some(mut traffic) = data.may_encrypt_app_data() {
                        write(&mut traffic, out)?;
                        data.done();
                        return Ok(());
                    }
                    data.done();
                }
                ConnectionState::PeerClosed => self.ended = true,
                _ => return Err(TlsError::Closed),
            }
        }
        Err(TlsError::Closed)
    }
}

/// Whether this record of ours is an alert, in the clear or encrypted: nothing else that is not data is as short.
fn is_alert(record: &[u8]) -> bool {
    match record.first() {
        Some(&ALERT) => true,
        Some(&ENCRYPTED) => record.len() == ENCRYPTED_ALERT_BYTES,
        _ => false,
    }
}

/// Adds a message of the handshake to `out`.
fn encode(mut message: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>, out: &mut Records) -> Result<(), TlsError> {
    let mut room = RECORD_ADDS;
    loop {
        match message(out.free(room)) {
            Ok(count) => {
                out.advance(count);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) if required_size > room => {
                room = required_size;
            }
            Err(error) => return Err(TlsError::Other(error.to_string())),
        }
    }
}

// By hand: keys are in there.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("tls", &self.describe()).field("ended", &self.ended).finish_non_exhaustive()
    }
}
