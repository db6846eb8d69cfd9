//! A recording with its files in the spool: how a write is made so that one that fails leaves nothing, and what is known of each object. Before it:
//! [`super::Recorder`]; after it: the disk.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::making::Making;
use crate::name::{TRACKS, object_file, place};
use crate::recording::ledger::{Ledger, Object};
use crate::recording::record::{Reason, Record};
use crate::recording::{Recording, Write};
use crate::spool::disk::{Disk, DiskError};

/// Where a recording is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// It takes what comes.
    Running,
    /// It has no room.
    Paused { reason: Reason },
    /// It was cut off; its publisher may come back until then.
    Waiting { until: Time },
    /// Nothing more comes.
    Ended,
}

/// An object that is not both in the store and out of the spool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) object: Object,
    /// Its bytes are on the disk.
    pub(super) is_synced: bool,
    /// The index says so.
    pub(super) is_sealed: bool,
    /// And that is on the disk: from now on a missing file means that it was stored.
    pub(super) is_seal_synced: bool,
    /// It may be in the store already.
    pub(super) looks_first: bool,
    /// The uploader has it.
    pub(super) is_pushed: bool,
    /// The store has shown it.
    pub(super) is_stored: bool,
    /// Its file is gone.
    pub(super) is_removed: bool,
}

impl Held {
    pub(super) fn new(object: Object) -> Self {
        Self {
            object,
            is_synced: false,
            is_sealed: false,
            is_seal_synced: false,
            looks_first: false,
            is_pushed: false,
            is_stored: false,
            is_removed: false,
        }
    }
}

/// An object that parts are appended to.
#[derive(Debug)]
pub(super) struct OpenFile<F> {
    pub(super) number: u32,
    pub(super) file: F,
    pub(super) bytes: u64,
    pub(super) is_dirty: bool,
}

/// A recording.
#[derive(Debug)]
pub(super) struct Entry<F> {
    pub(super) recording: Recording,
    pub(super) phase: Phase,
    pub(super) index: F,
    pub(super) index_bytes: u64,
    pub(super) is_index_dirty: bool,
    /// Files were made or removed.
    pub(super) are_names_dirty: bool,
    /// That it waits for the store has been told.
    pub(super) is_waiting_told: bool,
    pub(super) open: [Option<OpenFile<F>>; 2],
    /// Files of objects that are whole, until they are synced.
    pub(super) closing: Vec<F>,
    /// Whole objects whose files are not open, as those that were found: they are opened to be synced.
    pub(super) unopened: Vec<(Track, u32)>,
    /// Records that found no room: written first once there is some.
    pub(super) late: VecDeque<Record>,
    pub(super) held: [BTreeMap<u32, Held>; 2],
    /// Objects up to here are in the store, with their headers.
    pub(super) listed: [u32; 2],
    /// The store's playlists may name objects up to here: none is written that names less.
    pub(super) least_listed: [u32; 2],
    /// Headers up to here were pushed to the uploader.
    pub(super) inits_pushed: [u32; 2],
    pub(super) inits_waiting: BTreeSet<(u8, u32)>,
    /// More is listed than the store's playlists say.
    pub(super) is_listing_new: bool,
    pub(super) texts_at: Option<Time>,
    pub(super) are_last_texts_pushed: bool,
    /// It was found with its end in it: the store may have its final playlists, and gets none that grow.
    pub(super) may_be_final: bool,
    /// Tracks that the store's multivariant playlist names.
    pub(super) multivariant_tracks: usize,
    /// Its MP4 files.
    pub(super) making: Making,
}

impl<F: Clone> Entry<F> {
    pub(super) fn new(ledger: Ledger, index: F, index_bytes: u64, phase: Phase) -> Self {
        let making = Making::new(ledger.head().movies.is_some());
        Self {
            recording: Recording::new(ledger),
            phase,
            index,
            index_bytes,
            is_index_dirty: true,
            are_names_dirty: true,
            is_waiting_told: false,
            open: [None, None],
            closing: Vec::new(),
            unopened: Vec::new(),
            late: VecDeque::new(),
            held: Default::default(),
            listed: [0; 2],
            least_listed: [0; 2],
            inits_pushed: [0; 2],
            inits_waiting: BTreeSet::new(),
            is_listing_new: false,
            texts_at: None,
            are_last_texts_pushed: false,
            may_be_final: false,
            multivariant_tracks: 0,
            making,
        }
    }

    /// Makes a write; after an error nothing of it is there. Gives the bytes that were appended.
    pub(super) fn commit<D: Disk<File = F>>(&mut self, disk: &mut D, write: &Write) -> Result<u64, DiskError> {
        let mut bytes = self.write_late(disk)?;
        if let Some((track, number, media)) = &write.media {
            self.append_media(disk, *track, *number, media)?;
            bytes += media.len() as u64;
        }
        let appended = self.append_record(disk, &write.record);
        if let (Err(_), Some((track, _, media))) = (&appended, &write.media)
            && let Some(open) = &mut self.open[place(*track)]
        {
            open.bytes -= media.len() as u64;
            disk.truncate(&open.file, open.bytes).map_err(|error| cannot_cut(&error))?;
        }
        Ok(bytes + appended?)
    }

