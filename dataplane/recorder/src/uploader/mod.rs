//! What is to be stored, in which order, and what is missing since when; sans-IO. Before it: [`crate::recorder`], which pushes what is whole; after it:
//! whoever does the [`Job`]s and says what came of them.
//!
//! An upload is put, then looked at: it is stored once the store shows its length and checksum. There is no last try. Of a recording, uploads begin in
//! order, a few at a time; texts (playlists) one after another. A store that fails again and again is asked by one upload at a time.
mod lane;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use self::lane::{Lane, Upload};
use crate::limits::{
    AWAY_FAILURES, ERROR_CHARS_MAX, RETRY_FIRST, RETRY_MAX, UPLOAD_BYTES_PER_SECOND_MIN, UPLOAD_TIMEOUT, UPLOADS_MAX,
};
use crate::name::RecordingName;
use crate::store::{Kind, Sums};

/// A moment on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The process's clock.
    pub now: Time,
    /// Unix milliseconds.
    pub unix_ms: u64,
}

/// What an upload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A media object.
    Object(Track, u32),
    /// A file header.
    Init(Track, u32),
    /// An MP4 file.
    Movie(u32),
    /// A track's playlist.
    Playlist(Track),
    /// `index.m3u8`.
    Index,
    /// `vod-<start>.m3u8`.
    Vod,
    /// `manifest.mpd`.
    Manifest,
    /// `recording.json`.
    Summary,
}

/// What is put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The file of that object in the spool.
    Object(Track, u32),
    /// The MP4 file of that number, of objects in the spool.
    Movie(u32),
    /// These bytes.
    Bytes(Bytes),
}

/// An upload to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// What it is.
    pub what: What,
    /// Where it goes.
    pub key: String,
    /// `None`: it is no longer here, and only looked at.
    pub content: Option<Content>,
    /// What the store is to show.
    pub sums: Sums,
    /// How it is served.
    pub kind: Kind,
    /// It may be there already: look before it is put.
    pub look_first: bool,
}

/// Number of a job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(pub u64);

/// Something to ask of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Of this recording.
    pub recording: RecordingName,
    /// Where.
    pub key: String,
    /// Put this; `None`: look at it.
    pub put: Option<Content>,
    /// Its length and checksum.
    pub sums: Sums,
    /// How it is served.
    pub kind: Kind,
}

/// What came of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was put.
    Put,
    /// This is there.
    Found(Option<Sums>),
    /// The store did not do it.
    Failed(String),
    /// The spool's copy is not what it was: no other try can be better.
    Source(String),
}

/// What has become of an upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finished {
    /// It is in the store.
    Stored(RecordingName, What),
    /// It is neither in the store nor here. Says why.
    Missing(RecordingName, What, String),
    /// What is here is not what was to be stored. It waits to be [replaced](Uploader::replace) or [given up](Uploader::give_up). Says why.
    Spoilt(RecordingName, What, String),
}

/// What a recording lacks in the store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Missing {
    /// Uploads that wait or run.
    pub uploads: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Since when one of them fails.
    pub failing_since: Option<Moment>,
    /// The newest error.
    pub error: Option<String>,
}

/// How the store does.
#[derive(Debug, Default)]
struct Health {
    /// In a row.
    failures: u32,
    retry_at: Time,
    /// The first one.
    since: Option<Moment>,
    /// Of the newest one.
    error: String,
    /// That it is away was told.
    is_told: bool,
}

/// What is told of the store, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreNews {
    /// It fails again and again: with this.
    Away(String),
    /// It takes what it is given again.
    Back,
}

/// All uploads.
#[derive(Debug, Default)]
pub struct Uploader {
    lanes: BTreeMap<RecordingName, Lane>,
    /// Who has which job.
    jobs: BTreeMap<JobId, (RecordingName, What)>,
    next_job: u64,
    /// The lane that had a turn last.
    turn: Option<RecordingName>,
    health: Health,
    cancelled: Vec<JobId>,
    failures: u64,
    /// The store takes what it is given again, and that was not told.
    is_back: bool,
    /// It cannot be used, as was found when nothing was to be stored, and that was not told.
    unusable: Option<String>,
}

