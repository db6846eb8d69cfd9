//! What is durable: batches of files over all recordings, at least twice a second, and what follows from a batch that is done. Before it:
//! [`super::entry`], which knows what is dirty; after it: seals, and uploads of what is sealed.
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::Recorder;
use crate::limits::SYNC_EVERY;
use crate::name::{RecordingName, TRACKS, object_file, place};
use crate::recording::ledger::Object;
use crate::recording::record::Record;
use crate::spool::disk::{Disk, DiskError, SyncBatch};
use crate::store::Sums;
use crate::uploader::Moment;

/// What a batch makes durable of a recording.
#[derive(Debug)]
struct Covered {
    name: RecordingName,
    /// Whole objects.
    objects: Vec<(Track, u32)>,
    /// Records of seals.
    seals: Vec<(Track, u32)>,
    /// What says where MP4 files up to this one end, and that others are stored: objects from these on are needed.
    movies: u32,
    objects_from: [u32; 2],
}

/// The batch under way.
#[derive(Debug, Default)]
pub(super) struct Syncing {
    begun: Option<Time>,
    covered: Option<Vec<Covered>>,
    /// Directories were made or removed.
    pub(super) spool_changed: bool,
}

impl Syncing {
    pub(super) fn covers(&self, name: &RecordingName) -> bool {
        self.covered.iter().flatten().any(|covered| covered.name == *name)
    }

    /// An object has another seal than the one that is being synced.
    pub(super) fn uncover_seal(&mut self, name: &RecordingName, track: Track, number: u32) {
        for covered in self.covered.iter_mut().flatten().filter(|covered| covered.name == *name) {
            covered.seals.retain(|seal| *seal != (track, number));
        }
    }
}

impl<D: Disk> Recorder<D> {
    /// The next batch to be synced, when it is due and none is under way. To be answered by [`Self::synced`].
    pub fn begin_sync(&mut self, now: Time) -> Option<SyncBatch<D::File>> {
        let is_due = self.syncing.begun.is_none_or(|begun| now.since(begun) >= SYNC_EVERY);
        if !is_due || self.syncing.covered.is_some() {
            return None;
        }
        let mut batch = SyncBatch::default();
        let mut covered = Vec::new();
        for (name, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.is_dirty()) {
            batch.files.append(&mut entry.closing);
            for open in entry.open.iter_mut().flatten().filter(|open| open.is_dirty) {
                open.is_dirty = false;
                batch.files.push(open.file.clone());
            }
            if std::mem::take(&mut entry.is_index_dirty) {
                batch.files.push(entry.index.clone());
            }
            if std::mem::take(&mut entry.are_names_dirty) {
                batch.directories.push(name.as_str().to_owned());
            }
            for (track, number) in std::mem::take(&mut entry.unopened) {
                match self.disk.open(name.as_str(), &object_file(track, number)) {
                    Ok(file) => batch.files.push(file),
                    // Only a seal that was lost explains it: the store is asked.
                    Err(DiskError::Missing) => {
                        if let Some(held) = entry.held[place(track)].get_mut(&number) {
                            held.is_removed = true;
                        }
                    }
                    Err(_) => entry.unopened.push((track, number)),
                }
            }
            let ledger = entry.recording.ledger();
            let movies = ledger.whole_movies().map_or(0, |(_, last)| last);
            let objects_from = ledger.objects_needed_from();
            let mut of = Covered { name: name.clone(), objects: Vec::new(), seals: Vec::new(), movies, objects_from };
            for track in TRACKS {
                for (number, held) in &entry.held[place(track)] {
                    if !held.is_synced && !entry.unopened.contains(&(track, *number)) {
                        of.objects.push((track, *number));
                    } else if held.is_sealed && !held.is_seal_synced {
                        of.seals.push((track, *number));
                    }
                }
            }
            covered.push(of);
        }
        if std::mem::take(&mut self.syncing.spool_changed) {
            batch.directories.push(String::new());
        }
        if batch.is_empty() {
            return None;
        }
        self.numbers.syncs += 1;
        self.syncing.begun = Some(now);
        self.syncing.covered = Some(covered);
        Some(batch)
    }

    /// Everything, dirty or not: for an end after which nothing is answered.
    pub(crate) fn everything(&self) -> SyncBatch<D::File> {
        let mut batch = SyncBatch::default();
        for (name, entry) in &self.entries {
            batch.files.extend(entry.closing.iter().cloned());
            batch.files.extend(entry.open.iter().flatten().map(|open| open.file.clone()));
            batch.files.push(entry.index.clone());
            batch.directories.push(name.as_str().to_owned());
        }
        batch.directories.push(String::new());
        batch
    }

    /// The batch is durable, or the disk failed.
    pub fn synced(&mut self, result: &Result<(), DiskError>, moment: Moment) {
        let Some(covered) = self.syncing.covered.take() else { return };
        if let Err(error) = result {
            // What was written may be gone: each recording becomes what its directory says, and their names are synced again.
            self.syncing.spool_changed = true;
            for of in covered {
                self.disk_failed(&of.name, error, moment);
            }
            return;
        }
        for Covered { name, objects, seals, movies, objects_from } in covered {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            entry.making.durable = entry.making.durable.max(movies);
            entry.making.objects_from = objects_from;
            for (track, number) in objects {
                if let Some(held) = entry.held[place(track)].get_mut(&number) {
                    held.is_synced = true;
                }
            }
            for (track, number) in seals {
                if let Some(held) = entry.held[place(track)].get_mut(&number) {
                    held.is_seal_synced = true;
                }
            }
            self.seal(&name, moment);
            self.remove_stored(&name);
        }
    }

    /// Says in the index which objects are whole and on the disk, and has them uploaded.
    pub(super) fn seal(&mut self, name: &RecordingName, moment: Moment) {
        for track in TRACKS {
            loop {
                let Some(entry) = self.entries.get_mut(name) else { return };
                let held = &mut entry.held[place(track)];
                let Some(next) = held.values().find(|held| held.is_synced && !held.is_sealed) else { break };
                let Object { number, bytes, crc32, .. } = next.object;
                let seal = Record::Sealed(track, number, Sums { bytes, crc32 });
                match entry.commit(&mut self.disk, &seal.into()) {
                    Ok(bytes) => self.room.used_bytes += bytes,
                    // Tried again when there is room: until then it stays as it is.
                    Err(DiskError::Full) => return,
                    Err(error) => return self.disk_failed(name, &error, moment),
                }
                if let Some(held) = entry.held[place(track)].get_mut(&number) {
                    held.is_sealed = true;
                }
                self.upload_next(name);
            }
        }
    }
}
