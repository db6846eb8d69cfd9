//! Viewers: what they get, in which form, after which jump, and when they are closed. Beside [`super`]; the fixture is
//! [`crate::fixture`]'s.
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::http::websocket;
use millstream_proto::media::{MediaEvent, TagKind, Track};

use super::*;
use crate::fixture::*;

/// A fixture with two GOPs: keyframes at 0 and 120.
fn two_gops() -> StreamFixture {
    let mut fixture = StreamFixture::av();
    fixture.play(&[key(0), sound(10), picture(40), picture(80), key(120), sound(130), picture(160)]);
    fixture
}

/// A log that holds a GOP or two of the frames below.
fn small() -> StreamConfig {
    StreamConfig { log_bytes_max: 21_000, ..StreamConfig::default() }
}

fn big(keyframe: bool, ms: i64) -> millstream_proto::media::MediaEvent {
    frame(Track::Video, keyframe, ms, 3_000, ms as u32)
}

#[test]
fn starts_at_the_newest_keyframe_in_every_form() {
    let fixture = two_gops();
    for format in FORMATS {
        assert_eq!(fixture.joined(format), "V1 A1 K120 a130 p160", "{format:?}");
    }
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.drain(&mut client);
    assert_eq!(client.read().0, (true, true));
    assert!(client.tags()[..2].iter().all(|tag| tag.ms == 120), "stamped like the block they introduce");
}

#[test]
fn a_rendition_that_catches_up_is_begun_where_its_source_is() {
    let mut fixture = StreamFixture::av();
    fixture.stream.catch_up(Some(240));
    fixture.play(&[key(0), picture(40), key(120), picture(160)]);
    let mut early = fixture.join(Format::Rtmp, Start::Newest);
    assert_eq!(fixture.drain(&mut early), Fill::Wait);
    assert!(early.got.is_empty() && fixture.log.starts().count() == 2, "who packages has them");
    fixture.play(&[key(240), picture(280)]);
    fixture.drain(&mut early);
    assert_eq!(
        (names(&early.tags()).as_str(), fixture.joined(Format::FlvPlain).as_str()),
        ("V1 A1 K240 p280", "V1 A1 K240 p280")
    );
    // And from there on as ever, also where stamps begin anew.
    fixture.play(&[key(360), picture(400)]);
    assert_eq!(fixture.joined(Format::FlvPlain), "V1 A1 K360 p400");
}

#[test]
fn how_far_a_viewer_is_behind() {
    let mut fixture = two_gops();
    let mut client = fixture.join(Format::Rtmp, Start::Newest);
    assert_eq!(client.viewer.behind_ms(&fixture.log), 0, "it has not begun");
    fixture.drain(&mut client);
    assert_eq!(client.viewer.behind_ms(&fixture.log), 0, "it has all there is");
    fixture.play(&[picture(200), picture(240), picture(400)]);
    assert_eq!(client.viewer.behind_ms(&fixture.log), 200);
    client.viewer.pause(true, fixture.now);
    assert_eq!(client.viewer.behind_ms(&fixture.log), 0, "who has paused is not slow");
}

#[test]
fn the_next_keyframe_may_be_asked_for() {
    let mut fixture = two_gops();
    let mut client = fixture.join(Format::Rtmp, Start::Next);
    fixture.play(&[picture(200)]);
    assert_eq!(fixture.drain(&mut client), Fill::Wait);
    assert!(client.got.is_empty());
    fixture.play(&[key(240), picture(280)]);
    fixture.drain(&mut client);
    assert_eq!(names(&client.tags()), "V1 A1 K240 p280");
}

#[test]
fn a_lead_goes_first() {
    let fixture = two_gops();
    let mut client = fixture.join(Format::FlvPlain, Start::Next);
    client.viewer.lead(Bytes::from_static(b"HTTP/1.0 200 OK\r\n\r\n"));
    client.viewer.lead(Bytes::new());
    assert_eq!(fixture.drain(&mut client), Fill::Wait);
    assert_eq!(client.got, b"HTTP/1.0 200 OK\r\n\r\n");
}

#[test]
fn short_writes_of_every_size_give_the_same_bytes() {
    let fixture = two_gops();
    for format in FORMATS {
        let mut whole = fixture.join(format, Start::Newest);
        whole.viewer.lead(control());
        fixture.drain(&mut whole);
        for bytes_max in 1..whole.got.len() {
            let mut client = fixture.join(format, Start::Newest);
            client.viewer.lead(control());
            client.drain(&fixture.log, &fixture.config, fixture.now, bytes_max);
            assert!(client.got == whole.got, "{format:?}, {bytes_max} at a time");
        }
    }
}

