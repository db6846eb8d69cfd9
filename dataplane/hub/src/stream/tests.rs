//! The publisher's place, what becomes of its frames, and when they go out. Beside [`super`]; the fixture is [`crate::fixture`]'s.
use millstream_proto::media::Codec;

use super::gather::BLOCK_BYTES_MAX;
use super::*;
use crate::config::Takeover;
use crate::fixture::*;
use crate::package::block::Format;
use crate::viewer::{CloseReason, Fill, Start};

fn end(fixture: &mut StreamFixture, session: u64) {
    fixture.stream.leave(session, false, fixture.now, &mut fixture.log);
}

/// Times, in milliseconds from the start, at which these frames (arriving at their stamps) went out; the timer is honoured.
fn check_flushes(policy: FlushPolicy, frames: &[MediaEvent], expected: &[u64]) {
    let mut fixture = StreamFixture::av();
    fixture.stream.set_flush(policy);
    let start = fixture.now;
    let mut at = Vec::new();
    for event in frames {
        let MediaEvent::Frame(frame) = event else { continue };
        at.extend(fixture.wait_until(start + Duration::from_millis(frame.dts_ms.unsigned_abs())));
        fixture.stream.push(event.clone(), fixture.now, &mut fixture.log);
        if fixture.stream.after_read(fixture.now, &mut fixture.log) {
            at.push(fixture.now);
        }
    }
    at.extend(fixture.wait_ms(200));
    let at: Vec<_> = at.iter().map(|at| at.since(start).as_millis() as u64).collect();
    assert_eq!(at, expected, "{policy:?}");
}

#[test]
fn frames_go_out_as_the_policy_says() {
    let frames = [key(0), sound(10), picture(33), sound(34), picture(45), picture(67), sound(75), sound(95)];
    check_flushes(FlushPolicy::Low, &frames, &[0, 10, 33, 34, 45, 67, 75, 95]);
    // The picture of 45 comes too soon after the flush of 33 and waits until 25 ms are over, and so does that of 67 with the audio of 75; the
    // last audio has no picture to go with.
    check_flushes(FlushPolicy::Balanced, &frames, &[0, 33, 58, 83, 131]);
    check_flushes(FlushPolicy::Dense, &frames, &[0, 100]);
}

#[test]
fn a_read_of_several_frames_is_one_block() {
    let mut fixture = StreamFixture::av();
    let head = fixture.log.head();
    fixture.read(&[key(0), sound(3), picture(33), sound(26)]);
    assert_eq!(fixture.log.head(), head + 1);
    // A keyframe begins a block of its own, so that a viewer can start there.
    fixture.read(&[picture(66), key(100), sound(101)]);
    assert_eq!((fixture.log.head(), fixture.log.newest_start()), (head + 3, Some(head + 2)));
}

#[test]
fn a_long_read_is_several_blocks() {
    let mut fixture = StreamFixture::av();
    let head = fixture.log.head();
    let frames: Vec<_> = (0..20).map(|n| frame(Track::Video, n == 0, n * 33, 10_000, n as u32)).collect();
    fixture.read(&frames);
    assert_eq!(fixture.log.head(), head + 3);
    assert!(
        (head..fixture.log.head()).all(|seq| fixture.log.get(seq).unwrap().block.bytes() < BLOCK_BYTES_MAX + 11_000)
    );
}

#[test]
fn a_second_publisher_is_refused_until_the_first_is_silent() {
    let mut fixture = StreamFixture::av();
    fixture.play(&[key(0)]);
    fixture.wait_ms(990);
    let taken = Taken { heard_ago: Duration::from_millis(990) };
    assert_eq!(fixture.stream.publish(2, false, fixture.now), Err(taken));
    assert_eq!(taken.silent_in(), Duration::from_millis(10));
    assert!(fixture.stream.heard(1, fixture.now));
    fixture.wait_ms(999);
    assert!(fixture.stream.publish(2, true, fixture.now).is_err(), "having waited gives no right to the place");
    fixture.wait_ms(1);
    assert_eq!(fixture.stream.publish(2, false, fixture.now), Ok(Some(1)));
    // The first one's late sayings change nothing.
    assert!(!fixture.stream.heard(1, fixture.now));
    end(&mut fixture, 1);
    assert!(matches!(fixture.stream.place(), Place::OnAir { session: 2, .. }));
}

