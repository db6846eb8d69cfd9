//! The publisher's place, what becomes of its frames, and when they go out. Beside [`super`]; the rig is [`crate::testkit`]'s.
use millstream_proto::media::Codec;

use super::*;
use crate::package::block::Format;
use crate::testkit::*;
use crate::viewer::{CloseReason, Fill, Start};

fn end(rig: &mut Rig, session: u64) {
    rig.stream.leave(session, false, rig.now, &mut rig.log);
}

/// Times, in milliseconds from the start, at which these frames (arriving at their stamps) went out; the timer is honoured.
fn check_flushes(policy: FlushPolicy, frames: &[MediaEvent], expected: &[u64]) {
    let mut rig = Rig::av();
    rig.stream.set_flush(policy);
    let start = rig.now;
    let mut at = Vec::new();
    for event in frames {
        let MediaEvent::Frame(frame) = event else { continue };
        at.extend(rig.wait_until(start + Duration::from_millis(frame.dts_ms.unsigned_abs())));
        rig.stream.push(event.clone(), rig.now, &mut rig.log);
        if rig.stream.after_read(rig.now, &mut rig.log) {
            at.push(rig.now);
        }
    }
    at.extend(rig.wait_ms(200));
    let at: Vec<_> = at.iter().map(|at| at.since(start).as_millis() as u64).collect();
    assert_eq!(at, expected, "{policy:?}");
}

#[test]
fn frames_go_out_as_the_policy_says() {
    let frames = [key(0), sound(10), picture(33), sound(34), picture(45), picture(67), sound(75), sound(95)];
    check_flushes(FlushPolicy::Low, &frames, &[0, 10, 33, 34, 45, 67, 75, 95]);
    // The picture of 45 comes too soon after the flush of 33 and waits until 25 ms are over, and so does that of 67 with the sound of 75; the
    // last sound has no picture to go with.
    check_flushes(FlushPolicy::Balanced, &frames, &[0, 33, 58, 83, 131]);
    check_flushes(FlushPolicy::Dense, &frames, &[0, 100]);
}

#[test]
fn a_read_of_several_frames_is_one_block() {
    let mut rig = Rig::av();
    let head = rig.log.head();
    rig.read(&[key(0), sound(3), picture(33), sound(26)]);
    assert_eq!(rig.log.head(), head + 1);
    // A keyframe begins a block of its own, so that a viewer can start there.
    rig.read(&[picture(66), key(100), sound(101)]);
    assert_eq!((rig.log.head(), rig.log.newest_start()), (head + 3, Some(head + 2)));
}

#[test]
fn a_long_read_is_several_blocks() {
    let mut rig = Rig::av();
    let head = rig.log.head();
    let frames: Vec<_> = (0..20).map(|n| frame(Track::Video, n == 0, n * 33, 10_000, n as u32)).collect();
    rig.read(&frames);
    assert_eq!(rig.log.head(), head + 3);
    assert!((head..rig.log.head()).all(|seq| rig.log.get(seq).unwrap().block.bytes() < BLOCK_BYTES_MAX + 11_000));
}

#[test]
fn a_second_publisher_is_refused_until_the_first_is_silent() {
    let mut rig = Rig::av();
    rig.play(&[key(0)]);
    rig.wait_ms(990);
    let taken = Taken { heard_ago: Duration::from_millis(990) };
    assert_eq!(rig.stream.publish(2, false, rig.now), Err(taken));
    assert_eq!(taken.silent_in(), Duration::from_millis(10));
    assert!(rig.stream.heard(1, rig.now));
    rig.wait_ms(999);
    assert!(rig.stream.publish(2, true, rig.now).is_err(), "having waited gives no right to the place");
    rig.wait_ms(1);
    assert_eq!(rig.stream.publish(2, false, rig.now), Ok(Some(1)));
    // The first one's late sayings change nothing.
    assert!(!rig.stream.heard(1, rig.now));
    end(&mut rig, 1);
    assert!(matches!(rig.stream.place(), Place::OnAir { session: 2, .. }));
}

#[test]
fn where_the_newer_one_comes_first_it_replaces_who_is_heard_once_it_has_waited() {
    let mut rig = Rig::new(StreamConfig { takeover: Takeover::Replace, ..StreamConfig::default() });
    rig.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    rig.play(&[key(0)]);
    assert!(rig.stream.publish(2, false, rig.now).is_err(), "who stops and starts gets the time to leave");
    assert_eq!(rig.stream.publish(2, true, rig.now), Ok(Some(1)));
}

