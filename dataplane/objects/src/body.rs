//! What is put into a store: bytes and ranges of files, one after another, read in chunks. Before it: spool files and playlists; after it:
//! a file's writes, the parts of an upload.
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use bytes::Bytes;

use crate::error::{ErrorKind, ObjectError};
use crate::limits::CHUNK_BYTES;

/// CRC-32 as Ethernet, gzip and S3's `x-amz-checksum-crc32` have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crc32(pub u32);

impl Crc32 {
    /// Reads eight hexadecimal digits.
    #[cfg(feature = "s3")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u32::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What identifies the content of an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sums {
    /// Its length.
    pub bytes: u64,
    /// Its checksum.
    pub crc32: Crc32,
}

/// Sums of what comes in pieces.
#[derive(Clone, Default, Debug)]
pub struct Summing {
    bytes: u64,
    crc32: crc32fast::Hasher,
}

impl Summing {
    /// Takes in what comes next.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.crc32.update(bytes);
    }

    /// The sums of all that came.
    pub fn sums(&self) -> Sums {
        Sums { bytes: self.bytes, crc32: Crc32(self.crc32.clone().finalize()) }
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Bytes(Bytes),
    /// Open, so that the file may be renamed or removed meanwhile.
    File(Arc<File>, Range<u64>),
    /// Opened to be read: an object may be made of thousands of files.
    Path(Arc<Path>, Range<u64>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, range) | Self::Path(_, range) => range.end - range.start,
        }
    }
}

/// The content of an object to be: bytes and ranges of open files in order. A clone costs little, so that a put can be tried again; a file
/// must not change until it is stored.
#[derive(Clone, Default, Debug)]
pub struct Body(Vec<Piece>);

impl Body {
    /// A range of a file.
    pub fn file(file: Arc<File>, range: Range<u64>) -> Self {
        let mut body = Self::default();
        body.push_file(file, range);
        body
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: Bytes) {
        self.0.push(Piece::Bytes(bytes));
    }

    /// Adds a range of a file at the end. A range that ends before it begins is empty.
    pub fn push_file(&mut self, file: Arc<File>, range: Range<u64>) {
        let end = range.end.max(range.start);
        self.0.push(Piece::File(file, range.start..end));
    }

    /// Adds a range of a file that is opened only while it is read: it must stay where it is until the put is done.
    pub fn push_path(&mut self, path: Arc<Path>, range: Range<u64>) {
        let end = range.end.max(range.start);
        self.0.push(Piece::Path(path, range.start..end));
    }

