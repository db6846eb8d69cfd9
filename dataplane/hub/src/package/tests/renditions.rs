//! Renditions are cut where their source is, whenever they begin and whatever happens to who makes them.
use std::time::Duration;

use millstream_proto::hls::request::{Directives, Until};
use millstream_proto::id::RenditionName;
use millstream_proto::media::{Codec, Frame, MediaEvent, Track};
use millstream_proto::time::Time;

use super::fixture::{PackagerFixture, Recording, at, av1_config, config, stamp};
use super::rules::Parsed;
use crate::config::{HlsConfig, Rendition};
use crate::encodable::PictureCodec;
use crate::package::window::{Answer, Beside, Position, Refusal, Window};
use crate::subscriber::ClosedSegment;

/// A rendition's frames arrive this much later than its source's.
const LATE: Duration = Duration::from_millis(180);

/// Playlists have whole milliseconds.
const ROUNDED_US: u64 = 1_000;

/// Sound goes to the next segment within half a part of the picture, at both ends. Players that switch between renditions play the source's.
const SOUND_US: u64 = 400_000;

/// A source, and a rendition of it that is made from `from_ms` on, but for the frames in `lost_ms`.
struct Pair {
    source: PackagerFixture,
    rendition: PackagerFixture,
}

impl Pair {
    fn new() -> Self {
        let source = PackagerFixture::av();
        let mut rendition = PackagerFixture::new(HlsConfig::default());
        rendition.source.stream.follow_source(0);
        rendition.source.read(&[config(Track::Video, 7), config(Track::Audio, 1)]);
        Self { source, rendition }
    }

    /// Each frame reaches the source, and the rendition where `has` says so. Stamps of the rendition are those of the source's timeline.
    fn play(&mut self, frames: &[MediaEvent], has: impl Fn(i64) -> bool) {
        self.play_and_look(frames, has, |_, _| {});
    }

    /// The same, with a look after each frame of the source.
    fn play_and_look(
        &mut self,
        frames: &[MediaEvent],
        has: impl Fn(i64) -> bool,
        look: impl FnMut(&Self, &MediaEvent),
    ) {
        self.play_as(frames, |frame| has(stamp(frame)).then(|| frame.clone()), look);
    }

    /// The same, where the rendition has `of` of each frame.
    fn play_as(
        &mut self,
        frames: &[MediaEvent],
        of: impl Fn(&MediaEvent) -> Option<MediaEvent>,
        mut look: impl FnMut(&Self, &MediaEvent),
    ) {
        let own: Vec<MediaEvent> = frames.iter().filter_map(of).collect();
        let coming = own.iter().map(|frame| (frame, false));
        let mut due: Vec<(&MediaEvent, bool)> = frames.iter().map(|frame| (frame, true)).chain(coming).collect();
        due.sort_by_key(|(frame, of_source)| (at(frame) + if *of_source { Duration::ZERO } else { LATE }, !of_source));
        for (frame, of_source) in due {
            if of_source {
                self.source.arrive(at(frame), frame);
                look(self, frame);
                continue;
            }
            self.rendition.guide = self.source.packager.as_ref().and_then(|packager| packager.plans()).cloned();
            if self.rendition.packager.is_none() && self.rendition.guide.is_some() {
                self.rendition.source.wait_until(at(frame) + LATE);
                self.rendition.ask();
            }
            self.rendition.arrive(at(frame) + LATE, frame);
        }
    }
}

/// Segments of both that are whole in both: all of them are told to begin and to last the same.
fn same(pair: &Pair, track: Track) -> Vec<ClosedSegment> {
    same_to(pair, track, 0, 0)
}

/// The same to so many microseconds, but for the first ones of the rendition: times are rounded from where each of them begins.
fn same_to(pair: &Pair, track: Track, slack_us: u64, first: usize) -> Vec<ClosedSegment> {
    let numbers = |fixture: &PackagerFixture| {
        let oldest = fixture.window.oldest_msn(track).expect("segments");
        (oldest..).map_while(|msn| fixture.window.closed(track, msn)).collect::<Vec<_>>()
    };
    let (source, rendition) = (numbers(&pair.source), numbers(&pair.rendition));
    let mut both = Vec::new();
    for segment in rendition.into_iter().skip(first) {
        let Some(own) = source.iter().find(|own| own.opened.msn == segment.opened.msn) else { continue };
        both.push((own.clone(), segment));
    }
    assert!(both.len() >= 3, "{} segments in common", both.len());
    for (own, segment) in &both {
        let same = |what: &str, own_us: u64, us: u64| {
            assert!(own_us.abs_diff(us) <= slack_us, "{what} of {} of {track:?}: {own_us} {us}", own.opened.msn);
        };
        same("start", own.opened.start_us / 100 * 100, segment.opened.start_us / 100 * 100);
        same("date", own.opened.date_unix_ms * 1_000, segment.opened.date_unix_ms * 1_000);
        same("length", own.duration_us, segment.duration_us);
    }
    both.into_iter().map(|(_, segment)| segment).collect()
}

