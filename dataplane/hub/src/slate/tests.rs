//! What viewers get while nobody publishes. Beside [`super`]; the fixture is [`crate::fixture`]'s.
use millstream_proto::media::{MediaEvent, TagKind, Unpacker};

use super::*;
use crate::config::{OnUnpublish, StreamConfig};
use crate::fixture::*;
use crate::log::EndReason;
use crate::package::block::Format;
use crate::stream::Place;
use crate::viewer::{CloseReason, Fill, Start};

/// AAC-LC, 48 kHz, stereo.
const AAC: &[u8] = &[0xAF, 0, 0x11, 0x90];

fn slated() -> StreamFixture {
    StreamFixture::new(StreamConfig { on_unpublish: OnUnpublish::Slate, ..StreamConfig::default() })
}

/// What a publisher sends, as it is read off the wire.
fn said(kind: TagKind, body: &[u8]) -> MediaEvent {
    Unpacker::new().push(kind, 0, Bytes::copy_from_slice(body)).unwrap()
}

/// Viewed for a while by somebody who has seen the stream from its start; the tags since the publisher left.
fn after_leaving(
    mut fixture: StreamFixture,
    configs: &[MediaEvent],
    frames: &[MediaEvent],
    ms: u64,
) -> (StreamFixture, Client, Vec<Got>) {
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    fixture.read(configs);
    fixture.play(frames);
    fixture.wait_ms(600);
    fixture.drain(&mut client);
    let before = client.tags().len();
    fixture.stream.leave(1, false, fixture.now, &mut fixture.log);
    // In steps: a viewer that takes nothing for longer than the log reaches back jumps.
    let end = fixture.now + Duration::from_millis(ms);
    while fixture.now < end {
        fixture.wait_until(end.min(fixture.now + Duration::from_secs(1)));
        assert_eq!(fixture.drain(&mut client), Fill::Wait);
    }
    let tags = client.tags().split_off(before);
    (fixture, client, tags)
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
        let mut fixture = slated();
        let mut client = fixture.join(format, Start::Newest);
        fixture.read(&[config(Track::Video, 1), said(TagKind::Audio, AAC)]);
        fixture.play(&[key(0), sound(10), picture(40)]);
        fixture.drain(&mut client);
        let before = client.tags().len();
        let left_ms = client.tags().last().unwrap().ms;
        fixture.stream.leave(1, false, fixture.now, &mut fixture.log);
        fixture.wait_ms(10_030);
        assert_eq!(fixture.drain(&mut client), Fill::Wait);
        assert!(fixture.stream.slate_since().is_some());
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
        assert!(matches!(fixture.stream.place(), Place::Vacant { .. }));
        assert_eq!(fixture.stream.publish(2, false, fixture.now), Ok(None));
        assert!(fixture.stream.slate_since().is_none());
        let before = client.tags().len();
        fixture.read(&[
            config(Track::Video, 1),
            said(TagKind::Audio, AAC),
            key(77_000),
            sound(77_010),
            picture(77_040),
        ]);
        fixture.drain(&mut client);
        let back = client.tags().split_off(before);
        let shown = names(&back);
        assert!(shown.starts_with("V1 K") && !shown.contains('A'), "{shown}");
        assert!(back[1].ms >= tags.iter().map(|tag| tag.ms).max().unwrap());
    }
}

#[test]
fn case_37_who_joins_sees_the_slate() {
    let (fixture, ..) = after_leaving(slated(), &[config(Track::Video, 1)], &[key(0), picture(40)], 5_000);
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    fixture.drain(&mut client);
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
    let mut fixture = slated();
    fixture.stream.set_slate(Some(Arc::clone(&demo)));
    let configs = [config(Track::Video, 1), said(TagKind::Audio, AAC)];
    let (_, _, tags) = after_leaving(fixture, &configs, &[key(0), sound(10), picture(40)], 39_440);
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
    let mut fixture = slated();
    fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    fixture.play(&[key(0), sound(10), picture(40)]);
    fixture.drain(&mut client);
    fixture.stream.leave(1, false, fixture.now, &mut fixture.log);
    fixture.wait_ms(100);
    fixture.stream.publish(2, false, fixture.now).unwrap();
    fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1), key(0), sound(10)]);
    fixture.wait_ms(1_000);
    fixture.drain(&mut client);
    assert_eq!(names(&client.tags()), "V1 A1 K0 a10 p40 K140 a150");
}