/// The wait after so many failures; a quarter of it more or less, by a number.
fn backoff(failures: u32, salt: u64) -> Duration {
    let whole = RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(RETRY_MAX);
    let spread = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
    whole * 3 / 4 + whole * (spread as u32) / 512
}

fn timeout(sums: Sums) -> Duration {
    UPLOAD_TIMEOUT + Duration::from_secs(sums.bytes / UPLOAD_BYTES_PER_SECOND_MIN)
}

impl Uploader {
    /// Nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an upload. A text that waits under the same name is replaced.
    pub fn push(&mut self, recording: &RecordingName, request: Request) {
        self.lanes.entry(recording.clone()).or_default().push(request);
    }

    /// Forgets a recording, and cancels its jobs.
    pub fn forget(&mut self, recording: &RecordingName) {
        self.lanes.remove(recording);
        let of: Vec<JobId> = self.jobs.iter().filter(|(_, (name, _))| name == recording).map(|(id, _)| *id).collect();
        for id in of {
            self.jobs.remove(&id);
            self.cancelled.push(id);
        }
    }

    /// Jobs to begin now.
    pub fn jobs(&mut self, moment: Moment) -> Vec<Job> {
        self.time_out(moment);
        let mut begun = Vec::new();
        if self.is_away() && moment.now < self.health.retry_at {
            return begun;
        }
        let most = if self.is_away() { 1 } else { UPLOADS_MAX };
        let mut idle = 0;
        while self.jobs.len() < most && idle < self.lanes.len() {
            let Some(name) = self.next_turn() else { break };
            let id = JobId(self.next_job);
            let Some(job) = self.lanes.get_mut(&name).and_then(|lane| lane.begin(&name, id, moment.now)) else {
                idle += 1;
                continue;
            };
            idle = 0;
            self.next_job += 1;
            self.jobs.insert(id, (name, job.1));
            begun.push(job.0);
        }
        begun
    }

    /// The lane behind the one that had a turn last.
    fn next_turn(&mut self) -> Option<RecordingName> {
        use std::ops::Bound::{Excluded, Unbounded};
        let next = match &self.turn {
            Some(last) => self.lanes.range((Excluded(last.clone()), Unbounded)).next().map(|(name, _)| name.clone()),
            None => None,
        };
        self.turn = next.or_else(|| self.lanes.keys().next().cloned());
        self.turn.clone()
    }

