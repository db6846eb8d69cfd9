//! One connection's TLS: bytes of the peer in, plaintext and bytes for the peer out. It holds no buffer between two calls but an unfinished record.
//! Once the kernel makes its records, what is sent goes out as it is. Before it: the socket's reader and writer in `engine/io`; after it: the protocols,
//! which see no difference.
use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};

use crate::challenges::ACME_TLS;
use crate::error::TlsError;
use crate::kernel::{Cipher, KernelTls, SendKeys, Version};
use crate::receiver::{CLOSE_NOTIFY, Failure, Receiver};
use crate::records::{HEADER_BYTES, Records};
use crate::server::HTTP2;
use crate::stranger::Stranger;

/// Bytes of an unfinished handshake that are held. A ClientHello with a post-quantum key share has about 2,000; the longest record has 16,640.
const HANDSHAKE_BYTES_MAX: usize = 24 << 10;
/// Plaintext of a record at most (RFC 8446, 5.1), and what a record adds to it at most: header, nonce, type, tag, all rounded up.
const RECORD_BYTES_MAX: usize = 16 << 10;
const RECORD_ADDS: usize = 64;
/// Types of records (RFC 8446, 5.1), and the bytes of one of TLS 1.3 with an alert: level, description, type and tag behind its header.
const ALERT: u8 = 21;
const ENCRYPTED: u8 = 23;
const ENCRYPTED_ALERT_BYTES: usize = HEADER_BYTES + 2 + 1 + 16;
/// Turns of the state machine that bring nothing, in one call: more than any flight has messages.
const TURNS_MAX: usize = 64;
/// Bytes that a session has sent before the kernel makes its records: to set that up costs as much as to encrypt some of them, and many sessions are short.
const KERNEL_FROM_BYTES: usize = 32 << 10;

/// Who makes the records of what is sent. Boxed: it is moved with the connection.
enum Side {
    /// rustls.
    User(Box<UnbufferedServerConnection>),
    /// The kernel; what comes is decrypted here.
    Kernel(Box<Receiver>),
    /// Nobody: the keys could not be taken out.
    Gone,
}