#[test]
fn a_send_that_takes_nothing_changes_nothing() {
    let fixture = two_gops();
    let (mut client, mut whole) =
        (fixture.join(Format::FlvPlain, Start::Newest), fixture.join(Format::FlvPlain, Start::Newest));
    fixture.drain(&mut whole);
    while client.fill(&fixture.log, &fixture.config, fixture.now) == Fill::Send {
        client.take(0);
        client.fill(&fixture.log, &fixture.config, fixture.now);
        client.take(7);
    }
    assert_eq!(client.got, whole.got);
}

#[test]
fn a_frame_longer_than_a_send_goes_in_several() {
    let mut fixture = StreamFixture::av();
    fixture.read(&[frame(Track::Video, true, 0, 3 * SEND_BYTES_MAX, 0)]);
    fixture.play(&[picture(40)]);
    for format in FORMATS {
        assert_eq!(fixture.joined(format), "V1 A1 K0 p40");
    }
}

/// The rule that decides between a damaged stream and a whole one.
#[test]
fn a_block_that_is_partly_sent_is_finished_before_the_jump() {
    for format in FORMATS {
        for cut in [1, 50, 3_000, 3_050] {
            let mut fixture = StreamFixture::new(small());
            fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1), big(true, 0)]);
            let mut client = fixture.join(format, Start::Newest);
            client.fill(&fixture.log, &fixture.config, fixture.now);
            client.take(usize::MAX);
            fixture.play(&[big(false, 40)]);
            assert_eq!(client.fill(&fixture.log, &fixture.config, fixture.now), Fill::Send);
            client.take(cut);
            // Meanwhile the log moves on, with another configuration.
            fixture.play(&[big(false, 80), config(Track::Video, 2), big(true, 1000), big(false, 1040)]);
            for n in 0..8 {
                fixture.play(&[big(n == 6, 1080 + 40 * n)]);
            }
            fixture.drain(&mut client);
            let got = names(&client.tags());
            assert!(got.starts_with("V1 A1 K0 p40 V2 A1 K"), "{format:?} {cut}: {got}");
            assert!(!got.contains("p80") && got.ends_with(&format!("p{}", fixture.stream.timeline().newest_ms())));
            assert_eq!(client.viewer.skips(), 1);
        }
    }
}

#[test]
fn a_jump_without_a_change_needs_no_configuration() {
    let mut fixture = StreamFixture::new(small());
    fixture.read(&[config(Track::Video, 1), big(true, 0)]);
    fixture.wait_ms(500);
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.drain(&mut client);
    for n in 1..12 {
        fixture.play(&[big(n % 6 == 0, 40 * n)]);
    }
    fixture.drain(&mut client);
    let got = names(&client.tags());
    assert_eq!(got.matches("V1").count(), 1, "{got}");
    assert_eq!((got.matches('K').count(), client.viewer.skips()), (2, 1), "{got}");
}

/// Sends a byte of each GOP and then falls off; gives the times of the jumps.
fn lag(gap_ms: u64) -> (StreamFixture, Client, Fill) {
    let mut fixture = StreamFixture::new(small());
    fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1), big(true, 0)]);
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    let mut fill = fixture.drain(&mut client);
    for round in 1..=4_i64 {
        fixture.wait_ms(gap_ms);
        for n in 0..12 {
            fixture.read(&[big(n % 6 == 0, 400 * round + n)]);
        }
        fill = client.fill(&fixture.log, &fixture.config, fixture.now);
        if fill != Fill::Send {
            break;
        }
        client.take(usize::MAX);
        fixture.drain(&mut client);
    }
    (fixture, client, fill)
}

#[test]
fn falling_off_too_often_closes() {
    let (_, client, fill) = lag(1_000);
    assert_eq!((fill, client.viewer.skips()), (LAGGING, 3));
    client.tags();
    let (_, client, fill) = lag(16_000);
    assert_eq!((fill, client.viewer.skips()), (Fill::Send, 4));
}

#[test]
fn one_that_is_closed_for_lagging_gets_the_rest_of_its_block() {
    for format in FORMATS {
        let mut fixture = StreamFixture::new(small());
        fixture.config.lag_skips = 1;
        fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1), big(true, 0)]);
        let mut client = fixture.join(format, Start::Newest);
        client.fill(&fixture.log, &fixture.config, fixture.now);
        client.take(700);
        (1..12).for_each(|n| fixture.play(&[big(n % 6 == 0, 40 * n)]));
        if format == Format::Rtmp {
            (0..50).for_each(|_| client.viewer.lead(control()));
        }
        assert_eq!(client.drain(&fixture.log, &fixture.config, fixture.now, 90), LAGGING);
        assert_eq!((names(&client.tags()).as_str(), client.viewer.skips()), ("V1 A1 K0", 1));
    }
}

