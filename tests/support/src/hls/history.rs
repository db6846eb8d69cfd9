//! What RFC 8216bis demands of a media playlist across reloads (6.2.1, 6.2.2, 6.2.5): what was listed stays as it was, and numbers only
//! rise. Before it: [`super::rules`] for each playlist by itself; after it: a test that found no fault.
use std::collections::{BTreeMap, HashMap};

use super::playlist::{Media, Segment};
use super::{Fault, Faults, rules};

/// A date range goes with the segment that grew when it came, whose last frames may not have been cut yet then, milliseconds.
const RANGE_SLACK_MS: i64 = 1_000;

/// All that was served of one rendition.
#[derive(Debug, Default)]
pub struct History {
    /// The newest playlist, delta updates put together.
    last: Option<Media>,
    /// Every segment that was listed, as it was last seen.
    seen: BTreeMap<u64, Segment>,
    /// What each name was: it is never something else.
    names: HashMap<String, String>,
    /// What each date range said.
    ranges: HashMap<String, String>,
    playlists: u64,
    deltas: u64,
}

impl History {
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest playlist, whole.
    pub fn last(&self) -> Option<&Media> {
        self.last.as_ref()
    }

    /// Every segment that was ever listed, by number.
    pub fn segments(&self) -> &BTreeMap<u64, Segment> {
        &self.seen
    }

    /// How many playlists were taken, and how many of them were delta updates.
    pub fn taken(&self) -> (u64, u64) {
        (self.playlists, self.deltas)
    }

    /// The stream ended, or the server was restarted: the next playlist is that of a new life. Numbers still rise and names are still
    /// never used again, but nothing of the old playlist has to be in the new one.
    pub fn next_session(&mut self) {
        self.last = None;
    }

    /// Takes the next playlist that was served; gives the rules that do not hold.
    pub fn take(&mut self, media: &Media) -> Vec<Fault> {
        let mut found = rules::check(media);
        let mut faults = Faults::default();
        self.playlists += 1;
        let whole = if media.skipped.is_some() {
            self.deltas += 1;
            self.whole(media, &mut faults)
        } else {
            Some(media.clone())
        };
        if let Some(media) = whole {
            if let Some(last) = &self.last {
                constant(last, &media, &mut faults);
                forward(last, &media, &mut faults);
                hinted(last, &media, &mut faults);
            } else if let Some((newest, first)) = self.seen.keys().next_back().zip(media.segments.first()) {
                faults.demand(first.msn > *newest, "media sequence", || {
                    format!("a new life begins at {}, the old one ended at {newest}", first.msn)
                });
            }
            for segment in &media.segments {
                self.same(segment, &mut faults);
            }
            self.remember_names(&media, &mut faults);
            self.same_ranges(&media, &mut faults);
            for segment in &media.segments {
                let kept = self.seen.entry(segment.msn).or_default();
                // Parts go from the playlist when they are old; what they were stays known.
                let parts =
                    if segment.parts.is_empty() { std::mem::take(&mut kept.parts) } else { segment.parts.clone() };
                *kept = Segment { parts, ..segment.clone() };
            }
            self.last = Some(media);
        }
        found.extend(faults.done());
        found
    }

    /// The whole playlist that a delta update stands for (6.2.5.1): what it skips is taken from the last one.
    fn whole(&self, delta: &Media, faults: &mut Faults) -> Option<Media> {
        let count = delta.skipped?;
        let Some(last) = &self.last else {
            faults.demand(false, "skip", || "a delta update to somebody who has no playlist".to_owned());
            return None;
        };
        let skipped = delta.media_sequence..delta.media_sequence + count;
        let known: Vec<Segment> = last.segments.iter().filter(|s| skipped.contains(&s.msn)).cloned().collect();
        let closed = known.iter().all(|s| s.uri.is_some());
        faults.demand(known.len() as u64 == count && closed, "skip", || {
            format!("of the {count} segments from {} on, the last playlist had {}", delta.media_sequence, known.len())
        });
        let mut whole = delta.clone();
        whole.skipped = None;
        // Tags of skipped segments are skipped, too: what they said goes on.
        let number = known.last().map_or(delta.discontinuity_sequence, |s| s.discontinuity_number);
        let map = known.last().and_then(|s| s.map.clone());
        for segment in &mut whole.segments {
            segment.discontinuity_number += number - delta.discontinuity_sequence.min(number);
            segment.map = segment.map.take().or_else(|| map.clone());
        }
        whole.segments.splice(0..0, known);
        Some(whole)
    }

    /// What was listed is what it was.
    fn same(&self, new: &Segment, faults: &mut Faults) {
        let Some(old) = self.seen.get(&new.msn) else { return };
        let msn = new.msn;
        let closed = old.uri.is_some();
        faults.demand(!closed || new.uri.is_some(), "changed segment", || format!("{msn} is open again"));
        let was = (&old.uri, old.duration, old.range);
        let is = (&new.uri, new.duration, new.range);
        faults.demand(!closed || was == is, "changed segment", || format!("{msn} was {was:?} and is {is:?}"));
        let was = (old.date_ms, old.map.as_ref().filter(|_| !new.gap), old.discontinuity);
        let is = (new.date_ms, new.map.as_ref().filter(|_| !new.gap), new.discontinuity);
        faults.demand(was == is, "changed segment", || format!("{msn} was {was:?} and is {is:?}"));
        faults.demand(old.discontinuity_number == new.discontinuity_number, "discontinuity sequence", || {
            format!("segment {msn} was number {} and is {}", old.discontinuity_number, new.discontinuity_number)
        });
        // Those of a whole segment are listed only near the end, which it may have left since it was open.
        let gone = new.parts.is_empty() && new.uri.is_some();
        let kept = new.parts.get(..old.parts.len()) == Some(&old.parts[..]);
        faults.demand(gone || kept, "changed part", || format!("{msn} had {:?} and has {:?}", old.parts, new.parts));
        faults.demand(!closed || gone || new.parts.len() == old.parts.len(), "changed part", || {
            format!("{msn} was whole with {} parts and has {}", old.parts.len(), new.parts.len())
        });
    }

