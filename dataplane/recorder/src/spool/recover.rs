//! What a crash left of a recording. Its end is where nothing follows that is whole: the index and the open objects are cut there, and what is lost came
//! after the last sync. What is damaged before that is a gap, and what is behind it stays. Before it: a start, and [`super::verify`]; after it:
//! [`crate::recorder`].
use std::collections::{BTreeMap, BTreeSet};

use millstream_proto::media::Track;

use super::disk::{Disk, DiskError};
use super::index::{Next, Reader};
use super::verify::{Files, Verdict, verify};
use crate::name::{DAMAGED, INDEX_FILE, RecordingName, parse_object_file, place};
use crate::recording::ledger::{Ledger, Object};
use crate::recording::record::Record;

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
    /// Bytes of the index that are damaged, with something behind them.
    pub damaged_bytes: u64,
    /// What was found out about its media, to be appended to its index.
    pub records: Vec<Record>,
    /// Files that are not the recorder's.
    pub foreign: Vec<String>,
    /// Files are left there for people to look at.
    pub has_damaged_files: bool,
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

/// Reads what is in a directory of the spool, cuts what is torn, and removes what has nothing in it.
pub fn recover<D: Disk>(disk: &mut D, directory: &str) -> Result<Found<D::File>, DiskError> {
    let files: BTreeMap<String, u64> = match disk.files(directory) {
        Ok(files) => files.into_iter().collect(),
        // Somebody has removed it.
        Err(DiskError::Missing) => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
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
        Next::Record(Record::Head(head), 0) if head.name == name => head,
        Next::Record(_, 0) => return Ok(Found::Foreign("its index is that of something else".to_owned())),
        Next::Record(..) => return Ok(Found::Foreign("the beginning of its index is damaged".to_owned())),
        Next::Version(error) => return Ok(Found::Foreign(error.to_string())),
        // Cut off before its first sync: whatever it had was never kept. A file of another name shows that it was not ours.
        Next::End if files.keys().all(|file| file == INDEX_FILE || parse_object_file(file).is_some()) => {
            discard(disk, directory, &files)?;
            return Ok(Found::Nothing);
        }
        Next::End => return Ok(Found::Foreign("its index cannot be read".to_owned())),
    };
    let mut media = Files::new(disk, directory);
    let verdict = verify(&mut media, &index, index_bytes)?;
    let mut ledger = replay(&mut media, Ledger::new(head), Reader::new(&index, verdict.good), &verdict)?;
    if !ledger.has_media() {
        discard(disk, directory, &files)?;
        return Ok(Found::Nothing);
    }
    let good = verdict.good;
    let mut cut_bytes = index_bytes.saturating_sub(good);
    if cut_bytes > 0 {
        disk.truncate(&index, good)?;
    }
    let last = ledger.tracks.each_ref().map(|of| of.last_object);
    let records = verdict.records();
    for record in &records {
        // No object of ours gets a number again.
        if let Record::Trimmed(track, number, _) = record {
            let last = &mut ledger.tracks[place(*track)].last_object;
            *last = (*last).max(*number);
        }
    }
    let mut found = Recovered {
        ledger,
        index,
        index_bytes: good,
        there: BTreeSet::new(),
        bytes: good,
        cut_bytes,
        damaged_bytes: verdict.damaged_bytes,
        records,
        foreign: Vec::new(),
        has_damaged_files: false,
    };
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
                if (1..=TORN_OBJECTS_MAX).contains(&number.saturating_sub(last[place(track)]))
                    || verdict.trimmed.contains_key(&(place(track) as u8, number)) =>
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
            // Left for people to look at, and told when it was.
            None if file.strip_suffix(DAMAGED).is_some_and(|file| parse_object_file(file).is_some()) => {
                found.has_damaged_files = true;
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

impl Verdict {
    /// What the index does not say yet.
    fn records(&self) -> Vec<Record> {
        let track = |at: u8| if usize::from(at) == place(Track::Video) { Track::Video } else { Track::Audio };
        let spoilt = self.spoilt.iter().map(|(at, number, offset)| Record::Spoilt(track(*at), *number, *offset));
        let trimmed = self.to_trim.iter().map(|((at, number), end)| Record::Trimmed(track(*at), *number, *end));
        spoilt.chain(trimmed).collect()
    }
}

/// What the good records say.
fn replay<D: Disk>(
    files: &mut Files<'_, D>,
    mut ledger: Ledger,
    mut reader: Reader<D::File>,
    verdict: &Verdict,
) -> Result<Ledger, DiskError> {
    while let Next::Record(record, passed) = reader.next(files.disk)? {
        if passed > 0 {
            ledger.breach();
        }
        if let Record::Part(track, _) = &record
            && let Some(open) = ledger.track(*track).open
        {
            let object = (place(*track) as u8, open.start.object);
            let offset = open.start.offset.saturating_add(u64::from(open.bytes));
            let ends = [&verdict.trimmed, &verdict.to_trim].into_iter().filter_map(|ends| ends.get(&object));
            if ends.min().is_some_and(|end| offset >= *end) {
                continue;
            }
        }
        ledger.apply(&record);
    }
    for (at, number) in &verdict.doubtful {
        let track = if usize::from(*at) == place(Track::Video) { Track::Video } else { Track::Audio };
        if let Some((object, false)) = known(&ledger, track, *number)
            && let Some(sums) = files.sums(track, *number, object.bytes)?
        {
            ledger.tracks[usize::from(*at)].found(*number, sums);
        }
    }
    Ok(ledger)
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