    /// Records that found no room.
    pub(super) fn put_off(&mut self, writes: Vec<Write>) {
        self.late.extend(writes.into_iter().filter(|write| write.media.is_none()).map(|write| write.record));
    }

    /// Writes what found no room before.
    pub(super) fn write_late<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<u64, DiskError> {
        let mut bytes = 0;
        while let Some(record) = self.late.front().cloned() {
            bytes += self.append_record(disk, &record)?;
            self.late.pop_front();
        }
        if bytes > 0 {
            self.list();
        }
        Ok(bytes)
    }

    fn append_record<D: Disk<File = F>>(&mut self, disk: &mut D, record: &Record) -> Result<u64, DiskError> {
        let encoded = record.encode();
        if let Err(error) = disk.append(&self.index, &encoded) {
            disk.truncate(&self.index, self.index_bytes).map_err(|error| cannot_cut(&error))?;
            return Err(error);
        }
        self.index_bytes += encoded.len() as u64;
        self.is_index_dirty = true;
        self.recording.written(record);
        self.notice_full_objects();
        Ok(encoded.len() as u64)
    }

    fn append_media<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        track: Track,
        number: u32,
        media: &[u8],
    ) -> Result<(), DiskError> {
        let at = place(track);
        if self.open[at].as_ref().is_none_or(|open| open.number != number) {
            let file = disk.create(self.recording.ledger().head().name.as_str(), &object_file(track, number))?;
            self.are_names_dirty = true;
            if let Some(before) = self.open[at].replace(OpenFile { number, file, bytes: 0, is_dirty: false }) {
                self.closing.push(before.file);
            }
        }
        let Some(open) = &mut self.open[at] else { return Err(DiskError::Missing) };
        open.is_dirty = true;
        if let Err(error) = disk.append(&open.file, media) {
            disk.truncate(&open.file, open.bytes).map_err(|error| cannot_cut(&error))?;
            return Err(error);
        }
        open.bytes += media.len() as u64;
        Ok(())
    }

    /// Objects that are whole are no longer appended to, and wait for their sync.
    pub(super) fn notice_full_objects(&mut self) {
        for track in TRACKS {
            let at = place(track);
            for object in &self.recording.ledger().track(track).full {
                if self.held[at].contains_key(&object.number) {
                    continue;
                }
                self.held[at].insert(object.number, Held::new(*object));
                match self.open[at].take_if(|open| open.number == object.number) {
                    Some(open) => self.closing.push(open.file),
                    None => self.unopened.push((track, object.number)),
                }
            }
        }
    }

    /// Whether nothing has to be done any more but to tell the store the end.
    pub(super) fn is_all_stored(&self) -> bool {
        let ledger = self.recording.ledger();
        ledger.ended().is_some()
            && self.late.is_empty()
            && self.inits_waiting.is_empty()
            && !ledger.has_movies_to_make()
            && TRACKS.iter().all(|track| ledger.track(*track).full.is_empty())
            && self.held.iter().flat_map(BTreeMap::values).all(|held| held.is_stored)
    }

    /// Bytes that it has in the spool.
    pub(super) fn spool_bytes(&self) -> u64 {
        let held = self.held.iter().flat_map(BTreeMap::values).filter(|held| !held.is_removed);
        let open = self.open.iter().flatten().map(|open| open.bytes);
        self.index_bytes + held.map(|held| held.object.bytes).sum::<u64>() + open.sum::<u64>()
    }

    /// Bytes of memory that it takes, without those of its uploads. Nodes of a B-tree are half full at least.
    pub(super) fn memory_bytes(&self) -> usize {
        let held: usize = self.held.iter().map(|held| held.len() * 2 * size_of::<(u32, Held)>()).sum();
        let built = self.making.under_way.iter().filter_map(|movie| movie.built.as_ref());
        size_of::<Self>()
            + built.map(|(movie, _)| movie.memory_bytes()).sum::<usize>()
            + self.recording.ledger().memory_bytes()
            + held
            + (self.closing.capacity() + self.unopened.capacity()) * size_of::<(Track, u32)>()
            + self.late.capacity() * size_of::<Record>()
            + self.inits_waiting.len() * 2 * size_of::<(u8, u32)>()
    }

    /// Whether anything of it is not on the disk.
    pub(super) fn is_dirty(&self) -> bool {
        let open = self.open.iter().flatten().any(|open| open.is_dirty);
        self.is_index_dirty || self.are_names_dirty || open || !self.closing.is_empty() || !self.unopened.is_empty()
    }
}

/// What is appended behind bytes that could not be cut off would never be read.
fn cannot_cut(error: &DiskError) -> DiskError {
    DiskError::Failed(format!("a write that failed could not be undone: {error}"))
}
