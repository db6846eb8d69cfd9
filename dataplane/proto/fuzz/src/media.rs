//! FLV, messages, records.
use bytes::{Bytes, BytesMut};
use millstream_proto::cmaf::init::init;
use millstream_proto::codec;
use millstream_proto::flv::{self, Item, Reader};
use millstream_proto::limits::{MP4_FRAGMENT_HEADER_BYTES_MAX, RTMP_MESSAGE_BYTES_MAX};
use millstream_proto::media::{Clip, Codec, CodecConfig, Frame, Intake, MediaEvent, Skipped, TagKind, Track, Unpacker};
use millstream_proto::mp4::build::{Cut, FileBuilder, Settings};
use millstream_proto::mp4::fragment::{Read, read};
use millstream_proto::mp4::header::TrackHeader;

/// FLV in pieces; what is read must be the same when it is written and read again.
pub fn flv_read(data: &[u8]) {
    assert!(flv::tags(data).map(|tag| flv::tag_bytes(tag.body.len())).sum::<usize>() <= data.len());
    let mut reader = Reader::new();
    let (mut block, mut read) = (BytesMut::new(), Vec::new());
    for piece in crate::pieces(data) {
        if reader.push(piece).is_err() {
            return;
        }
        while let Ok(Some(item)) = reader.poll() {
            if let Item::Tag { kind, timestamp_ms, body } = item {
                flv::write_tag(&mut block, kind, timestamp_ms, &body).expect("what was a tag fits into one");
                read.push((kind, timestamp_ms, body));
            }
        }
    }
    let again = flv::tags(&block).map(|tag| (tag.kind, tag.timestamp_ms, Bytes::copy_from_slice(tag.body)));
    assert!(again.eq(read.iter().cloned()), "written and read again");
    let bytes: usize = read.iter().map(|(_, _, body)| flv::tag_bytes(body.len())).sum();
    assert_eq!(bytes, block.len());
}

/// A clip that an operator gives: what is taken can be played in a loop.
pub fn clip(data: &[u8]) {
    let Ok(clip) = Clip::read(data) else { return };
    assert!(clip.frames.first().is_some_and(|first| first.dts_ms == 0));
    assert!(clip.frames.iter().all(|frame| frame.dts_ms < clip.round_ms));
}

/// Messages of one publisher, each as kind, stamp (4 bytes), length (2 bytes), body: as they are, and repaired.
pub fn unpack(mut data: &[u8]) {
    let (mut unpacker, mut intake) = (Unpacker::new(), Intake::new());
    while let Some(([kind, t0, t1, t2, t3, l0, l1], rest)) = data.split_first_chunk() {
        let body_bytes = usize::from(u16::from_be_bytes([*l0, *l1])).min(rest.len());
        let (body, rest) = rest.split_at(body_bytes);
        data = rest;
        let kind = [TagKind::Audio, TagKind::Video, TagKind::Script][usize::from(kind % 3)];
        let stamp_ms = u32::from_be_bytes([*t0, *t1, *t2, *t3]);
        let body = Bytes::copy_from_slice(body);
        match unpacker.push(kind, stamp_ms, body.clone()) {
            Ok(event) => {
                if let MediaEvent::Frame(frame) = &event {
                    assert_eq!(frame.dts_ms as u32, stamp_ms, "equal modulo 2^32");
                }
                check(&event);
            }
            Err(skipped) => assert!(!skipped.label().is_empty()),
        }
        repair(&mut intake, kind, stamp_ms, body);
    }
}

fn check(event: &MediaEvent) {
    match event {
        MediaEvent::Frame(frame) => {
            assert!(frame.data_at < frame.body.len(), "a frame has data");
            assert!((-(1 << 23)..1 << 23).contains(&frame.cts_ms), "24 bits");
        }
        MediaEvent::Config(config) => {
            assert!(config.record_at <= config.body.len());
            assert!(config.summary().is_some(), "what was accepted can be described");
        }
        MediaEvent::Metadata(values) => assert!(values.starts_with(b"\x02\0\x0aonMetaData")),
        other => panic!("an event that unpacking does not know: {other:?}"),
    }
}