#[test]
fn where_the_newer_one_comes_first_it_replaces_who_is_heard_once_it_has_waited() {
    let mut fixture = StreamFixture::new(StreamConfig { takeover: Takeover::Replace, ..StreamConfig::default() });
    fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    fixture.play(&[key(0)]);
    assert!(fixture.stream.publish(2, false, fixture.now).is_err(), "who stops and starts gets the time to leave");
    assert_eq!(fixture.stream.publish(2, true, fixture.now), Ok(Some(1)));
}

#[test]
fn case_13_a_takeover_keeps_the_viewers() {
    let mut fixture = StreamFixture::av();
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    fixture.play(&[key(0), sound(10), picture(40)]);
    fixture.drain(&mut client);
    // The network dies without a FIN; the same key comes back, with stamps of its own.
    fixture.wait_ms(5_000);
    assert_eq!(fixture.stream.publish(2, false, fixture.now), Ok(Some(1)));
    fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1), picture(900_000), key(900_033), sound(900_040)]);
    assert_eq!(fixture.drain(&mut client), Fill::Wait);
    // The configuration is the same, so it is not said again; the keepalive is the script tag.
    assert_eq!(names(&client.tags()), "V1 A1 K0 a10 p40 s K5040 a5047");
}

#[test]
fn case_14_stop_and_start_at_once_is_no_conflict() {
    let mut fixture = StreamFixture::av();
    let mut client = fixture.join(Format::Rtmp, Start::Newest);
    fixture.play(&[key(0), picture(40)]);
    fixture.drain(&mut client);
    for session in 2..50 {
        end(&mut fixture, session - 1);
        fixture.wait_ms(if session % 2 == 0 { 0 } else { 100 });
        assert_eq!(fixture.stream.publish(session, false, fixture.now), Ok(None));
        fixture.read(&[config(Track::Video, 1), key(0)]);
    }
    assert_eq!(fixture.drain(&mut client), Fill::Wait);
    assert_eq!(client.tags().iter().filter(|tag| tag.name().starts_with('K')).count(), 49);
}

#[test]
fn case_20_viewers_end_when_nobody_comes_back() {
    for format in FORMATS {
        let mut fixture = StreamFixture::av();
        let mut client = fixture.join(format, Start::Newest);
        fixture.play(&[key(0), picture(40)]);
        end(&mut fixture, 1);
        fixture.wait_ms(9_999);
        assert_eq!(fixture.drain(&mut client), Fill::Wait);
        fixture.wait_ms(1);
        assert_eq!(fixture.drain(&mut client), Fill::Close(CloseReason::Ended(EndReason::PublisherGone)));
        assert!(names(&client.tags()).starts_with("V1 A1 K0 p40 s"));
    }
}

#[test]
fn without_a_wait_the_place_is_still_handed_on() {
    let mut fixture = StreamFixture::new(StreamConfig { publisher_wait: Duration::ZERO, ..StreamConfig::default() });
    fixture.read(&[config(Track::Video, 1), key(0)]);
    end(&mut fixture, 1);
    // The stream's clock is looked at first, then the next publisher is told that the place is free.
    fixture.stream.handle_timeout(fixture.now, &mut fixture.log);
    assert_eq!((fixture.log.ended(), fixture.stream.publish(2, false, fixture.now)), (None, Ok(None)));
    end(&mut fixture, 2);
    fixture.wait_ms(1);
    assert_eq!(fixture.log.ended(), Some(EndReason::PublisherGone));
}

