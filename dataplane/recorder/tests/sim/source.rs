//! A stream as a packager cuts it, from a seed: sessions, runs, headers, parts, gaps. Each part says what it is in its bytes, and all that were told
//! are remembered.
use std::sync::Arc;

use millstream_hub::package::change::{Change, Header, Opened, Part, Session};
use millstream_hub::subscriber::NextChange;
use millstream_proto::codec::{Shape, Summary};
use millstream_proto::media::Track;
use millstream_proto::time::Time;
use millstream_test_support::mp4::made::{self, Sample};
use millstream_test_support::random::Random;

/// A part that was told to the recorder.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) stamp: String,
    pub(crate) track: Track,
    pub(crate) at: Time,
}

/// A publisher and the packager of its stream.
pub(crate) struct Source {
    name: String,
    sessions: u32,
    msn: u64,
    part: u64,
    run: u64,
    headers: u32,
    header_of: [u32; 2],
    /// When the next part of a track is due, and where in its segment it is.
    next: [Track2; 2],
    has_audio: bool,
    has_video: bool,
    pub(crate) is_on_air: bool,
    pub(crate) told: Vec<Told>,
    gaps: bool,
    counts_from_zero: bool,
    /// Its headers are the same in all sessions.
    one_coding: bool,
    /// When its life began.
    began: Time,
    /// Its sound begins so much later than its picture.
    pub(crate) late_sound_ms: u64,
}

#[derive(Clone, Copy, Default)]
struct Track2 {
    /// Media time, milliseconds since the life began.
    at_ms: u64,
    date_unix_ms: u64,
    open: bool,
    msn: u64,
    parts: u64,
    run: u64,
}

pub(crate) const PART_MS: u64 = 400;
pub(crate) const PARTS: u64 = 5;

impl Source {
    pub(crate) fn new(name: &str, random: &mut Random) -> Self {
        let kind = random.below(5);
        Self {
            name: name.to_owned(),
            sessions: 0,
            msn: 0,
            part: 0,
            run: 0,
            headers: 0,
            header_of: [0; 2],
            next: [Track2::default(); 2],
            has_audio: kind != 0,
            has_video: kind != 1,
            is_on_air: false,
            told: Vec::new(),
            gaps: random.chance(300),
            counts_from_zero: random.chance(300),
            one_coding: random.chance(500),
            began: Time::ZERO,
            late_sound_ms: 0,
        }
    }

    /// A new session: of a new life, or of the same one.
    pub(crate) fn begin(&mut self, now: Time, unix_ms: u64) -> Vec<NextChange> {
        self.began = now;
        self.sessions += 1;
        self.is_on_air = true;
        (self.run, self.headers) = (0, 0);
        self.msn = if self.counts_from_zero { 0 } else { unix_ms / 1_000 };
        for next in &mut self.next {
            *next = Track2 { date_unix_ms: unix_ms, msn: self.msn, ..Track2::default() };
        }
        let sound = &mut self.next[at(Track::Audio)];
        sound.at_ms += self.late_sound_ms;
        sound.date_unix_ms += self.late_sound_ms;
        let session = Session {
            name: format!("{}{}", self.name, self.sessions),
            target_duration_s: 2,
            window: 6,
            bytes_max: 1 << 20,
            zero_unix_ms: unix_ms,
            guide: None,
        };
        let mut changes = vec![Change::Began(Arc::new(session))];
        for track in self.tracks() {
            changes.push(self.header(track));
        }
        changes.into_iter().map(NextChange::Change).collect()
    }

    fn tracks(&self) -> Vec<Track> {
        let mut tracks = Vec::new();
        if self.has_video {
            tracks.push(Track::Video);
        }
        if self.has_audio {
            tracks.push(Track::Audio);
        }
        tracks
    }

    fn header(&mut self, track: Track) -> Change {
        self.headers += 1;
        self.header_of[at(track)] = self.headers;
        let (codec, shape) = match track {
            Track::Video => ("avc1.64001f", Shape::Video { width: 1_280, height: 720 }),
            Track::Audio => ("mp4a.40.2", Shape::Audio { rate_hz: 48_000, channels: 2 }),
        };
        let coding = if self.one_coding {
            format!("moov of {} - -", self.name)
        } else {
            format!("moov of {} {} {}", self.name, self.sessions, self.headers)
        };
        let bytes = made::header(track == Track::Video, 1_000, &coding).into();
        let summary = Summary { codec: codec.to_owned(), shape: Some(shape), unusual: None };
        Change::Header(track, Arc::new(Header { number: self.headers, bytes, timescale: 1_000, summary }))
    }

