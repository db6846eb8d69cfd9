//! What goes to the store, and what follows when it is there: files leave the spool, playlists name more, a recording is done. Before it:
//! [`super::syncing`]; after it: [`crate::uploader`].
use std::sync::Arc;

use millstream_proto::media::Track;

use super::entry::{Entry, Held, Phase};
use super::{EventKind, Recorder};
use crate::limits::{PLAYLISTS_EVERY, UPLOADS_READY_MAX};
use crate::movie::make::Movie;
use crate::name::{
    INDEX_FILE, MANIFEST_PATH, RecordingName, TRACKS, init_path, object_file, object_path, place, playlist_path,
};
use crate::recording::playlist::Reach;
use crate::recording::record::Head;
use crate::recording::summary::State;
use crate::spool::disk::{Disk, DiskError};
use crate::store::{Kind, Sums};
use crate::uploader::{Content, Finished, Job, JobId, Moment, Outcome, Request, What};

/// What never changes under its name.
pub(super) const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// What is rewritten while the recording grows, and once more at its end.
const FOR_SECONDS: &str = "public, max-age=5";
/// What is final, but may be removed.
const FOR_AN_HOUR: &str = "public, max-age=3600";
const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
const MANIFEST_TYPE: &str = "application/dash+xml";

fn media_kind(track: Track) -> Kind {
    let content_type = if track == Track::Video { "video/mp4" } else { "audio/mp4" };
    Kind { content_type, cache_control: FOR_EVER }
}

/// A job with the file that it puts.
#[derive(Debug)]
pub struct StoreJob<F> {
    /// The job.
    pub job: Job,
    /// The file whose first [`Job::sums`] bytes are put, where it puts an object.
    pub file: Option<F>,
    /// The MP4 file that it puts, of files of the recording's directory.
    pub movie: Option<Arc<Movie>>,
}

impl<D: Disk> Recorder<D> {
    /// Has objects uploaded that are whole, in order: a few are held ready.
    pub(super) fn upload_next(&mut self, name: &RecordingName) {
        while self.uploader.waiting(name) < UPLOADS_READY_MAX {
            let Some(entry) = self.entries.get_mut(name) else { return };
            let first = |track: Track| {
                let mut held = entry.held[place(track)].values();
                held.find(|held| held.is_sealed && !held.is_pushed)
                    .map(|held| (held.object.number, track, held.looks_first))
            };
            let next = TRACKS.into_iter().filter_map(first).min_by_key(|(number, ..)| *number);
            let Some((number, track, looks_first)) = next else { return };
            if let Some(held) = entry.held[place(track)].get_mut(&number) {
                held.is_pushed = true;
            }
            self.upload(name, track, number, looks_first);
        }
    }

