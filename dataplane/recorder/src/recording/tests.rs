//! A recording as its playlists show it, each held against the rules.
use bytes::Bytes;
use millstream_hub::package::change::{Header, Opened, Part};
use millstream_proto::codec::{Shape, Summary};
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;
use millstream_test_support::dash::Manifest;
use millstream_test_support::hls::playlist::Media;
use millstream_test_support::hls::rules;

use super::ledger::Ledger;
use super::playlist::Reach;
use super::record::{Head, Reason, Record};
use super::summary::State;
use super::{Recording, Write};
use crate::name::RecordingName;

const START_MS: u64 = 1_795_531_265_000;
/// Where on its stream's timeline a recording begins.
const STREAM_MS: u64 = 700;

struct Fixture {
    recording: Recording,
    /// All that was written.
    records: Vec<Record>,
}

impl Fixture {
    fn new(object_ms: u32) -> Self {
        let head = Head {
            name: RecordingName::new(START_MS, "s").expect("a name"),
            stream: Id::new("cam").expect("an id"),
            target_duration_s: 2,
            object_ms,
            retention_days: 0,
            keeps_hls: true,
            movies: None,
        };
        Self { recording: Recording::new(Ledger::new(head)), records: Vec::new() }
    }

    fn make(&mut self, writes: Vec<Write>) {
        for write in writes {
            self.recording.written(&write.record);
            self.records.push(write.record);
        }
    }

    fn open(&mut self, track: Track, msn: u64, discontinuities: u64, header: u32, date_unix_ms: u64) {
        let opened = Opened {
            msn,
            discontinuities,
            header,
            // The stream is not new.
            start: date_unix_ms.saturating_sub(START_MS) + STREAM_MS,
            date_unix_ms,
            ..Opened::default()
        };
        let (codec, shape) = match track {
            Track::Video => ("avc1.64001f", Shape::Video { width: 1_280, height: 720 }),
            Track::Audio => ("mp4a.40.2", Shape::Audio { rate_hz: 48_000, channels: 2 }),
        };
        let summary = Summary { codec: codec.to_owned(), shape: Some(shape), unusual: None };
        let bytes = Bytes::from(format!("moov {header}"));
        let header = Header { number: header, bytes, timescale: 1_000, summary };
        let writes = self.recording.opened(track, &opened, Some(&header));
        self.make(writes);
    }

    fn part(&mut self, track: Track, bytes: usize) {
        let part = Part {
            number: 0,
            duration: 500,
            duration_us: 500_000,
            independent: true,
            frames: 15,
            arrived: Time::ZERO,
            bytes: vec![7; bytes].into(),
        };
        let writes = self.recording.part(track, &part);
        self.make(writes);
    }

    /// A segment of 2 s.
    fn segment(&mut self, track: Track, msn: u64, discontinuities: u64, header: u32, date_unix_ms: u64) {
        self.open(track, msn, discontinuities, header, date_unix_ms);
        (0..4).for_each(|_| self.part(track, 100));
        let writes = self.recording.closed(track);
        self.make(writes);
    }