    /// Bytes in all.
    pub fn len(&self) -> u64 {
        self.0.iter().map(Piece::len).sum()
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length and checksum; reads all of it, so not on a thread that must not wait.
    pub fn sums(&self) -> Result<Sums, ObjectError> {
        let (mut summing, mut reader) = (Summing::default(), self.reader());
        while let Some(chunk) = reader.next(CHUNK_BYTES)? {
            summing.update(&chunk);
        }
        Ok(summing.sums())
    }

    pub(crate) fn reader(&self) -> BodyReader {
        BodyReader { pieces: self.0.clone(), piece: 0, offset: 0, open: None }
    }

    /// Reads from this byte on.
    #[cfg(feature = "s3")]
    pub(crate) fn reader_at(&self, mut offset: u64) -> BodyReader {
        let mut piece = 0;
        while let Some(len) = self.0.get(piece).map(Piece::len).filter(|len| *len <= offset) {
            offset -= len;
            piece += 1;
        }
        // Behind the last one there is nothing to be within.
        let offset = if piece < self.0.len() { offset } else { 0 };
        BodyReader { pieces: self.0.clone(), piece, offset, open: None }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(vec![Piece::Bytes(bytes)])
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

/// Reads a body from its start. Reading files blocks.
#[derive(Debug)]
pub(crate) struct BodyReader {
    pieces: Vec<Piece>,
    piece: usize,
    /// Within the piece.
    offset: u64,
    /// The newest file that was opened for it.
    open: Option<(Arc<Path>, File)>,
}

impl BodyReader {
    /// The next bytes where no file has to be read for them.
    #[cfg(feature = "s3")]
    pub(crate) fn next_in_memory(&mut self, max: usize) -> Option<Bytes> {
        while self.pieces.get(self.piece).is_some_and(|piece| piece.len() == self.offset) {
            (self.piece, self.offset) = (self.piece + 1, 0);
        }
        match self.pieces.get(self.piece) {
            Some(Piece::Bytes(_)) => self.next(max).ok().flatten(),
            _ => None,
        }
    }

    /// The next bytes, at most `max` of them and at least one; `None` at the end.
    pub(crate) fn next(&mut self, max: usize) -> Result<Option<Bytes>, ObjectError> {
        loop {
            let Some(piece) = self.pieces.get(self.piece) else { return Ok(None) };
            let left = piece.len() - self.offset;
            if left == 0 {
                (self.piece, self.offset) = (self.piece + 1, 0);
                continue;
            }
            let take = left.min(max as u64) as usize;
            let chunk = match piece {
                Piece::Bytes(bytes) => bytes.slice(self.offset as usize..self.offset as usize + take),
                Piece::File(file, range) => {
                    read_at(file, range.start + self.offset, take).map_err(|error| source(&error, range))?
                }
                Piece::Path(path, range) => {
                    let open = match self.open.take() {
                        Some(open) if open.0 == *path => open,
                        _ => (Arc::clone(path), File::open(path).map_err(|error| source(&error, range))?),
                    };
                    let chunk = read_at(&open.1, range.start + self.offset, take);
                    self.open = Some(open);
                    chunk.map_err(|error| source(&error, range))?
                }
            };
            self.offset += take as u64;
            return Ok(Some(chunk));
        }
    }
}

/// So many bytes of a file.
pub(crate) fn read_at(file: &File, offset: u64, bytes: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; bytes];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer.into())
}

fn source(error: &io::Error, range: &Range<u64>) -> ObjectError {
    let what = format!("cannot read bytes {} to {} of the file that is to be stored", range.start, range.end);
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return ObjectError::invalid(format!("{what}: it has become shorter; nothing was stored"));
    }
    if error.kind() == io::ErrorKind::NotFound {
        return ObjectError::invalid(format!("{what}: it is gone; nothing was stored"));
    }
    ObjectError::new(ErrorKind::Unavailable, format!("{what}: {error}; check the disk of the spool"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn pieces_are_read_in_order_whatever_the_size_of_a_read() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"0123456789").expect("written");
        let file = Arc::new(file);
        let mut body = Body::from(b"head ".to_vec());
        body.push_file(Arc::clone(&file), 3..6);
        body.push(Bytes::new());
        body.push_file(Arc::clone(&file), 8..8);
        body.push_file(file, 0..2);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("object");
        std::fs::write(&path, b"abcdef").expect("written");
        body.push_path(path.as_path().into(), 2..4);
        body.push_path(path.as_path().into(), 0..1);
        for max in 1..20 {
            let (mut all, mut reader) = (Vec::new(), body.reader());
            while let Some(chunk) = reader.next(max).expect("a chunk") {
                assert!(!chunk.is_empty() && chunk.len() <= max);
                all.extend_from_slice(&chunk);
            }
            assert_eq!(all, b"head 34501cda", "{max}");
            #[cfg(feature = "s3")]
            for offset in 0..=13 {
                let (mut rest, mut reader) = (Vec::new(), body.reader_at(offset));
                while let Some(chunk) = match reader.next_in_memory(max) {
                    Some(chunk) => Some(chunk),
                    None => reader.next(max).expect("a chunk"),
                } {
                    rest.extend_from_slice(&chunk);
                }
                assert_eq!(rest, &all[offset as usize..], "{offset}, {max}");
            }
        }
        assert_eq!(body.sums().expect("sums"), Sums { bytes: 13, crc32: Crc32(crc32fast::hash(b"head 34501cda")) });
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error_of_its_own() {
        let body = Body::file(Arc::new(tempfile::tempfile().expect("a file")), 0..5);
        assert_eq!(body.sums().expect_err("no such bytes").kind(), ErrorKind::Invalid);
        let mut body = Body::default();
        body.push_path(Path::new("/nowhere/at/all").into(), 0..5);
        assert_eq!(body.sums().expect_err("no such file").kind(), ErrorKind::Invalid);
    }
}
