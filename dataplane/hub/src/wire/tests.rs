//! What goes to another node comes out there as it went in, at that node's clock; what is no message is refused with its reason. Beside [`super`].
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::codec::{Shape, Summary};
use millstream_proto::media::Track;

use super::*;
use crate::address::{Address, NodeNumber};
use crate::config::StreamConfig;
use crate::fixture::{
    CHUNK_BYTES, Client, FORMATS, Random, StreamFixture, config, key, log_of, metadata, picture, sound,
};
use crate::log::Log;
use crate::mirror::{Feed, apply};
use crate::package::block::Entry;
use crate::package::change::{Change, Guide, Header, Opened, Part, PartPromise, Session};
use crate::package::marker::{Marker, Said};
use crate::viewer::{Start, Viewer};

/// The two processes began 100 s apart.
const THERE: WireClock = WireClock { zero_unix_us: 1_795_531_265_000_000 };
const HERE: WireClock = WireClock { zero_unix_us: 1_795_531_165_000_000 };
const APART: Duration = Duration::from_secs(100);

fn id() -> Id {
    Id::new("camera").unwrap()
}

fn written(messages: &[StreamMessage]) -> BytesMut {
    let (mut writer, mut out) = (MessageWriter::new(THERE), BytesMut::new());
    for message in messages {
        assert!(writer.write(&id(), message, &mut out));
    }
    out
}

fn read_all(bytes: &[u8]) -> Result<Vec<StreamMessage>, WireError> {
    let (mut reader, mut bytes, mut messages) = (MessageReader::new(HERE), BytesMut::from(bytes), Vec::new());
    while let Some((of, message)) = reader.read(&mut bytes)? {
        assert_eq!(of, id());
        messages.push(message);
    }
    Ok(messages)
}

fn part(number: u64, bytes: &'static [u8]) -> Part {
    let (arrived, bytes) = (Time::from_millis(7_001), Bytes::from_static(bytes));
    Part { number, duration: 30_000, duration_us: 333_000, independent: number == 0, frames: 10, arrived, bytes }
}

/// One of each kind.
fn changes() -> Vec<Change> {
    let session = Session {
        name: "1a3185c95889a07c".to_owned(),
        target_duration_s: 2,
        window: 6,
        bytes_max: 1 << 25,
        zero_unix_ms: 1_795_531_265_000,
        guide: Some(Guide { session: "1a3185c95889a07b".to_owned(), picture: Some((1_280, 720)) }),
    };
    let header = |shape| Header {
        number: 3,
        bytes: Bytes::from_static(b"ftyp"),
        timescale: 90_000,
        summary: Summary { codec: "avc1.64001f".to_owned(), shape, unusual: Some("sampled 4:2:2") },
    };
    let opened = Opened {
        msn: u64::MAX,
        discontinuity: true,
        discontinuities: 16,
        run_start_ms: 5,
        run_zero_unix_ms: -1,
        header: 3,
        start: 1 << 40,
        start_us: 77,
        date_unix_ms: 1_795_531_265_123,
    };
    let pairs = [("kind".to_owned(), "goal".to_owned()), (String::new(), "é".to_owned())];
    let said = Said { number: u64::MAX, unix_ms: 1_795_531_265_123, pairs: pairs.into() };
    let marker = Marker { said, date_unix_ms: 1_795_531_265_000, run: 16, at_ms: 5 };
    vec![
        Change::Began(Arc::new(session)),
        Change::Header(Track::Video, Arc::new(header(Some(Shape::Video { width: 1920, height: 1080 })))),
        Change::Header(Track::Audio, Arc::new(header(Some(Shape::Audio { rate_hz: 48_000, channels: 2 })))),
        Change::Header(Track::Audio, Arc::new(header(None))),
        Change::Parts(Track::Audio, PartPromise { target_ms: 335, hold_back_ms: 1_005 }),
        Change::Opened(Track::Video, opened),
        Change::Part(Track::Video, part(0, b"moof")),
        Change::Closed(Track::Video),
        Change::Gap(Track::Audio, 2_000_000),
        Change::Skipped(Track::Video, 9),
        Change::Marked(Track::Audio, Arc::new(marker)),
        Change::Ended,
    ]
}