    /// Date ranges stay what they were, and are there for as long as the moment is that they are of.
    fn same_ranges(&mut self, media: &Media, faults: &mut Faults) {
        for range in &media.date_ranges {
            let before = self.ranges.entry(range.id.clone()).or_insert_with(|| range.text.clone());
            faults.demand(*before == range.text, "date range", || format!("{before} is now {}", range.text));
        }
        let first_ms = media.segments.first().and_then(|first| first.date_ms);
        let Some((last, first_ms)) = self.last.as_ref().zip(first_ms) else { return };
        for old in last.date_ranges.iter().filter(|old| old.start_ms > first_ms + RANGE_SLACK_MS) {
            let stays = media.date_ranges.iter().any(|range| range.id == old.id);
            faults.demand(stays, "date range", || format!("{} is gone", old.text));
        }
    }

    fn remember_names(&mut self, media: &Media, faults: &mut Faults) {
        let mut named = Vec::new();
        for segment in &media.segments {
            // Segments may share a file, but not the same bytes of it.
            let name = |uri: &String| segment.range.map_or(uri.clone(), |(offset, _)| format!("{uri}@{offset}"));
            named.extend(segment.uri.iter().map(|uri| (name(uri), format!("segment {}", segment.msn))));
            let parts = segment.parts.iter().enumerate();
            named.extend(parts.map(|(n, part)| (part.uri.clone(), format!("part {}.{n}", segment.msn))));
            named.extend(segment.map.iter().map(|uri| (uri.clone(), "an initialisation".to_owned())));
        }
        for (name, what) in named {
            let before = self.names.entry(name.clone()).or_insert_with(|| what.clone());
            faults.demand(*before == what, "name used again", || format!("{name} was {before} and is {what}"));
        }
    }
}

/// What is the same for the life of a playlist.
fn constant(old: &Media, new: &Media, faults: &mut Faults) {
    let of = |m: &Media| (m.target_duration, m.part_target, m.version);
    faults.demand(of(old) == of(new), "constant target", || {
        format!("target, part target and version were {:?} and are {:?}", of(old), of(new))
    });
    faults.demand(old.control == new.control, "constant control", || {
        format!("the server's promises were {:?} and are {:?}", old.control, new.control)
    });
}

/// What only rises.
fn forward(old: &Media, new: &Media, faults: &mut Faults) {
    faults.demand(new.media_sequence >= old.media_sequence, "media sequence", || {
        format!("it was {} and is {}", old.media_sequence, new.media_sequence)
    });
    faults.demand(new.discontinuity_sequence >= old.discontinuity_sequence, "discontinuity sequence", || {
        format!("it was {} and is {}", old.discontinuity_sequence, new.discontinuity_sequence)
    });
    let place = |m: &Media| m.segments.last().map(|s| (s.msn, s.uri.is_some(), s.parts.len()));
    let back = match (place(old), place(new)) {
        (Some((a, closed, parts)), Some((b, now_closed, now_parts))) => {
            b < a || (a == b && !now_closed && (closed || now_parts < parts))
        }
        (Some(_), None) => true,
        (None, _) => false,
    };
    faults.demand(!back, "goes back", || format!("it ended at {:?} and ends at {:?}", old.last(), new.last()));
    if old.ended {
        faults.demand(old == new, "end is final", || "it goes on behind EXT-X-ENDLIST (6.2.1)".to_owned());
    }
    // What was announced to grow is not cut (4.4.3.5); it may become final.
    let kept = old.kind.is_none() || (old.media_sequence == new.media_sequence && new.kind.is_some());
    faults.demand(kept, "playlist type", || format!("it was {:?} and is {:?}", old.kind, new.kind));
    if new.media_sequence > old.media_sequence && !new.ended {
        let (left, least) = (new.seconds(), 3.0 * new.target_duration as f64);
        faults.demand(left >= least - 0.01, "too short", || {
            format!("segments went, and {left} s are left of the {least} s that must stay (6.2.2)")
        });
    }
}

/// The hint was the part that came next, unless the stream broke off, or what came is coded anew.
fn hinted(old: &Media, new: &Media, faults: &mut Faults) {
    let (Some(hint), Some((msn, parts))) = (old.hinted_part(), old.last()) else { return };
    let open = old.segments.last().is_some_and(|s| s.uri.is_none());
    let same = new.segments.iter().find(|s| open && s.msn == msn && !s.parts.is_empty());
    if open && same.is_none() {
        // It is no longer told which parts it got.
        return;
    }
    let in_same = same.and_then(|s| s.parts.get(parts));
    let header = old.segments.last().and_then(|s| s.map.as_ref());
    let goes_on = |s: &&Segment| !s.discontinuity && s.map.as_ref() == header;
    let in_next = || new.segments.iter().find(|s| s.msn == msn + 1).filter(goes_on)?.parts.first();
    let next = in_same.or_else(in_next);
    if let Some(next) = next {
        faults.demand(next.uri == hint, "hint", || format!("{hint} was hinted and {} came", next.uri));
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