/// A server's end of a TLS connection.
pub struct Session {
    side: Side,
    /// The kernel, where it may have this session.
    kernel: Option<Arc<KernelTls>>,
    /// Bytes that were encrypted.
    sent: usize,
    /// Something was encrypted since anything came: if that was a request for other keys, they are in use.
    answered: bool,
    /// HTTP/2 was agreed on.
    http2: bool,
    /// What is to be said in a record of the kernel's.
    alert: Option<[u8; 2]>,
    /// That, or an earlier one, was the last.
    closed: bool,
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
        let side = Side::User(Box::new(UnbufferedServerConnection::new(Arc::clone(config))?));
        Ok(Self {
            side,
            kernel: None,
            sent: 0,
            answered: false,
            http2: false,
            alert: None,
            closed: false,
            incoming: Vec::new(),
            greeted: false,
            ended: false,
            failed: false,
        })
    }

    /// The same, which this kernel may have once its handshake is over. The configuration is to allow that.
    pub(crate) fn with_kernel(mut self, kernel: Option<Arc<KernelTls>>) -> Self {
        self.kernel = kernel;
        self
    }

    /// The handshake is not over: nothing can be said yet.
    pub fn is_handshaking(&self) -> bool {
        matches!(&self.side, Side::User(connection) if connection.is_handshaking())
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
        self.alpn() == Some(ACME_TLS)
    }

    /// HTTP/2 was agreed on.
    pub fn is_http2(&self) -> bool {
        self.http2 || self.alpn() == Some(HTTP2)
    }

    fn alpn(&self) -> Option<&[u8]> {
        let Side::User(connection) = &self.side else { return None };
        connection.alpn_protocol()
    }

    /// Version and cipher, for the log.
    pub fn describe(&self) -> String {
        let (version, cipher, maker) = match &self.side {
            Side::User(connection) => {
                (Version::of(connection.protocol_version()), connection.negotiated_cipher_suite(), "")
            }
            Side::Kernel(receiver) => (Some(receiver.version()), Some(receiver.suite()), ", by the kernel"),
            Side::Gone => (None, None, ""),
        };
        let version = match version {
            Some(Version::Tls13) => "TLS 1.3",
            Some(Version::Tls12) => "TLS 1.2",
            None => "TLS",
        };
        let http = if self.is_http2() { ", HTTP/2" } else { "" };
        cipher.map_or_else(|| version.to_owned(), |cipher| format!("{version} {:?}{http}{maker}", cipher.suite()))
    }

    /// Whether its records are to be made by the kernel from here on, as soon as all that was encrypted is with the socket: [`Self::keys_for_kernel`].
    pub fn may_go_to_kernel(&self) -> bool {
        let Some(kernel) = self.kernel.as_ref().filter(|_| self.sent >= KERNEL_FROM_BYTES) else { return false };
        let Side::User(connection) = &self.side else { return false };
        // A message that came in part would be lost with rustls's own state.
        let is_quiet = self.answered && self.incoming.is_empty() && !self.ended && !self.failed;
        is_quiet && kind_of(connection).is_some_and(|(version, cipher)| kernel.offers(version, cipher))
    }

    /// The socket takes no keys: the session stays as it is.
    pub fn stay(&mut self) {
        if let Some(kernel) = self.kernel.take() {
            kernel.count_refused();
        }
    }

    /// Gives the keys of what is sent away. From here on what is sent goes out as it is, in order, and the kernel makes records of it.
    pub fn keys_for_kernel(&mut self) -> Result<SendKeys, TlsError> {
        if !self.may_go_to_kernel() {
            return Err(TlsError::Closed);
        }
        let http2 = self.is_http2();
        let side = std::mem::replace(&mut self.side, Side::Gone);
        let (Side::User(connection), Some(kernel)) = (side, self.kernel.take()) else { return Err(TlsError::Closed) };
        let kind = kind_of(&connection).ok_or(TlsError::Closed)?;
        let (receiver, keys) = Receiver::of(*connection, kind, kernel)?;
        (self.side, self.http2) = (Side::Kernel(Box::new(receiver)), http2);
        Ok(keys)
    }

    /// The kernel did not take those keys: nothing can be said any more.
    pub fn kernel_failed(&mut self) {
        if let Side::Kernel(receiver) = std::mem::replace(&mut self.side, Side::Gone) {
            receiver.failed();
        }
        self.failed = true;
    }

    /// Whether the kernel makes its records.
    pub fn is_in_kernel(&self) -> bool {
        matches!(self.side, Side::Kernel(_))
    }

    /// Records that the kernel may make with one key.
    pub fn records_max(&self) -> u64 {
        if let Side::Kernel(receiver) = &self.side { receiver.records_max() } else { u64::MAX }
    }

    /// The peer has asked for other keys; it is to get them before anything else.
    pub fn wants_keys(&self) -> bool {
        matches!(&self.side, Side::Kernel(receiver) if receiver.wants_keys())
    }

    /// Whether there are other keys, and the kernel takes them.
    pub fn has_next_keys(&self) -> bool {
        matches!(&self.side, Side::Kernel(receiver) if receiver.has_next_keys())
    }

    /// Other keys for the kernel. [`crate::KEY_UPDATE_MESSAGE`] is sent before them, in a record of a handshake's.
    pub fn next_keys(&mut self) -> Result<SendKeys, TlsError> {
        let Side::Kernel(receiver) = &mut self.side else { return Err(TlsError::Closed) };
        receiver.next_keys()
    }

    /// What is to be said in an alert's record, which the kernel makes.
    pub fn alert(&self) -> Option<[u8; 2]> {
        self.alert
    }

    /// That was said.
    pub fn alert_is_said(&mut self) {
        self.alert = None;
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
        self.answered = false;
        match &mut self.side {
            Side::User(_) => self.process_by_rustls(incoming, plain, out),
            Side::Kernel(receiver) => {
                let used = receiver.receive(incoming, plain);
                self.ended = receiver.has_ended();
                used.map_err(|Failure { error, alert }| {
                    self.alert = alert.filter(|_| !self.closed);
                    self.closed = true;
                    error
                })
            }
            Side::Gone => Err(TlsError::Closed),
        }
    }

    fn process_by_rustls(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Records,
    ) -> Result<usize, TlsError> {
        let Side::User(connection) = &mut self.side else { return Err(TlsError::Closed) };
        let (mut used, mut idle) = (0, 0);
        // Each turn uses bytes up, or is one of few: it ends by itself.
        while idle < TURNS_MAX {
            let rest = incoming.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = connection.process_tls_records(rest);
            idle = if discard == 0 { idle + 1 } else { 0 };
            let waits = match state {
                Err(error) => {
                    take_alert(connection, incoming.get_mut(used + discard..).unwrap_or_default(), out);
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

    /// Encrypts this for the peer: added to `out`; as it is where the kernel will do so. Nothing is kept of it.
    pub fn send(&mut self, plain: &[u8], out: &mut Records) -> Result<(), TlsError> {
        if self.is_in_kernel() {
            if self.failed || self.closed {
                return Err(TlsError::Closed);
            }
            out.push(plain);
            return Ok(());
        }
        self.answered |= !plain.is_empty();
        self.sent = self.sent.saturating_add(plain.len());
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

    /// Says that nothing more comes; nothing where the handshake is not over. Where the kernel makes the records it is [`Self::alert`].
    pub fn close(&mut self, out: &mut Records) {
        if self.is_in_kernel() {
            if !std::mem::replace(&mut self.closed, true) {
                self.alert = Some(CLOSE_NOTIFY);
            }
            return;
        }
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
        let Side::User(connection) = &mut self.side else { return Err(TlsError::Closed) };
        for _ in 0..TURNS_MAX {
            // All of what came is looked at when it comes: here is at most an unfinished record.
            match connection.process_tls_records(&mut self.incoming).state? {
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

/// Takes out what the state machine has to say about its failure. The alert is the last of it: asked once more, it would look at what has come behind.
fn take_alert(connection: &mut UnbufferedServerConnection, rest: &mut [u8], out: &mut Records) {
    for _ in 0..TURNS_MAX {
        let before = out.len();
        match connection.process_tls_records(rest).state {
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

/// Version and cipher that were agreed on; `None`: the handshake is not over, or no kernel has them.
fn kind_of(connection: &UnbufferedServerConnection) -> Option<(Version, Cipher)> {
    if connection.is_handshaking() {
        return None;
    }
    Some((Version::of(connection.protocol_version())?, Cipher::of(connection.negotiated_cipher_suite()?)?))
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
