//! What the viewers of a rendition know together: the newest playlist. Of a thousand who get the same answer only the first reads it. Before
//! it: [`super::playlist`]; after it: [`super::lane`] asks what to fetch next.
use std::collections::BTreeMap;
use std::time::Duration;

use super::playlist::{Key, Media, Piece};

/// Parts that are remembered: some segments of them.
const PARTS_MAX: usize = 256;
/// Segments that are remembered.
const SEGMENTS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Edge {
    parts: BTreeMap<Key, Piece>,
    segments: BTreeMap<u64, Piece>,
    newest: Option<Media>,
}

/// The renditions of a stream: frames, audio.
pub(crate) type Edges = [Edge; 2];

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) key: Key,
    pub(crate) uri: String,
}

impl Edge {
    /// Takes a playlist, unless a newer one is known.
    pub(crate) fn learn(&mut self, media: Media) {
        if self.newest.as_ref().is_some_and(|known| known.next > media.next && !media.ended) {
            return;
        }
        for (key, piece) in &media.parts {
            self.parts.insert(*key, piece.clone());
        }
        for (msn, piece) in &media.segments {
            self.segments.insert(*msn, piece.clone());
        }
        while self.parts.len() > PARTS_MAX {
            self.parts.pop_first();
        }
        while self.segments.len() > SEGMENTS_MAX {
            self.segments.pop_first();
        }
        self.newest = Some(media);
    }

    /// Whether a playlist that holds this part is known already.
    pub(crate) fn knows(&self, key: Key) -> bool {
        self.newest.as_ref().is_some_and(|known| known.next > key)
    }

    pub(crate) fn newest(&self) -> Option<&Media> {
        self.newest.as_ref()
    }

    /// Where a low-latency player begins: the last part that it can start with and that is at least the hold-back from the end, else the
    /// last one that it can start with at all.
    pub(crate) fn first_part(&self) -> Option<Wanted> {
        let media = self.newest.as_ref()?;
        let hold_back = media.part_hold_back?;
        let (mut behind, mut any) = (Duration::ZERO, None);
        for (key, piece) in media.parts.iter().rev() {
            behind += piece.duration;
            if piece.independent {
                let wanted = Wanted { key: *key, uri: piece.uri.clone() };
                if behind >= hold_back {
                    return Some(wanted);
                }
                any = any.or(Some(wanted));
            }
        }
        any
    }

    /// Where other players begin: three target durations, or what the server says, from the end.
    pub(crate) fn first_segment(&self) -> Option<Wanted> {
        let media = self.newest.as_ref()?;
        let hold_back = media.hold_back.unwrap_or(media.target * 3);
        let mut behind = Duration::ZERO;
        let at = media.segments.iter().rev().find(|(_, piece)| {
            behind += piece.duration;
            behind >= hold_back && piece.independent
        });
        let (msn, piece) = at.or_else(|| media.segments.first())?;
        Some(Wanted { key: (*msn, 0), uri: piece.uri.clone() })
    }

    /// The part behind that one, listed or (`hinted`) told to come.
    pub(crate) fn part_after(&self, key: Key, hinted: bool) -> Option<Wanted> {
        if let Some((key, piece)) =
            self.parts.range((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded)).next()
        {
            return Some(Wanted { key: *key, uri: piece.uri.clone() });
        }
        let media = self.newest.as_ref().filter(|media| hinted && media.next > key)?;
        media.hint.clone().map(|uri| Wanted { key: media.next, uri })
    }

    /// The segment behind that one.
    pub(crate) fn segment_after(&self, msn: u64) -> Option<Wanted> {
        let (msn, piece) = self.segments.range(msn + 1..).next()?;
        Some(Wanted { key: (*msn, 0), uri: piece.uri.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::playlist::media;
    use super::*;

    fn edge(last_parts: u64) -> Edge {
        let mut text =
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:PART-HOLD-BACK=1.5\n#EXT-X-MEDIA-SEQUENCE:1\n"
                .to_owned();
        for msn in 1..=5 {
            for n in 0..if msn == 5 { last_parts } else { 4 } {
                let independent = if n == 0 { ",INDEPENDENT=YES" } else { "" };
                text = format!("{text}#EXT-X-PART:DURATION=0.5,URI=\"{msn}.{n}\"{independent}\n");
            }
            if msn < 5 {
                text = format!("{text}#EXTINF:2.0,\n{msn}.m4s\n");
            }
        }
        text = format!("{text}#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"5.{last_parts}\"\n");
        let mut edge = Edge::default();
        edge.learn(media(&text).unwrap());
        edge
    }

    #[test]
    fn players_begin_where_they_should() {
        let first = |parts| edge(parts).first_part().unwrap().key;
        assert_eq!((first(1), first(2), first(3)), ((4, 0), (4, 0), (5, 0)));
        assert_eq!(edge(1).first_segment().unwrap().uri, "2.m4s");
    }

    #[test]
    fn parts_follow_one_another_into_the_hint() {
        let edge = edge(1);
        assert_eq!(edge.part_after((4, 2), true).unwrap().uri, "4.3");
        assert_eq!(edge.part_after((4, 3), true).unwrap().uri, "5.0");
        assert_eq!(edge.part_after((5, 0), true), Some(Wanted { key: (5, 1), uri: "5.1".to_owned() }));
        assert_eq!(edge.part_after((5, 0), false), None);
        assert_eq!(edge.part_after((5, 1), true), None, "the hint is fetched; what is behind it nobody knows");
        assert_eq!(edge.segment_after(3).unwrap().uri, "4.m4s");
        assert_eq!(edge.segment_after(4), None);
        assert!(edge.knows((5, 0)) && !edge.knows((5, 1)));
    }

    #[test]
    fn an_older_playlist_changes_nothing() {
        let mut one = edge(3);
        one.learn(edge(1).newest().unwrap().clone());
        assert_eq!(one.newest().unwrap().next, (5, 3));
    }
}
