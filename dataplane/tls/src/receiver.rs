//! What is received in a session whose own records the kernel makes: decrypted here, for the kernel has only the keys of the sending direction.
//! Before it: [`crate::Session`], which hands it what comes; after it: the protocols, which see no difference.
use std::sync::Arc;

use rustls::crypto::cipher::{InboundOpaqueMessage, MessageDecrypter};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

use crate::error::{TlsError, refused};
use crate::kernel::{Cipher, Counted, KernelTls, NONCE_BYTES, SALT_BYTES, SendKeys, Version, key_and_iv};
use crate::records::{HEADER_BYTES, PAYLOAD_BYTES_MAX};

/// Keys that a peer may change without sending anything between; as many as rustls allows.
const KEY_UPDATES_MAX: u32 = 32;
/// Records that the kernel may make before its keys are to be changed are fewer than the cipher allows by so many: not each of them is counted as soon as it is made.
const RECORDS_SPARE: u64 = 1 << 16;

/// Levels of alerts (RFC 5246, 7.2).
const WARNING: u8 = 1;
const FATAL: u8 = 2;
/// Says that nothing more comes.
pub(crate) const CLOSE_NOTIFY: [u8; 2] = [WARNING, 0];
/// A message that asks for other keys to be used (RFC 8446, 4.6.3), and whether the other end is to do the same.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];
const NOT_REQUESTED: u8 = 0;
const REQUESTED: u8 = 1;
/// Its answer.
pub const KEY_UPDATE_MESSAGE: [u8; 5] = [24, 0, 0, 1, NOT_REQUESTED];

/// The receiving side, and what makes new keys for both.
pub(crate) struct Receiver {
    connection: KernelConnection<ServerConnectionData>,
    version: Version,
    cipher: Cipher,
    decrypter: Box<dyn MessageDecrypter>,
    /// Of the next record.
    sequence: u64,
    key_updates: u32,
    /// The peer has asked for other keys of ours.
    wants_keys: bool,
    /// The peer's goodbye has come.
    ended: bool,
    counted: Counted,
}

/// Why a session cannot go on, and what the peer is told of that.
pub(crate) struct Failure {
    pub(crate) error: TlsError,
    pub(crate) alert: Option<[u8; 2]>,
}

impl Failure {
    fn of(error: TlsError, alert: AlertDescription) -> Self {
        Self { error, alert: Some([FATAL, u8::from(alert)]) }
    }

    fn unexpected(what: &str) -> Self {
        Self::of(TlsError::Other(what.to_owned()), AlertDescription::UnexpectedMessage)
    }
}