#[test]
fn case_17_segments_have_their_sources_numbers_and_times() {
    for (fps, gop) in
        [(30.0, 60), (30_000.0 / 1_001.0, 60), (25.0, 50), (30.0, 30), (30.0, 90), (30.0, 250), (24.0, 37)]
    {
        let mut pair = Pair::new();
        let frames = Recording { for_ms: 60_000, fps, gop, ..Recording::default() }.frames();
        pair.play(&frames, |_| true);
        for track in [Track::Video, Track::Audio] {
            same(&pair, track);
        }
    }
}

#[test]
#[ignore = "takes some minutes: an hour of frames"]
fn an_hour_at_30000_1001_has_the_same_segments_as_its_source() {
    let mut pair = Pair::new();
    let frames = Recording { for_ms: 3_600_000, fps: 30_000.0 / 1_001.0, ..Recording::default() }.frames();
    let (mut looked_ms, mut compared) = (20_000, 0);
    let look = |pair: &Pair, frame: &MediaEvent| {
        if stamp(frame) >= looked_ms + 10_000 {
            looked_ms = stamp(frame);
            compared += same(pair, Track::Video).len() + same_to(pair, Track::Audio, ROUNDED_US, 0).len();
        }
    };
    pair.play_and_look(&frames, |_| true, look);
    println!("{compared} pairs of segments, the last number {}", pair.source.window.next_msn());
    assert!(compared > 2_000, "{compared}");
}

#[test]
fn one_that_begins_later_is_in_the_segment_that_its_source_is_in() {
    // At a keyframe in the middle of a segment, at the beginning of one, and between keyframes.
    for from_ms in [7_000, 8_000, 8_600] {
        let mut pair = Pair::new();
        let frames = Recording { for_ms: 30_000, gop: 30, ..Recording::default() }.frames();
        pair.play(&frames, |ms| ms >= from_ms);
        // What it lacks of its first segment is not in it.
        let segments = same_to(&pair, Track::Video, ROUNDED_US, 1);
        assert!(segments.iter().all(|segment| !segment.parts.is_empty()), "no gaps");
        same_to(&pair, Track::Audio, SOUND_US, 1);
    }
}

#[test]
fn an_encoder_that_is_started_anew_leaves_gaps_and_moves_nothing() {
    for (lost_from_ms, lost_until_ms) in [(10_300, 11_000), (10_300, 14_100), (12_000, 14_000), (11_900, 12_100)] {
        let mut pair = Pair::new();
        let frames = Recording { for_ms: 30_000, ..Recording::default() }.frames();
        let (before, after): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| stamp(frame) < lost_until_ms);
        pair.play(&before, |ms| ms < lost_from_ms);
        pair.rendition.leave();
        pair.rendition.publish();
        let now_ms = pair.source.source.stream.timeline().newest_ms();
        pair.rendition.source.stream.follow_source(now_ms);
        pair.rendition.source.read(&[config(Track::Video, 7), config(Track::Audio, 1)]);
        pair.play(&after, |_| true);
        let gaps =
            same_to(&pair, Track::Video, ROUNDED_US, 0).iter().filter(|segment| segment.parts.is_empty()).count();
        assert!(gaps <= 2, "{gaps} gaps");
        same_to(&pair, Track::Audio, SOUND_US, 0);
    }
}