#[test]
fn case_13_a_takeover_keeps_the_viewers() {
    let mut rig = Rig::av();
    let mut client = rig.join(Format::FlvChunked, Start::Newest);
    rig.play(&[key(0), sound(10), picture(40)]);
    rig.drain(&mut client);
    // The network dies without a FIN; the same key comes back, with stamps of its own.
    rig.wait_ms(5_000);
    assert_eq!(rig.stream.publish(2, false, rig.now), Ok(Some(1)));
    rig.read(&[config(Track::Video, 1), config(Track::Audio, 1), picture(900_000), key(900_033), sound(900_040)]);
    assert_eq!(rig.drain(&mut client), Fill::Wait);
    // The configuration is the same, so it is not said again; the keepalive is the script tag.
    assert_eq!(names(&client.tags()), "V1 A1 K0 a10 p40 s K5040 a5047");
}

#[test]
fn case_14_stop_and_start_at_once_is_no_conflict() {
    let mut rig = Rig::av();
    let mut client = rig.join(Format::Rtmp, Start::Newest);
    rig.play(&[key(0), picture(40)]);
    rig.drain(&mut client);
    for session in 2..50 {
        end(&mut rig, session - 1);
        rig.wait_ms(if session % 2 == 0 { 0 } else { 100 });
        assert_eq!(rig.stream.publish(session, false, rig.now), Ok(None));
        rig.read(&[config(Track::Video, 1), key(0)]);
    }
    assert_eq!(rig.drain(&mut client), Fill::Wait);
    assert_eq!(client.tags().iter().filter(|tag| tag.name().starts_with('K')).count(), 49);
}

#[test]
fn case_20_viewers_end_when_nobody_comes_back() {
    for format in FORMATS {
        let mut rig = Rig::av();
        let mut client = rig.join(format, Start::Newest);
        rig.play(&[key(0), picture(40)]);
        end(&mut rig, 1);
        rig.wait_ms(9_999);
        assert_eq!(rig.drain(&mut client), Fill::Wait);
        rig.wait_ms(1);
        assert_eq!(rig.drain(&mut client), Fill::Close(CloseReason::Ended(EndReason::PublisherGone)));
        assert!(names(&client.tags()).starts_with("V1 A1 K0 p40 s"));
    }
}

#[test]
fn without_a_wait_the_place_is_still_handed_on() {
    let mut rig = Rig::new(StreamConfig { publisher_wait: Duration::ZERO, ..StreamConfig::default() });
    rig.read(&[config(Track::Video, 1), key(0)]);
    end(&mut rig, 1);
    // The stream's clock is looked at first, then the next publisher is told that the place is free.
    rig.stream.handle_timeout(rig.now, &mut rig.log);
    assert_eq!((rig.log.ended(), rig.stream.publish(2, false, rig.now)), (None, Ok(None)));
    end(&mut rig, 2);
    rig.wait_ms(1);
    assert_eq!(rig.log.ended(), Some(EndReason::PublisherGone));
}

#[test]
fn a_return_within_the_wait_goes_on() {
    let mut rig = Rig::av();
    let mut client = rig.join(Format::FlvPlain, Start::Newest);
    rig.play(&[key(0), picture(40)]);
    rig.drain(&mut client);
    end(&mut rig, 1);
    rig.wait_ms(6_000);
    rig.stream.publish(2, false, rig.now).unwrap();
    rig.wait_ms(3_000);
    rig.read(&[config(Track::Video, 2), key(7)]);
    rig.drain(&mut client);
    assert!(names(&client.tags()).ends_with("s V2 K9040"), "{}", names(&client.tags()));
}

/// Longest time without a flush, milliseconds, while `step` is done every `every_ms`, for a minute.
fn check_keepalive(every_ms: u64, mut step: impl FnMut(&mut Rig, u64)) {
    let mut rig = Rig::new(StreamConfig { publisher_wait: Duration::from_mins(10), ..StreamConfig::default() });
    rig.read(&[config(Track::Audio, 1), sound(0)]);
    rig.wait_ms(500);
    let mut client = rig.join(Format::FlvChunked, Start::Newest);
    rig.drain(&mut client);
    let (mut last, mut bytes) = (rig.now, client.got.len());
    for n in 0..60_000 / every_ms {
        let end = rig.now + Duration::from_millis(every_ms);
        while rig.now < end {
            rig.wait_ms(1.max(every_ms / 20));
            rig.drain(&mut client);
            assert!(rig.now.since(last) < Duration::from_secs(10), "{:?}", rig.now);
            if client.got.len() > bytes {
                (last, bytes) = (rig.now, client.got.len());
            }
        }
        step(&mut rig, n);
    }
}

