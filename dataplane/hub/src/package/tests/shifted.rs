//! Playlists that reach back into a recording, each held against the rules and against all that was listed before.
use std::io::Read as _;
use std::sync::Arc;

use flate2::read::GzDecoder;
use millstream_proto::hls::request::Directives;
use millstream_proto::media::Track;
use millstream_test_support::hls::history::History;
use millstream_test_support::hls::playlist::Media;

use super::fixture::{PackagerFixture, Recording, config};
use crate::package::archive::{
    Archive, ArchivedSegment, ArchivedTrack, CHUNK_SEGMENTS, Chunk, ChunkWriter, gzip_around, pack,
};
use crate::package::change::{Change, Opened};
use crate::package::window::{Answer, Playlist};

/// What a recorder would have.
#[derive(Default)]
struct Recorded {
    session: String,
    open: Option<(Opened, u64, bool)>,
    video: Vec<ArchivedSegment>,
}

impl Recorded {
    fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Began(session) => self.session.clone_from(&session.name),
                Change::Opened(Track::Video, opened) => self.open = Some((opened, 0, true)),
                Change::Part(Track::Video, part) => {
                    let Some((_, us, independent)) = &mut self.open else { continue };
                    if *us == 0 {
                        *independent = part.independent;
                    }
                    *us += part.duration_us;
                }
                Change::Closed(Track::Video) => self.close(None),
                Change::Gap(Track::Video, us) => self.close(Some(us)),
                _ => {}
            }
        }
    }

    fn close(&mut self, gap_us: Option<u64>) {
        let (opened, us, independent) = self.open.take().expect("an open segment");
        self.video.push(ArchivedSegment {
            msn: opened.msn,
            date_unix_ms: opened.date_unix_ms,
            duration_ms: (gap_us.unwrap_or(us) / 1_000) as u32,
            header: opened.header,
            discontinuity: opened.discontinuity,
            discontinuities: opened.discontinuities,
            independent,
            gap: gap_us.is_some(),
        });
    }

    /// All but the newest of them.
    fn archive(&self, lag: usize, reach_ms: u64, version: u64) -> Archive {
        let count = self.video.len().saturating_sub(lag);
        let mut chunks: Vec<Arc<Chunk>> = Vec::new();
        let mut writer: Option<ChunkWriter> = None;
        let mut done = |writer: ChunkWriter, is_whole| chunks.extend(writer.finish(is_whole).map(Arc::new));
        let mut header = None;
        for segment in &self.video[..count] {
            if let Some(full) = writer.take_if(|writer| !writer.takes(segment)) {
                done(full, true);
            }
            writer.get_or_insert_with(|| ChunkWriter::new(&self.session, Track::Video, header)).push(*segment);
            header = Some(segment.header);
        }
        if let Some(last) = writer {
            let is_full = last.is_full();
            done(last, is_full);
        }
        let first_msn = self.video.first().map_or(0, |first| first.msn);
        let video = Some(ArchivedTrack { first_msn, chunks });
        Archive { version, session: self.session.clone(), reach_ms, tracks: [video, None] }
    }
}

/// The playlist as it is sent, plain and unpacked.
fn whole(playlist: &Playlist, archive: &Archive) -> String {
    let Some(past) = &playlist.past else { return String::from_utf8(playlist.text.to_vec()).expect("text") };
    let chunks = &archive.track(past.track).expect("a track").chunks[past.chunks.clone()];
    let mut plain = playlist.text.to_vec();
    for chunk in chunks {
        plain.extend_from_slice(&chunk.text);
    }
    plain.extend_from_slice(&past.tail);
    let head = pack(&playlist.text);
    let sums = chunks.iter().map(|chunk| (chunk.packed.crc32, chunk.text.len() as u64));
    let [begin, end] = gzip_around(std::iter::once((head.crc32, playlist.text.len() as u64)).chain(sums), &past.tail);
    let blocks = chunks.iter().map(|chunk| chunk.packed.blocks.clone());
    let packed: Vec<u8> =
        [begin, head.blocks].into_iter().chain(blocks).chain([end]).flat_map(|piece| piece.to_vec()).collect();
    let mut unpacked = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("a gzip file");
    assert_eq!(unpacked, plain);
    String::from_utf8(plain).expect("text")
}

struct Viewer {
    fixture: PackagerFixture,
    recorded: Recorded,
    history: History,
    reach_ms: u64,
    /// Segments that the archive is behind.
    lag: usize,
    asked: u64,
}

impl Viewer {
    fn new(reach_ms: u64) -> Self {
        let mut fixture = PackagerFixture::av();
        fixture.told = Some(Vec::new());
        let mut recorded = Recorded::default();
        recorded.take(fixture.window.snapshot());
        Self { fixture, recorded, history: History::new(), reach_ms, lag: 0, asked: 0 }
    }

    /// Plays it, and asks for the playlist three times a second: as a whole, and as what is new of it.
    fn play(&mut self, recording: Recording) {
        let frames = recording.frames();
        let (start, first) = (self.fixture.source.now, frames.first().map(super::fixture::stamp).unwrap_or_default());
        for (n, event) in frames.iter().enumerate() {
            let after = (super::fixture::stamp(event) - first).unsigned_abs();
            self.fixture.arrive_unchecked(start + std::time::Duration::from_millis(after), event);
            if n % 25 == 0 {
                self.ask();
            }
        }
    }