#[test]
fn a_return_within_the_wait_goes_on() {
    let mut fixture = StreamFixture::av();
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.play(&[key(0), picture(40)]);
    fixture.drain(&mut client);
    end(&mut fixture, 1);
    fixture.wait_ms(6_000);
    fixture.stream.publish(2, false, fixture.now).unwrap();
    fixture.wait_ms(3_000);
    fixture.read(&[config(Track::Video, 2), key(7)]);
    fixture.drain(&mut client);
    assert!(names(&client.tags()).ends_with("s V2 K9040"), "{}", names(&client.tags()));
}

/// Longest time without a flush, milliseconds, while `step` is done every `every_ms`, for a minute.
fn check_keepalive(every_ms: u64, mut step: impl FnMut(&mut StreamFixture, u64)) {
    let mut fixture =
        StreamFixture::new(StreamConfig { publisher_wait: Duration::from_mins(10), ..StreamConfig::default() });
    fixture.read(&[config(Track::Audio, 1), sound(0)]);
    fixture.wait_ms(500);
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    fixture.drain(&mut client);
    let (mut last, mut bytes) = (fixture.now, client.got.len());
    for n in 0..60_000 / every_ms {
        let end = fixture.now + Duration::from_millis(every_ms);
        while fixture.now < end {
            fixture.wait_ms(1.max(every_ms / 20));
            fixture.drain(&mut client);
            assert!(fixture.now.since(last) < Duration::from_secs(10), "{:?}", fixture.now);
            if client.got.len() > bytes {
                (last, bytes) = (fixture.now, client.got.len());
            }
        }
        step(&mut fixture, n);
    }
}

#[test]
fn viewers_hear_something_every_ten_seconds() {
    check_keepalive(1_000, |_, _| {});
    check_keepalive(7_000, |fixture, n| end(fixture, n + 1));
    check_keepalive(3_000, |fixture, n| drop(fixture.read(&[metadata(&n.to_string())])));
    // One that comes and goes and sends nothing.
    check_keepalive(3_000, |fixture, n| {
        end(fixture, n + 1);
        fixture.stream.publish(n + 2, false, fixture.now).unwrap();
    });
}

#[test]
fn a_keepalive_is_no_place_to_start() {
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.read(&[config(Track::Audio, 1), sound(0)]);
    let start = fixture.log.newest_start();
    assert_eq!(fixture.wait_ms(11_000).len(), 3, "opened, and two keepalives");
    assert!(start.is_none_or(|start| Some(start) == fixture.log.newest_start()));
    assert_eq!(fixture.joined(Format::Rtmp), "A1 a0 s s");
}

#[test]
fn pictures_before_a_keyframe_are_dropped() {
    use Pushed::{BeforeKeyframe, Taken};
    let mut fixture = StreamFixture::av();
    assert_eq!(
        fixture.read(&[picture(0), sound(5), picture(40), key(80)]),
        [BeforeKeyframe, Taken, BeforeKeyframe, Taken]
    );
    assert_eq!(fixture.read(&[config(Track::Video, 1), picture(120)]), [Taken, Taken]);
    assert_eq!(fixture.read(&[config(Track::Video, 2), picture(160), key(200)]), [Taken, BeforeKeyframe, Taken]);
    assert_eq!(fixture.joined(Format::FlvPlain), "V2 A1 K195");
}

#[test]
fn a_change_in_mid_stream_reaches_everyone_once() {
    let mut fixture = StreamFixture::av();
    fixture.read(&[metadata("one")]);
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.play(&[key(0), sound(5)]);
    fixture.read(&[metadata("one"), config(Track::Video, 1), config(Track::Audio, 1)]);
    fixture.drain(&mut client);
    let mut old = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.play(&[config(Track::Video, 2)]);
    // Before the keyframe, a joiner starts with what was in force at the old one.
    fixture.drain(&mut old);
    fixture.play(&[key(40), config(Track::Audio, 3), sound(45)]);
    fixture.drain(&mut client);
    fixture.drain(&mut old);
    for client in [client, old] {
        assert_eq!(names(&client.tags()), "s V1 A1 K0 a5 V2 K40 A3 a45");
    }
    // The audio's configuration changed after the keyframe: the one at the keyframe, then the change.
    assert_eq!(fixture.joined(Format::Rtmp), "s V2 A1 K40 A3 a45");
}

