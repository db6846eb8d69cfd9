//! What viewers get while nobody publishes. Beside [`super`]; the rig is [`crate::testkit`]'s.
use millstream_proto::media::{MediaEvent, TagKind, Unpacker};

use super::*;
use crate::config::{OnUnpublish, StreamConfig};
use crate::log::EndReason;
use crate::package::block::Format;
use crate::stream::Place;
use crate::testkit::*;
use crate::viewer::{CloseReason, Fill, Start};

/// AAC-LC, 48 kHz, stereo.
const AAC: &[u8] = &[0xAF, 0, 0x11, 0x90];

fn slated() -> Rig {
    Rig::new(StreamConfig { on_unpublish: OnUnpublish::Slate, ..StreamConfig::default() })
}

/// What a publisher sends, as it is read off the wire.
fn said(kind: TagKind, body: &[u8]) -> MediaEvent {
    Unpacker::new().push(kind, 0, Bytes::copy_from_slice(body)).unwrap()
}

/// Viewed for a while by somebody who has seen the stream from its start; the tags since the publisher left.
fn after_leaving(mut rig: Rig, configs: &[MediaEvent], frames: &[MediaEvent], ms: u64) -> (Rig, Client, Vec<Got>) {
    let mut client = rig.join(Format::FlvChunked, Start::Newest);
    rig.read(configs);
    rig.play(frames);
    rig.wait_ms(600);
    rig.drain(&mut client);
    let before = client.tags().len();
    rig.stream.leave(1, false, rig.now, &mut rig.log);
    // In steps: a viewer that takes nothing for longer than the log reaches back jumps.
    let end = rig.now + Duration::from_millis(ms);
    while rig.now < end {
        rig.wait_until(end.min(rig.now + Duration::from_secs(1)));
        assert_eq!(rig.drain(&mut client), Fill::Wait);
    }
    let tags = client.tags().split_off(before);
    (rig, client, tags)
}

fn of(tags: &[Got], kind: TagKind) -> Vec<&Got> {
    tags.iter().filter(|tag| tag.kind == kind).collect()
}

fn rising(tags: &[&Got]) -> bool {
    tags.windows(2).all(|pair| pair[0].ms <= pair[1].ms)
}

#[test]
fn the_built_in_slate_can_be_played() {
    let clip = built_in();
    assert!(clip.audio.is_none() && clip.frames.len() == 30 && clip.round_ms == 2_000);
    let summary = clip.video.summary().unwrap();
    assert_eq!(summary.codec.split_at(4).0, "avc1");
}

#[test]
fn case_37_the_slate_plays_until_the_publisher_is_back() {
    for format in FORMATS {
        let mut rig = slated();
        let mut client = rig.join(format, Start::Newest);
        rig.read(&[config(Track::Video, 1), said(TagKind::Audio, AAC)]);
        rig.play(&[key(0), sound(10), picture(40)]);
        rig.drain(&mut client);
        let before = client.tags().len();
        let left_ms = client.tags().last().unwrap().ms;
        rig.stream.leave(1, false, rig.now, &mut rig.log);
        rig.wait_ms(10_030);
        assert_eq!(rig.drain(&mut client), Fill::Wait);
        assert!(rig.stream.slate_since().is_some());
        let tags = client.tags().split_off(before);
        let pictures: Vec<&Got> = of(&tags, TagKind::Video).into_iter().filter(|tag| tag.body[1] == 1).collect();
        // Its configuration, then a keyframe, soon; then in real time, round after round.
        assert_eq!(tags[0].body, built_in().video.body);
        assert!(tags[1].name().starts_with('K'), "{}", names(&tags[..3]));
        // Without a hole, although it begins later than that: players stop at one.
        assert!((1..=50).contains(&(pictures[0].ms - left_ms)), "{left_ms} {}", names(&tags));
        assert!((149..=151).contains(&pictures.len()), "{}", pictures.len());
        assert!(pictures.windows(2).all(|pair| (60..=74).contains(&(pair[1].ms - pair[0].ms))), "{}", names(&tags));
        assert_eq!(pictures.iter().filter(|tag| tag.body[0] == 0x17).count(), 5, "a keyframe every two seconds");
        assert!(rising(&of(&tags, TagKind::Audio)));
        // The encoder has its place at once, and its coding is said again.
        assert!(matches!(rig.stream.place(), Place::Vacant { .. }));
        assert_eq!(rig.stream.publish(2, false, rig.now), Ok(None));
        assert!(rig.stream.slate_since().is_none());
        let before = client.tags().len();
        rig.read(&[config(Track::Video, 1), said(TagKind::Audio, AAC), key(77_000), sound(77_010), picture(77_040)]);
        rig.drain(&mut client);
        let back = client.tags().split_off(before);
        let shown = names(&back);
        assert!(shown.starts_with("V1 K") && !shown.contains('A'), "{shown}");
        assert!(back[1].ms >= tags.iter().map(|tag| tag.ms).max().unwrap());
    }
}