/// The same at the other node's clock.
fn moved(changes: Vec<Change>) -> Vec<Change> {
    let moved = |change| match change {
        Change::Part(track, part) => Change::Part(track, Part { arrived: part.arrived + APART, ..part }),
        other => other,
    };
    changes.into_iter().map(moved).collect()
}

/// A message of each kind, without blocks.
fn messages() -> Vec<StreamMessage> {
    let listed_until = Time::from_millis(60_000);
    vec![
        StreamMessage::Subscribe { subscription: 7 },
        StreamMessage::Unsubscribe { subscription: u64::MAX },
        StreamMessage::Feed { subscription: 7, message: FeedMessage::Joined(3) },
        StreamMessage::Feed { subscription: 7, message: FeedMessage::Blocks(Vec::new()) },
        StreamMessage::Feed { subscription: 7, message: FeedMessage::Open },
        StreamMessage::Feed { subscription: 7, message: FeedMessage::Ended(EndReason::PublisherGone) },
        StreamMessage::Feed { subscription: 7, message: FeedMessage::Ended(EndReason::Shutdown) },
        StreamMessage::Package { subscription: 7 },
        StreamMessage::Packaged { subscription: 7, changes: changes() },
        StreamMessage::Over { subscription: 7, changes: changes(), listed_until },
        StreamMessage::OfEnded { changes: Vec::new(), listed_until },
        StreamMessage::Unknown { subscription: 7 },
    ]
}

#[test]
fn each_kind_comes_out_as_it_went_in() {
    let expected = messages().into_iter().map(|message| match message {
        StreamMessage::Packaged { subscription, changes } => {
            StreamMessage::Packaged { subscription, changes: moved(changes) }
        }
        StreamMessage::Over { subscription, changes, listed_until } => {
            StreamMessage::Over { subscription, changes: moved(changes), listed_until: listed_until + APART }
        }
        StreamMessage::OfEnded { changes, listed_until } => {
            StreamMessage::OfEnded { changes, listed_until: listed_until + APART }
        }
        other => other,
    });
    let expected: Vec<_> = expected.map(|message| format!("{message:?}")).collect();
    let read = read_all(&written(&messages())).unwrap();
    assert_eq!(read.iter().map(|message| format!("{message:?}")).collect::<Vec<_>>(), expected);
}

/// A stream with headers that change and leading frames, in pieces of any length.
#[test]
fn viewers_at_another_node_get_the_same_bytes() {
    let mut fixture = StreamFixture::new(StreamConfig::default());
    let mut log = log_of(&fixture.config);
    let mut feed = Feed::new(Address { node: NodeNumber(2), shard: 1 }, 1, &fixture.log);
    let (mut writer, mut reader) = (MessageWriter::new(THERE), MessageReader::new(HERE));
    let (mut wire, mut arriving, mut random) = (BytesMut::new(), BytesMut::new(), Random(7));
    let mut headers_sent = 0;
    let mut pump = |fixture: &StreamFixture, log: &mut Log| {
        while let Some(message) = feed.next_message(&fixture.log) {
            feed.told(&message);
            let before = wire.len();
            assert!(writer.write(&id(), &StreamMessage::Feed { subscription: 1, message }, &mut wire));
            headers_sent += usize::from(wire[before..].windows(7).any(|bytes| bytes == b"session"));
        }
        while !wire.is_empty() {
            let some = wire.split_to(1 + random.below(wire.len().min(700)));
            arriving.extend_from_slice(&some);
            while let Some((_, message)) = reader.read(&mut arriving).unwrap() {
                let StreamMessage::Feed { message, .. } = message else { panic!("{message:?}") };
                apply(log, message);
            }
        }
    };
    fixture.read(&[metadata("a session"), config(Track::Video, 1), config(Track::Audio, 1)]);
    pump(&fixture, &mut log);
    fixture.play(&[key(0), sound(10), picture(40), key(80), sound(90)]);
    pump(&fixture, &mut log);
    fixture.play(&[picture(120), config(Track::Video, 2), key(160), sound(170), picture(200)]);
    pump(&fixture, &mut log);
    fixture.stream.leave(1, false, fixture.now, &mut fixture.log);
    fixture.wait_ms(10_000);
    pump(&fixture, &mut log);
    assert_eq!(log.ended(), fixture.log.ended());
    assert_eq!((log.first(), log.head()), (fixture.log.first(), fixture.log.head()));
    for seq in log.first()..log.head() {
        let (there, here) = (fixture.log.get(seq).unwrap(), log.get(seq).unwrap());
        assert_eq!(here.block.arrived, there.block.arrived + APART);
        for form in FORMATS.into_iter().filter_map(|format| format.form().ok()) {
            Entry::make(there, form, CHUNK_BYTES);
            Entry::make(here, form, CHUNK_BYTES);
            assert_eq!(here.made(form), there.made(form), "block {seq} as {form:?}");
        }
    }
    for format in FORMATS {
        let mut there = fixture.join(format, Start::Newest);
        let mut here = Client::new(Viewer::new(format, Start::Newest, &log, fixture.now), format);
        fixture.drain(&mut there);
        here.drain(&log, &fixture.config, fixture.now, usize::MAX);
        assert_eq!(here.read().1, there.read().1, "{format:?}");
    }
    assert!(headers_sent <= 3, "headers are sent where they change, not {headers_sent} times");
}

