//! FLV that was written is read back, in any pieces; FLV from ffmpeg is read; damaged FLV is refused.
use bytes::BytesMut;

use super::*;
use crate::limits::RTMP_MESSAGE_BYTES_MAX;
use crate::media::TagKind;
use crate::testkit::{AV_FLV, Random, survives_damage};

fn drain(reader: &mut Reader) -> Result<Vec<Item>, ReadError> {
    std::iter::from_fn(|| reader.poll().transpose()).collect()
}

fn read_all(bytes: &[u8]) -> Result<Vec<Item>, ReadError> {
    let mut reader = Reader::new();
    reader.push(bytes)?;
    drain(&mut reader)
}

#[test]
fn a_tag_as_the_specification_draws_it() {
    let mut out = BytesMut::new();
    write_tag(&mut out, TagKind::Video, 0x8123_4567, b"\x17\x01").unwrap();
    assert_eq!(out[..], *b"\x09\0\0\x02\x23\x45\x67\x81\0\0\0\x17\x01\0\0\0\x0d");
    assert_eq!(out.len(), tag_bytes(2));
    assert_eq!(file_header(true, false), *b"FLV\x01\x04\0\0\0\x09\0\0\0\0");
    assert_eq!(file_header(false, true), *b"FLV\x01\x01\0\0\0\x09\0\0\0\0");
}

#[test]
fn a_body_that_no_tag_can_hold_is_refused() {
    let mut out = BytesMut::new();
    let body = vec![0; 0x100_0000];
    assert_eq!(write_tag(&mut out, TagKind::Audio, 0, &body), Err(TagTooLong(0x100_0000)));
    assert!(out.is_empty());
    write_tag(&mut out, TagKind::Audio, 0, &body[1..]).unwrap();
    assert_eq!(tags(&out).next().unwrap().body.len(), 0xFF_FFFF);
}

#[test]
fn a_block_gives_back_its_tags() {
    let mut block = BytesMut::new();
    let written = [(TagKind::Script, 0, &b"x"[..]), (TagKind::Audio, u32::MAX, b""), (TagKind::Video, 7, &[9; 300])];
    for (kind, timestamp_ms, body) in written {
        write_tag(&mut block, kind, timestamp_ms, body).unwrap();
    }
    let expected: Vec<_> =
        written.iter().map(|&(kind, timestamp_ms, body)| TagRef { kind, timestamp_ms, body }).collect();
    assert_eq!(tags(&block).collect::<Vec<_>>(), expected);
    // Cut anywhere: the tags that are whole, and no more.
    for cut in 0..block.len() {
        assert!(tags(&block[..cut]).eq(expected[..tags(&block[..cut]).count()].iter().copied()));
        assert!(tags(&block[..cut]).count() < 3);
    }
}

#[test]
fn ffmpegs_file_in_pieces_of_any_size() {
    let whole = read_all(AV_FLV).unwrap();
    assert_eq!(whole[0], Item::Header { audio: true, video: true });
    assert_eq!(whole.len(), 123);
    let mut random = Random::new(7);
    for most in [1, 2, 11, 400, 9000] {
        let (mut reader, mut items, mut rest) = (Reader::new(), Vec::new(), AV_FLV);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(1 + random.below(most)));
            reader.push(piece).unwrap();
            items.extend(drain(&mut reader).unwrap());
            rest = after;
        }
        assert_eq!(items, whole, "pieces of up to {most}");
    }
}

#[test]
fn what_is_read_and_written_again_is_the_same_file() {
    let mut out = BytesMut::new();
    for item in read_all(AV_FLV).unwrap() {
        match item {
            Item::Header { audio, video } => out.extend_from_slice(&file_header(audio, video)),
            Item::Tag { kind, timestamp_ms, body } => write_tag(&mut out, kind, timestamp_ms, &body).unwrap(),
        }
    }
    assert_eq!(out, AV_FLV);
}

#[test]
fn refused() {
    let check = |bytes: &[u8], expected: ReadError| assert_eq!(read_all(bytes), Err(expected), "{bytes:02x?}");
    check(b"HTTP/1.1 404", ReadError::Signature(*b"HTTP"));
    check(b"FLV\x02\x05\0\0\0\x09", ReadError::Signature(*b"FLV\x02"));
    check(b"FLV\x01\x05\0\0\0\x08", ReadError::HeaderLength(8));
    check(b"FLV\x01\x05\xff\xff\xff\xff", ReadError::HeaderLength(u32::MAX));
    let tag = |header: [u8; 4]| [&file_header(true, true)[..], &header, &[0; 7]].concat();
    check(&tag([0x28, 0, 0, 1]), ReadError::TagType(0x28));
    check(&tag([8, 0xFF, 0xFF, 0xFF]), ReadError::TagLong(0xFF_FFFF));
    assert_eq!(read_all(&[&b"FLV\x01\x01\0\0\0\x0c"[..], &[9; 7]].concat()).map(|items| items.len()), Ok(1));
}

#[test]
fn a_reader_that_nobody_polls_does_not_grow() {
    let mut reader = Reader::new();
    let piece = vec![0; RTMP_MESSAGE_BYTES_MAX];
    reader.push(&piece).unwrap();
    assert_eq!(reader.push(&piece), Err(ReadError::Unread(2 * RTMP_MESSAGE_BYTES_MAX)));
}

#[test]
fn damage_is_survived() {
    survives_damage(&[&AV_FLV[..900]], |bytes| {
        let _ = read_all(bytes);
        assert!(tags(bytes.get(13..).unwrap_or_default()).all(|tag| tag.body.len() <= bytes.len()));
    });
}

/// The keep-alive's length must pass the 18 bytes under which ffmpeg makes a stream of any script tag.
#[test]
fn the_keepalive_is_a_name_that_players_know() {
    assert_eq!(keepalive_body().len(), 24);
    assert_eq!(keepalive_body()[..3], [2, 0, 17]);
    assert_eq!(keepalive_body()[3..20], *b"|RtmpSampleAccess");
}

/// Longer than the 18 bytes under which ffmpeg makes a stream of any script tag, and AMF0 as it should be.
#[test]
fn news_are_a_cue_point_with_an_array() {
    use crate::amf0::{Value, decode};
    let check = |news: News, kind: &str, numbers: &[f64]| {
        let body = news_body(news);
        assert!(body.len() > 18, "{}", body.len());
        let mut expected = vec![Value::String(kind.to_owned())];
        expected.extend(numbers.iter().copied().map(Value::Number));
        let values = decode(&body).unwrap();
        assert_eq!(values, [Value::String("onCuePoint".to_owned()), Value::StrictArray(expected)]);
    };
    let unix_ms = 1_798_761_600_123;
    check(News::Clock { pts_ms: 2_067, unix_ms }, "clock", &[2_067.0, unix_ms as f64]);
    check(News::Waiting { unix_ms }, "waiting", &[unix_ms as f64]);
}

#[test]
fn a_marker_is_a_cue_point_with_its_names_and_values() {
    use crate::amf0::{Value, decode};
    let text = |text: &str| Value::String(text.to_owned());
    let long = "x".repeat(70_000);
    let body = marker_body(5, [("kind", "goal"), ("long", &long), ("", "é")].into_iter());
    let expected = vec![text("marker"), Value::Number(5.0), text("kind"), text("goal"), text(""), text("é")];
    assert_eq!(decode(&body).unwrap(), [text("onCuePoint"), Value::StrictArray(expected)]);
    assert!(marker_body(5, std::iter::empty()).len() > 18, "ffmpeg makes a stream of shorter ones");
}