#[test]
fn the_stall_clock_starts_with_the_send() {
    let mut fixture = two_gops();
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    assert_eq!(fixture.drain(&mut client), Fill::Wait);
    // Nothing to take for long: that is no fault of the viewer's.
    fixture.wait_ms(60_000);
    assert_eq!(client.viewer.overdue(&fixture.config, fixture.now), None);
    assert_eq!(client.fill(&fixture.log, &fixture.config, fixture.now), Fill::Send);
    fixture.wait_ms(9_900);
    assert_eq!(client.viewer.overdue(&fixture.config, fixture.now), None);
    fixture.wait_ms(200);
    assert_eq!(client.viewer.overdue(&fixture.config, fixture.now), Some(CloseReason::Stalled));
    client.take(1);
    assert_eq!(client.viewer.overdue(&fixture.config, fixture.now), None);
}

#[test]
fn a_log_that_has_ended_is_not_held_for_good() {
    let mut fixture = two_gops();
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.log.end(EndReason::PublisherGone);
    let most = fixture.config.log_time_max + fixture.config.stall_close;
    let mut closed = None;
    // A byte now and then keeps the stall clock quiet.
    for _ in 0..60 {
        if client.fill(&fixture.log, &fixture.config, fixture.now) == Fill::Send {
            client.take(1);
        }
        fixture.wait_ms(1_000);
        closed = closed.or(client.viewer.overdue(&fixture.config, fixture.now).map(|why| (why, fixture.now)));
    }
    let (why, at) = closed.expect("closed in the end");
    assert_eq!(why, CloseReason::Stalled);
    assert!(at.since(millstream_proto::time::Time::ZERO) >= most, "it had its time");
}

#[test]
fn a_joiner_without_a_keyframe_is_closed_with_a_reason() {
    let mut fixture = StreamFixture::av();
    fixture.play(&[sound(0), sound(20)]);
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    assert_eq!(fixture.drain(&mut client), Fill::Wait);
    fixture.wait_ms(10_000);
    assert_eq!(client.viewer.overdue(&fixture.config, fixture.now), None);
    fixture.wait_ms(1);
    assert_eq!(client.viewer.overdue(&fixture.config, fixture.now), Some(CloseReason::NoStart));
    client.viewer.pause(true, fixture.now);
    assert_eq!(client.viewer.overdue(&fixture.config, fixture.now), None);
}

#[test]
fn a_viewer_of_a_stream_that_ends_gets_all_of_it() {
    let mut fixture = two_gops();
    let (mut client, mut late) =
        (fixture.join(Format::FlvChunked, Start::Newest), fixture.join(Format::Rtmp, Start::Next));
    fixture.log.end(EndReason::Shutdown);
    for client in [&mut client, &mut late] {
        let fill = client.drain(&fixture.log, &fixture.config, fixture.now, 11);
        assert_eq!(fill, Fill::Close(CloseReason::Ended(EndReason::Shutdown)));
    }
    assert_eq!(names(&client.tags()), "V1 A1 K120 a130 p160");
    assert!(late.got.is_empty());
    let mut paused = fixture.join(Format::Rtmp, Start::Newest);
    paused.viewer.pause(true, fixture.now);
    assert_eq!(fixture.drain(&mut paused), Fill::Close(CloseReason::Ended(EndReason::Shutdown)));
}

#[test]
fn a_pause_goes_on_at_a_newer_keyframe_or_where_it_was() {
    let mut fixture = two_gops();
    let mut client = fixture.join(Format::Rtmp, Start::Newest);
    fixture.drain(&mut client);
    client.viewer.pause(true, fixture.now);
    fixture.play(&[picture(200)]);
    assert_eq!(fixture.drain(&mut client), Fill::Wait);
    client.viewer.pause(false, fixture.now);
    fixture.drain(&mut client);
    // No keyframe came in between: nothing is repeated, nothing is missed.
    assert_eq!(names(&client.tags()), "V1 A1 K120 a130 p160 p200");
    client.viewer.pause(true, fixture.now);
    fixture.play(&[picture(240), key(280), picture(320)]);
    client.viewer.pause(false, fixture.now);
    fixture.drain(&mut client);
    assert_eq!(names(&client.tags()), "V1 A1 K120 a130 p160 p200 K280 p320");
    assert_eq!(client.viewer.skips(), 0);
}