#[test]
fn a_slate_is_not_for_ever() {
    let slate_max = Duration::from_secs(20);
    let fixture =
        StreamFixture::new(StreamConfig { on_unpublish: OnUnpublish::Slate, slate_max, ..StreamConfig::default() });
    let (mut fixture, mut client, _) =
        after_leaving(fixture, &[config(Track::Video, 1)], &[key(0), picture(40)], 19_900);
    fixture.wait_ms(200);
    assert_eq!(fixture.drain(&mut client), Fill::Close(CloseReason::Ended(EndReason::PublisherGone)));
    assert!(fixture.stream.slate_since().is_none());
}

#[test]
fn where_it_is_to_end_it_ends_at_once_and_viewers_have_all_of_it() {
    let mut fixture = StreamFixture::new(StreamConfig { on_unpublish: OnUnpublish::End, ..StreamConfig::default() });
    fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    fixture.play(&[key(0), sound(10), picture(40)]);
    fixture.stream.leave(1, false, fixture.now, &mut fixture.log);
    fixture.wait_ms(1);
    assert_eq!(fixture.drain(&mut client), Fill::Close(CloseReason::Ended(EndReason::PublisherGone)));
    assert_eq!(names(&client.tags()), "V1 A1 K0 a10 p40");
}

#[test]
fn who_is_dismissed_and_who_never_began_leaves_no_slate() {
    let mut fixture = slated();
    fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    fixture.play(&[key(0), sound(10)]);
    fixture.stream.leave(1, true, fixture.now, &mut fixture.log);
    fixture.wait_ms(1);
    assert_eq!(fixture.log.ended(), Some(EndReason::PublisherGone));
    let mut fixture = slated();
    fixture.stream.leave(1, false, fixture.now, &mut fixture.log);
    fixture.wait_ms(9_000);
    assert!(fixture.stream.slate_since().is_none() && fixture.log.ended().is_none());
    fixture.wait_ms(1_000);
    assert_eq!(fixture.log.ended(), Some(EndReason::PublisherGone), "it waits as any other");
}

#[test]
fn a_change_of_mind_counts_at_once() {
    let (mut fixture, ..) = after_leaving(slated(), &[config(Track::Video, 1)], &[key(0), picture(40)], 5_000);
    fixture.stream.set_on_unpublish(OnUnpublish::Wait, fixture.now);
    assert!(fixture.stream.slate_since().is_none());
    fixture.wait_ms(5_000);
    fixture.stream.set_on_unpublish(OnUnpublish::Slate, fixture.now);
    fixture.wait_ms(1);
    assert!(fixture.stream.slate_since().is_some());
    fixture.stream.set_on_unpublish(OnUnpublish::End, fixture.now);
    fixture.wait_ms(1);
    assert_eq!(fixture.log.ended(), Some(EndReason::PublisherGone));
}

#[test]
fn a_slate_that_is_late_does_not_catch_up() {
    let (mut fixture, mut client, _) =
        after_leaving(slated(), &[config(Track::Video, 1)], &[key(0), picture(40)], 5_000);
    let before = client.tags().len();
    // The thread was busy for half a minute.
    fixture.now = fixture.now + Duration::from_secs(30);
    fixture.stream.handle_timeout(fixture.now, &mut fixture.log);
    fixture.drain(&mut client);
    assert!(client.tags().len() - before < 12, "{}", client.tags().len() - before);
    fixture.wait_ms(2_000);
    fixture.drain(&mut client);
    let newest = client.tags().last().unwrap().ms;
    assert!((36_500..=37_800).contains(&newest), "{newest}");
}

