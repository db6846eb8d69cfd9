//! What is in the store at the end, held against what was told: every recording plays, in order, and what is missing has an excuse.
use std::collections::{BTreeMap, BTreeSet};

use millstream_proto::media::Track;
use millstream_proto::time::Time;
use millstream_test_support::hls::playlist::Media;

use crate::source::{Source, Told, at};
use crate::store::SimStore;

/// What may be missing.
#[derive(Default, Debug)]
pub(crate) struct Excuses {
    /// Parts that were told within these times.
    pub(crate) times: Vec<(Time, Time)>,
    /// Segments of streams, by what the stamps of their parts begin with.
    pub(crate) segments: BTreeSet<(String, String)>,
}

impl Excuses {
    fn has(&self, id: &str, told: &Told) -> bool {
        let segment = told.stamp.rsplit_once('|').expect("whole").0;
        self.times.iter().any(|(from, to)| (*from..=*to).contains(&told.at))
            || self.segments.contains(&(id.to_owned(), segment.to_owned()))
    }
}

/// The parts of a recording's track, in order.
fn parts(store: &SimStore, folder: &str, playlist: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Some(text) = store.objects.get(&format!("{folder}/{playlist}")) else { return found };
    let media = Media::parse(std::str::from_utf8(text).expect("text")).expect("a playlist");
    assert!(media.ended && media.kind.as_deref() == Some("VOD"), "{folder}/{playlist} is not final");
    for segment in media.segments.iter().filter(|segment| !segment.gap) {
        let uri = segment.uri.as_ref().expect("whole");
        let (offset, bytes) = segment.range.expect("a range");
        let object = &store.objects[&format!("{folder}/{uri}")];
        let text = std::str::from_utf8(&object[offset as usize..(offset + bytes) as usize]).expect("text");
        let stamps: Vec<&str> = text.split('<').skip(1).map(|part| part.split_once('>').expect("whole").0).collect();
        assert!(text.starts_with('<') && text.matches('<').count() == text.matches('>').count(), "{uri}: {text}");
        let seconds = segment.duration.expect("a length");
        let told = stamps.len() as f64 * crate::source::PART_MS as f64 / 1e3;
        assert!((seconds - told).abs() < 1e-6, "{uri}: {seconds} s of {stamps:?}");
        let first = stamps[0].rsplit('|').next().expect("a number");
        assert_eq!(first, "0", "{uri} begins within a segment: {stamps:?}");
        let map = segment.map.as_ref().expect("a header");
        let header = std::str::from_utf8(&store.objects[&format!("{folder}/{map}")]).expect("text").to_owned();
        let session = stamps[0].split('|').next().expect("a session");
        assert_eq!(header.split(' ').nth(3), Some(session), "the header of another session: {header}, {stamps:?}");
        found.extend(stamps.into_iter().map(str::to_owned));
    }
    found
}

/// All of it.
pub(crate) fn check(
    store: &SimStore,
    streams: &[(String, &Source)],
    excuses: &Excuses,
    may_be_nothing: bool,
    context: &str,
) {
    for (id, source) in streams {
        let folders: BTreeSet<String> = store
            .objects
            .keys()
            .filter(|key| key.starts_with(&format!("{id}/rec/")))
            .map(|key| key.split('/').take(3).collect::<Vec<_>>().join("/"))
            .collect();
        let places: BTreeMap<&str, usize> =
            source.told.iter().enumerate().map(|(place, told)| (told.stamp.as_str(), place)).collect();
        let mut seen = BTreeSet::new();
        for folder in &folders {
            let seen_before = seen.len();
            for name in ["video.m3u8", "audio.m3u8"] {
                let mut last = None;
                for stamp in parts(store, folder, name) {
                    let place = places[stamp.as_str()];
                    assert!(
                        last.is_none_or(|last| last < place),
                        "{context}: {folder}/{name}: {stamp} is out of order"
                    );
                    assert!(seen.insert(place), "{context}: {folder}/{name}: {stamp} twice");
                    last = Some(place);
                }
            }
            let summary = store.objects.get(&format!("{folder}/recording.json"));
            let of = || store.objects.keys().filter(|key| key.starts_with(folder.as_str())).collect::<Vec<_>>();
            let summary = summary.unwrap_or_else(|| panic!("{context}: {folder} has no summary: {:?}", of()));
            let summary = std::str::from_utf8(summary).expect("text");
            assert!(summary.contains("\"state\": \"stored\""), "{context}: {folder}: {summary}");
            // Of one of which nothing is good there is nothing to play.
            let has_index = store.objects.contains_key(&format!("{folder}/index.m3u8"));
            let plays = seen.len() > seen_before || !may_be_nothing;
            assert!(has_index || !plays, "{context}: {folder}: {summary}");
        }
        for (place, told) in source.told.iter().enumerate().filter(|(place, _)| !seen.contains(place)) {
            let all: Vec<String> = [Track::Video, Track::Audio]
                .iter()
                .map(|track| {
                    let of = source.told.iter().enumerate().filter(|(_, told)| at(told.track) == at(*track));
                    of.map(|(place, _)| if seen.contains(&place) { '#' } else { '-' }).collect()
                })
                .collect();
            assert!(
                excuses.has(id, told),
                "{context}: {id}: {told:?} (part {place}) is missing; excuses {excuses:?}\n{}",
                all.join("\n")
            );
        }
    }
}
