//! What a new version of a playlist costs that somebody asks for: the live one, and the one that reaches back four hours, as a delta update and as a
//! whole. Before it: [`crate::scenario`], which lists them.
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use millstream_hub::package::archive::{Archive, ArchivedSegment, ArchivedTrack, ChunkWriter};
use millstream_hub::package::change::{Change, Header, Opened, Part, PartPromise, Session};
use millstream_hub::package::window::{Answer, Window};
use millstream_proto::codec::Summary;
use millstream_proto::hls::request::Directives;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use crate::scenario::Scenario;

const UNIX_MS: u64 = 1_795_531_265_000;
const FIRST_MSN: u64 = 1_795_531_265;
/// Four hours of two seconds.
const SEGMENTS: u64 = 7_200;
const SEGMENT_MS: u64 = 2_000;
const PARTS: u64 = 6;
const REACH_MS: u64 = 4 * 3_600_000;

/// Which playlist is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    Live,
    Delta,
    Whole,
}

/// A stream that has been on air for four hours.
pub(crate) struct Playlists {
    window: Window,
    archive: Archive,
    asked: Asked,
}

impl Playlists {
    pub(crate) fn new(asked: Asked) -> Self {
        let mut window = Window::new();
        let session = Session {
            name: "19ab3cd4e5f1a".to_owned(),
            target_duration_s: 2,
            window: 6,
            bytes_max: 1 << 30,
            zero_unix_ms: UNIX_MS,
            guide: None,
        };
        let name = session.name.clone();
        window.apply(Change::Began(Arc::new(session)));
        let summary = Summary { codec: "avc1.64001f".to_owned(), shape: None, unusual: None };
        let header = Header { number: 1, bytes: Bytes::from_static(b"moov"), timescale: 1_000, summary };
        window.apply(Change::Header(Track::Video, Arc::new(header)));
        window.apply(Change::Parts(Track::Video, PartPromise { target_ms: 335, hold_back_ms: 1_005 }));
        (0..SEGMENTS).for_each(|at| segment(&mut window, at));
        Self { window, archive: archive(name), asked }
    }
}

impl Scenario for Playlists {
    fn run(&mut self) {
        // The next version of it, with the same in it.
        self.window.apply(Change::Skipped(Track::Video, SEGMENTS * PARTS));
        let directives = Directives { until: None, skip: self.asked == Asked::Delta };
        let (track, now) = (Track::Video, Time::ZERO);
        let found = match self.asked {
            Asked::Live => self.window.playlist(track, &directives),
            Asked::Delta | Asked::Whole => self.window.shifted(track, &self.archive, &directives, now, now),
        };
        let Answer::Ready(playlist) = black_box(found) else { panic!("a playlist") };
        assert_eq!(playlist.past.is_some(), self.asked == Asked::Whole);
    }
}

fn segment(window: &mut Window, at: u64) {
    let opened = Opened {
        msn: FIRST_MSN + at,
        header: 1,
        start: at * SEGMENT_MS,
        start_us: at * SEGMENT_MS * 1_000,
        date_unix_ms: UNIX_MS + at * SEGMENT_MS,
        ..Opened::default()
    };
    window.apply(Change::Opened(Track::Video, opened));
    for part in 0..PARTS {
        let ms = if part == 0 { 335 } else { 333 };
        let part = Part {
            number: at * PARTS + part,
            duration: ms,
            duration_us: ms * 1_000,
            independent: part == 0,
            frames: 10,
            arrived: Time::ZERO,
            bytes: Bytes::from_static(&[7; 64]),
        };
        window.apply(Change::Part(Track::Video, part));
    }
    window.apply(Change::Closed(Track::Video));
}

fn archive(session: String) -> Archive {
    let (mut chunks, mut writer) = (Vec::new(), None::<ChunkWriter>);
    for at in 0..SEGMENTS {
        let segment = ArchivedSegment {
            msn: FIRST_MSN + at,
            date_unix_ms: UNIX_MS + at * SEGMENT_MS,
            duration_ms: SEGMENT_MS as u32,
            header: 1,
            discontinuity: false,
            discontinuities: 0,
            independent: true,
            gap: false,
        };
        let header_before = (at > 0).then_some(1);
        writer.get_or_insert_with(|| ChunkWriter::new(&session, Track::Video, header_before)).push(segment);
        let full = writer.take_if(|writer| writer.is_full());
        chunks.extend(full.and_then(|writer| writer.finish(true)).map(Arc::new));
    }
    chunks.extend(writer.and_then(|writer| writer.finish(false)).map(Arc::new));
    let track = ArchivedTrack { first_msn: FIRST_MSN, chunks };
    Archive { version: 1, session, reach_ms: REACH_MS, tracks: [Some(track), None] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_text_of_four_hours_takes() {
        let archive = archive("19ab3cd4e5f1a".to_owned());
        let track = archive.track(Track::Video).expect("video");
        let text: usize = track.chunks.iter().map(|chunk| chunk.text.len()).sum();
        let packed: usize = track.chunks.iter().map(|chunk| chunk.packed.blocks.len()).sum();
        println!("{SEGMENTS} segments: {text} bytes of text, {packed} compressed, {} chunks", track.chunks.len());
        // What ARCHITECTURE.md says.
        assert!((text + packed) as u64 <= SEGMENTS * 125, "{} bytes a segment", (text + packed) as u64 / SEGMENTS);
    }
}