/// Joins when the stream has settled: the flags of the file header (audio, video), and the tags.
fn check_tracks(events: &[MediaEvent], flags: (bool, bool), expected: &str) {
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.play(events);
    fixture.wait_ms(500);
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    assert_eq!(fixture.drain(&mut client), Fill::Wait);
    let (got, tags) = client.read();
    assert_eq!((got, names(&tags).as_str()), (flags, expected));
}

#[test]
fn case_19_flags_are_truthful() {
    let (video, audio) = (config(Track::Video, 1), config(Track::Audio, 1));
    check_tracks(&[audio.clone(), sound(0), sound(20)], (true, false), "A1 a20");
    check_tracks(&[video.clone(), key(0), picture(40)], (false, true), "V1 K0 p40");
    check_tracks(&[video.clone(), audio.clone(), key(0), sound(9)], (true, true), "V1 A1 K0 a9");
    // Late audio is announced to those who join after it, and heard by those who were there.
    check_tracks(&[video.clone(), key(0), picture(600), audio, sound(610)], (true, true), "V1 A1 K0 p600 A1 a610");
    // MP3 has no configuration.
    let MediaEvent::Frame(mut mp3) = sound(10) else { unreachable!() };
    mp3.codec = Codec::Mp3;
    check_tracks(&[video, key(0), MediaEvent::Frame(mp3)], (true, true), "V1 K0 a10");
}

#[test]
fn case_19_late_audio_is_heard_by_those_who_watch() {
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.play(&[config(Track::Video, 1), key(0), picture(600)]);
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.drain(&mut client);
    fixture.play(&[config(Track::Audio, 1), sound(610)]);
    fixture.drain(&mut client);
    assert_eq!(names(&client.tags()), "V1 K0 p600 A1 a610");
}

#[test]
fn viewers_wait_for_the_tracks_to_be_known() {
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.play(&[config(Track::Video, 1), key(0), picture(40)]);
    assert_eq!((fixture.log.is_open(), fixture.joined(Format::Rtmp).as_str()), (false, ""));
    // The second track opens it at once, else half a second does.
    fixture.play(&[config(Track::Audio, 1), sound(45)]);
    assert!(fixture.log.is_open());
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.play(&[config(Track::Video, 1), key(0)]);
    fixture.wait_ms(499);
    assert!(!fixture.log.is_open());
    fixture.wait_ms(1);
    assert!(fixture.log.is_open());
}

/// `onMetaData` with one number.
fn announcing(name: &str) -> MediaEvent {
    let length = (name.len() as u16).to_be_bytes();
    let body = [b"\x02\0\x0aonMetaData\x03", &length[..], name.as_bytes(), b"\0\x40\x1c\0\0\0\0\0\0\0\0\x09"].concat();
    MediaEvent::Metadata(body.into())
}

#[test]
fn case_51_an_announced_track_is_waited_for() {
    let (video, audio) = (config(Track::Video, 1), config(Track::Audio, 1));
    // The picture comes 2 s after the audio: nobody is told that there is none.
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.read(&[announcing("videocodecid"), audio.clone(), sound(0)]);
    fixture.wait_ms(2_000);
    assert_eq!((fixture.log.is_open(), fixture.joined(Format::Rtmp).as_str()), (false, ""));
    fixture.read(&[video.clone(), key(2_000), sound(2_010)]);
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.drain(&mut client);
    let (flags, tags) = client.read();
    assert_eq!((flags, names(&tags).as_str()), ((true, true), "s V1 A1 K2000 a2010"));
    // The metadata may come after the first frame, and the track not at all.
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.read(&[video, key(0), announcing("audiosamplerate")]);
    fixture.wait_ms(2_999);
    assert!(!fixture.log.is_open());
    fixture.wait_ms(1);
    assert!(fixture.log.is_open());
    // What is there is not waited for.
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.read(&[announcing("audiocodecid"), audio, sound(0)]);
    fixture.wait_ms(500);
    assert!(fixture.log.is_open());
}

