//! What a crash left of a recording. The index is read up to the first record that is torn, or whose part is not whole on the disk; it and the open
//! objects are cut there. So what remains is whole, and what is lost came after the last sync. Before it: a start; after it: [`crate::recorder`].
use std::collections::{BTreeMap, BTreeSet};

use millstream_proto::media::Track;

use super::disk::{Disk, DiskError};
use crate::limits::{INDEX_BYTES_MAX, RECORD_BYTES_MAX};
use crate::name::{INDEX_FILE, RecordingName, object_file, parse_object_file, place};
use crate::recording::ledger::{Ledger, Object};
use crate::recording::record::{Record, RecordError};

/// Bytes of an index that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Objects that can have begun since the last sync: files of these numbers, which the index does not know, are what it lost. Others are left for
/// people to look at.
const TORN_OBJECTS_MAX: u32 = 8;

/// A recording that was found.
#[derive(Debug)]
pub struct Recovered<F> {
    /// What is in it.
    pub ledger: Ledger,
    /// Its index, cut to what is good.
    pub index: F,
    /// The index's length.
    pub index_bytes: u64,
    /// Sealed objects whose files are there.
    pub there: BTreeSet<(u8, u32)>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes that were cut off.
    pub cut_bytes: u64,
    /// Files that are not the recorder's.
    pub foreign: Vec<String>,
}

/// What a directory is.
#[derive(Debug)]
pub enum Found<F> {
    /// A recording.
    Recording(Box<Recovered<F>>),
    /// One in which nothing was kept: it has been removed.
    Nothing,
    /// Not the recorder's: it is left alone. Says why.
    Foreign(String),
}

/// Reads an index, record by record, in bounded memory.
struct Reader<F> {
    file: F,
    length: u64,
    /// Bytes read from here on are in `buffer`.
    from: u64,
    buffer: Vec<u8>,
    /// The next record's place in `buffer`.
    at: usize,
}

impl<F: Clone> Reader<F> {
    fn new(file: &F, length: u64) -> Self {
        Self { file: file.clone(), length: length.min(INDEX_BYTES_MAX), from: 0, buffer: Vec::new(), at: 0 }
    }

    /// Where the next record begins.
    fn position(&self) -> u64 {
        self.from + self.at as u64
    }

