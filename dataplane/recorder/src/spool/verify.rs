//! Media of the spool held against the records of its index: which segments are not what was written, and where what is there ends. Before it:
//! [`super::index`]; after it: [`super::recover`] at a start, and [`crate::recorder`] where the store was not given an object.
use std::collections::{BTreeMap, BTreeSet};

use millstream_proto::media::Track;

use super::disk::{Disk, DiskError};
use super::index::{Next, Reader};
use crate::name::{object_file, place};
use crate::recording::record::{PartSums, Record};
use crate::store::Sums;

/// Bytes of an object that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// An object: its track's place, and its number.
pub(super) type ObjectKey = (u8, u32);

/// A part that is not what was written.
#[derive(Clone, Copy, Debug)]
struct Bad {
    object: u32,
    /// Where its segment begins in the object, and where it does.
    segment: u64,
    offset: u64,
    /// Where its record begins.
    record: u64,
    /// The object has no file.
    is_gone: bool,
}

/// What an index says beside what it says of parts, and what the disk says of those.
#[derive(Default, Debug)]
pub(super) struct Verdict {
    /// Objects that are whole and were on the disk: what they are is seen when they are stored.
    pub(super) sealed: BTreeSet<ObjectKey>,
    /// Parts of an object from there on are not there, and the index says so.
    pub(super) trimmed: BTreeMap<ObjectKey, u64>,
    /// The same, and it does not say so yet.
    pub(super) to_trim: BTreeMap<ObjectKey, u64>,
    /// Segments that are not what was written.
    pub(super) spoilt: BTreeSet<(u8, u32, u64)>,
    /// Objects that are not the sum of their parts' records.
    pub(super) doubtful: BTreeSet<ObjectKey>,
    /// The index is good up to there, and behind it is nothing that is to be kept.
    pub(super) good: u64,
    /// Bytes of the index that are none of a record, before that.
    pub(super) damaged_bytes: u64,
}

/// Reads parts of objects' files.
pub(super) struct Files<'a, D: Disk> {
    pub(super) disk: &'a mut D,
    directory: &'a str,
    open: [Option<(u32, Option<D::File>)>; 2],
}

impl<'a, D: Disk> Files<'a, D> {
    pub(super) fn new(disk: &'a mut D, directory: &'a str) -> Self {
        Self { disk, directory, open: [None, None] }
    }

    fn file(&mut self, track: Track, number: u32) -> Result<Option<D::File>, DiskError> {
        let at = place(track);
        if self.open[at].as_ref().is_none_or(|(open, _)| *open != number) {
            let file = match self.disk.open(self.directory, &object_file(track, number)) {
                Ok(file) => Some(file),
                Err(DiskError::Missing) => None,
                Err(error) => return Err(error),
            };
            self.open[at] = Some((number, file));
        }
        Ok(self.open[at].as_ref().and_then(|(_, file)| file.clone()))
    }

