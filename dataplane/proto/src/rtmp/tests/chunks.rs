//! The chunk reader and the writer, by themselves.
use bytes::BytesMut;

use crate::limits::*;
use crate::media::TagKind;
use crate::rtmp::chunk::{ChunkError, ChunkReader};
use crate::rtmp::chunk_write::{message_bytes, write_media, write_message};
use crate::rtmp::message::Message;

/// Reads everything, in pieces of `split` bytes.
fn read(reader: &mut ChunkReader, bytes: &[u8], split: usize) -> Result<Vec<Message>, ChunkError> {
    let mut messages = Vec::new();
    for mut piece in bytes.chunks(split) {
        while let Some(message) = reader.read(&mut piece)? {
            messages.push(message);
        }
        assert!(piece.is_empty());
    }
    Ok(messages)
}

/// The same result at every split: (timestamp, payload length) of each message.
#[track_caller]
fn check(bytes: &[u8], expected: &[(u32, usize)]) {
    for split in [1, 2, 3, 5, 11, 13, 128, 129, 1 << 20] {
        let messages = read(&mut ChunkReader::new(), bytes, split).unwrap();
        let found: Vec<_> = messages.iter().map(|m| (m.timestamp, m.payload.len())).collect();
        assert_eq!(found, expected, "in pieces of {split}");
        for message in &messages {
            assert_eq!(message.payload[..], payload(message.payload.len())[..], "in pieces of {split}");
        }
    }
}

fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 + 7) as u8).collect()
}

/// A chunk: basic and message header, extended timestamp, payload.
fn chunk(format: u8, csid: u8, stamp: Option<u32>, message: &[u8], extended: Option<u32>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![format << 6 | csid];
    if let Some(stamp) = stamp {
        bytes.extend_from_slice(&stamp.to_be_bytes()[1..]);
    }
    bytes.extend_from_slice(message);
    bytes.extend(extended.into_iter().flat_map(u32::to_be_bytes));
    bytes.extend_from_slice(payload);
    bytes
}

/// Length, type 9, and message stream 1.
fn full(length: u8) -> [u8; 8] {
    [0, 0, length, 9, 1, 0, 0, 0]
}

#[test]
fn every_header_format() {
    let body = payload(9);
    let bytes = [
        chunk(0, 4, Some(1000), &full(9), None, &body),
        chunk(1, 4, Some(40), &full(9)[..4], None, &body),
        chunk(2, 4, Some(33), &[], None, &body),
        chunk(3, 4, None, &[], None, &body),
        chunk(3, 4, None, &[], None, &body),
    ];
    check(&bytes.concat(), &[(1000, 9), (1040, 9), (1073, 9), (1106, 9), (1139, 9)]);
    // Format 3 right after format 0: its timestamp is the delta (section 5.3.1.2.4).
    let bytes = [chunk(0, 4, Some(7), &full(9), None, &body), chunk(3, 4, None, &[], None, &body)];
    check(&bytes.concat(), &[(7, 9), (14, 9)]);
    // librtmp opens a chunk stream with format 1.
    check(&chunk(1, 2, Some(5), &full(9)[..4], None, &body), &[(5, 9)]);
    // An empty message.
    check(&chunk(0, 4, Some(5), &full(0), None, &[]), &[(5, 0)]);
}

#[test]
fn writer_and_reader_agree() {
    for csid in [2, 3, 63, 64, 65, 319, 320, 4000, 65_599] {
        for timestamp in [0, 1, 0xFF_FFFE, 0xFF_FFFF, 0x100_0000, u32::MAX] {
            for length in [0, 1, 127, 128, 129, 256, 1000] {
                let mut out = BytesMut::new();
                write_message(&mut out, csid, timestamp, 9, 1, &payload(length), 128);
                assert_eq!(out.len(), message_bytes(csid, timestamp, length, 128));
                let again = out.clone();
                out.extend_from_slice(&again);
                check(&out, &[(timestamp, length), (timestamp, length)]);
            }
        }
    }
}

#[test]
fn media_is_the_same_bytes_whatever_came_before() {
    let mut first = BytesMut::new();
    write_media(&mut first, TagKind::Video, 0x0100_0000, &payload(70_000), 60_000);
    let mut later = BytesMut::new();
    write_media(&mut later, TagKind::Audio, 5, &payload(10), 60_000);
    let at = later.len();
    write_media(&mut later, TagKind::Video, 0x0100_0000, &payload(70_000), 60_000);
    assert_eq!(first[..], later[at..]);
}

