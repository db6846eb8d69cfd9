//! The first pass: the headers of all fragments become the file's index. Before it: a [`Recipe`], and a [`Source`] for its objects; after it: a
//! [`Movie`], whose bytes [`super::copy`] gives.
//!
//! What cannot be in the file is left out, and the rest is a valid file: a segment whose bytes are gone or damaged is a hole, and where a track's header
//! changes the file ends.
use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_proto::media::Track;
use millstream_proto::mp4::build::{BuildError, Cut, FileBuilder, Settings, TrackNumber};
use millstream_proto::mp4::file::File;
use millstream_proto::mp4::fragment::{Fragment, Read, read};
use millstream_proto::mp4::header::TrackHeader;

use super::source::{Ahead, Source};
use super::{Kept, Mark, Place, Recipe};
use crate::limits::MOVIE_FRAGMENT_READ_BYTES;
use crate::name::{TRACKS, place};
use crate::store::StoreError;

/// Why there is no file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// Its bytes cannot be read now.
    #[error("{0}; try again later")]
    Unreadable(String),
    /// Nothing of it can be played.
    #[error("there is nothing to play in it: no keyframe, or its media cannot be read")]
    Empty,
}

/// An object that a file's bytes are copied from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MovieObject {
    /// Its track.
    pub track: Track,
    /// Its number.
    pub number: u32,
    /// Bytes of it that there are.
    pub bytes: u64,
}

/// A file, but for the coded bytes.
#[derive(Debug)]
pub struct Movie {
    pub(super) file: File,
    pub(super) objects: Vec<MovieObject>,
    /// Segments that could not be read.
    pub left_out: u32,
    /// It ends before it was to: the coding of a track changes there.
    pub ends_early: bool,
}

impl Movie {
    /// Its beginning: all but the coded bytes.
    pub fn head(&self) -> &[u8] {
        self.file.head()
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.file.file_bytes()
    }

    /// How long it plays, milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.file.length_us() / 1_000
    }

    /// The objects that its coded bytes are in.
    pub fn objects(&self) -> &[MovieObject] {
        &self.objects
    }

    /// Its coded bytes, in order: number in [`Self::objects`], first byte there, and how many.
    pub fn copies(&self) -> impl Iterator<Item = (usize, u64, u64)> {
        self.file.copies().map(|copy| (copy.object as usize, copy.at, copy.bytes))
    }

    /// Memory that it takes, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.file.memory_bytes() + self.objects.capacity() * size_of::<MovieObject>()
    }
}

/// What is known of the tracks before their frames are read.
struct Tracks {
    headers: [Option<(TrackHeader, Bytes)>; 2],
    /// Segments of this run and later ones are not in the file.
    before_run: Option<u32>,
}

/// What a run's times are moved by on the file's line, milliseconds.
#[derive(Clone, Copy)]
struct Moved {
    by_ms: i64,
}

/// Reads what it takes to know the file.
pub async fn make(recipe: &Recipe, source: &dyn Source) -> Result<Movie, MakeError> {
    let tracks = Tracks::of(recipe);
    let mut reader = Reader { source, ahead: Ahead::default(), left_out: 0 };
    let runs = runs(recipe, &tracks, &mut reader).await?;
    reader.left_out = 0;
    let mut cut = Cut::default();
    for (mark, us) in [(&recipe.from, &mut cut.from_us), (&recipe.to, &mut cut.to_us)] {
        if let Some(mark) = mark.filter(|mark| tracks.before_run.is_none_or(|run| mark.segment.run < run)) {
            *us = shown(&mark, recipe, &tracks, &runs, &mut reader).await?;
        }
    }
    let zero_unix_ms = zero(recipe, &tracks, &runs, &mut reader).await?;
    let mut builder = FileBuilder::new(Settings { zero_unix_ms, cut });
    let mut numbers: [Option<TrackNumber>; 2] = [None, None];
    for track in TRACKS {
        if let Some((header, _)) = tracks.header(track) {
            numbers[place(track)] = builder.add_track(header).ok();
        }
    }
    let mut objects: Vec<MovieObject> = Vec::new();
    let mut known: BTreeMap<(u8, u32), u32> = BTreeMap::new();
    for (run, moved) in &runs {
        for track in TRACKS {
            let at = place(track);
            let (Some(number), Some((header, _))) = (numbers[at], tracks.header(track)) else { continue };
            let of_run = recipe.segments[at].iter().filter(|kept| kept.run == *run);
            for place in of_run.filter_map(|kept| tracks.place_of(recipe, track, kept)) {
                let object = *known.entry((at as u8, place.object)).or_insert_with(|| {
                    objects.push(MovieObject { track, number: place.object, bytes: 0 });
                    objects.len() as u32 - 1
                });
                if let Some(object) = objects.get_mut(object as usize) {
                    object.bytes = object.bytes.max(place.at + place.bytes);
                }
                let mut within = 0;
                while within < place.bytes {
                    let Some((mut fragment, bytes)) = reader.fragment(track, &place, within, header).await? else {
                        break;
                    };
                    fragment.decode_time = moved.apply(fragment.decode_time, header.timescale());
                    match builder.push(number, &fragment, object, place.at + within) {
                        // What has no place on the line is a hole.
                        Ok(()) | Err(BuildError::Backwards { .. } | BuildError::Far(_)) => {}
                        Err(_) => reader.left_out += 1,
                    }
                    within += bytes;
                }
            }
        }
    }
    let file = builder.finish().map_err(|_| MakeError::Empty)?;
    Ok(Movie { file, objects, left_out: reader.left_out, ends_early: tracks.before_run.is_some() })
}

