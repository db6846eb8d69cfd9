//! What is in the store at the end, held against what was told: every recording plays, in order, and what is missing has an excuse.
use std::collections::{BTreeMap, BTreeSet};

use millstream_proto::media::Track;
use millstream_proto::time::Time;
use millstream_recorder::settings::StreamSettings;
use millstream_test_support::dash::Manifest;
use millstream_test_support::hls::playlist::Media;
use millstream_test_support::mp4::Movie;

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

/// What fragments say, one behind the other and nothing between.
fn fragments(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut sized = |name: &[u8]| {
            let size = u32::from_be_bytes(bytes[..4].try_into().expect("a box")) as usize;
            assert_eq!(&bytes[4..8], name);
            let (one, rest) = bytes.split_at(size);
            bytes = rest;
            one[8..].to_vec()
        };
        sized(b"moof");
        found.push(stamp(&sized(b"mdat")));
    }
    found
}

fn stamp(data: &[u8]) -> String {
    let text = std::str::from_utf8(data).expect("text");
    text.strip_prefix('<').and_then(|rest| rest.split_once('>')).expect("a stamp").0.to_owned()
}

/// What the MP4 files of a stream show, by where it is in what was told; each file by itself is right.
fn files(
    store: &SimStore,
    id: &str,
    places: &BTreeMap<&str, usize>,
    source: &Source,
    context: &str,
) -> BTreeSet<usize> {
    let mut times: BTreeMap<usize, u32> = BTreeMap::new();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for (key, text) in store.objects.iter().filter(|(key, _)| key.starts_with(&format!("{id}/rec/"))) {
        if key.ends_with("/recording.json") {
            let text = std::str::from_utf8(text).expect("text");
            let paths =
                text.split("\"path\": \"").skip(1).map(|rest| rest.split('"').next().expect("a path").to_owned());
            listed.extend(paths.map(|path| format!("{id}/{path}")));
        }
    }
    let there: BTreeMap<&String, &Vec<u8>> =
        store.objects.iter().filter(|(key, _)| key.starts_with(&format!("{id}/mp4/"))).collect();
    assert_eq!(
        there.keys().map(|key| (*key).clone()).collect::<BTreeSet<_>>(),
        listed,
        "{context}: {id}: what is listed"
    );
    for (key, file) in there {
        let movie = Movie::read(file).unwrap_or_else(|error| panic!("{context}: {key}: {error:#}"));
        for track in &movie.tracks {
            let mut last = None;
            for sample in &track.samples {
                let stamp = stamp(&file[sample.at as usize..][..sample.bytes as usize]);
                let place = places[stamp.as_str()];
                assert!(last.is_none_or(|last| last < place), "{context}: {key}: {stamp} is out of order");
                last = Some(place);
                let (from, to) = (sample.pts, sample.pts + i64::from(sample.duration));
                let is_shown = track.shown_us(&movie, to) > 0 && track.shown_us(&movie, from) < track.end_us(&movie);
                if is_shown && std::env::var_os("MILLSTREAM_SIM_TRACE").is_some() {
                    println!(
                        "{key}: {} {stamp}: {from} to {to}, {:?} of {:?}",
                        track.handler,
                        (track.delay, track.length, track.media_time),
                        movie.duration
                    );
                }
                if is_shown {
                    *times.entry(place).or_default() += 1;
                }
            }
        }
    }
    for (place, times) in &times {
        // Frames of sound do not end where pictures do.
        let most = if source.told[*place].track == Track::Video { 1 } else { 2 };
        assert!(*times <= most, "{context}: {id}: {:?} is in {times} files", source.told[*place]);
    }
    times.into_keys().collect()
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
        let stamps = fragments(&object[offset as usize..(offset + bytes) as usize]);
        let seconds = segment.duration.expect("a length");
        let told = stamps.len() as f64 * crate::source::PART_MS as f64 / 1e3;
        assert!((seconds - told).abs() < 1e-6, "{uri}: {seconds} s of {stamps:?}");
        let first = stamps[0].rsplit('|').next().expect("a number");
        assert_eq!(first, "0", "{uri} begins within a segment: {stamps:?}");
        let map = segment.map.as_ref().expect("a header");
        let header = String::from_utf8_lossy(&store.objects[&format!("{folder}/{map}")]).into_owned();
        let of = header.split("moov of ").nth(1).and_then(|coding| coding.split(' ').nth(1)).expect("a coding");
        let session = stamps[0].split('|').next().expect("a session");
        assert!(of == session || of == "-", "the header of another session: {header}, {stamps:?}");
        found.extend(stamps);
    }
    found
}