/// A last chunk without the repeated timestamp, whose payload begins like one: only the next chunk tells.
#[test]
fn case_01_payload_that_looks_like_an_extended_timestamp() {
    let stamp = 0x0100_0000_u32;
    let body = [&payload(128)[..], &stamp.to_be_bytes()[..3]].concat();
    let first = chunk(0, 4, Some(0xFF_FFFF), &full(131), Some(stamp), &body[..128]);
    let last = chunk(3, 4, None, &[], None, &body[128..]);
    let next = chunk(0, 5, Some(1), &full(2), None, &payload(2));
    let bytes = [first, last, next].concat();
    for split in 1..bytes.len() {
        let messages = read(&mut ChunkReader::new(), &bytes, split).unwrap();
        let found: Vec<_> = messages.iter().map(|m| (m.timestamp, &m.payload[..])).collect();
        assert_eq!(found, [(stamp, &body[..]), (1, &payload(2)[..])], "in pieces of {split}");
    }
}

#[test]
fn case_01_extended_timestamps_in_both_dialects() {
    let body = payload(300);
    for value in [0xFF_FFFF, 0x0100_0000, 0xFFFF_F000, u32::MAX] {
        for repeated in [Some(value), None] {
            let message = |format: u8, message: &[u8]| {
                let first = chunk(format, 4, Some(0xFF_FFFF), message, Some(value), &body[..128]);
                let second = chunk(3, 4, None, &[], repeated, &body[128..256]);
                [first, second, chunk(3, 4, None, &[], repeated, &body[256..])].concat()
            };
            let full = [0, 1, 44, 9, 1, 0, 0, 0];
            check(&message(0, &full), &[(value, 300)]);
            // In formats 1 and 2 the value is a delta.
            let base = chunk(0, 4, Some(100), &full, None, &body[..128]);
            let base =
                [base, chunk(3, 4, None, &[], None, &body[128..256]), chunk(3, 4, None, &[], None, &body[256..])];
            let sum = value.wrapping_add(100);
            check(&[base.concat(), message(1, &full[..4])].concat(), &[(100, 300), (sum, 300)]);
            check(&[base.concat(), message(2, &[])].concat(), &[(100, 300), (sum, 300)]);
            // A small delta after an extended one has no extended field in its continuations.
            let small = [message(0, &full), chunk(2, 4, Some(40), &[], None, &body[..128])];
            let small = [small.concat(), chunk(3, 4, None, &[], None, &body[128..256])];
            let small = [small.concat(), chunk(3, 4, None, &[], None, &body[256..])].concat();
            check(&small, &[(value, 300), (value.wrapping_add(40), 300)]);
        }
    }
}

#[test]
fn case_01_payload_that_looks_like_the_timestamp() {
    // A peer that leaves the field out, whose payload holds the field's very bytes later: known by its first continuation.
    let value = 0x1234_5678_u32;
    let mut body = payload(384);
    body[256..260].copy_from_slice(&value.to_be_bytes());
    let bytes = [
        chunk(0, 4, Some(0xFF_FFFF), &[0, 1, 128, 9, 1, 0, 0, 0], Some(value), &body[..128]),
        chunk(3, 4, None, &[], None, &body[128..256]),
        chunk(3, 4, None, &[], None, &body[256..]),
    ];
    for split in [1, 3, 1000] {
        let messages = read(&mut ChunkReader::new(), &bytes.concat(), split).unwrap();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].payload[..], body[..]);
    }
}

#[test]
fn interleaved_chunk_streams() {
    let body = payload(250);
    let bytes = [
        chunk(0, 4, Some(10), &full(250), None, &body[..128]),
        chunk(0, 5, Some(11), &full(200), None, &body[..128]),
        chunk(3, 4, None, &[], None, &body[128..250]),
        chunk(0, 6, Some(12), &full(3), None, &body[..3]),
        chunk(3, 5, None, &[], None, &body[128..200]),
    ];
    check(&bytes.concat(), &[(10, 250), (12, 3), (11, 200)]);
}

