//! A store in memory that refuses, hangs, lies about what it took, and answers late, from a seed. It looks at all that it is asked to keep: nothing
//! is replaced by less, and a playlist names only what is there.
use std::collections::BTreeMap;

use millstream_proto::time::Time;
use millstream_recorder::store::Sums;
use millstream_recorder::uploader::{Job, JobId, Outcome};
use millstream_test_support::dash::Manifest;
use millstream_test_support::hls::history::History;
use millstream_test_support::hls::multivariant::Multivariant;
use millstream_test_support::hls::playlist::Media;
use millstream_test_support::mp4::Movie;
use millstream_test_support::random::Random;

/// How the store is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    Well,
    Refuses,
    Hangs,
    /// Says that it took what it cut or dropped.
    Lies,
}

struct Running {
    at: Option<Time>,
    id: JobId,
    job: Job,
    bytes: Option<Vec<u8>>,
    mood: Mood,
}

/// The store.
pub(crate) struct SimStore {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// What it was asked to keep under names that never change.
    meant: BTreeMap<String, Vec<u8>>,
    histories: BTreeMap<String, History>,
    running: Vec<Running>,
    pub(crate) mood: Mood,
    pub(crate) puts: u64,
    /// The disk lost something for good: playlists may say so later.
    pub(crate) is_lenient: bool,
    /// Media objects in the order in which their puts began, by track of a recording.
    pub(crate) order: BTreeMap<String, Vec<u32>>,
}