impl Tracks {
    /// The first header of each track is the file's; where another one comes it ends.
    fn of(recipe: &Recipe) -> Self {
        let mut tracks = Self { headers: [None, None], before_run: None };
        for track in TRACKS {
            let at = place(track);
            let init = |kept: &Kept| recipe.inits[at].get(&kept.place?.init);
            let mut readable = recipe.segments[at].iter().filter_map(|kept| Some((kept, init(kept)?)));
            let first = readable.find_map(|(_, init)| Some((TrackHeader::read(init).ok()?, init.clone())));
            let Some((_, bytes)) = &first else { continue };
            // Behind a run that has both, the second one is only left out.
            let other = |kept: &&Kept| init(kept).is_some_and(|init| init != bytes);
            let changed = recipe.segments[at].iter().skip_while(|kept| init(kept).is_none()).find(other);
            if let Some(kept) = changed {
                let is_first = !recipe.segments[at]
                    .iter()
                    .any(|before| before.run == kept.run && before.place.is_some() && !other(&before));
                let before = if is_first { kept.run } else { kept.run + 1 };
                tracks.before_run = Some(tracks.before_run.map_or(before, |run| run.min(before)));
            }
            tracks.headers[at] = first;
        }
        tracks
    }

    fn header(&self, track: Track) -> Option<&(TrackHeader, Bytes)> {
        self.headers[place(track)].as_ref()
    }

    /// Where a segment is that can be in the file.
    fn place_of(&self, recipe: &Recipe, track: Track, kept: &Kept) -> Option<Place> {
        let (_, bytes) = self.header(track)?;
        let found = kept.place.filter(|_| self.before_run.is_none_or(|run| kept.run < run))?;
        (recipe.inits[place(track)].get(&found.init) == Some(bytes)).then_some(found)
    }
}

impl Moved {
    fn apply(self, decode_time: u64, timescale: u32) -> u64 {
        let units = i128::from(self.by_ms) * i128::from(timescale) / 1_000;
        u64::try_from(i128::from(decode_time) + units).unwrap_or_default()
    }
}

/// The runs in order, each moved so that it begins where the one before it ends.
async fn runs(recipe: &Recipe, tracks: &Tracks, reader: &mut Reader<'_>) -> Result<Vec<(u32, Moved)>, MakeError> {
    let mut numbers: Vec<u32> = recipe.segments.iter().flatten().map(|kept| kept.run).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut runs: Vec<(u32, Moved)> = Vec::with_capacity(numbers.len());
    let mut line_ms: Option<i64> = None;
    for run in numbers {
        let (mut begins_ms, mut ends_ms) = (i64::MAX, i64::MIN);
        for track in TRACKS {
            let Some((header, _)) = tracks.header(track) else { continue };
            let mut of_run = recipe.segments[place(track)].iter().filter(|kept| kept.run == run);
            let mut begin = None;
            while begin.is_none()
                && let Some(kept) = of_run.next()
            {
                if let Some(place) = tracks.place_of(recipe, track, kept)
                    && let Some((first, _)) = reader.fragment(track, &place, 0, header).await?
                {
                    let ms = u128::from(first.decode_time) * 1_000 / u128::from(header.timescale());
                    begin = Some((i64::try_from(ms).unwrap_or(i64::MAX / 4), u64::from(kept.duration_ms)));
                }
            }
            if let Some((ms, first_ms)) = begin {
                let length_ms = of_run.map(|kept| u64::from(kept.duration_ms)).sum::<u64>() + first_ms;
                begins_ms = begins_ms.min(ms);
                // Rounded up: both are whole milliseconds of what is not.
                ends_ms = ends_ms.max(ms.saturating_add_unsigned(length_ms + 1));
            }
        }
        if begins_ms > ends_ms {
            continue;
        }
        let by_ms = line_ms.map_or(0, |line| line - begins_ms);
        line_ms = Some(ends_ms + by_ms);
        runs.push((run, Moved { by_ms }));
    }
    if runs.is_empty() { Err(MakeError::Empty) } else { Ok(runs) }
}