#[test]
fn case_21_a_paused_viewer_costs_nothing_and_goes_on_at_a_keyframe() {
    for format in FORMATS {
        let mut fixture = StreamFixture::new(small());
        fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1), big(true, 0)]);
        let mut client = fixture.join(format, Start::Newest);
        client.fill(&fixture.log, &fixture.config, fixture.now);
        client.take(100);
        client.viewer.pause(true, fixture.now);
        for n in 1..600 {
            fixture.play(&[big(n % 6 == 0, 40 * n)]);
            // What the viewer's socket takes while it is paused is the rest of its block; nothing waits for it but the log.
            client.drain(&fixture.log, &fixture.config, fixture.now, 1_000);
            assert!(fixture.log.bytes() <= fixture.config.log_bytes_max && client.viewer.lead.is_empty());
        }
        assert_eq!(names(&client.tags()), "V1 A1 K0");
        client.viewer.pause(false, fixture.now);
        fixture.drain(&mut client);
        let got = names(&client.tags());
        assert!(got.starts_with("V1 A1 K0 K") && client.viewer.skips() == 0, "{got}");
    }
}

#[test]
fn control_messages_stand_between_messages() {
    let fixture = two_gops();
    for cut in 1..600 {
        let mut client = fixture.join(Format::Rtmp, Start::Newest);
        client.fill(&fixture.log, &fixture.config, fixture.now);
        client.take(cut);
        client.viewer.lead(control());
        client.drain(&fixture.log, &fixture.config, fixture.now, 13);
        assert_eq!(names(&client.tags()), "V1 A1 K120 a130 p160", "cut at {cut}");
    }
}

#[test]
fn case_35_pongs_and_the_goodbye_stand_between_websocket_messages() {
    let fixture = two_gops();
    let (pong, goodbye) = (websocket::pong(b"x"), websocket::close(1000, "bye"));
    let blocks = fixture.joined(Format::FlvPlain);
    for cut in 1..1200 {
        let mut client = fixture.join(Format::FlvWebSocket, Start::Newest);
        client.fill(&fixture.log, &fixture.config, fixture.now);
        client.take(cut);
        client.viewer.lead(pong.clone());
        assert_eq!(client.drain(&fixture.log, &fixture.config, fixture.now, 13), Fill::Wait);
        assert_eq!(names(&client.tags()), blocks, "cut at {cut}");

        let mut client = fixture.join(Format::FlvWebSocket, Start::Newest);
        client.fill(&fixture.log, &fixture.config, fixture.now);
        client.take(cut);
        client.viewer.finish(goodbye.clone(), CloseReason::PeerClosed);
        client.viewer.finish(pong.clone(), CloseReason::ProtocolError);
        let done = client.drain(&fixture.log, &fixture.config, fixture.now, 13);
        assert_eq!(done, Fill::Close(CloseReason::PeerClosed), "the first goodbye counts");
        assert!(client.got.ends_with(&goodbye), "cut at {cut}");
        client.got.truncate(client.got.len() - goodbye.len());
        assert!(blocks.starts_with(&names(&client.tags())), "whole messages, cut at {cut}");
    }
}

#[test]
fn case_35_a_block_is_one_message_and_the_same_bytes_for_all() {
    let fixture = two_gops();
    let (mut one, mut two) =
        (fixture.join(Format::FlvWebSocket, Start::Newest), fixture.join(Format::FlvWebSocket, Start::Newest));
    one.fill(&fixture.log, &fixture.config, fixture.now);
    two.fill(&fixture.log, &fixture.config, fixture.now);
    let pieces = |client: &Client| -> Vec<(*const u8, usize)> {
        let blocks = client.load.iter().filter(|piece| piece.arrived().is_some());
        blocks.map(|piece| (piece.as_ptr(), piece.len())).collect()
    };
    assert_eq!(pieces(&one), pieces(&two), "made once");
    assert_eq!(
        pieces(&one).len() as u64,
        fixture.log.head() - fixture.log.newest_start().unwrap(),
        "a message for each block"
    );
    for piece in &one.load {
        assert_eq!(piece[0], 0x82, "each piece is a message of its own");
    }
}

#[test]
fn a_peer_that_asks_for_tiny_answers_and_does_not_read_is_closed() {
    let fixture = two_gops();
    let mut client = fixture.join(Format::FlvWebSocket, Start::Newest);
    for _ in 0..100_000 {
        client.viewer.lead(websocket::pong(b""));
    }
    assert!(client.viewer.lead.len() <= LEAD_PIECES_MAX);
    assert_eq!(fixture.drain(&mut client), Fill::Close(CloseReason::ControlFlood));
}