#[test]
fn a_discontinuity_of_the_source_is_one_of_the_rendition() {
    let mut pair = Pair::new();
    let first = Recording { for_ms: 10_000, ..Recording::default() }.frames();
    pair.play(&first, |_| true);
    pair.source.leave();
    pair.source.publish();
    // Another coding, as an encoder that comes back with another size has.
    pair.source.source.read(&[config(Track::Video, 2), config(Track::Audio, 2)]);
    pair.rendition.source.read(&[config(Track::Video, 8), config(Track::Audio, 2)]);
    let second = Recording { from_ms: 10_000, for_ms: 16_000, ..Recording::default() }.frames();
    pair.play(&second, |_| true);
    for track in [Track::Video, Track::Audio] {
        let discontinuities = |fixture: &mut PackagerFixture| {
            let text = fixture.text(track).expect("a playlist");
            text.matches("#EXT-X-DISCONTINUITY\n").count()
        };
        assert_eq!(discontinuities(&mut pair.source), discontinuities(&mut pair.rendition), "{track:?}");
    }
}

/// Of a source of 322x182; the last one would be larger.
fn renditions() -> Vec<Rendition> {
    [("90p", 160, 90), ("180p", 320, 180), ("360p", 640, 360)]
        .map(|(name, width_max, height_max)| Rendition {
            name: RenditionName::new(name).expect("a name"),
            width_max,
            height_max,
            video_kbit_s: 400,
            codec: None,
            marked: false,
            always: false,
        })
        .to_vec()
}

/// The reports of a playlist: where, the segment, its part.
fn reports(window: &mut Window, track: Track, beside: &[Beside]) -> Vec<(String, u64, u64)> {
    let now = Time::from_millis(1);
    let Answer::Ready(playlist) = window.playlist_at(track, &Directives::default(), |_| beside.to_vec(), (now, now))
    else {
        panic!("a playlist")
    };
    Parsed::read(std::str::from_utf8(&playlist.text).expect("text")).reports
}

fn beside(path: &str, is_source: bool, video: Option<Position>) -> Beside {
    Beside { path: path.to_owned(), is_source, video, audio: None }
}

#[test]
fn playlists_report_on_those_that_players_switch_to() {
    let mut pair = Pair::new();
    let frames = Recording { for_ms: 15_100, ..Recording::default() }.frames();
    pair.play(&frames, |ms| ms < 14_000);
    let (source, rendition) = (&mut pair.source.window, &mut pair.rendition.window);
    let [own, of_rendition] = [&*source, &*rendition].map(|window| window.position(Track::Video).expect("parts"));
    assert!(own != of_rendition, "one is behind the other");
    let offered: Vec<_> = source.offered(&renditions()).map(|rendition| rendition.name.to_string()).collect();
    assert_eq!(offered, ["90p", "180p"]);
    assert!(rendition.offered(&renditions()).map(|rendition| rendition.name.to_string()).eq(offered));
    let at = |uri: &str, Position { msn, part }: Position| (uri.to_owned(), msn, part);
    let sound = source.position(Track::Audio).expect("parts");

    // One that is made is where it is, and one that is not will be here.
    let others = [beside("90p/", false, Some(of_rendition)), beside("180p/", false, None)];
    for _ in 0..2 {
        assert_eq!(
            reports(source, Track::Video, &others),
            [at("audio.m3u8", sound), at("90p/video.m3u8", of_rendition), at("180p/video.m3u8", own)]
        );
    }
    assert_eq!(
        reports(source, Track::Audio, &others),
        [at("video.m3u8", own), at("90p/video.m3u8", of_rendition), at("180p/video.m3u8", own)]
    );
    // What it says of others is not what it said before, although nothing of its own has changed.
    let others = [beside("90p/", false, Some(own))];
    assert_eq!(reports(source, Track::Video, &others), [at("audio.m3u8", sound), at("90p/video.m3u8", own)]);
    assert_eq!(reports(source, Track::Video, &[]), [at("audio.m3u8", sound)]);

    let others = [beside("../", true, Some(own)), beside("../180p/", false, None)];
    let sound = rendition.position(Track::Audio).expect("parts");
    assert_eq!(
        reports(rendition, Track::Video, &others),
        [
            at("audio.m3u8", sound),
            at("../video.m3u8", own),
            at("../audio.m3u8", sound),
            at("../180p/video.m3u8", of_rendition)
        ]
    );
    // Its own sound is not in the stream's multivariant playlist.
    assert_eq!(reports(rendition, Track::Audio, &others), [at("video.m3u8", of_rendition)]);
}