    /// The next record; an error at the end, too.
    fn next<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<Result<Record, RecordError>, DiskError> {
        loop {
            match Record::decode(self.buffer.get(self.at..).unwrap_or_default()) {
                Ok((record, bytes)) => {
                    self.at += bytes;
                    return Ok(Ok(record));
                }
                Err(RecordError::Torn) => {
                    let read = self.from + self.buffer.len() as u64;
                    let left = self.length.saturating_sub(read);
                    if left == 0 || self.buffer.len() - self.at > RECORD_BYTES_MAX + CHUNK_BYTES {
                        return Ok(Err(RecordError::Torn));
                    }
                    self.buffer.drain(..self.at);
                    (self.from, self.at) = (self.from + self.at as u64, 0);
                    let more = disk.read(&self.file, read, left.min(CHUNK_BYTES as u64) as usize)?;
                    self.buffer.extend_from_slice(&more);
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

/// Reads what is in a directory of the spool, cuts what is torn, and removes what has nothing in it.
pub fn recover<D: Disk>(disk: &mut D, directory: &str) -> Result<Found<D::File>, DiskError> {
    let files: BTreeMap<String, u64> = disk.files(directory)?.into_iter().collect();
    let Some(name) = RecordingName::parse(directory) else {
        return Ok(Found::Foreign("its name is not that of a recording".to_owned()));
    };
    if files.is_empty() {
        disk.remove_directory(directory)?;
        return Ok(Found::Nothing);
    }
    let Some(index_bytes) = files.get(INDEX_FILE).copied() else {
        return Ok(Found::Foreign(format!("it has no file {INDEX_FILE:?}")));
    };
    let index = disk.open(directory, INDEX_FILE)?;
    let mut reader = Reader::new(&index, index_bytes);
    let head = match reader.next(disk)? {
        Ok(Record::Head(head)) if head.name == name => head,
        Ok(_) => return Ok(Found::Foreign("its index is that of something else".to_owned())),
        Err(error @ RecordError::Version(_)) => return Ok(Found::Foreign(error.to_string())),
        // Cut off before its first sync: whatever it had was never kept. A file of another name shows that it was not ours.
        Err(_) if files.keys().all(|file| file == INDEX_FILE || parse_object_file(file).is_some()) => {
            discard(disk, directory, &files)?;
            return Ok(Found::Nothing);
        }
        Err(error) => return Ok(Found::Foreign(format!("its index cannot be read: {error}"))),
    };
    let sealed = sealed(disk, &mut reader)?;
    let (ledger, good) = replay(disk, directory, Ledger::new(head), Reader::new(&index, index_bytes), &sealed)?;
    if !ledger.has_media() {
        discard(disk, directory, &files)?;
        return Ok(Found::Nothing);
    }
    let mut cut_bytes = index_bytes.saturating_sub(good);
    if cut_bytes > 0 {
        disk.truncate(&index, good)?;
    }
    let mut found = Recovered {
        ledger,
        index,
        index_bytes: good,
        there: BTreeSet::new(),
        bytes: good,
        cut_bytes,
        foreign: Vec::new(),
    };
    let last = found.ledger.tracks.each_ref().map(|of| of.last_object);
    for (file, bytes) in files.iter().filter(|(file, _)| *file != INDEX_FILE) {
        let object =
            parse_object_file(file).map(|(track, number)| (track, number, known(&found.ledger, track, number)));
        match object {
            // A sealed one is what it is: whether it is whole is seen when it is stored.
            Some((track, number, Some((_, true)))) => {
                found.there.insert((place(track) as u8, number));
                found.bytes += bytes;
            }
            Some((_, _, Some((object, false)))) => {
                if *bytes > object.bytes {
                    disk.open(directory, file).and_then(|open| disk.truncate(&open, object.bytes))?;
                    cut_bytes += bytes - object.bytes;
                }
                found.bytes += object.bytes;
            }
            // Of the next ones, of which no part is whole.
            Some((track, number, None))
                if (1..=TORN_OBJECTS_MAX).contains(&number.saturating_sub(last[place(track)])) =>
            {
                disk.remove(directory, file)?;
                cut_bytes += bytes;
            }
            Some((track, number, None)) => {
                // No object of ours gets that number.
                let last = &mut found.ledger.tracks[place(track)].last_object;
                *last = (*last).max(number);
                found.foreign.push(file.clone());
            }
            None => found.foreign.push(file.clone()),
        }
    }
    found.cut_bytes = cut_bytes;
    Ok(Found::Recording(Box::new(found)))
}

/// An object of a ledger, and whether it is sealed.
fn known(ledger: &Ledger, track: Track, number: u32) -> Option<(Object, bool)> {
    let of = ledger.track(track);
    let find = |objects: &[Object]| objects.iter().find(|object| object.number == number).copied();
    let open = of.object.filter(|object| object.number == number);
    find(&of.sealed).map(|object| (object, true)).or_else(|| find(&of.full).or(open).map(|object| (object, false)))
}

/// Objects that the rest of an index says are sealed.
fn sealed<D: Disk>(disk: &mut D, reader: &mut Reader<D::File>) -> Result<BTreeSet<(u8, u32)>, DiskError> {
    let mut sealed = BTreeSet::new();
    while let Ok(record) = reader.next(disk)? {
        if let Record::Sealed(track, number) = record {
            sealed.insert((place(track) as u8, number));
        }
    }
    Ok(sealed)
}

/// What the good records say, and how many bytes they have.
fn replay<D: Disk>(
    disk: &mut D,
    directory: &str,
    mut ledger: Ledger,
    mut reader: Reader<D::File>,
    sealed: &BTreeSet<(u8, u32)>,
) -> Result<(Ledger, u64), DiskError> {
    let mut open: [Option<(u32, D::File)>; 2] = [None, None];
    loop {
        let good = reader.position();
        let Ok(record) = reader.next(disk)? else { return Ok((ledger, good)) };
        if let Record::Part(track, part) = &record {
            let Some(number) = ledger.track(*track).open.map(|open| open.start.object) else {
                return Ok((ledger, good));
            };
            let at = place(*track);
            if !sealed.contains(&(at as u8, number)) {
                if open[at].as_ref().is_none_or(|(open, _)| *open != number) {
                    open[at] = match disk.open(directory, &object_file(*track, number)) {
                        Ok(file) => Some((number, file)),
                        Err(DiskError::Missing) => return Ok((ledger, good)),
                        Err(error) => return Err(error),
                    };
                }
                let offset = ledger.track(*track).object.filter(|object| object.number == number);
                let offset = offset.map_or(0, |object| object.bytes);
                let Some((_, file)) = &open[at] else { return Ok((ledger, good)) };
                match disk.read(file, offset, part.bytes as usize) {
                    Ok(bytes) if crc32fast::hash(&bytes) == part.crc32 => {}
                    Ok(_) | Err(DiskError::Missing) => return Ok((ledger, good)),
                    Err(error) => return Err(error),
                }
            }
        }
        ledger.apply(&record);
    }
}

/// Removes what was never kept.
fn discard<D: Disk>(disk: &mut D, directory: &str, files: &BTreeMap<String, u64>) -> Result<(), DiskError> {
    // The index last: without it the directory would be taken for somebody else's.
    for file in files.keys().filter(|file| parse_object_file(file).is_some()) {
        disk.remove(directory, file)?;
    }
    if files.keys().all(|file| file == INDEX_FILE || parse_object_file(file).is_some()) {
        disk.remove(directory, INDEX_FILE)?;
        disk.remove_directory(directory)?;
    }
    Ok(())
}