/// When a mark is shown on the file's line, microseconds: so long behind a segment's first frame.
async fn shown(
    mark: &Mark,
    recipe: &Recipe,
    tracks: &Tracks,
    runs: &[(u32, Moved)],
    reader: &mut Reader<'_>,
) -> Result<Option<i64>, MakeError> {
    let Mark { track, segment, .. } = mark;
    let moved = runs.iter().find(|(run, _)| *run == segment.run).map(|(_, moved)| *moved);
    let (Some((header, _)), Some(place), Some(moved)) =
        (tracks.header(*track), tracks.place_of(recipe, *track, segment), moved)
    else {
        return Ok(None);
    };
    let Some((first, _)) = reader.fragment(*track, &place, 0, header).await? else { return Ok(None) };
    let before = first.samples.iter().take_while(|sample| mark.at_keyframe && !sample.sync);
    let (count, units) = before.fold((0, 0), |(count, units), sample| (count + 1, units + u64::from(sample.duration)));
    let Some(composition) = first.samples.get(count).map(|sample| sample.composition) else { return Ok(None) };
    let decode_time = moved.apply(first.decode_time + units, header.timescale());
    let us = header.presented_us(i64::try_from(decode_time).unwrap_or(i64::MAX / 4).saturating_add(composition.into()));
    Ok(Some(us.saturating_add_unsigned(mark.after_us)))
}

/// The date of the line's zero, by the first segment that can be read.
async fn zero(
    recipe: &Recipe,
    tracks: &Tracks,
    runs: &[(u32, Moved)],
    reader: &mut Reader<'_>,
) -> Result<Option<i64>, MakeError> {
    for track in TRACKS {
        if let Some(segment) = recipe.segments[place(track)].iter().find(|kept| kept.place.is_some()) {
            let mark = Mark { track, segment: *segment, after_us: 0, at_keyframe: false };
            if let Some(us) = shown(&mark, recipe, tracks, runs, reader).await? {
                let date_ms = i64::try_from(segment.date_unix_ms).unwrap_or(i64::MAX / 4);
                return Ok(Some(date_ms - us / 1_000));
            }
        }
    }
    Ok(None)
}

/// Whether a decoder can start at a segment's first frame.
pub(super) async fn begins_with_keyframe(
    recipe: &Recipe,
    track: Track,
    kept: &Kept,
    source: &dyn Source,
) -> Result<bool, MakeError> {
    let init = kept.place.and_then(|found| recipe.inits[place(track)].get(&found.init));
    let (Some(found), Some(Ok(header))) = (kept.place, init.map(|init| TrackHeader::read(init))) else {
        return Ok(false);
    };
    let mut reader = Reader { source, ahead: Ahead::default(), left_out: 0 };
    let first = reader.fragment(track, &found, 0, &header).await?;
    Ok(first.is_some_and(|(fragment, _)| fragment.samples.first().is_some_and(|sample| sample.sync)))
}

/// Fragments of a recording's objects.
struct Reader<'a> {
    source: &'a dyn Source,
    ahead: Ahead,
    left_out: u32,
}

impl Reader<'_> {
    /// The fragment that begins so many bytes within a segment, and how long it is; `None` where there is none that can be read.
    async fn fragment(
        &mut self,
        track: Track,
        place: &Place,
        within: u64,
        header: &TrackHeader,
    ) -> Result<Option<(Fragment, u64)>, MakeError> {
        let (at, end) = (place.at + within, place.at + place.bytes);
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let mut least = MOVIE_FRAGMENT_READ_BYTES.min(left);
        loop {
            let bytes = match self.ahead.get(self.source, (track, place.object), at, least, end).await {
                Ok(bytes) => bytes,
                Err(StoreError::Failed(why)) => return Err(MakeError::Unreadable(why)),
                Err(_) => break,
            };
            match read(&bytes, header) {
                Ok(Read::Fragment { fragment, bytes }) if bytes <= left as u64 && bytes > 0 => {
                    return Ok(Some((fragment, bytes)));
                }
                Ok(Read::More(more)) if more <= left && more > bytes.len() => least = more,
                _ => break,
            }
        }
        self.left_out += 1;
        Ok(None)
    }
}