#[test]
fn what_a_source_reports_is_waited_for_by_a_rendition_that_comes_up_to_it() {
    let mut pair = Pair::new();
    let frames = Recording { for_ms: 20_000, ..Recording::default() }.frames();
    // It has stood still for eight seconds.
    pair.play(&frames, |ms| ms < 12_000);
    let Position { msn, part } = pair.source.window.position(Track::Video).expect("parts");
    let ask = |window: &mut Window, msn: u64| {
        window.playlist(Track::Video, &Directives { until: Some(Until { msn, part: Some(part + 1) }), skip: false })
    };
    let rendition = &mut pair.rendition.window;
    assert!(rendition.position(Track::Video).expect("parts").msn + 2 < msn);
    assert_eq!(ask(rendition, msn), Answer::Wait);
    assert_eq!(ask(rendition, msn + 1_000), Answer::Refused(Refusal::FarAhead));
    assert_eq!(ask(&mut pair.source.window, msn + 3), Answer::Refused(Refusal::FarAhead));
}

#[test]
fn the_manifest_has_all_renditions_and_names_their_segments_as_its_own() {
    let mut pair = Pair::new();
    let frames = Recording { for_ms: 20_000, ..Recording::default() }.frames();
    pair.play(&frames, |ms| ms >= 8_000);
    let (source, rendition) = (&mut pair.source.window, &pair.rendition.window);
    let Answer::Ready(text) = source.manifest_with(&renditions(), 7, true) else { panic!("a manifest") };
    let text = String::from_utf8(text.to_vec()).expect("text");
    assert_eq!(text.matches("<AdaptationSet ").count(), 2, "{text}");
    assert_eq!(text.matches("<Representation ").count(), 4, "{text}");
    let line = |of: &str| text.lines().find(|line| line.starts_with(of)).unwrap_or_else(|| panic!("{of}: {text}"));
    assert!(line("<Representation id=\"90p\"").contains("bandwidth=\"600000\" width=\"160\" height=\"90\""), "{text}");
    assert!(!text.contains("360p"), "not blown up: {text}");
    for path in ["90p/s/n1/v/$Number$.m4s", "90p/s/n1/v/init-0.mp4", "180p/s/n1/v/init-0.mp4", "\"s/n1/v/$Number$.m4s"]
    {
        assert!(text.contains(path), "{path}: {text}");
    }
    // All of a track have the same timeline.
    let timelines: Vec<_> =
        text.split("<SegmentTimeline>").skip(1).filter_map(|rest| rest.split("</").next()).collect();
    assert_eq!((timelines.len(), timelines[0]), (4, timelines[1]));
    assert_eq!(timelines[0], timelines[2]);
    let Answer::Ready(alone) = source.manifest(7, true) else { panic!("a manifest") };
    assert_eq!(std::str::from_utf8(&alone).expect("text").matches("<Representation ").count(), 2);

    let newest = source.position(Track::Video).expect("segments").msn;
    for msn in newest - 5..newest {
        let whole = rendition.closed(Track::Video, msn).expect("a whole segment");
        let Answer::Ready(media) = rendition.media("n1", Track::Video, &format!("{msn}.m4s")) else { panic!("{msn}") };
        assert_eq!(media.pieces, whole.parts);
        // Its times are rounded from where it began: to a millisecond.
        let starts =
            timelines[1].split("<S t=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<u64>().ok());
        let start = whole.opened.start;
        assert!(starts.into_iter().any(|listed| listed.abs_diff(start) <= 90), "{start}: {text}");
    }
    assert!(matches!(rendition.media("n1", Track::Video, "init-0.mp4"), Answer::Ready(_)));
    // What comes is waited for, and what was before it, parts, and other sessions are not there.
    assert_eq!(rendition.media("n1", Track::Video, &format!("{}.m4s", newest + 1)), Answer::Wait);
    assert_eq!(rendition.media("n1", Track::Video, "init-1.mp4"), Answer::Wait);
    for (session, name) in [
        ("n1", format!("{}.m4s", newest - 8)),
        ("n1", "p3.m4s".to_owned()),
        ("n1", format!("{}.m4s", newest + 1_000)),
        ("n2", format!("{newest}.m4s")),
    ] {
        let found = rendition.media(session, Track::Video, &name);
        assert_eq!(found, Answer::Refused(Refusal::NotFound), "{session} {name}");
    }
}

/// The same frame with that composition offset.
fn delayed(frame: &MediaEvent, delay_ms: i32) -> MediaEvent {
    match frame {
        MediaEvent::Frame(frame) if frame.track == Track::Video => {
            super::fixture::frame(Track::Video, frame.keyframe, frame.dts_ms, delay_ms, &frame.body[frame.data_at..])
        }
        other => other.clone(),
    }
}

/// The same frame as a worker publishes it in AV1, at half the rate: `None` of what is left out.
fn in_av1(frame: &MediaEvent, delay_ms: i64) -> Option<MediaEvent> {
    let MediaEvent::Frame(frame) = frame else { return Some(frame.clone()) };
    if frame.track == Track::Audio {
        return Some(MediaEvent::Frame(frame.clone()));
    }
    let number = frame.body.get(frame.data_at + 7)?;
    let head: &[u8] = if frame.keyframe { b"\x91av01" } else { b"\xa1av01" };
    let body = [head, &frame.body[frame.data_at..]].concat().into();
    let (codec, data_at, cts_ms, dts_ms) = (Codec::Av1, head.len(), 0, frame.dts_ms + delay_ms);
    let track = Track::Video;
    let frame = Frame { track, codec, dts_ms, cts_ms, keyframe: frame.keyframe, body, data_at };
    number.is_multiple_of(2).then_some(MediaEvent::Frame(frame))
}

/// AV1 has no composition times over RTMP: its frames come with the times at which they are shown. They get the places of the source's all the same.
#[test]
fn a_rendition_without_composition_times_has_its_sources_segments() {
    for delay_ms in [0, 67] {
        let mut pair = Pair::new();
        pair.rendition.source.read(&[av1_config()]);
        let frames = Recording { for_ms: 20_000, ..Recording::default() }.frames();
        let frames: Vec<_> = frames.iter().map(|frame| delayed(frame, delay_ms)).collect();
        pair.play_as(&frames, |frame| in_av1(frame, delay_ms.into()), |_, _| {});
        let segments = same_to(&pair, Track::Video, ROUNDED_US, 0);
        assert!(segments.iter().all(|segment| segment.parts.len() > 1), "{delay_ms}: {segments:?}");
        same_to(&pair, Track::Audio, SOUND_US, 1);
        // Each picture is shown when the source's is.
        let shown = |fixture: &mut PackagerFixture| -> Vec<i64> {
            fixture.shown(Track::Video).iter().map(|shown| shown.pts).collect()
        };
        let (of_source, mut own) = (shown(&mut pair.source), shown(&mut pair.rendition));
        // Their windows begin at different segments.
        own.retain(|pts| *pts >= of_source[0]);
        let near = |pts: &i64| of_source.iter().any(|other| other.abs_diff(*pts) <= 90);
        assert!(own.len() > 100 && own.iter().all(near), "{delay_ms}: {own:?} {of_source:?}");
    }
}

/// Players switch within a set, and not all of them to another coding.
#[test]
fn renditions_in_another_coding_are_a_set_of_their_own() {
    let mut pair = Pair::new();
    pair.play(&Recording { for_ms: 12_000, ..Recording::default() }.frames(), |_| true);
    let mut renditions = renditions();
    renditions[0].codec = Some(PictureCodec::Av1);
    let Answer::Ready(text) = pair.source.window.manifest_with(&renditions, 7, true) else { panic!("a manifest") };
    let text = String::from_utf8(text.to_vec()).expect("text");
    let sets: Vec<&str> = text.split("<AdaptationSet ").skip(1).collect();
    assert_eq!(sets.len(), 3, "{text}");
    assert!(sets[0].contains(" id=\"0\" selectionPriority=\"2\"") && sets[1].contains(" id=\"1\""), "{text}");
    assert!(sets[0].contains("id=\"180p\" codecs=\"avc1.") && !sets[0].contains("av01"), "{text}");
    assert!(sets[1].contains("id=\"90p\" codecs=\"av01.0.00M.08\"") && !sets[1].contains("avc1"), "{text}");
    assert!(sets[0].contains("switching:2016\" value=\"1\"") && sets[1].contains("value=\"0\""), "{text}");
    let Answer::Ready(text) = pair.source.window.multivariant_with(&renditions, true) else { panic!("a playlist") };
    let text = String::from_utf8(text.to_vec()).expect("text");
    assert!(text.contains("CODECS=\"av01.0.00M.08,mp4a.40.2\""), "{text}");
}
