//! A recording as the packager cuts it, with made-up frames that say their numbers: pictures of 40 ms with a keyframe every two seconds, of which
//! each third is shown before the one ahead of it, and sound of 48 kHz that begins a little earlier.
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_hub::package::change::{Header, Opened, Part};
use millstream_hub::subscriber::ClosedSegment;
use millstream_proto::codec::Summary;
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;
use millstream_test_support::mp4::Movie;
use millstream_test_support::mp4::made::{self, Sample};

use crate::movie::copy::build;
use crate::movie::source::{Source, at_once};
use crate::name::{RecordingName, TRACKS, init_path, object_path, place, playlist_path};
use crate::recording::Recording;
use crate::recording::ledger::Ledger;
use crate::recording::playlist::Reach;
use crate::recording::record::{Head, MadeMovie, Movies, Reason, Record};
use crate::store::{Answer, ReadStore, StoreError, Sums};

pub(crate) const START_MS: u64 = 1_795_531_265_000;
const FRAME_MS: u64 = 40;

pub(crate) fn id() -> Id {
    Id::new("cam").expect("an id")
}

/// A stream, and the recording that was made of it.
pub(crate) struct Media {
    pub(crate) recording: Recording,
    objects: BTreeMap<(usize, u32), Vec<u8>>,
    /// All segments, as the packager closes them.
    pub(crate) closed: Vec<ClosedSegment>,
    pub(crate) has_video: bool,
    pub(crate) has_audio: bool,
    /// Objects that the store does not have, or has damaged.
    pub(crate) lost: Vec<String>,
    pub(crate) damaged: Vec<String>,
    /// Of each run: its first picture, its first sound, and how much later that is heard, milliseconds.
    pub(crate) firsts: Vec<(u64, u64, i64)>,
    /// Pictures between two keyframes.
    pub(crate) gop: u64,
    /// What is added to each picture's composition offset, milliseconds.
    pub(crate) shift_ms: i32,
    /// Bytes of each picture besides its number.
    pub(crate) picture_bytes: usize,
    /// The stream's clock and the wall's, milliseconds.
    pub(crate) clock_ms: u64,
    date_ms: u64,
    frames: [u64; 2],
    msn: u64,
    discontinuities: u64,
    coding: String,
    headers: u32,
}

/// A store in memory.
pub(crate) struct Store(BTreeMap<String, Bytes>);

impl Source for Media {
    fn read(&self, track: Track, object: u32, at: u64, bytes: usize) -> Answer<'_, Bytes> {
        let object = self.objects.get(&(place(track), object));
        let read = object.and_then(|object| object.get(at as usize..at as usize + bytes)).map(Bytes::copy_from_slice);
        Box::pin(std::future::ready(read.ok_or_else(|| StoreError::Source("it is gone".to_owned()))))
    }
}

impl ReadStore for Store {
    fn read<'a>(&'a self, key: &'a str, at: u64, bytes: usize) -> Answer<'a, Option<Bytes>> {
        Box::pin(async move {
            let Some(object) = self.0.get(key) else { return Ok(None) };
            let at = (at as usize).min(object.len());
            Ok(Some(object.slice(at..object.len().min(at + bytes))))
        })
    }
}

impl Media {
    pub(crate) fn new() -> Self {
        Self::with_files(0)
    }

    /// MP4 files of that length are to be made of it.
    pub(crate) fn with_files(length_ms: u32) -> Self {
        let head = Head {
            name: RecordingName::new(START_MS, "s").expect("a name"),
            stream: id(),
            target_duration_s: 2,
            object_ms: 4_000,
            retention_days: 0,
            keeps_hls: true,
            movies: (length_ms > 0).then_some(Movies { length_ms, bytes_max: 1 << 40 }),
        };
        Self {
            recording: Recording::new(Ledger::new(head)),
            objects: BTreeMap::new(),
            closed: Vec::new(),
            has_video: true,
            has_audio: true,
            lost: Vec::new(),
            damaged: Vec::new(),
            firsts: Vec::new(),
            gop: 50,
            shift_ms: 0,
            picture_bytes: 50,
            clock_ms: 90_000,
            date_ms: START_MS,
            frames: [0; 2],
            msn: 0,
            discontinuities: 0,
            coding: String::new(),
            headers: 0,
        }
    }

