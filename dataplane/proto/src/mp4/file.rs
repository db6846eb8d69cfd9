//! A finished file: its index as bytes, and what is to be copied behind it. Before it: [`super::build`]; after it: whoever writes the file, or serves
//! it without writing it.
use super::build::Packed;
use super::moov;
use super::table::{Chunk, Piece, Table};
use super::timeline::Timeline;

/// Bytes that follow in the file: they are copied from an object as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// The object's number, as it was pushed.
    pub object: u32,
    /// The first byte of them in it.
    pub at: u64,
    /// How many there are.
    pub bytes: u64,
}

/// A whole file, but for the coded bytes.
#[derive(Debug)]
pub struct File {
    head: Vec<u8>,
    payload_bytes: u64,
    length_us: u64,
    placed: Vec<Placed>,
}

/// Where a track's bytes come from.
#[derive(Debug)]
struct Placed {
    chunks: Vec<Chunk>,
    pieces: Vec<Piece>,
}

impl File {
    pub(super) fn new(tracks: impl Iterator<Item = Packed>, line: &Timeline, zero_unix_ms: Option<i64>) -> Self {
        let tracks: Vec<_> = tracks.zip(&line.edits).filter_map(|(track, edit)| Some((track, (*edit)?))).collect();
        let (head, payload_bytes) = moov::head(&tracks, line, zero_unix_ms);
        let placed = tracks.into_iter().map(|(track, _)| {
            let Table { chunks, pieces, .. } = track.table;
            Placed { chunks, pieces }
        });
        Self { head, payload_bytes, length_us: line.length_us(), placed: placed.collect() }
    }

    /// The file's beginning: `ftyp`, `moov`, and the header of `mdat`.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Coded bytes: all that is copied.
    pub const fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// The file's whole length in bytes.
    pub const fn file_bytes(&self) -> u64 {
        self.head.len() as u64 + self.payload_bytes
    }

    /// How long it plays, microseconds.
    pub const fn length_us(&self) -> u64 {
        self.length_us
    }

    /// Memory that it takes, bytes.
    pub fn memory_bytes(&self) -> usize {
        use std::mem::size_of;
        let placed = |placed: &Placed| {
            placed.chunks.capacity() * size_of::<Chunk>() + placed.pieces.capacity() * size_of::<Piece>()
        };
        self.head.capacity() + self.placed.iter().map(placed).sum::<usize>()
    }

    /// What follows behind the head, in order. Neighbours in an object come as one.
    pub fn copies(&self) -> impl Iterator<Item = Copy> {
        let mut places: Vec<_> = self.placed.iter().map(|placed| placed.pieces.as_slice()).collect();
        let order = Order::new(self.placed.iter().map(|placed| placed.chunks.as_slice()).collect());
        let mut pieces = order.flat_map(move |(track, chunk)| {
            let (of_chunk, rest) =
                places.get(track).and_then(|all| all.split_at_checked(chunk.pieces as usize)).unwrap_or_default();
            if let Some(place) = places.get_mut(track) {
                *place = rest;
            }
            of_chunk.iter().map(|piece| Copy { object: piece.object, at: piece.at, bytes: u64::from(piece.bytes) })
        });
        let mut open: Option<Copy> = None;
        std::iter::from_fn(move || {
            loop {
                let next = pieces.next();
                match (open.as_mut(), next) {
                    (Some(copy), Some(next)) if copy.object == next.object && copy.at + copy.bytes == next.at => {
                        copy.bytes += next.bytes;
                    }
                    (None, Some(_)) => open = next,
                    _ => return std::mem::replace(&mut open, next),
                }
            }
        })
    }
}

/// The chunks of all tracks as they stand in the file: span by span, in each the tracks one after another.
#[derive(Debug)]
pub(super) struct Order<'a>(Vec<&'a [Chunk]>);

impl<'a> Order<'a> {
    pub(super) const fn new(tracks: Vec<&'a [Chunk]>) -> Self {
        Self(tracks)
    }
}

impl<'a> Iterator for Order<'a> {
    /// The track's index, and its chunk.
    type Item = (usize, &'a Chunk);

    fn next(&mut self) -> Option<Self::Item> {
        let firsts = self.0.iter().enumerate().filter_map(|(track, chunks)| Some((track, chunks.first()?)));
        let (track, chunk) = firsts.min_by_key(|(track, chunk)| (chunk.slot, *track))?;
        let chunks = self.0.get_mut(track)?;
        *chunks = chunks.get(1..)?;
        Some((track, chunk))
    }
}
