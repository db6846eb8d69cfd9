//! RTMP, from either end, and its values.
use bytes::BytesMut;
use millstream_proto::amf0;
use millstream_proto::limits::{RTMP_ASSEMBLY_BYTES_MAX, RTMP_INBOX_BYTES_MAX, RTMP_OUTPUT_BYTES_MAX};
use millstream_proto::rtmp::chunk::{ChunkReader, HEADER_BYTES_MAX};
use millstream_proto::rtmp::chunk_write::{message_bytes, write_message};
use millstream_proto::rtmp::{
    ClientConfig, ClientEvent, ClientRole, ClientSession, Event, ServerConfig, ServerSession,
};
use millstream_proto::secret::Secret;
use millstream_proto::time::Time;

/// AMF0 values; what was read must be the same when it is written and read again.
pub fn amf0(data: &[u8]) {
    if let Ok(values) = amf0::decode(data) {
        let written = amf0::encode(&values);
        let again = amf0::decode(&written).expect("what we write can be read");
        // Compared as bytes: NaN is not equal to itself.
        assert_eq!(amf0::encode(&again), written);
    }
}

/// Chunks with the wide limits; each message must survive being written in chunks of another size.
pub fn rtmp_chunk(data: &[u8]) {
    let mut reader = ChunkReader::new();
    reader.admit();
    // A header that could not be told from payload is carried until it can: such bytes make messages without more input.
    let mut from_carry = 0;
    for mut piece in crate::pieces(data) {
        while !piece.is_empty() {
            let before = piece.len();
            match reader.read(&mut piece) {
                Err(_) => return,
                // It took all of the piece.
                Ok(None) => {
                    from_carry = 0;
                    break;
                }
                Ok(Some(message)) => {
                    from_carry = if piece.len() < before { 0 } else { from_carry + 1 };
                    assert!(from_carry <= HEADER_BYTES_MAX, "the reader goes round in circles");
                    let mut out = BytesMut::new();
                    let m = &message;
                    write_message(&mut out, 6, m.timestamp, m.type_id, m.stream_id, &m.payload, 128);
                    assert_eq!(out.len(), message_bytes(6, m.timestamp, m.payload.len(), 128));
                    let mut again = ChunkReader::new();
                    again.admit();
                    let mut written = &out[..];
                    assert_eq!(again.read(&mut written), Ok(Some(message)));
                }
            }
        }
        assert!(reader.assembly_bytes() <= RTMP_ASSEMBLY_BYTES_MAX);
    }
}

/// A zero handshake: version 3, then both packets of the peer.
fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 1536 + 1536];
    bytes[0] = 3;
    bytes
}

/// A client's bytes, every request accepted. The highest bit of the first byte puts a handshake in front.
pub fn rtmp_server(data: &[u8]) {
    let mut session = ServerSession::new(Time::ZERO, ServerConfig::default());
    let mut now_ms = 0;
    if data.first().is_some_and(|first| first & 0x80 != 0) && session.handle_input(Time::ZERO, &handshake()).is_err() {
        return;
    }
    for piece in crate::pieces(data) {
        now_ms += 40;
        let now = Time::from_millis(now_ms);
        if session.handle_input(now, piece).is_err() {
            return;
        }
        while let Some(event) = session.poll_event() {
            if matches!(event, Event::PublishRequested(_) | Event::PlayRequested(_)) && session.accept(now).is_err() {
                return;
            }
        }
        // Buffers grow by doubling: capacity may be twice what is in them.
        assert!(session.held_bytes() <= 2 * (RTMP_ASSEMBLY_BYTES_MAX + RTMP_INBOX_BYTES_MAX + RTMP_OUTPUT_BYTES_MAX));
        while session.poll_output().is_some() {}
        if session.poll_timeout().is_some_and(|at| at <= now) {
            let _ = session.handle_timeout(now);
        }
        if session.is_closing() {
            break;
        }
    }
    session.end(Time::from_millis(now_ms), "the fuzzer is done");
    while session.poll_output().is_some() {}
}

/// A client as [`rtmp_client`] runs it.
pub fn client(role: ClientRole) -> ClientSession {
    let config = ClientConfig {
        app: "stream".into(),
        tc_url: Secret::new("rtmp://host/stream"),
        stream: Secret::new("cam?sign=1-a"),
        role,
        chunk_size: 4096,
    };
    ClientSession::new(Time::ZERO, config)
}

/// A server's bytes, to a player (or, with bit 6 of the first byte, a publisher, which sends something once it may).
pub fn rtmp_client(data: &[u8]) {
    let first = data.first().copied().unwrap_or_default();
    let role = if first & 0x40 != 0 { ClientRole::Publish } else { ClientRole::Play };
    let mut session = client(role);
    if first & 0x80 != 0 && session.handle_input(Time::ZERO, &handshake()).is_err() {
        return;
    }
    for piece in crate::pieces(data) {
        if session.handle_input(Time::ZERO, piece).is_err() {
            return;
        }
        while let Some(event) = session.poll_event() {
            if event == ClientEvent::Ready && role == ClientRole::Publish {
                let _ = session.send(millstream_proto::media::TagKind::Audio, 0, b"\xaf\0\x12\x10");
            }
        }
        while session.poll_output().is_some() {}
    }
    session.finish();
}
