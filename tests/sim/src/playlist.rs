//! What players may see of playlists and parts: read by the reader that all tests share, held against what was said before and what was published.
use std::collections::BTreeSet;

use millstream_hub::package::window::{self, Answer, Window, track_of};
use millstream_proto::hls::request::Directives;
use millstream_proto::media::Track;
use millstream_test_support::hls::history::History;
use millstream_test_support::hls::playlist::Media;
use mp4_atom::{Decode as _, Moof};

use crate::media::MARK_BIT;

/// What the players of one window have seen, video and audio.
#[derive(Default)]
pub(crate) struct Playlists([Seen; 2]);

#[derive(Default)]
struct Seen {
    history: History,
    /// Parts whose frames were looked at.
    parts: BTreeSet<String>,
    promised: Option<Promised>,
    text: String,
    /// The run, and the last frame of it.
    last: Option<(u64, u32)>,
}

/// The part that comes next.
struct Promised {
    uri: String,
    run: u64,
    /// The segment that was open then.
    msn: u64,
}

impl Playlists {
    /// Checks the playlists as they are now.
    pub(crate) fn check(&mut self, window: &mut Window) {
        for (track, seen) in [Track::Video, Track::Audio].into_iter().zip(&mut self.0) {
            if let Answer::Ready(playlist) = window.playlist(track, &Directives::default()) {
                seen.check(std::str::from_utf8(&playlist.text).expect("text"), window);
            }
        }
    }
}

impl Seen {
    fn check(&mut self, text: &str, window: &Window) {
        let media = Media::parse(text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
        let mut faults = self.history.take(&media);
        // Where memory is short, the window is. And what falls short for what these encoders send, whose stamps jump: dates go back at some
        // discontinuities, and a last part of 0.04 to 0.09 s is seen behind parts of 0.09 to 0.19 s in a few walks.
        faults.retain(|fault| !matches!(fault.rule, "too short" | "splinter" | "date"));
        assert!(faults.is_empty(), "{faults:?}\n{text}\nbefore: {}", self.text);
        for segment in &media.segments {
            for part in &segment.parts {
                self.part(&part.uri, segment.discontinuity_number, &media, window);
            }
        }
        assert_eq!(media.hinted_part().is_none(), media.ended, "{text}");
        self.promised = media.hinted_part().map(|uri| Promised {
            uri: uri.to_owned(),
            run: media.discontinuity_sequence + text.matches("#EXT-X-DISCONTINUITY\n").count() as u64,
            msn: media.media_sequence + media.segments.iter().filter(|segment| segment.uri.is_some()).count() as u64,
        });
        text.clone_into(&mut self.text);
    }

    fn part(&mut self, uri: &str, run: u64, media: &Media, window: &Window) {
        if !self.parts.insert(uri.to_owned()) {
            return;
        }
        if let Some(promised) = self.promised.take() {
            // It may have come and be too old to be listed, or gone again where memory is short.
            let came =
                || matches!(file(&promised.uri, window), Answer::Ready(_)) || media.media_sequence > promised.msn;
            assert!(
                run > promised.run || promised.uri == uri || came(),
                "{uri} came where {} was promised\nbefore: {}",
                promised.uri,
                self.text
            );
        }
        for mark in marks(&bytes(uri, window)) {
            if let Some((last_run, last)) = self.last.replace((run, mark)) {
                assert!(run > last_run || mark > last, "frame {mark} comes after {last}");
            }
        }
    }
}

fn file(uri: &str, window: &Window) -> Answer<window::Media> {
    let path: Vec<&str> = uri.split('/').collect();
    let ["s", session, directory, name] = path[..] else { panic!("{uri}") };
    window.media(session, track_of(directory).expect("a track"), name)
}

fn bytes(uri: &str, window: &Window) -> Vec<u8> {
    match file(uri, window) {
        Answer::Ready(media) => media.pieces.concat(),
        other => panic!("{uri} is listed, and {other:?}"),
    }
}

/// The marks of a fragment's frames: each begins with its own.
fn marks(fragment: &[u8]) -> Vec<u32> {
    let moof = Moof::decode(&mut &fragment[..]).expect("a fragment");
    let run = &moof.traf[0].trun[0];
    let mut at = usize::try_from(run.data_offset.expect("an offset")).expect("forwards");
    let mut marks = Vec::new();
    for entry in &run.samples {
        let mark = u32::from_be_bytes(*fragment[at..].first_chunk().expect("a frame has a mark"));
        marks.push(mark & !MARK_BIT);
        at += entry.size.expect("a size") as usize;
    }
    assert_eq!(at, fragment.len(), "all of the fragment is frames");
    marks
}
