//! What players may see of playlists and parts: read with a reader of its own, held against what was said before and what was published.
use std::collections::BTreeSet;

use millstream_hub::package::window::{Answer, Media, Window, track_of};
use millstream_proto::hls::request::Directives;
use millstream_proto::media::Track;
use mp4_atom::{Decode as _, Moof};

use crate::media::MARK_BIT;

/// What the players of one window have seen, picture and sound.
#[derive(Default)]
pub(crate) struct Playlists([Seen; 2]);

#[derive(Default)]
struct Seen {
    /// Target durations of segments and parts, as text: they never change.
    targets: Option<[String; 2]>,
    sequence: u64,
    discontinuity_sequence: u64,
    parts: BTreeSet<String>,
    /// The part that is promised, the run that it was promised in, and the segment that was open then.
    hint: Option<(String, u64, u64)>,
    ended: bool,
    text: String,
    /// The run, and the last frame of it.
    last: Option<(u64, u32)>,
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

fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split([',', ':'])
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .map(|text| text.trim_matches('"'))
}

fn seconds(text: &str) -> f64 {
    text.trim_end_matches(',').parse().expect("seconds")
}

impl Seen {
    fn check(&mut self, text: &str, window: &Window) {
        assert!(!self.ended || text.ends_with("#EXT-X-ENDLIST\n"), "a playlist goes on behind its end");
        let of = |tag: &str| text.lines().find_map(|line| line.strip_prefix(tag));
        let number = |tag: &str| of(tag).map_or(0, |text| text.parse::<u64>().expect("a number"));
        let targets = [of("#EXT-X-TARGETDURATION:"), of("#EXT-X-PART-INF:PART-TARGET=")]
            .map(|text| text.expect("a target").to_owned());
        let (target, part_target) = (seconds(&targets[0]), seconds(&targets[1]));
        assert_eq!(self.targets.get_or_insert_with(|| targets.clone()), &targets, "targets change");
        let (sequence, run) = (number("#EXT-X-MEDIA-SEQUENCE:"), number("#EXT-X-DISCONTINUITY-SEQUENCE:"));
        assert!(sequence >= self.sequence && run >= self.discontinuity_sequence, "sequences fall");
        (self.sequence, self.discontinuity_sequence) = (sequence, run);
        let (mut run, mut parts) = (run, Vec::new());
        for line in text.lines() {
            if line == "#EXT-X-DISCONTINUITY" {
                run += 1;
            } else if line.starts_with("#EXT-X-PART:") {
                let duration = seconds(value(line, "DURATION").expect("a duration"));
                assert!(duration <= part_target, "a part of {duration} s: {text}");
                parts.push(duration);
                self.part(value(line, "URI").expect("a URI"), run, window, text);
            } else if let Some(duration) = line.strip_prefix("#EXTINF:").map(seconds) {
                assert!(duration.round() <= target, "a segment of {duration} s, target {target}: {text}");
                let whole = parts.len().saturating_sub(1);
                assert!(parts[..whole].iter().all(|part| *part >= part_target * 0.85), "short parts: {parts:?} {text}");
                parts.clear();
            }
        }
        let whole = parts.len().saturating_sub(1);
        assert!(parts[..whole].iter().all(|part| *part >= part_target * 0.85), "short parts: {parts:?}");
        self.ended = text.ends_with("#EXT-X-ENDLIST\n");
        self.hint = of("#EXT-X-PRELOAD-HINT:")
            .and_then(|line| value(line, "URI"))
            .map(|uri| (uri.to_owned(), run, sequence + text.matches("#EXTINF:").count() as u64));
        assert_eq!(self.hint.is_none(), self.ended);
        text.clone_into(&mut self.text);
    }

    fn part(&mut self, uri: &str, run: u64, window: &Window, text: &str) {
        if !self.parts.insert(uri.to_owned()) {
            return;
        }
        if let Some((hint, hint_run, open)) = self.hint.take() {
            // It may have come and be too old to be listed, or gone again where memory is short: changes come in bundles.
            let came = || matches!(file(&hint, window), Answer::Ready(_)) || self.sequence > open;
            assert!(
                run > hint_run || hint == uri || came(),
                "{uri} came where {hint} was promised: {text}\nbefore: {}",
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

fn file(uri: &str, window: &Window) -> Answer<Media> {
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
