//! A recorder over a real directory and a store in memory, with the test's own clock; the disk does what it is told to do wrong.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::package::change::{Change, Header, Opened, Part, Session};
use millstream_hub::subscriber::NextChange;
use millstream_proto::codec::{Shape, Summary};
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;
use millstream_recorder::recorder::{Event, Recorder, StoreJob, StreamKey};
use millstream_recorder::settings::{Settings, StreamSettings};
use millstream_recorder::spool::directory::Directory;
use millstream_recorder::spool::disk::{Disk, DiskError, Entry};
use millstream_recorder::store::Sums;
use millstream_recorder::uploader::{Content, Job, Moment, Outcome};
use millstream_test_support::hls::multivariant::Multivariant;
use millstream_test_support::hls::playlist::Media;
use millstream_test_support::hls::rules;

pub(crate) const START_MS: u64 = 1_795_531_265_000;
const STEP_MS: u64 = 50;

/// What the disk does wrong.
#[derive(Clone, Default, Debug)]
pub(crate) struct Faults {
    /// Nothing can be made or written, for this reason.
    pub(crate) refuses: Option<DiskError>,
    /// So many bytes can still be written.
    pub(crate) room: Option<u64>,
}

/// A directory with faults.
pub(crate) struct Faulty {
    inner: Directory,
    faults: Rc<RefCell<Faults>>,
}

impl Faulty {
    fn may_write(&self) -> Result<(), DiskError> {
        self.faults.borrow().refuses.clone().map_or(Ok(()), Err)
    }
}

impl Disk for Faulty {
    type File = Arc<File>;

    fn entries(&mut self) -> Result<Vec<Entry>, DiskError> {
        self.inner.entries()
    }
    fn files(&mut self, directory: &str) -> Result<Vec<(String, u64)>, DiskError> {
        self.inner.files(directory)
    }
    fn make_directory(&mut self, directory: &str) -> Result<(), DiskError> {
        self.may_write()?;
        self.inner.make_directory(directory)
    }
    fn remove_directory(&mut self, directory: &str) -> Result<(), DiskError> {
        self.may_write()?;
        self.inner.remove_directory(directory)
    }
    fn create(&mut self, directory: &str, name: &str) -> Result<Arc<File>, DiskError> {
        self.may_write()?;
        self.inner.create(directory, name)
    }
    fn open(&mut self, directory: &str, name: &str) -> Result<Arc<File>, DiskError> {
        self.inner.open(directory, name)
    }
    fn append(&mut self, file: &Arc<File>, bytes: &[u8]) -> Result<(), DiskError> {
        self.may_write()?;
        let room = self.faults.borrow().room.unwrap_or(u64::MAX);
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        // As a file system does it: what fits is there, and the rest is an error.
        self.inner.append(file, &bytes[..fits])?;
        if let Some(room) = &mut self.faults.borrow_mut().room {
            *room -= fits as u64;
        }
        if fits < bytes.len() { Err(DiskError::Full) } else { Ok(()) }
    }
    fn truncate(&mut self, file: &Arc<File>, bytes: u64) -> Result<(), DiskError> {
        self.may_write()?;
        self.inner.truncate(file, bytes)
    }
    fn read(&mut self, file: &Arc<File>, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError> {
        self.inner.read(file, offset, bytes)
    }
    fn remove(&mut self, directory: &str, name: &str) -> Result<(), DiskError> {
        self.may_write()?;
        self.inner.remove(directory, name)
    }
    fn rename(&mut self, directory: &str, from: &str, to: &str) -> Result<(), DiskError> {
        self.may_write()?;
        self.inner.rename(directory, from, to)
    }
    fn free_bytes(&mut self) -> u64 {
        self.inner.free_bytes()
    }
}

/// All that a test has.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    pub(crate) recorder: Option<Recorder<Faulty>>,
    pub(crate) faults: Rc<RefCell<Faults>>,
    pub(crate) key: StreamKey,
    pub(crate) now_ms: u64,
    pub(crate) store: BTreeMap<String, Vec<u8>>,
    /// What the store says to everything.
    pub(crate) store_error: Option<String>,
    /// How long it takes to answer.
    pub(crate) store_takes_ms: u64,
    /// Jobs under way, and when they are done.
    running: Vec<(u64, StoreJob<Arc<File>>)>,
    /// Media objects in the order in which they were put.
    pub(crate) order: Vec<String>,
    pub(crate) events: Vec<Event>,
    settings: StreamSettings,
    of_all: Settings,
    /// What the wall clock was set back by.
    pub(crate) set_back_ms: u64,
}

impl Bench {
    pub(crate) fn new(ondemand_time_s: u32) -> Self {
        Self::with(ondemand_time_s, Settings::default())
    }