/// The manifest names the same ranges as the playlists, in the same order.
fn same_in_manifest(store: &SimStore, folder: &str, context: &str) {
    let text = store.objects.get(&format!("{folder}/manifest.mpd"));
    let text = text.unwrap_or_else(|| panic!("{context}: {folder} has no manifest"));
    let manifest = Manifest::parse(std::str::from_utf8(text).expect("text")).expect("a manifest");
    for kind in ["video", "audio"] {
        let of = manifest.periods.iter().flat_map(|period| &period.tracks).filter(|track| track.kind == kind);
        let named: Vec<_> = of.flat_map(|track| &track.segments).map(|s| (s.uri.clone(), s.range)).collect();
        let Some(text) = store.objects.get(&format!("{folder}/{kind}.m3u8")) else {
            assert_eq!(named, [], "{context}: {folder}: {kind}");
            continue;
        };
        let media = Media::parse(std::str::from_utf8(text).expect("text")).expect("a playlist");
        let listed = media.segments.iter().filter(|segment| !segment.gap);
        let listed: Vec<_> = listed.map(|s| (s.uri.clone().expect("whole"), s.range.expect("a range"))).collect();
        assert_eq!(named, listed, "{context}: {folder}: {kind}");
    }
}

/// All of it.
pub(crate) fn check(
    store: &SimStore,
    streams: &[(String, &Source, StreamSettings)],
    excuses: &Excuses,
    flips: bool,
    context: &str,
) {
    for (id, source, settings) in streams {
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
            if settings.keeps_hls() && seen.len() > seen_before {
                same_in_manifest(store, folder, context);
            }
            let summary = store.objects.get(&format!("{folder}/recording.json"));
            let of = || store.objects.keys().filter(|key| key.starts_with(folder.as_str())).collect::<Vec<_>>();
            let summary = summary.unwrap_or_else(|| panic!("{context}: {folder} has no summary: {:?}", of()));
            let summary = std::str::from_utf8(summary).expect("text");
            assert!(summary.contains("\"state\": \"stored\""), "{context}: {folder}: {summary}");
            // Of one of which nothing is good there is nothing to play.
            let has_index = store.objects.contains_key(&format!("{folder}/index.m3u8"));
            let plays = seen.len() > seen_before || !flips;
            assert!(!has_index || settings.keeps_hls(), "{context}: {folder}: {summary}");
            assert!(has_index || !plays || !settings.keeps_hls(), "{context}: {folder}: {summary}");
            assert!(settings.keeps_hls() || of().len() == 1, "{context}: {:?}", of());
        }
        // Of an object with a changed bit a file may have what the playlist leaves out: it is enough that all came to an end.
        if flips && !settings.keeps_hls() {
            continue;
        }
        let shown = if settings.is_video && !flips { files(store, id, &places, source, context) } else { seen.clone() };
        let seen = match (settings.keeps_hls(), settings.is_video) {
            (false, _) => shown,
            (true, false) => seen,
            // What players of HLS see is in the files, too.
            (true, true) => {
                let missing: Vec<_> = seen.difference(&shown).map(|place| &source.told[*place]).collect();
                assert!(missing.is_empty(), "{context}: {id}: {missing:?} are in no MP4 file");
                seen
            }
        };
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