#[test]
fn case_51_who_joins_after_a_late_track_is_offered_it() {
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.play(&[config(Track::Audio, 1), sound(0), sound(60_000)]);
    let mut early = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.drain(&mut early);
    fixture.play(&[config(Track::Video, 1), key(60_010), sound(60_020)]);
    fixture.drain(&mut early);
    let (flags, tags) = early.read();
    assert_eq!((flags, names(&tags).as_str()), ((true, false), "A1 a60000 V1 K60010 a60020"));
    let mut late = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.drain(&mut late);
    assert_eq!(late.read().0, (true, true));
}

#[test]
fn a_publisher_that_follows_may_have_other_tracks() {
    let mut fixture = StreamFixture::av();
    fixture.read(&[metadata("hasVideo")]);
    fixture.play(&[key(0), sound(10)]);
    end(&mut fixture, 1);
    fixture.stream.publish(2, false, fixture.now).unwrap();
    // No picture this time: its audio is where viewers start, and no picture is announced to them.
    fixture.play(&[config(Track::Audio, 1), sound(0), sound(600), sound(620)]);
    let mut client = fixture.join(Format::FlvPlain, Start::Newest);
    fixture.drain(&mut client);
    assert_eq!((client.read().0, names(&client.tags())), ((true, false), "A1 a631".to_owned()));
    // And back.
    end(&mut fixture, 2);
    fixture.stream.publish(3, false, fixture.now).unwrap();
    fixture.play(&[config(Track::Video, 1), config(Track::Audio, 1), key(0), sound(10)]);
    fixture.drain(&mut client);
    assert_eq!(names(&client.tags()), "A1 a631 V1 K632 a642");
    assert_eq!(fixture.joined(Format::Rtmp), "V1 A1 K632 a642");
}

#[test]
fn a_codec_without_configuration_replaces_one_with() {
    let mut fixture = StreamFixture::av();
    fixture.play(&[key(0), sound(10), key(40)]);
    let MediaEvent::Frame(mut mp3) = sound(50) else { unreachable!() };
    mp3.codec = Codec::Mp3;
    fixture.play(&[MediaEvent::Frame(mp3), key(80)]);
    assert_eq!(fixture.joined(Format::Rtmp), "V1 K80");
}

#[test]
fn case_02_stamps_start_at_zero_wherever_the_publishers_do() {
    for format in FORMATS {
        let mut fixture = StreamFixture::av();
        let first = 0xFFFF_F000_i64;
        let frames = |from: i64, to: i64| {
            (from..to).map(|n| if n % 10 == 0 { key(first + n * 500) } else { picture(first + n * 500) })
        };
        let mut client = fixture.join(format, Start::Newest);
        // Over 2^32, and then to hour 5, where another one joins.
        for n in 0..36_000 {
            fixture.play(&frames(n, n + 1).collect::<Vec<_>>());
            fixture.wait_ms(500);
            fixture.drain(&mut client);
        }
        let tags = client.tags();
        assert!(tags.windows(2).all(|pair| pair[0].ms <= pair[1].ms));
        assert_eq!((tags.len(), tags.last().unwrap().ms), (36_002, 35_999 * 500));
        let late = fixture.joined(format);
        assert!(late.starts_with("V1 A1 K17995000 p17995500"), "{late}");
    }
}

#[test]
fn case_22_four_hours_of_sound_alone_stay_flat() {
    sound_alone_stays_flat(4);
}

#[test]
#[ignore = "slow: six times as long as the one above"]
fn case_22_a_day_of_sound_alone_stays_flat() {
    sound_alone_stays_flat(24);
}

