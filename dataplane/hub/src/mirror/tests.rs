//! A mirror shows what the owner shows, also when its mailbox was full. Beside [`super`].
use millstream_proto::media::Track;

use super::*;
use crate::config::StreamConfig;
use crate::fixture::*;
use crate::package::block::Format;
use crate::viewer::{CloseReason, Fill, Start};

/// Moves up to `room` messages; gives what they were.
fn deliver(feed: &mut Feed, from: &Log, to: &mut Log, room: usize) -> String {
    let mut names = Vec::new();
    for _ in 0..room {
        let Some(message) = feed.next_message(from) else { break };
        feed.told(&message);
        names.push(match &message {
            FeedMessage::Joined(head) => format!("joined at {head}"),
            FeedMessage::Blocks(blocks) => format!("{} blocks", blocks.len()),
            FeedMessage::Open => "open".to_owned(),
            FeedMessage::Ended(_) => "ended".to_owned(),
        });
        apply(to, message);
    }
    names.join(", ")
}

#[test]
fn tells_in_order_and_only_once() {
    let mut fixture = StreamFixture::new(StreamConfig::default());
    let (mut feed, mut log) = (Feed::new(Address::here(1), 1, &fixture.log), log_of(&fixture.config));
    assert_eq!(deliver(&mut feed, &fixture.log, &mut log, 9), "joined at 0");
    fixture.read(&[config(Track::Video, 1)]);
    assert_eq!(deliver(&mut feed, &fixture.log, &mut log, 9), "1 blocks");
    fixture.read(&[config(Track::Audio, 1), key(0)]);
    assert_eq!(deliver(&mut feed, &fixture.log, &mut log, 9), "2 blocks, open");
    (0..100).for_each(|n| drop(fixture.read(&[picture(40 * n)])));
    assert_eq!(deliver(&mut feed, &fixture.log, &mut log, 9), "64 blocks, 36 blocks");
    fixture.stream.leave(1, false, fixture.now, &mut fixture.log);
    fixture.wait_ms(10_000);
    assert_eq!(fixture.log.ended(), Some(EndReason::PublisherGone));
    // The keepalive of the time in between comes before the end.
    assert_eq!(deliver(&mut feed, &fixture.log, &mut log, 9), "1 blocks, ended");
    assert_eq!((deliver(&mut feed, &fixture.log, &mut log, 9), feed.is_over(), feed.jumps()), (String::new(), true, 0));
}

#[test]
fn viewers_there_get_the_same_bytes() {
    let mut fixture = StreamFixture::av();
    fixture.play(&[key(0), sound(10), picture(40), key(80), sound(90)]);
    let (mut feed, mut log) = (Feed::new(Address::here(1), 1, &fixture.log), log_of(&fixture.config));
    deliver(&mut feed, &fixture.log, &mut log, 9);
    for format in FORMATS {
        let mut here = fixture.join(format, Start::Newest);
        let mut there = Client::new(crate::viewer::Viewer::new(format, Start::Newest, &log, fixture.now), format);
        fixture.drain(&mut here);
        there.drain(&log, &fixture.config, fixture.now, 17);
        assert!(!here.got.is_empty() && here.got == there.got, "{format:?}");
    }
}

#[test]
fn the_next_keyframe_is_the_owners_next() {
    let mut fixture = StreamFixture::av();
    fixture.play(&[key(0), picture(40)]);
    let (mut feed, mut log) = (Feed::new(Address::here(1), 1, &fixture.log), log_of(&fixture.config));
    deliver(&mut feed, &fixture.log, &mut log, 1);
    let viewer = crate::viewer::Viewer::new(Format::Rtmp, Start::Next, &log, fixture.now);
    let mut client = Client::new(viewer, Format::Rtmp);
    deliver(&mut feed, &fixture.log, &mut log, 9);
    assert_eq!(client.drain(&log, &fixture.config, fixture.now, 99), Fill::Wait);
    fixture.play(&[key(80), picture(120)]);
    deliver(&mut feed, &fixture.log, &mut log, 9);
    client.drain(&log, &fixture.config, fixture.now, 99);
    assert_eq!(names(&client.tags()), "V1 A1 K80 p120");
}

#[test]
fn a_full_mailbox_makes_it_jump() {
    let mut fixture = StreamFixture::new(StreamConfig { log_bytes_max: 45_000, ..StreamConfig::default() });
    let big = |n: i64| frame(Track::Video, n % 6 == 0, 40 * n, 3_000, n as u32);
    fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1), big(0)]);
    let (mut feed, mut log) = (Feed::new(Address::here(1), 1, &fixture.log), log_of(&fixture.config));
    deliver(&mut feed, &fixture.log, &mut log, 9);
    let viewer = crate::viewer::Viewer::new(Format::FlvChunked, Start::Newest, &log, fixture.now);
    let mut client = Client::new(viewer, Format::FlvChunked);
    client.fill(&log, &fixture.config, fixture.now);
    client.take(100);
    (1..4).for_each(|n| fixture.play(&[big(n)]));
    fixture.play(&[config(Track::Video, 2)]);
    (6..27).for_each(|n| fixture.play(&[big(n)]));
    // No room until here.
    assert_eq!(deliver(&mut feed, &fixture.log, &mut log, 9), "3 blocks");
    assert_eq!((feed.jumps(), log.first(), log.head()), (1, fixture.log.head() - 3, fixture.log.head()));
    assert!(fixture.log.first() < log.first(), "at the newest start, not at the oldest block");
    client.drain(&log, &fixture.config, fixture.now, 1_000);
    assert_eq!(names(&client.tags()), "V1 A1 K0 V2 A1 K960 p1000 p1040");
    assert_eq!(client.viewer.skips(), 1);
    log.end(EndReason::Shutdown);
    let fill = client.drain(&log, &fixture.config, fixture.now, 1_000);
    assert_eq!(fill, Fill::Close(CloseReason::Ended(EndReason::Shutdown)));
}