#[test]
fn case_37_a_publisher_whose_network_dies_is_stood_in_for_and_goes_on_where_it_comes_back() {
    let mut fixture = slated();
    fixture.read(&[metadata("first"), config(Track::Video, 1), said(TagKind::Audio, AAC)]);
    let mut client = fixture.join(Format::FlvChunked, Start::Newest);
    fixture.play(&[key(0), sound(10), picture(40)]);
    fixture.drain(&mut client);
    let before = client.tags().len();
    // It answers pings: it is there, and has nothing to show.
    for _ in 0..20 {
        fixture.wait_ms(400);
        assert!(fixture.stream.heard(1, fixture.now));
        fixture.drain(&mut client);
    }
    assert!(fixture.stream.slate_since().is_none());
    // It does not.
    fixture.wait_ms(1_499);
    assert!(fixture.stream.slate_since().is_none());
    for _ in 0..8 {
        fixture.wait_ms(500);
        fixture.drain(&mut client);
    }
    assert!(
        fixture.stream.slate_since().is_some() && matches!(fixture.stream.place(), Place::OnAir { session: 1, .. })
    );
    fixture.drain(&mut client);
    let slate = client.tags().split_off(before);
    assert!(of(&slate, TagKind::Video).len() > 55, "{}", names(&slate));
    assert!(slate.iter().any(|tag| tag.body == built_in().video.body));
    // The network is back: what it sends before a keyframe shows nothing, and the slate goes on.
    let before = client.tags().len();
    fixture.stream.heard(1, fixture.now);
    assert_eq!(fixture.read(&[picture(14_000), sound(14_010)]), [crate::stream::Pushed::BeforeKeyframe; 2]);
    fixture.wait_ms(200);
    fixture.stream.heard(1, fixture.now);
    fixture.read(&[key(14_200), sound(14_210), picture(14_240)]);
    assert!(fixture.stream.slate_since().is_none());
    fixture.drain(&mut client);
    let back = names(&client.tags().split_off(before));
    let (_, own) = back.split_once("s V1 ").unwrap_or_else(|| panic!("{back}"));
    assert!(
        own.starts_with('K') && !own.contains('A'),
        "its coding is said again, and silence was in it already: {back}"
    );
    // Nothing of it is forgotten for who joins.
    assert!(fixture.joined(Format::FlvChunked).starts_with("s V1 a"), "{}", fixture.joined(Format::FlvChunked));
    // Another encoder may take the place, as from anybody who is silent.
    fixture.wait_ms(3_000);
    assert!(fixture.stream.slate_since().is_some());
    assert_eq!(fixture.stream.publish(2, false, fixture.now), Ok(Some(1)));
    assert!(fixture.stream.slate_since().is_none());
}

/// It answers pings, and its camera gives nothing yet.
#[test]
fn case_37_a_publisher_that_is_back_and_sends_nothing_is_stood_in_for_until_it_does() {
    let (mut fixture, mut client, _) =
        after_leaving(slated(), &[metadata("first"), config(Track::Video, 1)], &[key(0), picture(40)], 5_000);
    assert_eq!(fixture.stream.publish(2, false, fixture.now), Ok(None));
    fixture.read(&[metadata("second"), config(Track::Video, 1)]);
    for _ in 0..3 {
        fixture.wait_ms(400);
        assert!(fixture.stream.heard(2, fixture.now) && fixture.stream.slate_since().is_none());
    }
    let before = client.tags().len();
    for _ in 0..10 {
        fixture.wait_ms(400);
        assert!(fixture.stream.heard(2, fixture.now) && fixture.stream.slate_since().is_some());
        fixture.drain(&mut client);
    }
    let slate = client.tags().split_off(before);
    assert!(of(&slate, TagKind::Video).len() > 50, "{}", names(&slate));
    let before = client.tags().len();
    fixture.read(&[key(9_000), picture(9_040)]);
    assert!(fixture.stream.slate_since().is_none());
    fixture.drain(&mut client);
    let back = names(&client.tags().split_off(before));
    assert!(back.contains("V1 K"), "its coding is said again: {back}");
}

#[test]
fn a_silent_publisher_that_leaves_is_still_stood_in_for() {
    let mut fixture = slated();
    fixture.read(&[config(Track::Video, 1)]);
    fixture.play(&[key(0), picture(40)]);
    fixture.wait_ms(5_000);
    let since = fixture.stream.slate_since();
    assert!(since.is_some());
    // What an encoder repeats on a screen that stands still is nothing to show.
    fixture.read(&[MediaEvent::Metadata(Bytes::from_static(b"\x02\0\x0aonMetaData\x03\0\x01a\x05\0\0\x09"))]);
    assert_eq!(fixture.stream.slate_since(), since);
    fixture.stream.leave(1, false, fixture.now, &mut fixture.log);
    fixture.wait_ms(5_000);
    assert_eq!(fixture.stream.slate_since(), since, "it goes on");
    assert_eq!(fixture.stream.publish(1, false, fixture.now), Ok(None));
}