#[test]
fn a_peer_that_asks_and_does_not_read_is_closed() {
    let fixture = two_gops();
    let mut client = fixture.join(Format::Rtmp, Start::Newest);
    assert_eq!(client.fill(&fixture.log, &fixture.config, fixture.now), Fill::Send);
    for _ in 0..1_000_000 {
        client.viewer.lead(control());
    }
    assert!(client.viewer.lead.len() * control().len() <= LEAD_BYTES_MAX);
    assert_eq!(client.viewer.overdue(&fixture.config, fixture.now), Some(CloseReason::ControlFlood));
    client.take(usize::MAX);
    assert_eq!(fixture.drain(&mut client), Fill::Close(CloseReason::ControlFlood));
}

#[test]
fn what_was_sent_may_be_followed_by_as_much_again() {
    let fixture = two_gops();
    let mut client = fixture.join(Format::Rtmp, Start::Newest);
    for _ in 0..3 * LEAD_BYTES_MAX / control().len() {
        client.viewer.lead(control());
        client.fill(&fixture.log, &fixture.config, fixture.now);
        client.take(usize::MAX);
    }
    assert_eq!((fixture.drain(&mut client), client.viewer.lead_bytes), (Fill::Wait, 0));
    assert_eq!(client.viewer.overdue(&fixture.config, fixture.now + Duration::from_mins(1)), None);
}

/// A frame that is shown this much after its decode time.
fn shown_after(mut event: MediaEvent, ms: i32) -> MediaEvent {
    if let MediaEvent::Frame(frame) = &mut event {
        frame.cts_ms = ms;
    }
    event
}

#[test]
fn case_50_who_joins_an_open_gop_gets_no_picture_that_it_cannot_decode() {
    let mut fixture = StreamFixture::av();
    let gop = |from_ms| {
        [
            shown_after(key(from_ms), 120),
            sound(from_ms + 10),
            // Leading frames, each in a block of its own, the second with a audio.
            shown_after(picture(from_ms + 40), 0),
            shown_after(picture(from_ms + 80), 0),
            shown_after(picture(from_ms + 120), 120),
        ]
    };
    for format in FORMATS {
        let mut watching = fixture.join(format, Start::Newest);
        let first = gop(fixture.stream.timeline().newest_ms() + 40);
        fixture.play(&first);
        fixture.drain(&mut watching);
        let from_ms = fixture.stream.timeline().newest_ms() + 40;
        let second = gop(from_ms);
        fixture.play(&second[..2]);
        let mut joined = fixture.join(format, Start::Newest);
        fixture.drain(&mut joined);
        fixture.play(&second[2..3]);
        // Nothing is there for it, and nothing is said.
        assert_eq!(fixture.drain(&mut joined), Fill::Wait);
        fixture.wait_ms(40);
        fixture.read(&[second[3].clone(), sound(from_ms + 50)]);
        fixture.wait_ms(40);
        fixture.play(&second[4..]);
        let third = gop(fixture.stream.timeline().newest_ms() + 40);
        fixture.play(&third);
        let mut late = fixture.join(format, Start::Newest);
        for client in [&mut watching, &mut joined, &mut late] {
            fixture.drain(client);
        }
        let pictures = |client: &Client| {
            let tags = client.tags();
            let kinds = tags.iter().filter(|tag| tag.kind == TagKind::Video).map(|tag| tag.name()[..1].to_owned());
            kinds.collect::<String>()
        };
        assert!(pictures(&watching).ends_with("KpppKppp"), "who watches gets all: {}", pictures(&watching));
        assert_eq!(pictures(&joined), "VKpKppp", "{format:?}");
        assert_eq!(pictures(&late), "VKp", "{format:?}");
        let sounds = joined.tags().iter().filter(|tag| tag.name().starts_with('a')).count();
        assert_eq!(sounds, 3, "sound beside leading pictures is kept");
    }
}

#[test]
fn case_50_a_stream_that_ends_with_leading_pictures_ends_for_who_joined_there() {
    let mut fixture = StreamFixture::av();
    fixture.play(&[shown_after(key(0), 120), sound(5), shown_after(picture(40), 0)]);
    let mut joined = fixture.join(Format::FlvChunked, Start::Newest);
    fixture.drain(&mut joined);
    fixture.log.end(EndReason::Shutdown);
    assert_eq!(fixture.drain(&mut joined), Fill::Close(CloseReason::Ended(EndReason::Shutdown)));
}