    /// Jobs that nobody waits for any more since the last call.
    pub fn take_cancelled(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.cancelled)
    }

    fn time_out(&mut self, moment: Moment) {
        let late: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(id, (name, _))| self.lanes.get(name).is_none_or(|lane| lane.is_late(**id, moment.now)))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.cancelled.push(id);
            self.done(id, Outcome::Failed("the store did not answer in time".to_owned()), moment);
        }
    }

    /// What came of a job; says what that means for its upload.
    pub fn done(&mut self, id: JobId, outcome: Outcome, moment: Moment) -> Option<Finished> {
        let (recording, _) = self.jobs.remove(&id)?;
        let lane = self.lanes.get_mut(&recording)?;
        let upload = lane.find(id)?;
        upload.job = None;
        let failure = match outcome {
            Outcome::Put => {
                upload.is_put = true;
                None
            }
            Outcome::Found(found) if found == Some(upload.request.sums) => {
                let what = upload.request.what;
                lane.remove(id, what);
                self.store_is_well();
                return Some(Finished::Stored(recording, what));
            }
            Outcome::Found(found) if upload.request.content.is_none() => {
                let what = upload.request.what;
                lane.remove(id, what);
                self.store_is_well();
                let why = match found {
                    Some(_) => "the store has another object under its name, and the spool no longer has it",
                    None => "it is neither in the store nor in the spool",
                };
                return Some(Finished::Missing(recording, what, why.to_owned()));
            }
            // Looked at before it was put.
            Outcome::Found(_) if !upload.is_put => {
                upload.request.look_first = false;
                None
            }
            Outcome::Found(found) => {
                upload.is_put = false;
                let Sums { bytes, .. } = upload.request.sums;
                let there = found.map_or("nothing".to_owned(), |found| format!("{} bytes", found.bytes));
                Some(format!(
                    "{} has {bytes} bytes, and the store shows {there} or another checksum",
                    upload.request.key
                ))
            }
            Outcome::Failed(error) => Some(error),
            Outcome::Source(error) => {
                let what = upload.request.what;
                upload.fail(error.chars().take(ERROR_CHARS_MAX).collect(), id, moment);
                return Some(Finished::Spoilt(recording, what, error));
            }
        };
        match failure {
            None => self.store_is_well(),
            Some(error) => {
                let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
                self.failures += 1;
                upload.fail(error.clone(), id, moment);
                self.health.since.get_or_insert(moment);
                self.health.error = error;
                self.health.failures = self.health.failures.saturating_add(1);
                self.health.retry_at = moment.now + backoff(self.health.failures, id.0);
            }
        }
        None
    }

    /// An upload is to be of this now.
    pub fn replace(&mut self, recording: &RecordingName, what: What, sums: Sums) {
        if let Some(upload) = self.lanes.get_mut(recording).and_then(|lane| lane.waiting(what)) {
            let Request { key, content, kind, .. } = upload.request.clone();
            *upload = Upload::new(Request { what, key, content, sums, kind, look_first: false });
        }
    }

    /// An upload is not to be made any more.
    pub fn give_up(&mut self, recording: &RecordingName, what: What) {
        if let Some(lane) = self.lanes.get_mut(recording) {
            lane.objects.retain(|upload| upload.request.what != what);
        }
    }

    /// The store cannot be used, as was found when nothing was to be stored: that is told as if uploads had failed, and not once more when they do.
    pub fn unusable(&mut self, error: &str) {
        self.unusable = Some(error.chars().take(ERROR_CHARS_MAX).collect());
    }

    fn store_is_well(&mut self) {
        self.is_back |= self.health.is_told;
        if self.is_away() {
            // What waits because of it goes on at once.
            for upload in self.lanes.values_mut().flat_map(|lane| lane.objects.iter_mut().chain(&mut lane.texts)) {
                upload.retry_at = Time::ZERO;
            }
        }
        self.health = Health::default();
    }

    /// What is to be told of the store since the last call.
    pub fn news(&mut self) -> Option<StoreNews> {
        if std::mem::take(&mut self.is_back) {
            return Some(StoreNews::Back);
        }
        let unusable = self.unusable.take();
        let is_new = (self.is_away() || unusable.is_some()) && !self.health.is_told;
        self.health.is_told |= is_new;
        is_new.then(|| StoreNews::Away(unusable.unwrap_or_else(|| self.health.error.clone())))
    }

    /// Whether the store fails again and again.
    pub fn is_away(&self) -> bool {
        self.health.failures >= AWAY_FAILURES
    }

    /// Jobs that run.
    pub fn running(&self) -> usize {
        self.jobs.len()
    }

    /// Failed jobs so far.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// What a recording lacks.
    pub fn missing(&self, recording: &RecordingName) -> Missing {
        let mut missing = self.lanes.get(recording).map(Lane::missing).unwrap_or_default();
        if self.is_away() && missing.uploads > 0 {
            // It may not have been asked for this one.
            missing.failing_since = missing.failing_since.or(self.health.since);
            missing.error.get_or_insert_with(|| self.health.error.clone());
        }
        missing
    }

    /// Objects and headers of the recording that wait or are being put.
    pub fn waiting(&self, recording: &RecordingName) -> usize {
        self.lanes.get(recording).map_or(0, |lane| lane.objects.len())
    }

    /// Bytes of memory that the uploads of a recording take.
    pub fn memory_bytes(&self, recording: &RecordingName) -> usize {
        self.lanes.get(recording).map_or(0, Lane::memory_bytes)
    }

    /// Whether a text of the recording waits or is being put.
    pub fn has_texts(&self, recording: &RecordingName) -> bool {
        self.lanes.get(recording).is_some_and(|lane| !lane.texts.is_empty())
    }
}

impl Upload {
    fn fail(&mut self, error: String, id: JobId, moment: Moment) {
        self.tries = self.tries.saturating_add(1);
        self.retry_at = moment.now + backoff(self.tries, id.0);
        self.failing_since.get_or_insert(moment);
        self.error = Some(error);
    }
}