impl SimStore {
    pub(crate) fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            meant: BTreeMap::new(),
            histories: BTreeMap::new(),
            running: Vec::new(),
            mood: Mood::Well,
            puts: 0,
            is_lenient: false,
            order: BTreeMap::new(),
        }
    }

    pub(crate) fn begin(&mut self, job: Job, bytes: Option<Vec<u8>>, now: Time, random: &mut Random) {
        if let Some(bytes) = &bytes {
            self.puts += 1;
            self.look_at(&job, bytes);
        }
        let wait = std::time::Duration::from_millis(random.within(1, 400));
        let at = (self.mood != Mood::Hangs).then(|| now + wait);
        self.running.push(Running { at, id: job.id, job, bytes, mood: self.mood });
    }

    pub(crate) fn cancel(&mut self, ids: &[JobId], random: &mut Random) {
        let (gone, kept) = self.running.drain(..).partition(|running| ids.contains(&running.id));
        self.running = kept;
        for running in gone {
            self.perhaps(running, random);
        }
    }

    /// The process is gone: what was under way was done, or not.
    pub(crate) fn cut_off(&mut self, random: &mut Random) {
        for running in std::mem::take(&mut self.running) {
            self.perhaps(running, random);
        }
    }

    fn perhaps(&mut self, running: Running, random: &mut Random) {
        if let (Some(bytes), true) = (running.bytes, random.chance(500) && running.mood != Mood::Lies) {
            self.objects.insert(running.job.key, bytes);
        }
    }

    /// Answers that are due.
    pub(crate) fn answers(&mut self, now: Time, random: &mut Random) -> Vec<(JobId, Outcome)> {
        let due = |running: &Running| running.at.is_some_and(|at| at <= now);
        let (due, kept) = self.running.drain(..).partition(due);
        self.running = kept;
        let mut answers: Vec<(JobId, Outcome)> = Vec::new();
        for Running { id, job, bytes, mood, .. } in due {
            let outcome = match (mood, bytes) {
                (Mood::Refuses, _) => Outcome::Failed("503 Slow Down".to_owned()),
                (Mood::Lies, Some(bytes)) => {
                    match random.below(3) {
                        0 => drop(self.objects.insert(job.key, Vec::new())),
                        1 => drop(self.objects.insert(job.key, bytes[..bytes.len() / 2].to_vec())),
                        _ => {}
                    }
                    Outcome::Put
                }
                (_, Some(bytes)) => {
                    self.objects.insert(job.key, bytes);
                    Outcome::Put
                }
                (_, None) => Outcome::Found(self.objects.get(&job.key).map(|bytes| Sums::of(bytes))),
            };
            answers.push((id, outcome));
        }
        answers
    }

    /// Holds what it is asked to keep against the rules.
    fn look_at(&mut self, job: &Job, bytes: &[u8]) {
        assert_eq!(Sums::of(bytes), job.sums, "{}: what is put is what it was sealed as", job.key);
        if is_media(&job.key) {
            let before = self.meant.insert(job.key.clone(), bytes.to_vec());
            let is_same = before.is_none_or(|before| before == bytes);
            assert!(is_same || self.is_lenient, "{} is replaced by something else", job.key);
            if job.key.contains("/mp4/") {
                Movie::read(bytes).unwrap_or_else(|error| panic!("{}: {error:#}", job.key));
            }
            if let Some((track, number)) = job.key.trim_end_matches(".mp4").rsplit_once('/')
                && let Ok(number) = number.parse()
            {
                self.order.entry(track.to_owned()).or_default().push(number);
            }
            return;
        }
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let folder = job.key.rsplit_once('/').expect("a folder").0;
        if job.key.ends_with("video.m3u8") || job.key.ends_with("audio.m3u8") {
            let media = Media::parse(&text).unwrap_or_else(|error| panic!("{}: {error:#}\n{text}", job.key));
            let history = self.histories.entry(job.key.clone()).or_default();
            let faults: Vec<_> = history.take(&media);
            assert!(faults.is_empty() || self.is_lenient, "{}: {faults:#?}\n{text}", job.key);
            for segment in media.segments.iter().filter(|segment| !segment.gap) {
                let uri = format!("{folder}/{}", segment.uri.as_ref().expect("whole"));
                let (offset, bytes) = segment.range.expect("a range");
                let there = self.objects.get(&uri).map_or(0, |object| object.len() as u64);
                assert!(there >= offset + bytes, "{} names {uri} {offset}+{bytes}, there are {there}", job.key);
                let map = format!("{folder}/{}", segment.map.as_ref().expect("a header"));
                assert!(self.objects.contains_key(&map), "{} names {map}", job.key);
            }
        } else if job.key.ends_with("/manifest.mpd") {
            let manifest = Manifest::parse(&text).unwrap_or_else(|error| panic!("{}: {error:#}\n{text}", job.key));
            assert_eq!(manifest.check(), Vec::<String>::new(), "{}: {text}", job.key);
            for track in manifest.periods.iter().flat_map(|period| &period.tracks) {
                assert!(
                    self.objects.contains_key(&format!("{folder}/{}", track.init)),
                    "{} names {}",
                    job.key,
                    track.init
                );
                for segment in &track.segments {
                    let there =
                        self.objects.get(&format!("{folder}/{}", segment.uri)).map_or(0, |object| object.len() as u64);
                    let (offset, bytes) = segment.range;
                    assert!(there >= offset + bytes, "{} names {segment:?}, there are {there}", job.key);
                }
            }
        } else if is_playlist(&job.key) {
            let whole = Multivariant::parse(&text).unwrap_or_else(|error| panic!("{}: {error:#}\n{text}", job.key));
            assert_eq!(whole.check(), [], "{text}");
            for uri in
                whole.variants.iter().map(|variant| &variant.uri).chain(whole.renditions.iter().flat_map(|r| &r.uri))
            {
                assert!(self.objects.contains_key(&format!("{folder}/{uri}")), "{} names {uri}", job.key);
            }
        }
    }
}

fn is_media(key: &str) -> bool {
    std::path::Path::new(key).extension().is_some_and(|extension| extension == "mp4")
}

fn is_playlist(key: &str) -> bool {
    std::path::Path::new(key).extension().is_some_and(|extension| extension == "m3u8")
}