    /// Another session of the packager.
    pub(crate) fn session(&mut self) {
        let writes = self.recording.new_session();
        self.make(writes);
        (self.clock_ms, self.msn, self.discontinuities, self.headers) = (200, 0, 0, 0);
        self.coding.clear();
    }

    /// The disk was full for so long, on the wall's clock and the stream's.
    pub(crate) fn gap(&mut self, ms: u64) {
        let writes = self.recording.break_off(Reason::DiskFull);
        self.make(writes);
        (self.clock_ms, self.date_ms, self.msn) = (self.clock_ms + ms, self.date_ms + ms, self.msn + 2);
    }

    /// Something is missing from here on.
    pub(crate) fn break_off(&mut self, reason: Reason) {
        let writes = self.recording.break_off(reason);
        self.make(writes);
    }

    /// Files end after so many bytes of media.
    pub(crate) fn bytes_max(&mut self, bytes_max: u64) {
        let mut head = self.recording.ledger().head().clone();
        head.movies = head.movies.map(|movies| Movies { bytes_max, ..movies });
        self.recording = Recording::new(Ledger::new(head));
    }

    /// The stream's clock alone jumps.
    pub(crate) fn jump(&mut self, ms: u64) {
        self.clock_ms += ms;
    }

    fn make(&mut self, writes: Vec<crate::recording::Write>) {
        for write in writes {
            if let Some((track, number, media)) = &write.media {
                self.objects.entry((place(*track), *number)).or_default().extend_from_slice(media);
            }
            self.recording.written(&write.record);
        }
    }

    /// A run of so long, in segments of two seconds, in that coding.
    pub(crate) fn run(&mut self, ms: u64, coding: &str) {
        if self.msn > 0 {
            self.discontinuities += 1;
        }
        if self.coding != coding {
            self.headers += 2;
            coding.clone_into(&mut self.coding);
        }
        let begin_ms = self.clock_ms;
        // Sound is a clock of its own within the run: it begins 15 ms earlier.
        let first_sound = (begin_ms - 15) * 48;
        self.firsts.push((self.frames[0], self.frames[1], -15));
        let (mut sounds, mut done_ms) = (0, 0);
        while done_ms < ms {
            let length_ms = (ms - done_ms).min(2_000);
            for track in TRACKS {
                if track == Track::Video && !self.has_video || track == Track::Audio && !self.has_audio {
                    continue;
                }
                let start_ms = begin_ms + done_ms;
                self.open(track, start_ms, done_ms);
                for part in 0..length_ms / 400 + u64::from(!length_ms.is_multiple_of(400)) {
                    let (from_ms, to_ms) = (done_ms + part * 400, done_ms + length_ms.min(part * 400 + 400));
                    let (decode_time, samples) = match track {
                        Track::Video => self.pictures(begin_ms, from_ms, to_ms),
                        Track::Audio => {
                            let mut list = Vec::new();
                            let decode_time = first_sound + sounds * 1_024;
                            while sounds * 1_024 < (to_ms + if to_ms == ms { 15 } else { 0 }) * 48 {
                                list.push(self.sound());
                                sounds += 1;
                            }
                            (decode_time, list)
                        }
                    };
                    self.part(track, decode_time, &samples, to_ms - from_ms);
                }
                let writes = self.recording.closed(track);
                self.make(writes);
            }
            self.msn += 1;
            done_ms += length_ms;
        }
        (self.clock_ms, self.date_ms) = (self.clock_ms + ms + 40, self.date_ms + ms);
    }

    fn open(&mut self, track: Track, start_ms: u64, done_ms: u64) {
        let opened = Opened {
            msn: self.msn,
            discontinuities: self.discontinuities,
            header: self.headers + u32::from(track == Track::Audio),
            start: start_ms * 90,
            start_us: start_ms * 1_000,
            date_unix_ms: self.date_ms + done_ms,
            ..Opened::default()
        };
        let (timescale, codec) = if track == Track::Video { (90_000, "avc1.64001f") } else { (48_000, "mp4a.40.2") };
        let bytes = made::header(track == Track::Video, timescale, &self.coding).into();
        let summary = Summary { codec: codec.to_owned(), shape: None, unusual: None };
        let header = Header { number: opened.header, bytes, timescale, summary };
        let writes = self.recording.opened(track, &opened, Some(&header));
        let header = Some(Arc::new(header));
        self.closed.push(ClosedSegment { track, opened, header, duration_us: 0, parts: Vec::new() });
        self.make(writes);
    }