#[test]
fn viewers_hear_something_every_ten_seconds() {
    check_keepalive(1_000, |_, _| {});
    check_keepalive(7_000, |rig, n| end(rig, n + 1));
    check_keepalive(3_000, |rig, n| drop(rig.read(&[metadata(&n.to_string())])));
    // One that comes and goes and sends nothing.
    check_keepalive(3_000, |rig, n| {
        end(rig, n + 1);
        rig.stream.publish(n + 2, false, rig.now).unwrap();
    });
}

#[test]
fn a_keepalive_is_no_place_to_start() {
    let mut rig = Rig::new(StreamConfig::default());
    rig.read(&[config(Track::Audio, 1), sound(0)]);
    let start = rig.log.newest_start();
    assert_eq!(rig.wait_ms(11_000).len(), 3, "opened, and two keepalives");
    assert!(start.is_none_or(|start| Some(start) == rig.log.newest_start()));
    assert_eq!(rig.joined(Format::Rtmp), "A1 a0 s s");
}

#[test]
fn pictures_before_a_keyframe_are_dropped() {
    use Pushed::{BeforeKeyframe, Taken};
    let mut rig = Rig::av();
    assert_eq!(rig.read(&[picture(0), sound(5), picture(40), key(80)]), [BeforeKeyframe, Taken, BeforeKeyframe, Taken]);
    assert_eq!(rig.read(&[config(Track::Video, 1), picture(120)]), [Taken, Taken]);
    assert_eq!(rig.read(&[config(Track::Video, 2), picture(160), key(200)]), [Taken, BeforeKeyframe, Taken]);
    assert_eq!(rig.joined(Format::FlvPlain), "V2 A1 K195");
}

#[test]
fn a_change_in_mid_stream_reaches_everyone_once() {
    let mut rig = Rig::av();
    rig.read(&[metadata("one")]);
    let mut client = rig.join(Format::FlvPlain, Start::Newest);
    rig.play(&[key(0), sound(5)]);
    rig.read(&[metadata("one"), config(Track::Video, 1), config(Track::Audio, 1)]);
    rig.drain(&mut client);
    let mut old = rig.join(Format::FlvPlain, Start::Newest);
    rig.play(&[config(Track::Video, 2)]);
    // Before the keyframe, a joiner starts with what was in force at the old one.
    rig.drain(&mut old);
    rig.play(&[key(40), config(Track::Audio, 3), sound(45)]);
    rig.drain(&mut client);
    rig.drain(&mut old);
    for client in [client, old] {
        assert_eq!(names(&client.tags()), "s V1 A1 K0 a5 V2 K40 A3 a45");
    }
    // The sound's configuration changed after the keyframe: the one at the keyframe, then the change.
    assert_eq!(rig.joined(Format::Rtmp), "s V2 A1 K40 A3 a45");
}

/// Joins when the stream has settled: the flags of the file header (audio, video), and the tags.
fn check_tracks(events: &[MediaEvent], flags: (bool, bool), expected: &str) {
    let mut rig = Rig::new(StreamConfig::default());
    rig.play(events);
    rig.wait_ms(500);
    let mut client = rig.join(Format::FlvChunked, Start::Newest);
    assert_eq!(rig.drain(&mut client), Fill::Wait);
    let (got, tags) = client.read();
    assert_eq!((got, names(&tags).as_str()), (flags, expected));
}

#[test]
fn case_19_flags_are_truthful() {
    let (video, audio) = (config(Track::Video, 1), config(Track::Audio, 1));
    check_tracks(&[audio.clone(), sound(0), sound(20)], (true, false), "A1 a20");
    check_tracks(&[video.clone(), key(0), picture(40)], (false, true), "V1 K0 p40");
    check_tracks(&[video.clone(), audio.clone(), key(0), sound(9)], (true, true), "V1 A1 K0 a9");
    // Late sound is announced to those who join after it, and heard by those who were there.
    check_tracks(&[video.clone(), key(0), picture(600), audio, sound(610)], (true, true), "V1 A1 K0 p600 A1 a610");
    // MP3 has no configuration.
    let MediaEvent::Frame(mut mp3) = sound(10) else { unreachable!() };
    mp3.codec = Codec::Mp3;
    check_tracks(&[video, key(0), MediaEvent::Frame(mp3)], (true, true), "V1 K0 a10");
}