fn sound_alone_stays_flat(hours: i64) {
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.stream.set_flush(FlushPolicy::Balanced);
    fixture.read(&[config(Track::Audio, 1)]);
    let (mut client, mut bytes) = (fixture.join(Format::FlvChunked, Start::Newest), Vec::new());
    for n in 0..hours * 3_600 * 10 {
        fixture.wait_ms(100);
        fixture.read(&[0, 23, 46, 69].map(|ms| sound(n * 100 + ms)));
        fixture.drain(&mut client);
        client.got.clear();
        if n % 36_000 == 35_999 {
            bytes.push(fixture.log.bytes());
        }
    }
    // Twelve seconds of it, from the first hour to the last.
    assert!(bytes.len() as i64 == hours && bytes.iter().all(|now| now.abs_diff(bytes[0]) < 2_000), "{bytes:?}");
    assert!(bytes[0] < 120_000, "{bytes:?}");
}

const UNIX_MS: u64 = 1_798_761_600_000;

/// What viewers of a stream whose wall clock is known are told: kind of news and numbers, between the names of the tags.
fn told(fixture: &mut StreamFixture, client: &mut crate::fixture::Client) -> String {
    use millstream_proto::amf0::{Value, decode};
    assert_eq!(fixture.drain(client), Fill::Wait);
    let told = |got: &Got| match decode(&got.body) {
        Ok(values) if got.kind == TagKind::Script => match &values[..] {
            [Value::String(name), Value::StrictArray(news)] if name == "onCuePoint" => {
                let number = |value: &Value| value.as_number().unwrap_or_default() as i64;
                let numbers: Vec<_> = news[1..].iter().map(|value| number(value) % UNIX_MS as i64).collect();
                format!("{}{numbers:?}", news[0].as_str().unwrap())
            }
            _ => got.name(),
        },
        _ => got.name(),
    };
    client.tags().iter().map(told).collect::<Vec<_>>().join(" ")
}

fn wall(fixture: &StreamFixture) -> Wall {
    Wall { now: fixture.now, unix_ms: UNIX_MS + fixture.now.as_micros() / 1_000 }
}

#[test]
fn viewers_are_told_the_wall_clock_of_keyframes_and_that_the_publisher_left() {
    for format in crate::fixture::FORMATS {
        let mut fixture = StreamFixture::av();
        fixture.stream.set_wall(wall(&fixture));
        let mut shown_late = key(0);
        if let MediaEvent::Frame(frame) = &mut shown_late {
            frame.cts_ms = 80;
        }
        fixture.read(&[shown_late, sound(10), key(100)]);
        let mut client = fixture.join(format, Start::Newest);
        fixture.drain(&mut client);
        fixture.wait_ms(2_000);
        fixture.read(&[key(2_000), sound(2_010)]);
        fixture.wait_ms(500);
        end(&mut fixture, 1);
        // The second keyframe comes too soon after the first to be told of; the viewer started there.
        assert_eq!(
            told(&mut fixture, &mut client),
            "V1 A1 K100 K2000 clock[2000, 3000] a2010 waiting[3500]",
            "{format:?}"
        );
        fixture.stream.publish(2, false, fixture.now).unwrap();
        fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1), key(0)]);
        let back = told(&mut fixture, &mut client);
        assert!(back.contains("clock["), "{format:?}: another publisher's first keyframe tells the clock: {back}");
    }
}

#[test]
fn sound_without_a_picture_tells_the_wall_clock_about_once_a_second() {
    let mut fixture = StreamFixture::new(StreamConfig::default());
    fixture.stream.set_wall(wall(&fixture));
    fixture.read(&[config(Track::Audio, 1)]);
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    for n in 0..30 {
        fixture.drain(&mut client);
        fixture.read(&[sound(n * 100)]);
        fixture.wait_ms(100);
    }
    let told = told(&mut fixture, &mut client);
    assert_eq!(told.matches("clock[").count(), 3, "{told}");
}