    /// What comes in this time, with now and then something odd.
    pub(crate) fn advance(&mut self, now: Time, random: &mut Random) -> Vec<NextChange> {
        if !self.is_on_air {
            return Vec::new();
        }
        let mut out = Vec::new();
        let passed_ms = u64::try_from(now.since(self.began).as_millis()).expect("a short life");
        let breaks = random.chance(2);
        let recodes = breaks && random.chance(500);
        if breaks {
            // Another run in both tracks, at the same place.
            let at_ms = self.next.iter().map(|next| next.at_ms).max().unwrap_or_default();
            self.run += 1;
            let msn = self.next.iter().map(|next| next.msn + u64::from(next.open)).max().unwrap_or_default();
            let date = self.next.iter().map(|next| next.date_unix_ms).max().unwrap_or_default();
            for track in self.tracks() {
                if self.next[at(track)].open {
                    out.push(Change::Closed(track));
                }
                self.next[at(track)] =
                    Track2 { at_ms, date_unix_ms: date + 3, open: false, msn, parts: 0, run: self.run };
            }
            if recodes {
                for track in self.tracks() {
                    let header = self.header(track);
                    out.push(header);
                }
            }
        }
        loop {
            let due = self.tracks().into_iter().filter(|track| self.next[at(*track)].at_ms + PART_MS <= passed_ms);
            let Some(track) = due.min_by_key(|track| self.next[at(*track)].at_ms) else { break };
            self.part(track, now, random, &mut out);
        }
        out.into_iter().map(NextChange::Change).collect()
    }

    fn part(&mut self, track: Track, now: Time, random: &mut Random, out: &mut Vec<Change>) {
        let mut next = self.next[at(track)];
        if !next.open {
            let opened = Opened {
                msn: next.msn,
                discontinuity: next.run > 0,
                discontinuities: next.run,
                run_start_ms: next.at_ms,
                run_zero_unix_ms: 0,
                header: self.header_of[at(track)],
                start: next.at_ms,
                start_us: next.at_ms * 1_000,
                date_unix_ms: next.date_unix_ms,
            };
            out.push(Change::Opened(track, opened));
            next.open = true;
            next.parts = 0;
            if self.gaps && track == Track::Audio && random.chance(100) {
                out.push(Change::Gap(track, PART_MS * PARTS * 1_000));
                next.open = false;
                next.msn += 1;
                next.at_ms += PART_MS * PARTS;
                next.date_unix_ms += PART_MS * PARTS;
                self.next[at(track)] = next;
                return;
            }
        }
        let stamp = format!("{}|{}|{}|{}", self.sessions, at(track), next.msn, next.parts);
        let mut data = format!("<{stamp}>").into_bytes();
        data.resize(data.len() + random.below(60) as usize, b'.');
        // All of sound can be decoded by itself; of pictures the first of a segment.
        let sync = next.parts == 0 || track == Track::Audio;
        let sample = Sample { duration: PART_MS as u32, composition: 0, sync, data };
        let bytes = made::fragment(next.at_ms, &[sample]);
        self.part += 1;
        out.push(Change::Part(
            track,
            Part {
                number: self.part,
                duration: PART_MS,
                duration_us: PART_MS * 1_000,
                independent: next.parts == 0,
                frames: 12,
                arrived: now,
                bytes: bytes.into(),
            },
        ));
        self.told.push(Told { stamp, track, at: now });
        next.parts += 1;
        next.at_ms += PART_MS;
        next.date_unix_ms += PART_MS;
        if next.parts == PARTS {
            out.push(Change::Closed(track));
            next.open = false;
            next.msn += 1;
        }
        self.next[at(track)] = next;
    }

    /// The publisher leaves for good.
    pub(crate) fn end(&mut self) -> Vec<NextChange> {
        self.is_on_air = false;
        vec![NextChange::Change(Change::Ended)]
    }
}

pub(crate) fn at(track: Track) -> usize {
    usize::from(track == Track::Audio)
}