#[test]
fn case_19_late_audio_is_heard_by_those_who_watch() {
    let mut rig = Rig::new(StreamConfig::default());
    rig.play(&[config(Track::Video, 1), key(0), picture(600)]);
    let mut client = rig.join(Format::FlvPlain, Start::Newest);
    rig.drain(&mut client);
    rig.play(&[config(Track::Audio, 1), sound(610)]);
    rig.drain(&mut client);
    assert_eq!(names(&client.tags()), "V1 K0 p600 A1 a610");
}

#[test]
fn viewers_wait_for_the_tracks_to_be_known() {
    let mut rig = Rig::new(StreamConfig::default());
    rig.play(&[config(Track::Video, 1), key(0), picture(40)]);
    assert_eq!((rig.log.is_open(), rig.joined(Format::Rtmp).as_str()), (false, ""));
    // The second track opens it at once, else half a second does.
    rig.play(&[config(Track::Audio, 1), sound(45)]);
    assert!(rig.log.is_open());
    let mut rig = Rig::new(StreamConfig::default());
    rig.play(&[config(Track::Video, 1), key(0)]);
    rig.wait_ms(499);
    assert!(!rig.log.is_open());
    rig.wait_ms(1);
    assert!(rig.log.is_open());
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
    // The picture comes 2 s after the sound: nobody is told that there is none.
    let mut rig = Rig::new(StreamConfig::default());
    rig.read(&[announcing("videocodecid"), audio.clone(), sound(0)]);
    rig.wait_ms(2_000);
    assert_eq!((rig.log.is_open(), rig.joined(Format::Rtmp).as_str()), (false, ""));
    rig.read(&[video.clone(), key(2_000), sound(2_010)]);
    let mut client = rig.join(Format::FlvPlain, Start::Newest);
    rig.drain(&mut client);
    let (flags, tags) = client.read();
    assert_eq!((flags, names(&tags).as_str()), ((true, true), "s V1 A1 K2000 a2010"));
    // The metadata may come after the first frame, and the track not at all.
    let mut rig = Rig::new(StreamConfig::default());
    rig.read(&[video, key(0), announcing("audiosamplerate")]);
    rig.wait_ms(2_999);
    assert!(!rig.log.is_open());
    rig.wait_ms(1);
    assert!(rig.log.is_open());
    // What is there is not waited for.
    let mut rig = Rig::new(StreamConfig::default());
    rig.read(&[announcing("audiocodecid"), audio, sound(0)]);
    rig.wait_ms(500);
    assert!(rig.log.is_open());
}

#[test]
fn case_51_who_joins_after_a_late_track_is_offered_it() {
    let mut rig = Rig::new(StreamConfig::default());
    rig.play(&[config(Track::Audio, 1), sound(0), sound(60_000)]);
    let mut early = rig.join(Format::FlvPlain, Start::Newest);
    rig.drain(&mut early);
    rig.play(&[config(Track::Video, 1), key(60_010), sound(60_020)]);
    rig.drain(&mut early);
    let (flags, tags) = early.read();
    assert_eq!((flags, names(&tags).as_str()), ((true, false), "A1 a60000 V1 K60010 a60020"));
    let mut late = rig.join(Format::FlvPlain, Start::Newest);
    rig.drain(&mut late);
    assert_eq!(late.read().0, (true, true));
}

#[test]
fn a_publisher_that_follows_may_have_other_tracks() {
    let mut rig = Rig::av();
    rig.read(&[metadata("hasVideo")]);
    rig.play(&[key(0), sound(10)]);
    end(&mut rig, 1);
    rig.stream.publish(2, false, rig.now).unwrap();
    // No picture this time: its sound is where viewers start, and no picture is announced to them.
    rig.play(&[config(Track::Audio, 1), sound(0), sound(600), sound(620)]);
    let mut client = rig.join(Format::FlvPlain, Start::Newest);
    rig.drain(&mut client);
    assert_eq!((client.read().0, names(&client.tags())), ((true, false), "A1 a631".to_owned()));
    // And back.
    end(&mut rig, 2);
    rig.stream.publish(3, false, rig.now).unwrap();
    rig.play(&[config(Track::Video, 1), config(Track::Audio, 1), key(0), sound(10)]);
    rig.drain(&mut client);
    assert_eq!(names(&client.tags()), "A1 a631 V1 K632 a642");
    assert_eq!(rig.joined(Format::Rtmp), "V1 A1 K632 a642");
}

#[test]
fn a_codec_without_configuration_replaces_one_with() {
    let mut rig = Rig::av();
    rig.play(&[key(0), sound(10), key(40)]);
    let MediaEvent::Frame(mut mp3) = sound(50) else { unreachable!() };
    mp3.codec = Codec::Mp3;
    rig.play(&[MediaEvent::Frame(mp3), key(80)]);
    assert_eq!(rig.joined(Format::Rtmp), "V1 K80");
}

