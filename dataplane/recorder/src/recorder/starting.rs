//! A start, and a disk that failed: recordings become what their directories say. Before it: [`crate::spool::recover`]; after it: [`super::syncing`] and
//! [`super::storing`], as for any other recording.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::entry::{Entry, Held, Phase};
use super::room::Room;
use super::syncing::Syncing;
use super::{EventKind, Numbers, Recorder};
use crate::limits::FOREIGN_MAX;
use crate::name::{RecordingName, TRACKS, place};
use crate::recording::record::Reason;
use crate::settings::Settings;
use crate::spool::disk::{Disk, DiskError};
use crate::spool::recover::{Found, Recovered, recover};
use crate::uploader::{Moment, Uploader};

/// A directory that could not be read is tried again after this.
const READ_RETRY: Duration = Duration::from_secs(5);

impl<D: Disk> Recorder<D> {
    /// Takes a spool as it is found: recordings go on, or are closed and stored.
    pub fn open(mut disk: D, settings: Settings, moment: Moment) -> Result<Self, DiskError> {
        let entries = disk.entries()?;
        let mut recorder = Self {
            disk,
            settings,
            streams: BTreeMap::new(),
            next_stream: 0,
            entries: BTreeMap::new(),
            broken: BTreeMap::new(),
            failed: BTreeSet::new(),
            uploader: Uploader::new(),
            syncing: Syncing::default(),
            room: Room::new(settings.spool_max_bytes),
            events: VecDeque::new(),
            numbers: Numbers::default(),
            foreign: Vec::new(),
            movies_building: 0,
            had: BTreeMap::new(),
            shelf: std::sync::Arc::default(),
        };
        for entry in entries {
            if !entry.is_directory {
                recorder.is_foreign(format!("{}: a file that is not the recorder's", entry.name));
                continue;
            }
            match RecordingName::parse(&entry.name) {
                Some(name) => recorder.read(&name, None, moment),
                None => recorder.is_foreign(format!("{}: its name is not that of a recording", entry.name)),
            }
        }
        // The process that made these names may not have lived to sync them.
        recorder.syncing.spool_changed = true;
        recorder.look_for_room_now(moment);
        Ok(recorder)
    }

    /// What in the spool is not the recorder's, and was left alone.
    pub fn foreign(&self) -> &[String] {
        &self.foreign
    }

    fn is_foreign(&mut self, what: String) {
        tracing::warn!(%what, "the spool has something that is not the recorder's; it is left alone");
        if self.foreign.len() < FOREIGN_MAX {
            self.foreign.push(what);
        }
    }

    /// Reads a recording. `ends`: it is not to go on.
    fn read(&mut self, name: &RecordingName, ends: Option<Reason>, moment: Moment) {
        match recover(&mut self.disk, name.as_str()) {
            Ok(Found::Recording(found)) => {
                if found.has_damaged_files {
                    self.room.look_into(name);
                }
                self.adopt(name, *found, ends, moment);
            }
            Ok(Found::Nothing) => {
                self.failed.remove(name);
                self.syncing.spool_changed = true;
            }
            Ok(Found::Foreign(why)) => {
                // What it has that was ours is left there, too.
                self.room.look_into(name);
                self.is_foreign(format!("{name}: {why}"));
            }
            Err(error) => {
                tracing::warn!(recording = %name, %error, "a recording in the spool cannot be read; it is tried again");
                self.room.look_into(name);
                self.broken.insert(name.clone(), moment.now + READ_RETRY);
            }
        }
    }

    fn adopt(&mut self, name: &RecordingName, found: Recovered<D::File>, ends: Option<Reason>, moment: Moment) {
        for file in &found.foreign {
            self.is_foreign(format!("{name}/{file}: not a file of this recording"));
        }
        if found.cut_bytes > 0 {
            tracing::info!(recording = %name, bytes = found.cut_bytes, "cut off what a crash left torn");
        }
        self.numbers.recovered += 1;
        self.room.used_bytes += found.bytes;
        if found.damaged_bytes > 0 {
            let bytes = found.damaged_bytes;
            tracing::warn!(recording = %name, bytes, "its index is damaged: what it said there is a gap");
        }
        let Recovered { ledger, index, index_bytes, there, records, .. } = found;
        let ended = ledger.ended();
        let mut entry = Entry::new(ledger, index, index_bytes, Phase::Ended);
        entry.put_off(records.into_iter().map(Into::into).collect());
        for track in TRACKS {
            let at = place(track);
            for object in &entry.recording.ledger().track(track).sealed {
                let is_removed = !there.contains(&(at as u8, object.number));
                let held = Held {
                    is_synced: true,
                    is_sealed: true,
                    is_seal_synced: true,
                    looks_first: true,
                    is_removed,
                    ..Held::new(*object)
                };
                entry.held[at].insert(object.number, held);
            }
        }
        if ended.is_none() {
            entry.phase = Phase::Waiting { until: moment.now + self.settings.publisher_wait };
            let writes = entry.recording.break_off(ends.unwrap_or(Reason::ServerStopped));
            self.entries.insert(name.clone(), entry);
            self.write(name, &writes, moment);
        } else {
            entry.may_be_final = true;
            entry.notice_full_objects();
            self.entries.insert(name.clone(), entry);
            self.put_off_written(name, moment);
        }
        let Some(entry) = self.entries.get_mut(name) else { return };
        for track in TRACKS {
            let at = place(track);
            entry.least_listed[at] = entry.held[at].keys().next_back().copied().unwrap_or_default();
        }
        self.upload_next(name);
        if let Some(reason) = ends.filter(|_| ended.is_none()) {
            self.end(name, reason, moment);
        }
    }

    /// The disk did not do what it was asked for: what is in the directory is the recording from now on, and it is closed.
    pub(super) fn disk_failed(&mut self, name: &RecordingName, error: &DiskError, moment: Moment) {
        let Some(entry) = self.entries.get(name) else { return };
        self.room.used_bytes = self.room.used_bytes.saturating_sub(entry.spool_bytes());
        self.numbers.disk_errors += 1;
        // One that fails again when it is read anew is waited for, and not told again.
        let is_new = self.failed.insert(name.clone());
        if is_new {
            let why =
                format!("the disk of the spool failed: {error}; what is on it is stored, and a new recording begins");
            self.tell(Some(name), EventKind::RecordingFailed { why }, moment);
        }
        self.entries.remove(name);
        self.uploader.forget(name);
        for stream in self.streams.values_mut() {
            stream.recording.take_if(|recording| recording == name);
            stream.tail.take_if(|tail| tail.recording == *name);
        }
        self.room.look_into(name);
        self.broken.insert(name.clone(), if is_new { moment.now } else { moment.now + READ_RETRY });
    }

    pub(super) fn read_broken_anew(&mut self, moment: Moment) {
        let due: Vec<RecordingName> =
            self.broken.iter().filter(|(_, at)| **at <= moment.now).map(|(name, _)| name.clone()).collect();
        for name in &due {
            self.broken.remove(name);
            self.read(name, Some(Reason::DiskError), moment);
        }
        if !due.is_empty() {
            // What they have counts once.
            self.count_used();
        }
    }

    /// Recordings that were cut off and whose publisher has not come back.
    pub(super) fn close_abandoned(&mut self, moment: Moment) {
        let over = |entry: &Entry<D::File>| matches!(entry.phase, Phase::Waiting { until } if moment.now >= until);
        let due: Vec<RecordingName> =
            self.entries.iter().filter(|(_, entry)| over(entry)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.end(&name, Reason::ServerStopped, moment);
        }
    }
}