    fn playlist(&self, track: Track, is_final: bool) -> Media {
        let text = self.recording.ledger().media_playlist(track, Reach::All, is_final);
        let media = Media::parse(&text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
        assert_eq!(rules::check(&media), [], "{text}");
        // What a crash would find is the same.
        let mut found = Ledger::new(self.recording.ledger().head().clone());
        for record in &self.records {
            found.apply(&Record::decode(&record.encode()).expect("a record").0);
        }
        assert_eq!(found.media_playlist(track, Reach::All, is_final), text);
        media
    }
}

#[test]
fn segments_are_ranges_of_objects_that_are_as_long_as_they_are_to_be() {
    let mut fixture = Fixture::new(4_000);
    (0..5).for_each(|n| fixture.segment(Track::Video, n, 0, 1, START_MS + n * 2_000));
    let writes = fixture.recording.end(Reason::StreamEnded);
    fixture.make(writes);
    let media = fixture.playlist(Track::Video, true);
    let found: Vec<_> =
        media.segments.iter().map(|s| (s.uri.clone().expect("whole"), s.range.expect("a range"))).collect();
    let expected = [(1, 0), (1, 400), (2, 0), (2, 400), (3, 0)];
    let expected: Vec<_> =
        expected.iter().map(|(object, offset)| (format!("video/{object}.mp4"), (*offset, 400))).collect();
    assert_eq!(found, expected);
    assert!(media.ended && media.independent_segments);
    assert_eq!(media.segments[0].date_ms, Some(START_MS as i64));
    assert!(media.segments[1..].iter().all(|s| s.date_ms.is_none()), "one date a run");
    let sums: Vec<_> =
        fixture.recording.ledger().track(Track::Video).full.iter().map(|o| (o.number, o.bytes, o.crc32)).collect();
    let crc32 = crc32fast::hash(&[7; 800]);
    assert_eq!(sums, [(1, 800, crc32), (2, 800, crc32), (3, 400, crc32fast::hash(&[7; 400]))], "sums of parts combine");
}

#[test]
fn another_header_begins_another_object_and_another_run_a_discontinuity_in_both_tracks() {
    let mut fixture = Fixture::new(60_000);
    for track in [Track::Video, Track::Audio] {
        fixture.segment(track, 0, 0, 1, START_MS);
    }
    // The audio has nothing in the second run.
    fixture.segment(Track::Video, 1, 1, 1, START_MS + 2_000);
    for track in [Track::Video, Track::Audio] {
        fixture.segment(track, 2, 2, 7, START_MS + 4_000);
    }
    let of = |fixture: &Fixture, track| -> Vec<_> {
        let media = fixture.playlist(track, false);
        let named = |s: &millstream_test_support::hls::playlist::Segment| {
            (s.uri.clone().expect("whole"), s.map.clone().expect("a header"), s.discontinuity_number)
        };
        media.segments.iter().map(named).collect()
    };
    let named = |track: &str, of: &[(u32, u32, u64)]| -> Vec<_> {
        of.iter().map(|(o, i, d)| (format!("{track}/{o}.mp4"), format!("{track}/init-{i}.mp4"), *d)).collect()
    };
    assert_eq!(of(&fixture, Track::Video), named("video", &[(1, 1, 0), (1, 1, 1), (2, 2, 2)]));
    assert_eq!(of(&fixture, Track::Audio), named("audio", &[(1, 1, 0), (2, 2, 2)]));
}

#[test]
fn a_silent_track_has_gaps_that_keep_the_time() {
    let mut fixture = Fixture::new(60_000);
    fixture.segment(Track::Audio, 0, 0, 1, START_MS);
    fixture.open(Track::Audio, 1, 0, 1, START_MS + 2_000);
    let writes = fixture.recording.gap(Track::Audio, 2_000_000);
    fixture.make(writes);
    fixture.segment(Track::Audio, 2, 0, 1, START_MS + 4_000);
    let media = fixture.playlist(Track::Audio, false);
    assert_eq!(media.segments.iter().map(|s| s.gap).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(media.segments[2].range, Some((400, 400)), "in the same object, behind the first");
}

#[test]
fn what_is_missing_is_named_and_both_tracks_go_on_together() {
    let mut fixture = Fixture::new(60_000);
    for track in [Track::Video, Track::Audio] {
        fixture.segment(track, 0, 0, 1, START_MS);
    }
    fixture.open(Track::Video, 1, 0, 1, START_MS + 2_000);
    fixture.part(Track::Video, 100);
    let writes = fixture.recording.break_off(Reason::DiskFull);
    fixture.make(writes);
    fixture.part(Track::Video, 100);
    // The audio is still within a segment that the picture had begun.
    fixture.segment(Track::Audio, 1, 0, 1, START_MS + 2_000);
    for track in [Track::Video, Track::Audio] {
        fixture.segment(track, 5, 0, 1, START_MS + 10_000);
    }
    let video = fixture.playlist(Track::Video, false);
    let audio = fixture.playlist(Track::Audio, false);
    assert_eq!(video.segments.iter().map(|s| s.duration.expect("whole")).collect::<Vec<_>>(), [2.0, 0.5, 2.0]);
    assert_eq!(audio.segments.len(), 2);
    for media in [&video, &audio] {
        let last = media.segments.last().expect("a segment");
        assert_eq!((last.discontinuity_number, last.date_ms), (1, Some(START_MS as i64 + 10_000)));
    }
    let summary = fixture.recording.ledger().summary(State::Recording);
    assert_eq!(summary.gaps.len(), 1);
    let gap = summary.gaps[0];
    assert_eq!((gap.from_unix_ms, gap.to_unix_ms), (START_MS + 2_500, Some(START_MS + 10_000)));
    assert!(summary.to_json().contains("\"reason\": \"disk_full\""));
}

#[test]
fn dates_rise_where_the_clock_was_set_back() {
    let mut fixture = Fixture::new(60_000);
    fixture.segment(Track::Video, 100, 0, 1, START_MS);
    let writes = fixture.recording.new_session();
    fixture.make(writes);
    // An hour back, in another session, whose numbers begin anew.
    for track in [Track::Video, Track::Audio] {
        fixture.segment(track, 3, 0, 1, START_MS - 3_600_000);
        fixture.segment(track, 4, 0, 1, START_MS - 3_598_000);
    }
    let media = fixture.playlist(Track::Video, false);
    assert_eq!(media.segments.len(), 3);
    assert_eq!(media.segments[1].map.as_deref(), Some("video/init-1.mp4"), "the same header, named again");
    let dates = |media: &Media| media.segments.iter().filter_map(|s| s.date_ms).collect::<Vec<_>>();
    assert_eq!(dates(&media), [START_MS as i64, START_MS as i64 + 1]);
    assert_eq!(dates(&fixture.playlist(Track::Audio, false)), [START_MS as i64 + 1], "moved by as much");
}

#[test]
fn dates_rise_behind_a_run_of_which_a_track_has_only_a_gap() {
    let mut fixture = Fixture::new(60_000);
    fixture.segment(Track::Audio, 0, 0, 1, START_MS);
    fixture.open(Track::Audio, 1, 1, 1, START_MS + 2_000);
    let writes = fixture.recording.gap(Track::Audio, 2_000_000);
    fixture.make(writes);
    // The clock was set back in between.
    fixture.segment(Track::Audio, 2, 2, 1, START_MS - 60_000);
    let dates: Vec<_> = fixture.playlist(Track::Audio, false).segments.iter().filter_map(|s| s.date_ms).collect();
    assert_eq!(dates, [0, 2_000, 2_001].map(|ms| START_MS as i64 + ms));
}

#[test]
fn the_multivariant_playlist_names_what_plays() {
    let mut fixture = Fixture::new(2_000);
    fixture.segment(Track::Video, 0, 0, 1, START_MS);
    fixture.segment(Track::Audio, 0, 0, 2, START_MS);
    let ledger = fixture.recording.ledger();
    let read = |text: Option<String>| {
        let text = text.expect("a playlist");
        let whole = millstream_test_support::hls::multivariant::Multivariant::parse(&text).expect("one");
        assert_eq!(whole.check(), [], "{text}");
        whole
    };
    let whole = read(ledger.multivariant(Reach::All, "rec/x/"));
    assert_eq!(whole.variants[0].uri, "rec/x/video.m3u8");
    assert_eq!(whole.renditions[0].uri.as_deref(), Some("rec/x/audio.m3u8"));
    let alone = read(ledger.multivariant(Reach::Objects([0, 1]), ""));
    assert_eq!((alone.variants[0].uri.as_str(), alone.renditions.len()), ("audio.m3u8", 0));
    assert_eq!(ledger.multivariant(Reach::Objects([0, 0]), ""), None);
    assert!(ledger.media_playlist(Track::Video, Reach::Objects([0, 1]), false).lines().count() < 7, "no segment");
}

/// Number and start of each period, and of each of its tracks the ranges: object, offset, where it begins and ends in the presentation, milliseconds.
type Shown = Vec<(String, f64, Vec<Vec<(String, u64, f64, f64)>>)>;

fn shown(fixture: &Fixture) -> Shown {
    let text = fixture.recording.ledger().manifest().expect("a manifest");
    let manifest = Manifest::parse(&text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    assert_eq!(manifest.check(), Vec::<String>::new(), "{text}");
    let period = |period: &millstream_test_support::dash::Period| {
        let tracks = period.tracks.iter().map(|track| {
            let at = |units: u64| period.start_ms + units as f64 - track.offset as f64;
            let of = track.segments.iter();
            of.map(|s| (s.uri.clone(), s.range.0, at(s.start), at(s.start + s.duration))).collect()
        });
        (period.id.clone(), period.start_ms, tracks.collect())
    };
    manifest.periods.iter().map(period).collect()
}

#[test]
fn a_manifest_has_a_period_for_each_run_and_what_is_missing_is_of_the_segment_before_it() {
    let mut fixture = Fixture::new(4_000);
    for track in [Track::Video, Track::Audio] {
        fixture.segment(track, 0, 0, 1, START_MS);
        fixture.segment(track, 1, 0, 1, START_MS + 2_000);
    }
    fixture.segment(Track::Video, 2, 0, 1, START_MS + 4_000);
    fixture.open(Track::Audio, 2, 0, 1, START_MS + 4_000);
    let writes = fixture.recording.gap(Track::Audio, 2_000_000);
    fixture.make(writes);
    for track in [Track::Video, Track::Audio] {
        fixture.segment(track, 3, 0, 1, START_MS + 6_000);
    }
    // Another coding, after ten seconds in which nobody published.
    for track in [Track::Video, Track::Audio] {
        fixture.segment(track, 4, 1, 2, START_MS + 18_000);
    }
    let writes = fixture.recording.end(Reason::StreamEnded);
    fixture.make(writes);
    let segment = |uri: &str, offset, from: f64| (uri.to_owned(), offset, from, from + 2_000.0);
    let expected: Shown = vec![
        (
            "0".to_owned(),
            0.0,
            vec![
                vec![
                    segment("video/1.mp4", 0, 0.0),
                    segment("video/1.mp4", 400, 2_000.0),
                    segment("video/2.mp4", 0, 4_000.0),
                    segment("video/2.mp4", 400, 6_000.0),
                ],
                vec![
                    segment("audio/1.mp4", 0, 0.0),
                    ("audio/1.mp4".to_owned(), 400, 2_000.0, 6_000.0),
                    segment("audio/2.mp4", 0, 6_000.0),
                ],
            ],
        ),
        (
            "1".to_owned(),
            8_001.0,
            vec![vec![segment("video/3.mp4", 0, 8_001.0)], vec![segment("audio/3.mp4", 0, 8_001.0)]],
        ),
    ];
    assert_eq!(shown(&fixture), expected);
    // What cannot be had is named by nothing.
    fixture.make(vec![Record::Spoilt(Track::Video, 1, 400).into(), Record::Damaged(Track::Audio, 3).into()]);
    let now = shown(&fixture);
    let of_video: Vec<_> = now[0].2[0].iter().map(|s| (s.2, s.3)).collect();
    assert_eq!(of_video, [(0.0, 4_000.0), (4_000.0, 6_000.0), (6_000.0, 8_000.0)]);
    assert_eq!(now[1].2.len(), 1);
}

#[test]
fn a_manifest_is_there_where_it_is_known_when_segments_are_decoded() {
    let mut fixture = Fixture::new(4_000);
    assert_eq!(fixture.recording.ledger().manifest(), None, "nothing plays");
    fixture.segment(Track::Video, 0, 0, 1, START_MS);
    assert_eq!(shown(&fixture).len(), 1);
    // As an older release wrote it.
    let mut found = Ledger::new(fixture.recording.ledger().head().clone());
    for mut record in fixture.records {
        if let Record::Opened(_, start) = &mut record {
            start.decode_time = None;
        }
        found.apply(&record);
    }
    assert_eq!(found.manifest(), None);
}
