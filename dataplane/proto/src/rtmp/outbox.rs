//! What a session has to say: messages written into one buffer, until the owner of the socket takes it.
use bytes::{Bytes, BytesMut};

use super::chunk::CHUNK_SIZE_INITIAL;
use super::chunk_write::{CSID_COMMAND, CSID_CONTROL, CSID_DATA, media_csid, write_message};
use super::message::{UserControl, kind};
use crate::amf0::{self, Value};
use crate::limits::RTMP_CHUNK_SIZE_MAX;
use crate::media::TagKind;

pub(super) struct Outbox {
    bytes: BytesMut,
    chunk_size: usize,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { bytes: BytesMut::new(), chunk_size: CHUNK_SIZE_INITIAL }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All that waits. The buffer goes with it, so that an idle session holds none.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        (!self.bytes.is_empty()).then(|| std::mem::take(&mut self.bytes).freeze())
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn control(&mut self, type_id: u8, payload: &[u8]) {
        write_message(&mut self.bytes, CSID_CONTROL, 0, type_id, 0, payload, self.chunk_size);
    }

    pub(super) fn number(&mut self, type_id: u8, number: u32) {
        self.control(type_id, &number.to_be_bytes());
    }

    pub(super) fn set_chunk_size(&mut self, bytes: usize) {
        let bytes = bytes.clamp(1, RTMP_CHUNK_SIZE_MAX);
        self.number(kind::SET_CHUNK_SIZE, bytes as u32);
        self.chunk_size = bytes;
    }

    pub(super) fn user_control(&mut self, event: UserControl) {
        self.control(kind::USER_CONTROL, &event.encode());
    }

    pub(super) fn command(&mut self, stream_id: u32, values: &[Value]) {
        let payload = amf0::encode(values);
        write_message(&mut self.bytes, CSID_COMMAND, 0, kind::COMMAND, stream_id, &payload, self.chunk_size);
    }

    /// A command that is encoded already.
    pub(super) fn encoded(&mut self, stream_id: u32, payload: &[u8]) {
        write_message(&mut self.bytes, CSID_COMMAND, 0, kind::COMMAND, stream_id, payload, self.chunk_size);
    }

    pub(super) fn data(&mut self, stream_id: u32, values: &[Value]) {
        let payload = amf0::encode(values);
        write_message(&mut self.bytes, CSID_DATA, 0, kind::DATA, stream_id, &payload, self.chunk_size);
    }

    pub(super) fn media(&mut self, kind: TagKind, stream_id: u32, timestamp: u32, body: &[u8]) {
        write_message(&mut self.bytes, media_csid(kind), timestamp, kind as u8, stream_id, body, self.chunk_size);
    }
}