#[test]
fn case_37_who_joins_sees_the_slate() {
    let (rig, ..) = after_leaving(slated(), &[config(Track::Video, 1)], &[key(0), picture(40)], 5_000);
    let mut client = rig.join(Format::FlvChunked, Start::Newest);
    rig.drain(&mut client);
    let ((audio, video), tags) = client.read();
    assert!(video && !audio);
    assert_eq!(tags[0].body, built_in().video.body);
    assert!(tags[1].name().starts_with('K') && tags[1].ms > 3_000, "{}", names(&tags));
}

#[test]
fn a_stream_without_sound_gets_none_and_one_without_a_picture_gets_none() {
    let (_, _, tags) = after_leaving(slated(), &[config(Track::Video, 1)], &[key(0), picture(40)], 3_000);
    assert!(of(&tags, TagKind::Audio).is_empty() && of(&tags, TagKind::Video).len() > 35);
    let (_, _, tags) = after_leaving(slated(), &[said(TagKind::Audio, AAC)], &[sound(0), sound(23)], 3_000);
    assert!(of(&tags, TagKind::Video).is_empty() && of(&tags, TagKind::Audio).len() > 120);
}

#[test]
fn silence_is_coded_as_the_stream_was() {
    let frames = [key(0), sound(10), picture(40)];
    let (_, _, tags) = after_leaving(slated(), &[config(Track::Video, 1), said(TagKind::Audio, AAC)], &frames, 9_440);
    let sounds = of(&tags, TagKind::Audio);
    assert!(
        sounds.iter().all(|tag| tag.body[..2] == AAC_HEAD && tag.body[2..] == *b"\x21\x00\x49\x90\x02\x19\x00\x23\x80")
    );
    // 48,000 samples a second in packets of 1,024.
    assert!((467..=470).contains(&sounds.len()), "{}", sounds.len());
    assert!(sounds.windows(2).all(|pair| (21..=22).contains(&(pair[1].ms - pair[0].ms))));
    // A record that cannot be read, or a coding that cannot be imitated, gives way to AAC that everybody plays.
    let (_, _, tags) = after_leaving(slated(), &[config(Track::Video, 1), config(Track::Audio, 1)], &frames, 2_000);
    assert_eq!(of(&tags, TagKind::Audio)[0].body, AAC_PLAIN);
    // Opus stays Opus.
    let opus = said(TagKind::Audio, b"\x90OpusOpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0");
    let packet = |ms: i64| {
        let body = Bytes::from_static(OPUS_SILENT);
        let (track, codec, data_at) = (Track::Audio, Codec::Opus, OPUS_DATA_AT);
        MediaEvent::Frame(Frame { track, codec, dts_ms: ms, cts_ms: 0, keyframe: true, body, data_at })
    };
    let frames = [key(0), packet(10), picture(40)];
    let (_, _, tags) = after_leaving(slated(), &[config(Track::Video, 1), opus], &frames, 9_440);
    let sounds = of(&tags, TagKind::Audio);
    assert!(sounds.iter().all(|tag| tag.body == OPUS_SILENT) && (499..=501).contains(&sounds.len()));
}