    fn part(&mut self, track: Track, decode_time: u64, samples: &[Sample], ms: u64) {
        let part = Part {
            number: 0,
            duration: ms,
            duration_us: ms * 1_000,
            independent: samples.first().is_some_and(|sample| sample.sync),
            frames: samples.len() as u32,
            arrived: Time::ZERO,
            bytes: made::fragment(decode_time, samples).into(),
        };
        let writes = self.recording.part(track, &part);
        if let Some(segment) = self.closed.last_mut() {
            segment.duration_us += part.duration_us;
            segment.parts.push(part.bytes.clone());
        }
        self.make(writes);
    }

    /// Numbers are in the order of display: of three frames behind a keyframe the second and third change places.
    fn pictures(&mut self, begin_ms: u64, from_ms: u64, to_ms: u64) -> (u64, Vec<Sample>) {
        let mut list = Vec::new();
        let run_first = self.firsts.last().map_or(0, |first| first.0);
        for n in from_ms / FRAME_MS..to_ms / FRAME_MS {
            let within = n % self.gop;
            let is_last = within + 1 == self.gop || n + 1 == to_ms / FRAME_MS && !to_ms.is_multiple_of(2_000);
            let (shown, composition) = match within % 3 {
                1 if !is_last && n + 1 < to_ms / FRAME_MS => (n + 1, 2 * FRAME_MS),
                2 if n > from_ms / FRAME_MS => (n - 1, 0),
                _ => (n, FRAME_MS),
            };
            let mut data = (run_first + shown).to_be_bytes().to_vec();
            data.resize(8 + self.picture_bytes, n as u8);
            self.frames[0] += 1;
            let composition = (composition as i32 + self.shift_ms) * 90;
            list.push(Sample { duration: FRAME_MS as u32 * 90, composition, sync: within == 0, data });
        }
        // Pictures are shown one frame after their decode time: so the first is shown when its segment begins.
        ((begin_ms + from_ms - FRAME_MS) * 90, list)
    }

    fn sound(&mut self) -> Sample {
        let mut data = self.frames[1].to_be_bytes().to_vec();
        data.resize(20, 7);
        self.frames[1] += 1;
        Sample { duration: 1_024, composition: 0, sync: true, data }
    }

    /// Nothing more comes.
    pub(crate) fn end(&mut self) {
        let writes = self.recording.end(Reason::StreamEnded);
        self.make(writes);
    }

    /// The next file that is due, made of what is there; it counts as stored then.
    pub(crate) fn file(&mut self) -> Option<(u64, Movie, Vec<u8>)> {
        let due = self.recording.ledger().due_movie()?;
        let built = at_once(build(&due.recipe, &*self)).expect("nothing is waited for").expect("a file");
        let mut chunks = built.movie.chunks();
        let mut bytes = Vec::new();
        while let Some(chunk) = at_once(chunks.next(&*self)).expect("nothing is waited for").expect("its bytes") {
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(built.sums, Sums::of(&bytes));
        let made = MadeMovie { number: due.number, bytes: built.sums.bytes, duration_ms: built.movie.duration_ms() };
        self.make(vec![Record::Movie(made).into()]);
        Some((due.from_unix_ms, Movie::read(&bytes).expect("a right file"), bytes))
    }

    /// The store that it is in.
    pub(crate) fn store(&self, is_final: bool) -> Store {
        let (ledger, name) = (self.recording.ledger(), RecordingName::new(START_MS, "s").expect("a name"));
        let mut all = BTreeMap::new();
        for track in TRACKS.into_iter().filter(|track| ledger.plays(*track, Reach::All)) {
            let text = ledger.media_playlist(track, Reach::All, is_final);
            all.insert(name.key(&id(), playlist_path(track)), text.into());
            for init in &ledger.track(track).inits {
                all.insert(name.key(&id(), &init_path(track, init.number)), init.bytes.clone());
            }
            for ((of, number), bytes) in &self.objects {
                let path = object_path(track, *number);
                if *of == place(track) && !self.lost.contains(&path) {
                    let mut bytes = bytes.clone();
                    if self.damaged.contains(&path) {
                        bytes.fill(0x55);
                    }
                    all.insert(name.key(&id(), &path), bytes.into());
                }
            }
        }
        Store(all)
    }
}