#[test]
fn case_02_stamps_start_at_zero_wherever_the_publishers_do() {
    for format in FORMATS {
        let mut rig = Rig::av();
        let first = 0xFFFF_F000_i64;
        let frames = |from: i64, to: i64| {
            (from..to).map(|n| if n % 10 == 0 { key(first + n * 500) } else { picture(first + n * 500) })
        };
        let mut client = rig.join(format, Start::Newest);
        // Over 2^32, and then to hour 5, where another one joins.
        for n in 0..36_000 {
            rig.play(&frames(n, n + 1).collect::<Vec<_>>());
            rig.wait_ms(500);
            rig.drain(&mut client);
        }
        let tags = client.tags();
        assert!(tags.windows(2).all(|pair| pair[0].ms <= pair[1].ms));
        assert_eq!((tags.len(), tags.last().unwrap().ms), (36_002, 35_999 * 500));
        let late = rig.joined(format);
        assert!(late.starts_with("V1 A1 K17995000 p17995500"), "{late}");
    }
}

#[test]
fn case_22_a_day_of_sound_alone_stays_flat() {
    let mut rig = Rig::new(StreamConfig::default());
    rig.stream.set_flush(FlushPolicy::Balanced);
    rig.read(&[config(Track::Audio, 1)]);
    let (mut client, mut bytes) = (rig.join(Format::FlvChunked, Start::Newest), Vec::new());
    for n in 0..24 * 3600 * 10_i64 {
        rig.wait_ms(100);
        rig.read(&[0, 23, 46, 69].map(|ms| sound(n * 100 + ms)));
        rig.drain(&mut client);
        client.got.clear();
        if n % 36_000 == 35_999 {
            bytes.push(rig.log.bytes());
        }
    }
    // Twelve seconds of it, from the first hour to the last.
    assert!(bytes.len() == 24 && bytes.iter().all(|now| now.abs_diff(bytes[0]) < 2_000), "{bytes:?}");
    assert!(bytes[0] < 120_000, "{bytes:?}");
}

const UNIX_MS: u64 = 1_798_761_600_000;

/// What viewers of a stream whose wall clock is known are told: kind of news and numbers, between the names of the tags.
fn told(rig: &mut Rig, client: &mut crate::testkit::Client) -> String {
    use millstream_proto::amf0::{Value, decode};
    assert_eq!(rig.drain(client), Fill::Wait);
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

fn wall(rig: &Rig) -> Wall {
    Wall { now: rig.now, unix_ms: UNIX_MS + rig.now.as_micros() / 1_000 }
}

#[test]
fn viewers_are_told_the_wall_clock_of_keyframes_and_that_the_publisher_left() {
    for format in crate::testkit::FORMATS {
        let mut rig = Rig::av();
        rig.stream.set_wall(wall(&rig));
        let mut shown_late = key(0);
        if let MediaEvent::Frame(frame) = &mut shown_late {
            frame.cts_ms = 80;
        }
        rig.read(&[shown_late, sound(10), key(100)]);
        let mut client = rig.join(format, Start::Newest);
        rig.drain(&mut client);
        rig.wait_ms(2_000);
        rig.read(&[key(2_000), sound(2_010)]);
        rig.wait_ms(500);
        end(&mut rig, 1);
        // The second keyframe comes too soon after the first to be told of; the viewer started there.
        assert_eq!(told(&mut rig, &mut client), "V1 A1 K100 K2000 clock[2000, 3000] a2010 waiting[3500]", "{format:?}");
        rig.stream.publish(2, false, rig.now).unwrap();
        rig.read(&[config(Track::Video, 1), config(Track::Audio, 1), key(0)]);
        let back = told(&mut rig, &mut client);
        assert!(back.contains("clock["), "{format:?}: another publisher's first keyframe tells the clock: {back}");
    }
}

#[test]
fn sound_without_a_picture_tells_the_wall_clock_about_once_a_second() {
    let mut rig = Rig::new(StreamConfig::default());
    rig.stream.set_wall(wall(&rig));
    rig.read(&[config(Track::Audio, 1)]);
    let mut client = rig.join(Format::FlvChunked, Start::Newest);
    for n in 0..30 {
        rig.drain(&mut client);
        rig.read(&[sound(n * 100)]);
        rig.wait_ms(100);
    }
    let told = told(&mut rig, &mut client);
    assert_eq!(told.matches("clock[").count(), 3, "{told}");
}