    /// One whose recordings are split when they are as long as that.
    pub(crate) fn with_longest(ondemand_time_s: u32, recording_max: Duration) -> Self {
        Self::with(ondemand_time_s, Settings { recording_max, ..Settings::default() })
    }

    fn with(ondemand_time_s: u32, of_all: Settings) -> Self {
        Self::in_directory(tempfile::tempdir().expect("a directory"), ondemand_time_s, of_all)
    }

    /// One on another disk, with a spool of so many bytes at most.
    pub(crate) fn on_disk(disk: &Path, ondemand_time_s: u32, spool_max_bytes: u64) -> Self {
        let dir = tempfile::tempdir_in(disk).expect("a directory");
        Self::in_directory(dir, ondemand_time_s, Settings { spool_max_bytes, ..Settings::default() })
    }

    fn in_directory(dir: tempfile::TempDir, ondemand_time_s: u32, of_all: Settings) -> Self {
        let mut bench = Self {
            dir,
            recorder: None,
            faults: Rc::default(),
            key: StreamKey(0),
            now_ms: 1_000,
            store: BTreeMap::new(),
            store_error: None,
            store_takes_ms: 0,
            running: Vec::new(),
            order: Vec::new(),
            events: Vec::new(),
            settings: StreamSettings {
                is_on_demand: true,
                ondemand_time_s,
                is_video: false,
                video_time_s: 60,
                retention_days: 0,
                dvr_window_s: 0,
            },
            of_all,
            set_back_ms: 0,
        };
        bench.start();
        bench
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { now: Time::from_millis(self.now_ms), unix_ms: START_MS + self.now_ms - self.set_back_ms }
    }

    /// Starts it, as after a kill.
    pub(crate) fn start(&mut self) {
        self.recorder = None;
        let inner = Directory::open(&self.spool()).expect("a spool");
        let disk = Faulty { inner, faults: Rc::clone(&self.faults) };
        let settings = Settings { publisher_wait: Duration::from_secs(5), ..self.of_all };
        let mut recorder = Recorder::open(disk, settings, self.moment()).expect("it starts");
        self.key = recorder.follow(Id::new("cam").expect("an id"), self.settings);
        self.recorder = Some(recorder);
    }

    pub(crate) fn recorder(&mut self) -> &mut Recorder<Faulty> {
        self.recorder.as_mut().expect("it runs")
    }

    pub(crate) fn tell(&mut self, change: Change) {
        let (key, moment) = (self.key, self.moment());
        self.recorder().change(key, NextChange::Change(change), moment);
    }

