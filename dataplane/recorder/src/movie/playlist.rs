//! Our own media playlists read back, for recordings that are in a store only. Before it: what [`crate::recording::playlist`] wrote; after it:
//! [`super::export`].
use millstream_proto::media::Track;
use millstream_proto::time::parse_rfc3339;

use super::{Kept, Place};
use crate::name::{parse_init_path, parse_object_path};

/// A playlist that is none of ours.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} of the playlist is not as a recording has it: {text:?}")]
pub struct PlaylistError {
    /// Which line, from 1.
    pub line: usize,
    /// Its beginning.
    pub text: String,
}

/// What has been said of the next segment.
#[derive(Default)]
struct Next {
    run: u32,
    init: Option<u32>,
    date_unix_ms: Option<u64>,
    is_gap: bool,
    duration_ms: Option<u32>,
    range: Option<(u64, u64)>,
}

/// The segments of a track's playlist, in order.
pub fn read(track: Track, text: &str) -> Result<Vec<Kept>, PlaylistError> {
    let (mut list, mut next) = (Vec::new(), Next::default());
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let understood = if line.starts_with('#') {
            next.tag(track, line)
        } else {
            line.is_empty() || next.segment(track, line, &mut list)
        };
        if !understood {
            return Err(PlaylistError { line: at + 1, text: line.chars().take(80).collect() });
        }
    }
    if text.starts_with("#EXTM3U") { Ok(list) } else { Err(PlaylistError { line: 1, text: String::new() }) }
}

impl Next {
    /// Takes a tag; those that say nothing of segments are passed over.
    fn tag(&mut self, track: Track, line: &str) -> bool {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match name {
            "#EXT-X-DISCONTINUITY-SEQUENCE" => value.parse().map(|run| self.run = run).is_ok(),
            "#EXT-X-DISCONTINUITY" => {
                self.run += 1;
                true
            }
            "#EXT-X-MAP" => {
                let uri = value.strip_prefix("URI=\"").and_then(|rest| rest.strip_suffix('"'));
                self.init = uri.and_then(|uri| parse_init_path(track, uri));
                self.init.is_some()
            }
            "#EXT-X-PROGRAM-DATE-TIME" => {
                self.date_unix_ms = parse_rfc3339(value);
                self.date_unix_ms.is_some()
            }
            "#EXT-X-GAP" => {
                self.is_gap = true;
                true
            }
            "#EXTINF" => {
                self.duration_ms = value.split(',').next().and_then(millis);
                self.duration_ms.is_some()
            }
            "#EXT-X-BYTERANGE" => {
                let range = value.split_once('@').and_then(|(bytes, at)| Some((bytes.parse().ok()?, at.parse().ok()?)));
                self.range = range;
                range.is_some_and(|(bytes, at): (u64, u64)| bytes.checked_add(at).is_some())
            }
            _ => true,
        }
    }

    /// Takes the line that a segment ends with.
    fn segment(&mut self, track: Track, uri: &str, list: &mut Vec<Kept>) -> bool {
        let Some(duration_ms) = self.duration_ms.take() else { return false };
        let (range, is_gap) = (self.range.take(), std::mem::take(&mut self.is_gap));
        let place = match (is_gap, range, parse_object_path(track, uri), self.init) {
            (true, ..) => None,
            (false, Some((bytes, at)), Some(object), Some(init)) => Some(Place { init, object, at, bytes }),
            _ => return false,
        };
        let date_unix_ms = self.date_unix_ms.take().or(list.last().map(Kept::end_unix_ms)).unwrap_or_default();
        list.push(Kept { run: self.run, date_unix_ms, duration_ms, place });
        true
    }
}

/// Seconds with at most three digits behind the point, in milliseconds.
fn millis(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.is_empty() || part.len() > 3 || !digits(whole) || !digits(part) {
        return None;
    }
    let part = part.parse::<u32>().ok()? * [100, 10, 1].get(part.len() - 1)?;
    whole.parse::<u32>().ok()?.checked_mul(1_000)?.checked_add(part)
}