impl Receiver {
    /// Takes the keys out of a connection, which has nothing more to send: those of the sending direction are for the kernel.
    pub(crate) fn of(
        connection: UnbufferedServerConnection,
        (version, cipher): (Version, Cipher),
        kernel: Arc<KernelTls>,
    ) -> Result<(Self, SendKeys), TlsError> {
        let (secrets, connection) = connection.dangerous_into_kernel_connection()?;
        let ((sent, for_sending), (sequence, for_receiving)) = (secrets.tx, secrets.rx);
        let keys = SendKeys::new(version, cipher, sent, for_sending).ok_or(TlsError::Closed)?;
        let suite = connection.negotiated_cipher_suite();
        let decrypter = decrypter(suite, cipher, for_receiving).ok_or(TlsError::Closed)?;
        let counted = Counted::new(kernel);
        let receiver = Self {
            connection,
            version,
            cipher,
            decrypter,
            sequence,
            key_updates: 0,
            wants_keys: false,
            ended: false,
            counted,
        };
        Ok((receiver, keys))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The kernel did not take the keys.
    pub(crate) fn failed(&self) {
        self.counted.failed();
    }

    /// The peer waits for other keys of ours, which come before anything else that is sent.
    pub(crate) fn wants_keys(&self) -> bool {
        self.wants_keys
    }

    pub(crate) fn suite(&self) -> SupportedCipherSuite {
        self.connection.negotiated_cipher_suite()
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Records that one key may make.
    pub(crate) fn records_max(&self) -> u64 {
        let limit = match self.suite() {
            SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
            SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        };
        limit.saturating_sub(RECORDS_SPARE)
    }

    /// Whether there are other keys, and the kernel takes them. TLS 1.2 has none.
    pub(crate) fn has_next_keys(&self) -> bool {
        self.version == Version::Tls13 && self.counted.changes_keys()
    }

    /// The next keys of the sending direction: [`KEY_UPDATE_MESSAGE`] goes out before them.
    pub(crate) fn next_keys(&mut self) -> Result<SendKeys, TlsError> {
        let (sequence, secrets) = self.connection.update_tx_secret().map_err(|_| TlsError::KeysUsedUp)?;
        self.wants_keys = false;
        SendKeys::new(self.version, self.cipher, sequence, secrets).ok_or(TlsError::KeysUsedUp)
    }

    /// Decrypts the whole records that these begin with; how many bytes those are.
    pub(crate) fn receive(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, Failure> {
        let mut used = 0;
        while !self.ended {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let Some((&mut [kind, major, _, high, low], body)) = rest.split_first_chunk_mut::<HEADER_BYTES>() else {
                break;
            };
            let body_bytes = usize::from(u16::from_be_bytes([high, low]));
            if major != 3 || body_bytes > PAYLOAD_BYTES_MAX {
                return Err(Failure::of(TlsError::Record, AlertDescription::RecordOverflow));
            }
            let Some(body) = body.get_mut(..body_bytes) else { break };
            used += HEADER_BYTES + body_bytes;
            self.record(ContentType::from(kind), body, plain)?;
        }
        Ok(used)
    }

    fn record(&mut self, kind: ContentType, body: &mut [u8], plain: &mut Vec<u8>) -> Result<(), Failure> {
        if self.version == Version::Tls13 && kind != ContentType::ApplicationData {
            return Err(Failure::unexpected("a record that is not encrypted, behind the handshake"));
        }
        let record = InboundOpaqueMessage::new(kind, ProtocolVersion::TLSv1_2, body);
        let record = self.decrypter.decrypt(record, self.sequence).map_err(|error| match error {
            rustls::Error::PeerSentOversizedRecord => Failure::of(TlsError::Record, AlertDescription::RecordOverflow),
            _ => Failure::of(TlsError::Record, AlertDescription::BadRecordMac),
        })?;
        self.sequence += 1;
        let (kind, payload) = (record.typ, record.payload);
        match kind {
            ContentType::ApplicationData => {
                self.key_updates = 0;
                plain.extend_from_slice(payload);
                Ok(())
            }
            ContentType::Alert => self.alert(payload),
            ContentType::Handshake if self.version == Version::Tls13 => self.key_update(payload),
            // TLS 1.2 would shake hands once more, which nobody does since RFC 5746.
            _ => Err(Failure::unexpected("a message of a handshake, behind the handshake")),
        }
    }

    fn alert(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let &[level, description] = payload else {
            return Err(Failure::of(TlsError::Record, AlertDescription::DecodeError));
        };
        match (AlertDescription::from(description), level, self.version) {
            (AlertDescription::CloseNotify, ..) => self.ended = true,
            // It is followed by a goodbye (RFC 8446, 6.1); in TLS 1.2 no warning changes anything.
            (AlertDescription::UserCanceled, ..) | (_, WARNING, Version::Tls12) => {}
            (description, ..) => return Err(Failure { error: refused(description), alert: None }),
        }
        Ok(())
    }

    /// Other keys of the peer's from the next record on. Nothing else may come in the same record (RFC 8446, 5.1).
    fn key_update(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let Some(&[asks]) = payload.strip_prefix(&KEY_UPDATE) else {
            return Err(Failure::unexpected("a message of a handshake that is no key update, behind the handshake"));
        };
        if asks != REQUESTED && asks != NOT_REQUESTED {
            return Err(Failure::of(TlsError::Record, AlertDescription::IllegalParameter));
        }
        self.key_updates += 1;
        if self.key_updates > KEY_UPDATES_MAX {
            return Err(Failure::unexpected("keys are changed again and again, and nothing is sent with them"));
        }
        let updated = self.connection.update_rx_secret().ok();
        let fresh =
            updated.and_then(|(sequence, secrets)| Some((sequence, decrypter(self.suite(), self.cipher, secrets)?)));
        let Some(fresh) = fresh else {
            return Err(Failure::of(TlsError::Closed, AlertDescription::InternalError));
        };
        (self.sequence, self.decrypter) = fresh;
        self.wants_keys |= asks == REQUESTED;
        Ok(())
    }
}

/// What decrypts with these.
fn decrypter(
    suite: SupportedCipherSuite,
    cipher: Cipher,
    secrets: ConnectionTrafficSecrets,
) -> Option<Box<dyn MessageDecrypter>> {
    let (key, iv) = key_and_iv(secrets)?;
    match suite {
        SupportedCipherSuite::Tls13(suite) => Some(suite.aead_alg.decrypter(key, iv)),
        SupportedCipherSuite::Tls12(suite) => {
            // The rest of a nonce of GCM is in each record.
            let implicit_bytes = if cipher == Cipher::Chacha20Poly1305 { NONCE_BYTES } else { SALT_BYTES };
            Some(suite.aead_alg.decrypter(key, iv.as_ref().get(..implicit_bytes)?))
        }
    }
}
