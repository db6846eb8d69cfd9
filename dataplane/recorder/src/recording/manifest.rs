//! A closed recording's manifest of DASH: a period for each run, whose segments are ranges of the stored objects as they are. Before it:
//! [`super::ledger`]; after it: `proto::dash::vod`, which writes it, then the store and players.
//!
//! Within a run both tracks are on the stream's timeline: the decode time of a run's first segment is in the index, and those behind it follow from the
//! dates. Periods follow each other without a hole, as runs do in HLS. Within a period what is missing belongs to the segment before it, which lasts until
//! the next one that there is, as Shaka and ExoPlayer read any timeline: where dash.js 5.2.1 finds no segment behind one it takes the period for over. Players step over
//! what is not in their buffers.
use millstream_proto::dash::vod::{VodManifest, VodSegment, VodTrack};
use millstream_proto::media::Track;

use super::ledger::Ledger;
use super::rows::Segment;
use crate::name::{TRACKS, init_path, object_path};

/// A segment that can be had.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where it begins and ends, units of its track.
    start: u64,
    end: u64,
    object: u32,
    offset: u64,
    bytes: u32,
}

/// What a track has in a run.
#[derive(Clone, Debug)]
struct Stretch {
    run: u32,
    init: u32,
    timescale: u32,
    bandwidth: u64,
    entries: Vec<Entry>,
}

impl Stretch {
    fn ms(&self, units: u64) -> u64 {
        (u128::from(units) * 1_000 / u128::from(self.timescale.max(1))) as u64
    }

    fn units(&self, ms: u64) -> u64 {
        (u128::from(ms) * u128::from(self.timescale) / 1_000) as u64
    }

    fn start_ms(&self) -> u64 {
        self.entries.first().map_or(0, |first| self.ms(first.start))
    }

    fn end_ms(&self) -> u64 {
        // Of the last millisecond nothing is to be cut.
        self.entries.last().map_or(0, |last| self.ms(last.end).saturating_add(1))
    }
}

impl Ledger {
    /// The manifest; `None` where nothing plays, or a release began the recording that did not keep when segments are decoded.
    pub fn manifest(&self) -> Option<String> {
        let mut of_tracks: [Vec<Stretch>; 2] = Default::default();
        for (stretches, track) in of_tracks.iter_mut().zip(TRACKS) {
            *stretches = self.stretches(track)?;
        }
        let all = || of_tracks.iter().flatten();
        let mut runs: Vec<u32> = all().map(|stretch| stretch.run).collect();
        runs.sort_unstable();
        runs.dedup();
        // Where each run begins on its timeline, and how long it is.
        let spans: Vec<(u64, u64)> = runs
            .iter()
            .map(|run| {
                let of = || all().filter(|stretch| stretch.run == *run);
                let start_ms = of().map(Stretch::start_ms).min().unwrap_or_default();
                let end_ms = of().map(Stretch::end_ms).max().unwrap_or_default();
                (start_ms, end_ms.saturating_sub(start_ms))
            })
            .collect();
        let longest = |stretch: &Stretch| {
            let lengths = stretch.entries.iter().map(|entry| stretch.ms(entry.end - entry.start) + 1);
            lengths.max().unwrap_or_default()
        };
        let (longest_ms, segments) =
            (all().map(longest).max()?, all().map(|stretch| stretch.entries.len()).sum::<usize>());
        let mut manifest =
            VodManifest::new(spans.iter().fold(0, |sum: u64, span| sum.saturating_add(span.1)), longest_ms, segments);
        let mut period_ms = 0;
        for (run, (start_ms, length_ms)) in runs.into_iter().zip(spans) {
            manifest.period(u64::from(run), period_ms);
            for (stretches, track) in of_tracks.iter().zip(TRACKS) {
                if let Ok(at) = stretches.binary_search_by_key(&run, |stretch| stretch.run) {
                    self.write(&mut manifest, track, &stretches[at], start_ms);
                }
            }
            period_ms = period_ms.saturating_add(length_ms);
        }
        Some(manifest.finish())
    }

    fn write(&self, manifest: &mut VodManifest, track: Track, stretch: &Stretch, start_ms: u64) {
        let Some(init) = self.track(track).init(stretch.init) else { return };
        let about = VodTrack {
            id: track.name(),
            is_video: track == Track::Video,
            codecs: &init.codec,
            bandwidth: stretch.bandwidth.max(1),
            shape: init.shape,
            timescale: stretch.timescale,
            offset: stretch.units(start_ms),
            initialization: &init_path(track, stretch.init),
        };
        let segments = stretch.entries.iter().map(|entry| VodSegment {
            start: entry.start,
            duration: entry.end - entry.start,
            uri: object_path(track, entry.object),
            offset: entry.offset,
            bytes: u64::from(entry.bytes),
        });
        manifest.track(&about, segments);
    }

    /// What a track has, run by run; `None` where it is not known when that is decoded.
    fn stretches(&self, track: Track) -> Option<Vec<Stretch>> {
        let mut stretches: Vec<Stretch> = Vec::new();
        // The newest decode time that is known, and how far behind it the next segment is.
        let (mut anchor, mut behind_ms) = (None, 0_u64);
        for segment in self.segments(track) {
            if segment.date_unix_ms.is_some() {
                (anchor, behind_ms) = (segment.decode_time, 0);
            }
            let from_ms = behind_ms;
            behind_ms += u64::from(segment.duration_ms);
            let Segment { object: Some(object), init, run, bytes: 1.., .. } = segment else { continue };
            let Some(timescale) = self.track(track).init(init).map(|init| init.timescale) else { continue };
            let anchor: u64 = anchor?;
            if stretches.last().is_none_or(|last| last.run != run) {
                stretches.push(Stretch { run, init, timescale, bandwidth: 0, entries: Vec::new() });
            }
            let Some(stretch) = stretches.last_mut() else { continue };
            if stretch.init != init {
                // A run has one header: the packager begins a run with each. In an index that lost records it may have two.
                continue;
            }
            let at = |ms| anchor.saturating_add(stretch.units(ms));
            let (start, end) = (at(from_ms), at(behind_ms));
            if start >= end || stretch.entries.last().is_some_and(|last| last.start >= start) {
                continue;
            }
            let rate = u64::from(segment.bytes) * 8_000 / u64::from(segment.duration_ms.max(1));
            stretch.bandwidth = stretch.bandwidth.max(rate);
            if let Some(last) = stretch.entries.last_mut() {
                last.end = start;
            }
            let Segment { offset, bytes, .. } = segment;
            stretch.entries.push(Entry { start, end, object, offset, bytes });
        }
        // Runs are in order, but for what a damaged index says of them.
        stretches.dedup_by(|next, last| next.run <= last.run);
        Some(stretches)
    }
}