    /// Time goes by.
    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            self.now_ms += STEP_MS;
            self.step();
        }
    }

    fn step(&mut self) {
        let moment = self.moment();
        let recorder = self.recorder.as_mut().expect("it runs");
        recorder.poll(moment);
        if let Some(batch) = recorder.begin_sync(moment.now) {
            // No power is lost here.
            drop(batch);
            recorder.synced(&Ok(()), moment);
        }
        let done_ms = self.now_ms + self.store_takes_ms;
        self.running.extend(recorder.store_jobs(moment).into_iter().map(|job| (done_ms, job)));
        for (_, job) in self.running.extract_if(.., |(at_ms, _)| *at_ms <= self.now_ms) {
            let outcome = match &self.store_error {
                Some(error) => Outcome::Failed(error.clone()),
                None => answer(&mut self.store, &job.job, job.file.as_deref()),
            };
            if matches!((&outcome, &job.job.put), (Outcome::Put, Some(Content::Object(..)))) {
                self.order.push(job.job.key.clone());
            }
            recorder.store_done(job.job.id, outcome, moment);
        }
        if self.now_ms.is_multiple_of(1_000) {
            recorder.tell_waiting(moment);
        }
        self.events.extend(recorder.take_events());
    }

    /// Until all is stored.
    pub(crate) fn finish(&mut self) {
        for _ in 0..3_000 {
            self.run(100);
            if self.recorder().numbers().recordings == 0 {
                return;
            }
        }
        panic!("it does not come to an end: {:#?}", self.recorder().recordings());
    }

    /// The session and headers of those tracks.
    pub(crate) fn begin(&mut self, session: &str, tracks: &[Track]) {
        let target_duration_s = 60;
        self.tell(Change::Began(Arc::new(Session {
            name: session.to_owned(),
            target_duration_s,
            window: 6,
            bytes_max: 1 << 20,
            zero_unix_ms: START_MS,
            guide: None,
        })));
        for track in tracks {
            self.header(*track, 1, "avc1.64001f", 1_280);
        }
    }

    pub(crate) fn header(&mut self, track: Track, number: u32, codec: &str, width: u32) {
        let (codec, shape) = match track {
            Track::Video => (codec, Shape::Video { width, height: width * 9 / 16 }),
            Track::Audio => ("mp4a.40.2", Shape::Audio { rate_hz: 48_000, channels: 2 }),
        };
        let bytes = Bytes::from(format!("moov {codec} {width}"));
        let summary = Summary { codec: codec.to_owned(), shape: Some(shape), unusual: None };
        self.tell(Change::Header(track, Arc::new(Header { number, bytes, timescale: 1_000, summary })));
    }

    pub(crate) fn open(&mut self, track: Track, msn: u64, discontinuities: u64, header: u32, date_unix_ms: u64) {
        self.tell(Change::Opened(track, Opened { msn, discontinuities, header, date_unix_ms, ..Opened::default() }));
    }

    /// A part with that in it.
    pub(crate) fn part(&mut self, track: Track, text: &str, ms: u64) {
        let part = Part {
            number: 0,
            duration: ms,
            duration_us: ms * 1_000,
            independent: text.ends_with(".0>"),
            frames: 10,
            arrived: Time::ZERO,
            bytes: Bytes::from(text.to_owned().into_bytes()),
        };
        self.tell(Change::Part(track, part));
    }

    /// A whole segment of so many parts of half a second, as they come; `<msn.part>` is in each.
    pub(crate) fn segment(&mut self, tracks: &[Track], msn: u64, parts: u64) {
        for track in tracks {
            let date = START_MS + self.now_ms;
            self.open(*track, msn, 0, 1, date);
        }
        for part in 0..parts {
            for track in tracks {
                self.part(*track, &format!("<{msn}.{part}>"), 500);
            }
            self.run(500);
        }
        for track in tracks {
            self.tell(Change::Closed(*track));
        }
    }

    pub(crate) fn end(&mut self) {
        self.tell(Change::Ended);
    }

    /// The final playlist of each recording's track, with what is in its segments (`None`: a gap).
    pub(crate) fn stored(&self, track: Track) -> Vec<(Media, Vec<Option<String>>)> {
        let name = if track == Track::Video { "/video.m3u8" } else { "/audio.m3u8" };
        let mut all = Vec::new();
        for (key, text) in self.store.iter().filter(|(key, _)| key.ends_with(name)) {
            let text = std::str::from_utf8(text).expect("text");
            let media = Media::parse(text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
            assert_eq!(rules::check(&media), [], "{text}");
            assert!(media.ended, "{text}");
            let folder = key.trim_end_matches(name);
            let index = std::str::from_utf8(&self.store[&format!("{folder}/index.m3u8")]).expect("text");
            let whole = Multivariant::parse(index).unwrap_or_else(|error| panic!("{error:#}\n{index}"));
            assert_eq!(whole.check(), [], "{index}");
            let segments = media.segments.iter().map(|segment| {
                let (offset, bytes) = segment.range.filter(|_| !segment.gap)?;
                let object = &self.store[&format!("{folder}/{}", segment.uri.as_ref().expect("whole"))];
                Some(String::from_utf8(object[offset as usize..(offset + bytes) as usize].to_vec()).expect("text"))
            });
            let segments = segments.collect();
            all.push((media, segments));
        }
        all
    }

    /// The text of the only `recording.json`.
    pub(crate) fn summary(&self) -> String {
        let mut all = self.store.iter().filter(|(key, _)| key.ends_with("/recording.json"));
        let (_, text) = all.next().expect("a summary");
        assert!(all.next().is_none(), "more than one recording: {:?}", self.store.keys());
        String::from_utf8(text.clone()).expect("text")
    }

    /// What was told, by name.
    pub(crate) fn told(&self) -> Vec<String> {
        let name = |event: &Event| format!("{:?}", event.kind).split([' ', '{']).next().unwrap_or_default().to_owned();
        self.events.iter().map(name).collect()
    }
}

/// What a segment of so many parts has in it.
pub(crate) fn text_of(msn: u64, parts: u64) -> String {
    let parts: Vec<String> = (0..parts).map(|part| format!("<{msn}.{part}>")).collect();
    parts.concat()
}

fn answer(store: &mut BTreeMap<String, Vec<u8>>, job: &Job, file: Option<&File>) -> Outcome {
    let bytes = match &job.put {
        None => return Outcome::Found(store.get(&job.key).map(|bytes| Sums::of(bytes))),
        Some(Content::Bytes(bytes)) => bytes.to_vec(),
        Some(Content::Object(..)) => {
            let mut bytes = vec![0; job.sums.bytes as usize];
            match file.expect("a file").read_exact_at(&mut bytes, 0) {
                Ok(()) if Sums::of(&bytes) == job.sums => bytes,
                _ => return Outcome::Source("its file is not what was written".to_owned()),
            }
        }
        Some(other) => panic!("no stream here has {other:?}"),
    };
    store.insert(job.key.clone(), bytes);
    Outcome::Put
}