/// What comes out is what an unpacker that does not repair takes as it is, and no larger than a message.
fn repair(intake: &mut Intake, kind: TagKind, stamp_ms: u32, body: Bytes) {
    let body_bytes = body.len();
    let first = intake.push(kind, stamp_ms, body).ok();
    let events: Vec<_> = first.into_iter().chain(std::iter::from_fn(|| intake.poll())).collect();
    assert!(events.len() <= 8 + body_bytes / 7, "no more frames than headers fit into the message");
    for event in events {
        match event {
            MediaEvent::Repaired(_, repair) => assert!(!repair.advice().is_empty()),
            MediaEvent::LeftOut(left_out) => assert!(!left_out.codec().is_empty() && !left_out.reason().is_empty()),
            MediaEvent::Unconfigured(..) => {}
            event => {
                check(&event);
                let (MediaEvent::Config(CodecConfig { body, .. }) | MediaEvent::Frame(Frame { body, .. })) = &event
                else {
                    continue;
                };
                assert!(body.len() <= RTMP_MESSAGE_BYTES_MAX, "a message may be as long");
                let kind = if is_video(&event) { TagKind::Video } else { TagKind::Audio };
                let again = Unpacker::new().push(kind, 0, body.clone());
                assert!(matches!(again, Ok(_) | Err(Skipped::NoConfig(..))), "{again:?}");
            }
        }
    }
}

fn is_video(event: &MediaEvent) -> bool {
    let track = match event {
        MediaEvent::Config(config) => config.track,
        MediaEvent::Frame(frame) => frame.track,
        _ => return false,
    };
    track == Track::Video
}

/// A record of the codec that the first byte chooses.
pub fn codec(data: &[u8]) {
    const CODECS: [Codec; 8] =
        [Codec::Avc, Codec::Hevc, Codec::Av1, Codec::Vp9, Codec::Aac, Codec::Opus, Codec::Flac, Codec::Mp3];
    let Some((first, record)) = data.split_first() else { return };
    let kind = CODECS[usize::from(first % 8)];
    assert_eq!(codec::check(kind, record).is_ok(), codec::summary(kind, record).is_some());
}

/// A configuration record as the header of a CMAF file; the first byte chooses the codec. And a frame's length, by the rest.
pub fn cmaf(data: &[u8]) {
    let Some((first, record)) = data.split_first() else { return };
    let codecs = [Codec::Avc, Codec::Hevc, Codec::Av1, Codec::Aac, Codec::Opus, Codec::Flac, Codec::Mp3];
    let codec = codecs[usize::from(*first) % codecs.len()];
    let track = if matches!(codec, Codec::Avc | Codec::Hevc | Codec::Av1) { Track::Video } else { Track::Audio };
    let config = CodecConfig { track, codec, body: Bytes::copy_from_slice(record), record_at: 0 };
    match init(&config) {
        Ok(made) => {
            assert!(codec::check(codec, record).is_ok() && made.timescale > 0, "what is written was understood");
            assert_eq!(&made.bytes[4..8], b"ftyp");
            assert!(made.bytes.len() <= record.len() + 4096);
            assert!(made.frame.of(record).is_none_or(|units| (1..=5760).contains(&units)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A track: its header, and fragments one behind the other. The first byte chooses a cut, the next two say how long the header is.
pub fn mp4(data: &[u8]) {
    let Some(([choice, a, b], rest)) = data.split_first_chunk() else { return };
    let header_bytes = usize::from(u16::from_be_bytes([*a, *b])).min(rest.len());
    let (header, object) = rest.split_at(header_bytes);
    let Ok(header) = TrackHeader::read(header) else { return };
    let moment_us = |bit: u8, ms: i64| (choice & bit != 0).then_some(ms * 1_000);
    let cut = Cut { from_us: moment_us(1, 50), to_us: moment_us(2, 200) };
    let mut builder = FileBuilder::new(Settings { zero_unix_ms: moment_us(4, 1_000), cut });
    let track = builder.add_track(&header).expect("the first one");
    let (mut at, mut payload_most) = (0, 0);
    while let Ok(Read::Fragment { fragment, bytes }) = read(object.get(at..).unwrap_or_default(), &header) {
        payload_most += fragment.samples.iter().map(|sample| u64::from(sample.size)).sum::<u64>();
        let _ = builder.push(track, &fragment, 0, at as u64);
        let Some(next) = usize::try_from(bytes).ok().and_then(|bytes| at.checked_add(bytes)) else { break };
        at = next;
    }
    if let Ok(Read::More(needed)) = read(object.get(at..).unwrap_or_default(), &header) {
        assert!(needed <= MP4_FRAGMENT_HEADER_BYTES_MAX && needed > object.len().saturating_sub(at));
    }
    let (length_us, payload_bytes) = (builder.length_us(), builder.payload_bytes());
    let Ok(file) = builder.finish() else { return };
    assert_eq!((file.length_us(), file.payload_bytes()), (length_us, payload_bytes));
    assert!(payload_bytes <= payload_most);
    assert_eq!(file.copies().map(|copy| copy.bytes).sum::<u64>(), payload_bytes);
    assert_eq!(&file.head()[4..8], b"ftyp");
}