#[test]
fn abort_and_new_headers_drop_what_was_begun() {
    let body = payload(250);
    let begun = chunk(0, 4, Some(10), &full(250), None, &body[..128]);
    let whole = chunk(0, 4, Some(20), &full(100), None, &body[..100]);
    let abort = chunk(0, 2, Some(0), &[0, 0, 4, 2, 0, 0, 0, 0], None, &[0, 0, 0, 4]);
    check(&[&begun[..], &abort, &whole].concat(), &[(20, 100)]);
    let mut reader = ChunkReader::new();
    assert_eq!(read(&mut reader, &[&begun[..], &whole].concat(), 7).unwrap().len(), 1);
    assert_eq!((reader.restarted(), reader.assembly_bytes()), (1, 0));
}

#[test]
fn case_09_chunk_size_is_clamped_or_refused_and_memory_stays_small() {
    let set = |size: u32| chunk(0, 2, Some(0), &[0, 0, 4, 1, 0, 0, 0, 0], None, &size.to_be_bytes());
    assert_eq!(read(&mut ChunkReader::new(), &set(0), 99), Err(ChunkError::ChunkSizeZero));
    let body = payload(60_000);
    let mut bytes = set(0x7FFF_FFFF);
    bytes.extend(chunk(0, 4, Some(5), &[0, 0xEA, 0x60, 9, 1, 0, 0, 0], None, &body));
    check(&bytes, &[(5, 60_000)]);
    // Messages that are declared long and never come: buffers follow what arrives.
    let mut reader = ChunkReader::new();
    reader.admit();
    read(&mut reader, &set(0x7FFF_FFFF), 99).unwrap();
    for csid in 3..63 {
        read(&mut reader, &chunk(0, csid, Some(0), &[0x7F, 0xFF, 0xFF, 9, 1, 0, 0, 0], None, &[1]), 99).unwrap();
        // The next chunk stream's header would be payload of this one, so start over: as a peer with an honest chunk size.
        let mut next = ChunkReader::new();
        next.admit();
        assert!(std::mem::replace(&mut reader, next).assembly_bytes() <= RTMP_RESERVE_BYTES);
    }
}

#[test]
fn maxima() {
    let check = |bytes: &[u8], expected: ChunkError| {
        assert_eq!(read(&mut ChunkReader::new(), bytes, 999).unwrap_err(), expected);
    };
    check(&[0xC4], ChunkError::NoHeader(4));
    check(&chunk(2, 4, Some(5), &[], None, &[]), ChunkError::NoHeader(4));
    check(&chunk(0, 4, Some(5), &[1, 0, 1, 9, 1, 0, 0, 0], None, &[]), ChunkError::MessageLong(65_537));
    let mut many = Vec::new();
    for csid in 0..=RTMP_CHUNK_STREAMS_MAX as u8 {
        many.extend([0, csid, 0, 0, 0, 0, 0, 1, 9, 1, 0, 0, 0, 77]);
    }
    check(&many, ChunkError::ChunkStreams);
    // Unfinished messages on many chunk streams, 128 bytes at a time.
    let mut heap = Vec::new();
    for round in 0..100 {
        for csid in 4..44 {
            let message: &[u8] = if round == 0 { &[0, 0xFF, 0xFF, 9, 1, 0, 0, 0] } else { &[] };
            heap.extend(chunk(
                if round == 0 { 0 } else { 3 },
                csid,
                (round == 0).then_some(0),
                message,
                None,
                &[0; 128],
            ));
        }
    }
    let mut reader = ChunkReader::new();
    assert_eq!(read(&mut reader, &heap, 4096).unwrap_err(), ChunkError::Assembly);
    assert!(reader.assembly_bytes() <= RTMP_ASSEMBLY_UNADMITTED_BYTES_MAX);
}

#[test]
fn a_long_message_grows_to_its_length_and_no_more() {
    let mut reader = ChunkReader::new();
    reader.admit();
    let body = payload(3 << 20);
    let mut out = BytesMut::new();
    write_message(&mut out, 4, 9, 9, 1, &body, 128);
    let mut most = 0;
    let mut found = None;
    for mut piece in out.chunks(65_536) {
        found = reader.read(&mut piece).unwrap();
        most = most.max(reader.assembly_bytes());
    }
    assert_eq!(found.unwrap().payload[..], body[..]);
    assert_eq!((most, reader.assembly_bytes()), (3 << 20, 0));
}