#[test]
fn a_clip_with_sound_is_heard_where_the_stream_has_aac() {
    let demo = Arc::new(Clip::read(include_bytes!("../../../millstream/clip/demo.flv")).unwrap());
    let mut rig = slated();
    rig.stream.set_slate(Some(Arc::clone(&demo)));
    let configs = [config(Track::Video, 1), said(TagKind::Audio, AAC)];
    let (_, _, tags) = after_leaving(rig, &configs, &[key(0), sound(10), picture(40)], 39_440);
    let (pictures, sounds) = (of(&tags, TagKind::Video), of(&tags, TagKind::Audio));
    assert_eq!(sounds[0].body, demo.audio.as_ref().unwrap().body);
    let counts = (pictures.len(), sounds.len());
    assert!((1_200..=1_204).contains(&counts.0) && (1_718..=1_726).contains(&counts.1), "{counts:?}");
    // Also from one round to the next.
    assert!(rising(&pictures) && rising(&sounds));
    assert!(sounds[1..].windows(2).all(|pair| pair[1].ms - pair[0].ms < 50));
}

#[test]
fn an_encoder_that_stops_and_starts_shows_no_slate() {
    let mut rig = slated();
    rig.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    let mut client = rig.join(Format::FlvChunked, Start::Newest);
    rig.play(&[key(0), sound(10), picture(40)]);
    rig.drain(&mut client);
    rig.stream.leave(1, false, rig.now, &mut rig.log);
    rig.wait_ms(100);
    rig.stream.publish(2, false, rig.now).unwrap();
    rig.read(&[config(Track::Video, 1), config(Track::Audio, 1), key(0), sound(10)]);
    rig.wait_ms(1_000);
    rig.drain(&mut client);
    assert_eq!(names(&client.tags()), "V1 A1 K0 a10 p40 K140 a150");
}

#[test]
fn a_slate_is_not_for_ever() {
    let slate_max = Duration::from_secs(20);
    let rig = Rig::new(StreamConfig { on_unpublish: OnUnpublish::Slate, slate_max, ..StreamConfig::default() });
    let (mut rig, mut client, _) = after_leaving(rig, &[config(Track::Video, 1)], &[key(0), picture(40)], 19_900);
    rig.wait_ms(200);
    assert_eq!(rig.drain(&mut client), Fill::Close(CloseReason::Ended(EndReason::PublisherGone)));
    assert!(rig.stream.slate_since().is_none());
}

#[test]
fn where_it_is_to_end_it_ends_at_once_and_viewers_have_all_of_it() {
    let mut rig = Rig::new(StreamConfig { on_unpublish: OnUnpublish::End, ..StreamConfig::default() });
    rig.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    let mut client = rig.join(Format::FlvChunked, Start::Newest);
    rig.play(&[key(0), sound(10), picture(40)]);
    rig.stream.leave(1, false, rig.now, &mut rig.log);
    rig.wait_ms(1);
    assert_eq!(rig.drain(&mut client), Fill::Close(CloseReason::Ended(EndReason::PublisherGone)));
    assert_eq!(names(&client.tags()), "V1 A1 K0 a10 p40");
}

#[test]
fn who_is_dismissed_and_who_never_began_leaves_no_slate() {
    let mut rig = slated();
    rig.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    rig.play(&[key(0), sound(10)]);
    rig.stream.leave(1, true, rig.now, &mut rig.log);
    rig.wait_ms(1);
    assert_eq!(rig.log.ended(), Some(EndReason::PublisherGone));
    let mut rig = slated();
    rig.stream.leave(1, false, rig.now, &mut rig.log);
    rig.wait_ms(9_000);
    assert!(rig.stream.slate_since().is_none() && rig.log.ended().is_none());
    rig.wait_ms(1_000);
    assert_eq!(rig.log.ended(), Some(EndReason::PublisherGone), "it waits as any other");
}

#[test]
fn a_change_of_mind_counts_at_once() {
    let (mut rig, ..) = after_leaving(slated(), &[config(Track::Video, 1)], &[key(0), picture(40)], 5_000);
    rig.stream.set_on_unpublish(OnUnpublish::Wait, rig.now);
    assert!(rig.stream.slate_since().is_none());
    rig.wait_ms(5_000);
    rig.stream.set_on_unpublish(OnUnpublish::Slate, rig.now);
    rig.wait_ms(1);
    assert!(rig.stream.slate_since().is_some());
    rig.stream.set_on_unpublish(OnUnpublish::End, rig.now);
    rig.wait_ms(1);
    assert_eq!(rig.log.ended(), Some(EndReason::PublisherGone));
}