    /// Has an object uploaded, and the headers before it.
    fn upload(&mut self, name: &RecordingName, track: Track, number: u32, look_first: bool) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let at = place(track);
        let Some(held) = entry.held[at].get_mut(&number) else { return };
        let Head { stream, keeps_hls, .. } = entry.recording.ledger().head();
        if !keeps_hls {
            // MP4 files are made of it, and nothing else.
            held.is_stored = true;
            return entry.list();
        }
        let held = *held;
        for init in &entry.recording.ledger().track(track).inits {
            if init.number > entry.inits_pushed[at] && init.number <= held.object.init {
                entry.inits_pushed[at] = init.number;
                entry.inits_waiting.insert((at as u8, init.number));
                let request = Request {
                    what: What::Init(track, init.number),
                    key: name.key(stream, &init_path(track, init.number)),
                    sums: Sums::of(&init.bytes),
                    content: Some(Content::Bytes(init.bytes.clone())),
                    kind: media_kind(track),
                    look_first,
                };
                self.uploader.push(name, request);
            }
        }
        let request = Request {
            what: What::Object(track, number),
            key: name.key(stream, &object_path(track, number)),
            content: (!held.is_removed).then_some(Content::Object(track, number)),
            sums: Sums { bytes: held.object.bytes, crc32: held.object.crc32 },
            kind: media_kind(track),
            look_first,
        };
        self.uploader.push(name, request);
    }

    /// What is to be asked of the store now. Each is to be answered by [`Self::store_done`].
    pub fn store_jobs(&mut self, moment: Moment) -> Vec<StoreJob<D::File>> {
        let mut jobs = Vec::new();
        for job in self.uploader.jobs(moment) {
            let mut movie = None;
            let file = match job.put {
                Some(Content::Movie(number)) => {
                    let entry = self.entries.get(&job.recording);
                    movie = entry.and_then(|entry| entry.making.built(number));
                    None
                }
                Some(Content::Object(track, number)) => {
                    match self.disk.open(job.recording.as_str(), &object_file(track, number)) {
                        Ok(file) => Some(file),
                        Err(DiskError::Missing) => {
                            self.store_done(job.id, Outcome::Source("its file is gone".to_owned()), moment);
                            continue;
                        }
                        Err(error) => {
                            self.store_done(job.id, Outcome::Failed(format!("its file: {error}")), moment);
                            continue;
                        }
                    }
                }
                _ => None,
            };
            jobs.push(StoreJob { job, file, movie });
        }
        jobs
    }

    /// Jobs that nobody waits for any more.
    pub fn take_cancelled(&mut self) -> Vec<JobId> {
        self.uploader.take_cancelled()
    }

    /// What came of a job.
    pub fn store_done(&mut self, id: JobId, outcome: Outcome, moment: Moment) {
        match self.uploader.done(id, outcome, moment) {
            Some(Finished::Stored(name, what)) => {
                self.numbers.stored += 1;
                let Some(entry) = self.entries.get_mut(&name) else { return };
                match what {
                    What::Object(track, number) => {
                        if let Some(held) = entry.held[place(track)].get_mut(&number) {
                            held.is_stored = true;
                        }
                    }
                    What::Movie(number) => self.movie_stored(&name, number, moment),
                    What::Init(track, number) => {
                        entry.inits_waiting.remove(&(place(track) as u8, number));
                    }
                    _ => return,
                }
                if let Some(entry) = self.entries.get_mut(&name) {
                    entry.list();
                }
                self.remove_stored(&name);
                self.upload_next(&name);
            }
            Some(Finished::Missing(name, What::Object(track, number), why)) => {
                self.lose_object(&name, track, number, &why, moment);
            }
            Some(Finished::Spoilt(name, What::Object(track, number), why)) => {
                self.mend_object(&name, track, number, &why, moment);
            }
            Some(Finished::Spoilt(name, What::Movie(number), why)) => self.movie_is_stale(&name, number, &why, moment),
            // A header is never looked for without its bytes, and a text is made anew.
            None | Some(Finished::Missing(..) | Finished::Spoilt(..)) => {}
        }
    }

    /// Files of objects that are stored leave the spool.
    pub(super) fn remove_stored(&mut self, name: &RecordingName) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        for track in TRACKS {
            let needed_from = entry.making.objects_from[place(track)];
            let held = &mut entry.held[place(track)];
            let may_go = |held: &&mut Held| held.is_stored && !held.is_removed && held.object.number < needed_from;
            for held in held.values_mut().filter(may_go) {
                // A missing file means stored only where the seal is on the disk.
                if !held.is_seal_synced {
                    continue;
                }
                match self.disk.remove(name.as_str(), &object_file(track, held.object.number)) {
                    Ok(()) | Err(DiskError::Missing) => {
                        held.is_removed = true;
                        entry.are_names_dirty = true;
                        self.room.used_bytes = self.room.used_bytes.saturating_sub(held.object.bytes);
                    }
                    // Tried again with the next sync.
                    Err(_) => {}
                }
            }
            held.retain(|_, held| !(held.is_stored && held.is_removed));
        }
    }

    /// Playlists that are due, and recordings that are done.
    pub(super) fn tell_store(&mut self, moment: Moment) {
        let names: Vec<RecordingName> = self.entries.keys().cloned().collect();
        for name in names {
            if self.uploader.has_texts(&name) {
                continue;
            }
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            if entry.are_last_texts_pushed {
                self.done_with(&name, moment);
                continue;
            }
            if entry.phase == Phase::Ended && entry.late.is_empty() && !entry.recording.ledger().has_media() {
                // It found no room for its first part: the store never hears of it.
                entry.are_last_texts_pushed = true;
                continue;
            }
            let is_last = entry.phase == Phase::Ended
                && entry.is_all_stored()
                && !entry.is_index_dirty
                && !self.syncing.covers(&name);
            let is_due = entry.is_listing_new
                && !entry.may_be_final
                && entry.texts_at.is_none_or(|at| moment.now.since(at) >= PLAYLISTS_EVERY)
                && TRACKS.iter().all(|track| entry.listed[place(*track)] >= entry.least_listed[place(*track)]);
            if is_last || is_due {
                entry.is_listing_new = false;
                entry.texts_at = Some(moment.now);
                entry.are_last_texts_pushed = is_last;
                self.push_texts(&name, is_last);
            }
        }
    }

    /// Playlists, after the objects that they name; the ones over them after those that they name.
    fn push_texts(&mut self, name: &RecordingName, is_last: bool) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let (ledger, state) = (entry.recording.ledger(), entry.state());
        let state = if is_last { State::Stored } else { state };
        let reach = if is_last { Reach::All } else { Reach::Objects(entry.listed) };
        let stream = &ledger.head().stream;
        let mut texts: Vec<(What, String, &str, String)> = Vec::new();
        let keeps_hls = ledger.head().keeps_hls;
        let playing: Vec<Track> = TRACKS.into_iter().filter(|track| keeps_hls && ledger.plays(*track, reach)).collect();
        for track in &playing {
            let text = ledger.media_playlist(*track, reach, is_last);
            texts.push((What::Playlist(*track), name.key(stream, playlist_path(*track)), PLAYLIST_TYPE, text));
        }
        // Players read the multivariant one once: it waits for all tracks, and is exact at the end.
        let is_whole = playing.len() == ledger.listed().count() && playing.len() > entry.multivariant_tracks;
        if keeps_hls && (is_last || is_whole) {
            entry.multivariant_tracks = playing.len();
            let folder = format!("rec/{name}/");
            let index = (What::Index, name.key(stream, "index.m3u8"), ledger.multivariant(reach, ""));
            let vod = (What::Vod, name.vod_key(stream), ledger.multivariant(reach, &folder));
            for (what, key, text) in [index, vod] {
                texts.extend(text.map(|text| (what, key, PLAYLIST_TYPE, text)));
            }
        }
        if let Some(text) = (keeps_hls && is_last).then(|| ledger.manifest()).flatten() {
            texts.push((What::Manifest, name.key(stream, MANIFEST_PATH), MANIFEST_TYPE, text));
        }
        let summary = ledger.description(state).to_json();
        texts.push((What::Summary, name.key(stream, "recording.json"), "application/json", summary));
        for (what, key, content_type, text) in texts {
            let sums = Sums::of(text.as_bytes());
            let cache_control = if is_last { FOR_AN_HOUR } else { FOR_SECONDS };
            let request = Request {
                what,
                key,
                content: Some(Content::Bytes(text.into())),
                sums,
                kind: Kind { content_type, cache_control },
                look_first: false,
            };
            self.uploader.push(name, request);
        }
    }

    /// All of it is in the store, and the store's playlists say so: nothing of it stays here.
    fn done_with(&mut self, name: &RecordingName, moment: Moment) {
        let Some(entry) = self.entries.get(name) else { return };
        if entry.held.iter().any(|held| !held.is_empty()) {
            return;
        }
        // A file that was made for a part which found no room, and the index last: without it the directory would be taken for somebody else's.
        let empty = TRACKS
            .into_iter()
            .filter_map(|track| entry.open[place(track)].as_ref().map(|open| object_file(track, open.number)));
        for file in empty.chain([INDEX_FILE.to_owned()]) {
            if !matches!(self.disk.remove(name.as_str(), &file), Ok(()) | Err(DiskError::Missing)) {
                return;
            }
        }
        // A damaged file that is left for people keeps its directory.
        let _ = self.disk.remove_directory(name.as_str());
        let ledger = entry.recording.ledger();
        let kind = if ledger.has_media() {
            EventKind::RecordingStored { duration_ms: ledger.duration_ms(), bytes: ledger.bytes() }
        } else {
            EventKind::RecordingFailed { why: "it ended before there was room for anything of it".to_owned() }
        };
        self.room.used_bytes = self.room.used_bytes.saturating_sub(entry.index_bytes);
        self.syncing.spool_changed = true;
        self.numbers.done += 1;
        self.tell(Some(name), kind, moment);
        self.entries.remove(name);
        self.failed.remove(name);
        self.uploader.forget(name);
    }
}

impl<F: Clone> Entry<F> {
    /// Objects in a row that the store has, with their headers, may be named.
    pub(super) fn list(&mut self) {
        if !self.late.is_empty() {
            // One of them may say that an object cannot be had.
            return;
        }
        for track in TRACKS {
            let at = place(track);
            let sealed = &self.recording.ledger().track(track).sealed;
            for object in sealed {
                if object.number <= self.listed[at] {
                    continue;
                }
                let is_stored = self.held[at].get(&object.number).is_none_or(|held| held.is_stored);
                let first_waiting = self.inits_waiting.iter().find(|(of, _)| usize::from(*of) == at);
                if !is_stored || first_waiting.is_some_and(|(_, init)| *init <= object.init) {
                    break;
                }
                self.listed[at] = object.number;
                self.is_listing_new = true;
            }
        }
    }

    /// Where it is in its life, as people are told.
    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Running => State::Recording,
            Phase::Paused { .. } => State::Paused,
            Phase::Waiting { .. } => State::Waiting,
            Phase::Ended => State::Storing,
        }
    }
}