    fn ask(&mut self) {
        let changes = self.fixture.told.as_mut().map(std::mem::take).unwrap_or_default();
        self.recorded.take(changes);
        self.asked += 1;
        // It is renewed now and then, and falls behind until then.
        self.lag = if self.lag > 9 { 0 } else { self.lag + usize::from(self.asked.is_multiple_of(6)) };
        let archive = self.recorded.archive(self.lag, self.reach_ms, self.asked);
        let now = self.fixture.source.now;
        for skip in [self.history.last().is_some(), false] {
            let directives = Directives { until: None, skip };
            let Answer::Ready(playlist) = self.fixture.window.shifted(Track::Video, &archive, &directives, now, now)
            else {
                continue;
            };
            assert!(self.fixture.window.follows(&archive));
            let text = whole(&playlist, &archive);
            let media = Media::parse(&text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
            let faults = self.history.take(&media);
            assert!(faults.is_empty(), "lag {}: {faults:?}\n{text}", self.lag);
        }
    }

    fn seconds(&self) -> f64 {
        self.history.last().expect("a playlist").seconds()
    }
}

#[test]
fn a_playlist_that_reaches_back_is_the_live_one_and_what_was_before() {
    let mut viewer = Viewer::new(3_600_000);
    viewer.play(Recording { for_ms: 300_000, ..Recording::default() });
    assert!(viewer.seconds() > 296.0, "all of it: {}", viewer.seconds());
    let (taken, deltas) = viewer.history.taken();
    assert!(deltas > 800, "{deltas} of {taken} are delta updates");
    viewer.ask();
    // What it lists of the newest is what the live playlist lists: parts, names and the hint.
    let live = Media::parse(&viewer.fixture.text(Track::Video).expect("a playlist")).expect("one");
    let back = viewer.history.last().expect("a playlist");
    let from = live.segments[0].msn;
    let newest: Vec<_> = back.segments.iter().filter(|segment| segment.msn >= from).cloned().collect();
    assert_eq!(newest, live.segments);
    assert_eq!((back.hinted_part(), &back.part_target), (live.hinted_part(), &live.part_target));
    assert_eq!(back.kind, None, "it slides");
}

#[test]
fn it_slides_and_an_encoder_may_restart() {
    let mut viewer = Viewer::new(60_000);
    viewer.play(Recording { for_ms: 200_000, ..Recording::default() });
    let chunk_s = 2.0 * CHUNK_SEGMENTS as f64;
    assert!((60.0..62.0 + chunk_s).contains(&viewer.seconds()), "{}", viewer.seconds());
    // Another coding, and the same one again.
    for number in [2, 3] {
        viewer.fixture.leave();
        viewer.fixture.pass_ms(1_500);
        viewer.fixture.publish();
        viewer.fixture.source.read(&[config(Track::Video, number), config(Track::Audio, 1)]);
        viewer.play(Recording { for_ms: 90_000, ..Recording::default() });
    }
    let numbers: Vec<u64> = viewer.history.segments().values().map(|segment| segment.discontinuity_number).collect();
    assert_eq!((numbers[0], *numbers.last().expect("some")), (0, 2));
}

#[test]
fn a_recording_that_has_just_begun_lists_no_less_than_the_live_playlist() {
    let mut viewer = Viewer::new(3_600_000);
    viewer.play(Recording { for_ms: 60_000, ..Recording::default() });
    let live = Media::parse(&viewer.fixture.text(Track::Video).expect("a playlist")).expect("one");
    let newest = live.segments.iter().rfind(|segment| segment.uri.is_some()).expect("a whole segment").msn;
    let mut begun = viewer.recorded.archive(0, 3_600_000, 99);
    let track = begun.tracks[0].as_mut().expect("video");
    (track.first_msn, track.chunks) = (newest + 1, Vec::new());
    let now = viewer.fixture.source.now;
    let found = viewer.fixture.window.shifted(Track::Video, &begun, &Directives::default(), now, now);
    let Answer::Ready(playlist) = found else { panic!("{found:?}") };
    let back = Media::parse(&whole(&playlist, &begun)).expect("a playlist");
    assert_eq!(back.segments, live.segments);
}

#[test]
fn an_archive_that_is_too_old_or_of_another_session_is_waited_for() {
    let mut viewer = Viewer::new(3_600_000);
    viewer.play(Recording { for_ms: 120_000, ..Recording::default() });
    let now = viewer.fixture.source.now;
    let old = viewer.recorded.archive(40, 3_600_000, 1);
    assert!(!viewer.fixture.window.follows(&old) && viewer.fixture.window.outruns(&old));
    let directives = Directives::default();
    assert_eq!(viewer.fixture.window.shifted(Track::Video, &old, &directives, now, now), Answer::Wait);
    let other = Archive { session: "other".to_owned(), ..viewer.recorded.archive(0, 3_600_000, 2) };
    assert!(!viewer.fixture.window.follows(&other));
    assert_eq!(viewer.fixture.window.shifted(Track::Video, &other, &directives, now, now), Answer::Wait);
    // Nothing is recorded of the other track.
    let right = viewer.recorded.archive(0, 3_600_000, 3);
    assert_eq!(viewer.fixture.window.shifted(Track::Audio, &right, &directives, now, now), Answer::Wait);
    assert!(matches!(viewer.fixture.window.shifted(Track::Video, &right, &directives, now, now), Answer::Ready(_)));
}