#[test]
fn a_slate_that_is_late_does_not_catch_up() {
    let (mut rig, mut client, _) = after_leaving(slated(), &[config(Track::Video, 1)], &[key(0), picture(40)], 5_000);
    let before = client.tags().len();
    // The thread was busy for half a minute.
    rig.now = rig.now + Duration::from_secs(30);
    rig.stream.handle_timeout(rig.now, &mut rig.log);
    rig.drain(&mut client);
    assert!(client.tags().len() - before < 12, "{}", client.tags().len() - before);
    rig.wait_ms(2_000);
    rig.drain(&mut client);
    let newest = client.tags().last().unwrap().ms;
    assert!((36_500..=37_800).contains(&newest), "{newest}");
}

#[test]
fn case_37_a_publisher_whose_network_dies_is_stood_in_for_and_goes_on_where_it_comes_back() {
    let mut rig = slated();
    rig.read(&[metadata("first"), config(Track::Video, 1), said(TagKind::Audio, AAC)]);
    let mut client = rig.join(Format::FlvChunked, Start::Newest);
    rig.play(&[key(0), sound(10), picture(40)]);
    rig.drain(&mut client);
    let before = client.tags().len();
    // It answers pings: it is there, and has nothing to show.
    for _ in 0..20 {
        rig.wait_ms(400);
        assert!(rig.stream.heard(1, rig.now));
        rig.drain(&mut client);
    }
    assert!(rig.stream.slate_since().is_none());
    // It does not.
    rig.wait_ms(1_499);
    assert!(rig.stream.slate_since().is_none());
    for _ in 0..8 {
        rig.wait_ms(500);
        rig.drain(&mut client);
    }
    assert!(rig.stream.slate_since().is_some() && matches!(rig.stream.place(), Place::OnAir { session: 1, .. }));
    rig.drain(&mut client);
    let slate = client.tags().split_off(before);
    assert!(of(&slate, TagKind::Video).len() > 55, "{}", names(&slate));
    assert!(slate.iter().any(|tag| tag.body == built_in().video.body));
    // The network is back: what it sends before a keyframe shows nothing, and the slate goes on.
    let before = client.tags().len();
    rig.stream.heard(1, rig.now);
    assert_eq!(rig.read(&[picture(14_000), sound(14_010)]), [crate::stream::Pushed::BeforeKeyframe; 2]);
    rig.wait_ms(200);
    rig.stream.heard(1, rig.now);
    rig.read(&[key(14_200), sound(14_210), picture(14_240)]);
    assert!(rig.stream.slate_since().is_none());
    rig.drain(&mut client);
    let back = names(&client.tags().split_off(before));
    let (_, own) = back.split_once("s V1 ").unwrap_or_else(|| panic!("{back}"));
    assert!(
        own.starts_with('K') && !own.contains('A'),
        "its coding is said again, and silence was in it already: {back}"
    );
    // Nothing of it is forgotten for who joins.
    assert!(rig.joined(Format::FlvChunked).starts_with("s V1 a"), "{}", rig.joined(Format::FlvChunked));
    // Another encoder may take the place, as from anybody who is silent.
    rig.wait_ms(3_000);
    assert!(rig.stream.slate_since().is_some());
    assert_eq!(rig.stream.publish(2, false, rig.now), Ok(Some(1)));
    assert!(rig.stream.slate_since().is_none());
}

#[test]
fn a_silent_publisher_that_leaves_is_still_stood_in_for() {
    let mut rig = slated();
    rig.read(&[config(Track::Video, 1)]);
    rig.play(&[key(0), picture(40)]);
    rig.wait_ms(5_000);
    let since = rig.stream.slate_since();
    assert!(since.is_some());
    // What an encoder repeats on a screen that stands still is nothing to show.
    rig.read(&[MediaEvent::Metadata(Bytes::from_static(b"\x02\0\x0aonMetaData\x03\0\x01a\x05\0\0\x09"))]);
    assert_eq!(rig.stream.slate_since(), since);
    rig.stream.leave(1, false, rig.now, &mut rig.log);
    rig.wait_ms(5_000);
    assert_eq!(rig.stream.slate_since(), since, "it goes on");
    assert_eq!(rig.stream.publish(1, false, rig.now), Ok(None));
}
