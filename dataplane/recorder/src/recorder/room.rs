//! Room in the spool and on its disk: recordings pause when there is none, and go on within a second of some. Nothing is deleted to make room.
use std::collections::BTreeMap;

use millstream_proto::time::Time;

use super::entry::{Entry, Phase};
use super::{EventKind, Recorder};
use crate::limits::{DISK_FREE_BYTES_MIN, ROOM_EVERY};
use crate::name::{DAMAGED, INDEX_FILE, RecordingName};
use crate::recording::record::Reason;
use crate::spool::disk::{Disk, DiskError};
use crate::uploader::Moment;

/// Recordings go on when there is so much room, one part in so many of the spool, so that they do not stop again at once.
const MARGIN_OF: u64 = 32;
/// At most so much, bytes.
const MARGIN_BYTES_MAX: u64 = 64 << 20;

/// How much there is.
#[derive(Debug)]
pub(super) struct Room {
    most_bytes: u64,
    pub(super) used_bytes: u64,
    free_bytes: u64,
    looked_at: Option<Time>,
    /// What directories have that is no recording's: damaged files, left for people to look at, and all of a recording that could not be read.
    left: BTreeMap<RecordingName, u64>,
}

impl Room {
    pub(super) const fn new(most_bytes: u64) -> Self {
        Self { most_bytes, used_bytes: 0, free_bytes: u64::MAX, looked_at: None, left: BTreeMap::new() }
    }

    /// There may be something in this directory that is no recording's: it is looked at until there is nothing.
    pub(super) fn look_into(&mut self, name: &RecordingName) {
        self.left.entry(name.clone()).or_default();
    }

    /// Whether running recordings go on.
    pub(super) const fn takes_more(&self) -> bool {
        self.used_bytes < self.most_bytes && self.free_bytes >= DISK_FREE_BYTES_MIN
    }

    /// Why they do not.
    pub(super) const fn reason(&self) -> Reason {
        if self.free_bytes < DISK_FREE_BYTES_MIN { Reason::DiskFull } else { Reason::SpoolFull }
    }

    fn margin(&self) -> u64 {
        (self.most_bytes / MARGIN_OF).min(MARGIN_BYTES_MAX)
    }

    /// Whether recordings begin, and go on that have paused.
    pub(super) fn is_left(&self) -> bool {
        self.used_bytes.saturating_add(self.margin()) <= self.most_bytes && self.is_left_on_disk()
    }

    /// The same, as far as the disk goes.
    pub(super) fn is_left_on_disk(&self) -> bool {
        self.free_bytes >= DISK_FREE_BYTES_MIN + self.margin()
    }
}

impl<D: Disk> Recorder<D> {
    pub(super) fn look_for_room_now(&mut self, moment: Moment) {
        self.room.looked_at = Some(moment.now);
        self.room.free_bytes = self.disk.free_bytes();
        self.count_used();
    }

    /// Counted anew: between two looks it only has to be nearly right.
    pub(super) fn count_used(&mut self) {
        self.room.used_bytes = self.entries.values().map(Entry::spool_bytes).sum::<u64>() + self.left_bytes();
    }

    /// Bytes of what is no recording's. Somebody may have removed it meanwhile.
    fn left_bytes(&mut self) -> u64 {
        let (disk, broken) = (&mut self.disk, &self.broken);
        self.room.left.retain(|name, bytes| {
            let counts = |file: &str| broken.contains_key(name) || file.ends_with(DAMAGED);
            match disk.files(name.as_str()) {
                Ok(files) => *bytes = files.iter().filter(|(file, _)| counts(file)).map(|(_, bytes)| bytes).sum(),
                Err(DiskError::Missing) => *bytes = 0,
                // As it was, until the disk says more.
                Err(_) => return true,
            }
            *bytes > 0 || broken.contains_key(name)
        });
        self.room.left.values().sum()
    }

    pub(super) fn look_for_room(&mut self, moment: Moment) {
        if self.room.looked_at.is_some_and(|at| moment.now.since(at) < ROOM_EVERY) {
            return;
        }
        self.look_for_room_now(moment);
        let names: Vec<RecordingName> = self.entries.keys().cloned().collect();
        for name in names {
            // What is written to files without a name is lost, and nothing says so.
            if let Err(DiskError::Missing) = self.disk.open(name.as_str(), INDEX_FILE) {
                self.disk_failed(&name, &DiskError::Gone, moment);
                continue;
            }
            self.put_off_written(&name, moment);
            self.seal(&name, moment);
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let goes_on = matches!(entry.phase, Phase::Paused { .. }) && entry.late.is_empty() && self.room.is_left();
            if goes_on {
                entry.phase = Phase::Running;
                self.numbers.resumed += 1;
                self.tell(Some(&name), EventKind::RecordingResumed, moment);
            }
        }
    }

    /// Writes what found no room, if there is some now.
    pub(super) fn put_off_written(&mut self, name: &RecordingName, moment: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.late.is_empty() {
            return;
        }
        match entry.write_late(&mut self.disk) {
            Ok(bytes) => self.room.used_bytes += bytes,
            Err(DiskError::Full) => {}
            Err(error) => self.disk_failed(name, &error, moment),
        }
    }

    /// A running recording stops to grow.
    pub(super) fn pause(&mut self, name: &RecordingName, reason: Reason, moment: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.phase != Phase::Running && !matches!(entry.phase, Phase::Waiting { .. }) {
            return;
        }
        let is_running = entry.phase == Phase::Running;
        let writes = entry.recording.break_off(reason);
        if is_running {
            entry.phase = Phase::Paused { reason };
        }
        let mut rest = writes.into_iter();
        let mut failed = None;
        for write in rest.by_ref() {
            match entry.commit(&mut self.disk, &write) {
                Ok(bytes) => self.room.used_bytes += bytes,
                Err(error) => {
                    failed = Some((write, error));
                    break;
                }
            }
        }
        match failed {
            Some((write, DiskError::Full)) => entry.put_off(std::iter::once(write).chain(rest).collect()),
            Some((_, error)) => return self.disk_failed(name, &error, moment),
            None => {}
        }
        if is_running {
            self.numbers.gaps += 1;
            self.numbers.paused += 1;
            self.tell(Some(name), EventKind::RecordingPaused { reason }, moment);
        }
    }
}

impl<F: Clone> Entry<F> {
    /// Why it does not grow.
    pub(super) fn pause_reason(&self) -> Option<Reason> {
        match self.phase {
            Phase::Paused { reason } => Some(reason),
            _ => None,
        }
    }
}