#[test]
fn what_is_no_message_is_refused_with_its_reason() {
    let read = |bytes: &[u8]| read_all(bytes).unwrap_err();
    let of = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
    assert_eq!(read(&of(&[9])), WireError::Version { theirs: 9 });
    assert!(read(&of(&[9])).to_string().contains("run the same release on both"));
    assert_eq!(read(&of(&[])), WireError::Truncated("the version"));
    assert_eq!(read(&[0xFF; 4]), WireError::TooLong { bytes: u32::MAX as usize });
    assert_eq!(read(&of(&[1, 3, b'.', b'.', b'/', 0, 1])), WireError::Invalid("the stream's id"));
    let camera = |rest: &[u8]| of(&[&[1, 6][..], b"camera", rest].concat());
    assert_eq!(read(&camera(&[])), WireError::Truncated("the kind"));
    assert_eq!(read(&camera(&[8, 1])), WireError::Invalid("the kind"));
    assert_eq!(read(&camera(&[0, 1, 0])), WireError::Trailing(1));
    assert_eq!(
        read(&camera(&[0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2])),
        WireError::Invalid("the subscription")
    );
    assert_eq!(read(&camera(&[2, 1, 1, 1, 0])), WireError::NoHeaders);
    // Four thousand million changes in no bytes.
    assert_eq!(read(&camera(&[4, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F])), WireError::Truncated("the kind of a change"));
    assert_eq!(read_all(&camera(&[0, 1])[..9]).unwrap().len(), 0, "it has not come whole");
}

/// Damage of any kind: a typed error, or a message that is another one; never a panic.
#[test]
fn damaged_messages_do_no_harm() {
    let mut fixture = StreamFixture::av();
    fixture.play(&[key(0), sound(10), picture(40)]);
    let blocks = (fixture.log.first()..fixture.log.head()).map(|seq| Arc::clone(&fixture.log.get(seq).unwrap().block));
    let blocks = StreamMessage::Feed { subscription: 1, message: FeedMessage::Blocks(blocks.collect()) };
    let bytes = written(&[vec![blocks], messages()].concat());
    let mut random = Random(11);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..20_000 {
        let mut damaged = bytes.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(damaged.len());
            match random.below(3) {
                0 => damaged[at] = random.below(256) as u8,
                1 => drop(damaged.remove(at)),
                _ => damaged.insert(at, random.below(256) as u8),
            }
        }
        let (mut reader, mut left) = (MessageReader::new(HERE), BytesMut::from(&damaged[..]));
        loop {
            match reader.read(&mut left) {
                Ok(Some((_, message))) => {
                    taken += 1;
                    if let StreamMessage::Feed { message: FeedMessage::Blocks(blocks), .. } = message {
                        for block in blocks {
                            let entry = Entry::new(block);
                            FORMATS.into_iter().filter_map(|format| format.form().ok()).for_each(|form| {
                                Entry::make(&entry, form, CHUNK_BYTES);
                            });
                        }
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    refused += 1;
                    break;
                }
            }
        }
    }
    assert!(refused > 5_000 && taken > 20_000, "{refused} refused, {taken} taken");
}
