//! Reads an index record by record, in bounded memory. A record with one changed bit is put right; behind what is worse it finds the next one whose
//! checksum holds. Before it: a [`Disk`]; after it: [`super::recover`].
use super::disk::{Disk, DiskError};
use crate::limits::{INDEX_BYTES_MAX, RECORD_BYTES_MAX, RESYNC_BYTES_MAX};
use crate::recording::record::{FRAME_BYTES, Record, RecordError};

/// Bytes of an index that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// What is next in an index.
#[derive(Debug)]
pub(super) enum Next {
    /// A record, and how many bytes before it are none.
    Record(Record, u64),
    /// Nothing that could be read.
    End,
    /// Another release wrote it.
    Version(RecordError),
}

/// The place in an index.
pub(super) struct Reader<F> {
    file: F,
    length: u64,
    /// Bytes read from here on are in `buffer`.
    from: u64,
    buffer: Vec<u8>,
    /// The next record's place in `buffer`.
    at: usize,
    /// The place of the record that was given last, and the end of it.
    given: (u64, u64),
}

impl<F: Clone> Reader<F> {
    /// At its beginning.
    pub(super) fn new(file: &F, length: u64) -> Self {
        let length = length.min(INDEX_BYTES_MAX);
        Self { file: file.clone(), length, from: 0, buffer: Vec::new(), at: 0, given: (0, 0) }
    }

    /// Where the record that was given last begins.
    pub(super) fn begin(&self) -> u64 {
        self.given.0
    }

    /// Where it ends; at the end of an index, how much of it is good.
    pub(super) fn end(&self) -> u64 {
        self.given.1
    }

    /// The next record.
    pub(super) fn next<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<Next, DiskError> {
        self.fill(disk)?;
        match Record::decode(self.rest()) {
            Ok(read) => return Ok(self.give(read, 0)),
            Err(error @ RecordError::Version(_)) => return Ok(Next::Version(error)),
            Err(_) => {}
        }
        if let Some(read) = Record::mend(self.rest()) {
            return Ok(self.give(read, 0));
        }
        // The next one that is whole.
        for passed in 1..=RESYNC_BYTES_MAX {
            self.at += 1;
            self.fill(disk)?;
            if self.rest().is_empty() {
                break;
            }
            if let Ok(read) = Record::decode(self.rest()) {
                return Ok(self.give(read, passed));
            }
        }
        Ok(Next::End)
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    fn give(&mut self, (record, bytes): (Record, usize), passed: u64) -> Next {
        let begin = self.from + self.at as u64;
        self.at += bytes;
        self.given = (begin, begin + bytes as u64);
        Next::Record(record, passed)
    }

    /// Has a whole record of any length in the buffer, if there is one.
    fn fill<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<(), DiskError> {
        while self.rest().len() < RECORD_BYTES_MAX + FRAME_BYTES {
            let read = self.from + self.buffer.len() as u64;
            let left = self.length.saturating_sub(read);
            if left == 0 {
                break;
            }
            self.buffer.drain(..self.at);
            (self.from, self.at) = (self.from + self.at as u64, 0);
            let more = disk.read(&self.file, read, left.min(CHUNK_BYTES as u64) as usize)?;
            self.buffer.extend_from_slice(&more);
        }
        Ok(())
    }
}