    /// Whether a part is what was written; `None` where its object has no file.
    fn holds(&mut self, track: Track, number: u32, offset: u64, part: &PartSums) -> Result<Option<bool>, DiskError> {
        let Some(file) = self.file(track, number)? else { return Ok(None) };
        match self.disk.read(&file, offset, part.bytes as usize) {
            Ok(bytes) => Ok(Some(crc32fast::hash(&bytes) == part.crc32)),
            Err(DiskError::Missing) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    /// What the beginning of an object is; `None` where it has no file.
    pub(super) fn sums(&mut self, track: Track, number: u32, bytes: u64) -> Result<Option<Sums>, DiskError> {
        let Some(file) = self.file(track, number)? else { return Ok(None) };
        let length = self.disk.files(self.directory)?.into_iter().find(|(name, _)| *name == object_file(track, number));
        let bytes = bytes.min(length.map_or(0, |(_, length)| length));
        let (mut sum, mut at) = (crc32fast::Hasher::new(), 0);
        while at < bytes {
            let chunk = self.disk.read(&file, at, (bytes - at).min(CHUNK_BYTES as u64) as usize)?;
            sum.update(&chunk);
            at += chunk.len() as u64;
        }
        Ok(Some(Sums { bytes, crc32: sum.finalize() }))
    }
}

/// Where the next part of a track is.
#[derive(Clone, Copy, Debug)]
struct Place {
    object: u32,
    segment: u64,
    offset: u64,
}

/// What the records of parts say, one after another: where each part is. Behind damage it is not known before the next segment.
#[derive(Default)]
struct Places([Option<Place>; 2], [Option<Place>; 2]);

impl Places {
    /// Takes a record; gives a part's place, and whether its object is one of which something is not known.
    fn take(&mut self, record: &Record, is_damaged: bool) -> Option<(Track, Place, PartSums)> {
        if is_damaged {
            self.0 = [None, None];
        }
        match record {
            Record::Opened(track, start) => {
                let at = Place { object: start.object, segment: start.offset, offset: start.offset };
                self.0[place(*track)] = Some(at);
                None
            }
            Record::Part(track, part) => {
                let next = self.0[place(*track)].as_mut()?;
                let at = *next;
                next.offset = next.offset.saturating_add(u64::from(part.bytes));
                Some((*track, at, *part))
            }
            Record::Gap(track, _) | Record::Closed(track) => {
                self.0[place(*track)] = None;
                None
            }
            Record::Break(_) | Record::Ended(_) => {
                self.0 = [None, None];
                None
            }
            _ => None,
        }
    }

    /// Whether a part begins where the one before it in its object ends.
    fn follows(&mut self, track: Track, at: Place, part: &PartSums) -> bool {
        let end = Place { offset: at.offset.saturating_add(u64::from(part.bytes)), ..at };
        let before = self.1[place(track)].replace(end).filter(|before| before.object == at.object);
        before.map_or(0, |before| before.offset) == at.offset
    }
}

/// Holds all that is not sealed against the index.
pub(super) fn verify<D: Disk>(
    files: &mut Files<'_, D>,
    index: &D::File,
    index_bytes: u64,
) -> Result<Verdict, DiskError> {
    let mut verdict = Verdict::default();
    let mut reader = Reader::new(index, index_bytes);
    while let Next::Record(record, _) = reader.next(files.disk)? {
        match record {
            Record::Sealed(track, number, _) => drop(verdict.sealed.insert((place(track) as u8, number))),
            Record::Trimmed(track, number, bytes) => drop(verdict.trimmed.insert((place(track) as u8, number), bytes)),
            _ => {}
        }
    }
    let mut reader = Reader::new(index, index_bytes);
    let mut places = Places::default();
    // Bad parts since the last good one of their track.
    let mut bad: [Vec<Bad>; 2] = [Vec::new(), Vec::new()];
    let mut kept = 0;
    while let Next::Record(record, passed) = reader.next(files.disk)? {
        verdict.damaged_bytes += passed;
        match record {
            Record::Sealed(..) | Record::Damaged(..) | Record::Spoilt(..) | Record::Trimmed(..) => kept = reader.end(),
            _ => {}
        }
        let Some((track, at, part)) = places.take(&record, passed > 0) else { continue };
        let object = (place(track) as u8, at.object);
        if !places.follows(track, at, &part) {
            verdict.doubtful.insert(object);
        }
        if verdict.trimmed.get(&object).is_some_and(|end| at.offset >= *end) {
            continue;
        }
        let is_sealed = verdict.sealed.contains(&object);
        let found = if is_sealed { Some(true) } else { files.holds(track, at.object, at.offset, &part)? };
        let bad = &mut bad[place(track)];
        if found == Some(true) {
            kept = reader.end();
            for bad in bad.drain(..) {
                let (track, object, segment) = (place(track) as u8, bad.object, bad.segment);
                // A file that is gone while later ones are there was stored, and its seal is damaged: the store is asked.
                if !bad.is_gone {
                    verdict.spoilt.insert((track, object, segment));
                    verdict.doubtful.insert((track, object));
                }
            }
        } else {
            let Place { object, segment, offset } = at;
            bad.push(Bad { object, segment, offset, record: reader.begin(), is_gone: found.is_none() });
        }
    }
    verdict.good = reader.end();
    for (at, bad) in bad.iter().enumerate() {
        for bad in bad {
            // What comes last, and is not whole, is what the disk never got.
            if bad.record >= kept {
                verdict.good = verdict.good.min(bad.record);
            } else {
                let end = verdict.to_trim.entry((at as u8, bad.object)).or_insert(bad.offset);
                *end = (*end).min(bad.offset);
            }
        }
    }
    Ok(verdict)
}

/// Segments of an object that are not what was written, and what the object is; `None` where it has no file.
pub(crate) fn inspect<D: Disk>(
    disk: &mut D,
    directory: &str,
    (index, index_bytes): (&D::File, u64),
    (track, number): (Track, u32),
    bytes: u64,
) -> Result<Option<(BTreeSet<u64>, Sums)>, DiskError> {
    let mut files = Files::new(disk, directory);
    let mut reader = Reader::new(index, index_bytes);
    let (mut places, mut spoilt) = (Places::default(), BTreeSet::new());
    while let Next::Record(record, passed) = reader.next(files.disk)? {
        let Some((of, at, part)) = places.take(&record, passed > 0) else { continue };
        if (of, at.object) == (track, number)
            && at.offset < bytes
            && files.holds(track, number, at.offset, &part)? != Some(true)
        {
            spoilt.insert(at.segment);
        }
    }
    Ok(files.sums(track, number, bytes)?.map(|sums| (spoilt, sums)))
}
