//! When each track of a file is presented: one zero for all, and an edit list for each. Before it: what the tables know of their first and
//! last samples; after it: `moov`. Pure functions.

/// Audio that begins before the first picture by no more than this is in the file and not heard, milliseconds: segments of audio are cut between frames of
/// its own, and a decoder has to be fed some before what it puts out is right (Opus: 80 ms).
pub const HIDDEN_LEAD_MS_MAX: u32 = 100;

/// A track's times, in its own units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) timescale: u32,
    pub(super) is_video: bool,
    /// Presentation of the first sample.
    pub(super) first: i64,
    /// End of the last one's presentation.
    pub(super) end: i64,
}

/// What a track's edit list says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edit {
    /// How much later than the file the track begins, units of the file.
    pub(super) delay: u64,
    /// How long it is presented, units of the file.
    pub(super) length: u64,
    /// Time of the track that is presented first, its units.
    pub(super) from: i64,
}

/// The times of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Timeline {
    /// Units per second of the file's own times.
    pub(super) timescale: u32,
    /// Time of the tracks that is the file's zero, units of the file.
    pub(super) start: i64,
    /// How long the file is, units of it.
    pub(super) length: u64,
    /// One for each track; `None` for a track of which nothing is presented.
    pub(super) edits: Vec<Option<Edit>>,
}

impl Timeline {
    /// How long the file is, microseconds.
    pub(super) fn length_us(&self) -> u64 {
        let us = u128::from(self.length) * 1_000_000 / u128::from(self.timescale.max(1));
        u64::try_from(us).unwrap_or(u64::MAX)
    }
}

/// Nearest multiple: `value * to / from`.
pub(super) fn scale(value: i64, to: u32, from: u32) -> i64 {
    let (to, from) = (i128::from(to), i128::from(from.max(1)));
    let scaled = (i128::from(value) * to + from / 2).div_euclid(from);
    i64::try_from(scaled).unwrap_or(if scaled < 0 { i64::MIN } else { i64::MAX })
}

/// Microseconds in units of a track, rounded down.
pub(super) fn units_of_us(us: i64, timescale: u32) -> i64 {
    let units = (i128::from(us) * i128::from(timescale)).div_euclid(1_000_000);
    i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
}

/// The least multiple of all timescales, so that every edit is exact; of scales too odd for 32 bits the largest, and edits are exact to half a unit
/// of it.
fn common_timescale(spans: &[Span]) -> u32 {
    fn gcd(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    let scales = || spans.iter().map(|span| span.timescale.max(1));
    let least = scales().try_fold(1, |least: u32, scale| {
        let (a, b) = (u64::from(least), u64::from(scale));
        u32::try_from(a / gcd(a, b) * b).ok()
    });
    least.unwrap_or_else(|| scales().max().unwrap_or(1))
}

/// Puts the tracks on one line. `from` and `to` are microseconds of the tracks' own zero. `None` where nothing is left.
pub(super) fn timeline(spans: &[Span], from_us: Option<i64>, to_us: Option<i64>) -> Option<Timeline> {
    let timescale = common_timescale(spans);
    let movie = |units, span: &Span| scale(units, timescale, span.timescale);
    let starts = || spans.iter().map(|span| (span, movie(span.first, span)));
    let all = starts().map(|(_, start)| start).min()?;
    let video = starts().filter(|(span, _)| span.is_video).map(|(_, start)| start).min();
    let hidden_most = scale(i64::from(HIDDEN_LEAD_MS_MAX), timescale, 1_000);
    let natural = video.filter(|video| video - all <= hidden_most).unwrap_or(all);
    let start = from_us.map_or(natural, |us| natural.max(units_of_us(us, timescale)));
    let last = spans.iter().map(|span| movie(span.end, span)).max()?;
    let end = to_us.map_or(last, |us| last.min(units_of_us(us, timescale)));
    let edit = |span: &Span| {
        let begin = start.max(movie(span.first, span));
        let length = u64::try_from(end.min(movie(span.end, span)) - begin).ok().filter(|length| *length > 0)?;
        let from = if begin == movie(span.first, span) { span.first } else { scale(begin, span.timescale, timescale) };
        Some(Edit { delay: (begin - start) as u64, length, from })
    };
    let edits: Vec<_> = spans.iter().map(edit).collect();
    let length = edits.iter().flatten().map(|edit| edit.delay + edit.length).max()?;
    Some(Timeline { timescale, start, length, edits })
}
