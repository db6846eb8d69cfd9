//! Objects whose file is not what was written: what of them is good is stored, the rest is gaps that are told. Before it: [`super::storing`], which was not
//! given the object; after it: the index, and the upload of what there is.
use millstream_proto::media::Track;

use super::{EventKind, Recorder};
use crate::name::{DAMAGED, RecordingName, object_file, object_path, place};
use crate::recording::record::Record;
use crate::spool::disk::{Disk, DiskError};
use crate::spool::verify::inspect;
use crate::uploader::{Moment, What};

impl<D: Disk> Recorder<D> {
    /// An object's file is not what was written: the segments that are not become gaps, and the file is stored as it is.
    pub(super) fn mend_object(&mut self, name: &RecordingName, track: Track, number: u32, why: &str, moment: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let Some(object) = entry.held[place(track)].get(&number).map(|held| held.object) else { return };
        let index = (&entry.index, entry.index_bytes);
        let (spoilt, sums) = match inspect(&mut self.disk, name.as_str(), index, (track, number), object.bytes) {
            Ok(Some(found)) => found,
            Ok(None) => return self.lose_object(name, track, number, why, moment),
            // The upload is tried again, and then this.
            Err(_) => return,
        };
        if (sums.bytes, sums.crc32) == (object.bytes, object.crc32) {
            return;
        }
        let of = entry.recording.ledger().track(track);
        let segments = || of.rows.iter(|_, _| true).filter(|segment| segment.object == Some(number));
        if segments().all(|segment| of.is_lost(number, segment.offset) || spoilt.contains(&segment.offset)) {
            return self.lose_object(name, track, number, why, moment);
        }
        let new = spoilt.into_iter().filter(|offset| !of.is_lost(number, *offset));
        let mut records: Vec<_> = new.map(|offset| Record::Spoilt(track, number, offset)).collect();
        let gaps = records.len();
        // Behind them: with it, they are there.
        records.push(Record::Sealed(track, number, sums));
        for record in records {
            match entry.commit(&mut self.disk, &record.into()) {
                Ok(bytes) => self.room.used_bytes += bytes,
                // Once there is room: the upload is tried again until then.
                Err(DiskError::Full) => return,
                Err(error) => return self.disk_failed(name, &error, moment),
            }
        }
        if let Some(held) = entry.held[place(track)].get_mut(&number) {
            (held.object.bytes, held.object.crc32) = (sums.bytes, sums.crc32);
            held.is_seal_synced = false;
        }
        self.syncing.uncover_seal(name, track, number);
        self.uploader.replace(name, What::Object(track, number), sums);
        self.numbers.spoilt += gaps as u64;
        let path = object_path(track, number);
        let why =
            format!("{path}: {why}; {gaps} of its segments are gaps in the playlist: check the disk of the spool");
        self.tell(Some(name), EventKind::RecordingFailed { why }, moment);
    }

    /// An object is neither here nor in the store.
    pub(super) fn lose_object(&mut self, name: &RecordingName, track: Track, number: u32, why: &str, moment: Moment) {
        self.numbers.damaged += 1;
        self.uploader.give_up(name, What::Object(track, number));
        let Some(entry) = self.entries.get_mut(name) else { return };
        let written = entry.commit(&mut self.disk, &Record::Damaged(track, number).into());
        if written == Err(DiskError::Full) {
            // Until there is room no playlist names more.
            entry.put_off(vec![Record::Damaged(track, number).into()]);
        }
        let Some(held) = entry.held[place(track)].get_mut(&number) else { return };
        // What is wrong with it is for people to look at.
        let file = object_file(track, number);
        if !held.is_removed && self.disk.rename(name.as_str(), &file, &format!("{file}{DAMAGED}")).is_ok() {
            // It takes its room in the spool all the same.
            self.room.look_into(name);
        }
        (held.is_stored, held.is_removed) = (true, true);
        entry.list();
        let why = format!("{}: {why}; its segments are gaps in the playlist", object_path(track, number));
        self.tell(Some(name), EventKind::RecordingFailed { why }, moment);
        match written {
            Ok(bytes) => self.room.used_bytes += bytes,
            Err(DiskError::Full) => {}
            Err(error) => return self.disk_failed(name, &error, moment),
        }
        self.upload_next(name);
    }
}
