//! What a stream sends, as frames in records. Before it: [`super::writer`]; after it: the connection's TLS.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use millstream_proto::http2::{Connection, HeadBlock};

use super::stream::Stream;
use crate::io::tls::Sealer;

/// Plaintext of a TLS record at most (RFC 8446, 5.1): what is sent together shares records.
const RECORD_BYTES: usize = 16 << 10;
/// A frame of a body, without the nine bytes of its head: with them it fills a record. It is what a stream sends at a time while others stand in line.
pub(super) const DATA_FRAME_BYTES: usize = RECORD_BYTES - 9;
/// Heads of answers that are kept as blocks: crowds get the same few.
const HEADS_KEPT: usize = 8;

thread_local! {
    /// A shard's, for frames that become a record.
    static FRAMES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The heads that were made last: the text, and the block that was made of it.
    static HEADS: RefCell<VecDeque<(Bytes, HeadBlock)>> = const { RefCell::new(VecDeque::new()) };
}

/// Has frames made, and the last of them sealed.
pub(super) fn with_frames<T>(
    sealer: &mut Sealer<'_>,
    make: impl FnOnce(&mut Frames<'_, '_>) -> io::Result<T>,
) -> io::Result<T> {
    FRAMES.with_borrow_mut(|plain| {
        plain.clear();
        let mut frames = Frames { plain, sealer };
        let written = make(&mut frames)?;
        frames.seal()?;
        Ok(written)
    })
}

impl Stream {
    /// Makes frames of as many of these pieces, and as much of them, as may go now; how many of their bytes those are.
    pub(super) fn make<'a>(
        &self,
        connection: &mut Connection,
        pieces: impl Iterator<Item = &'a [u8]>,
        most: usize,
        frames: &mut Frames<'_, '_>,
    ) -> io::Result<usize> {
        let mut taken = 0;
        for mut piece in pieces {
            if !self.is_answered.get() {
                let head = head_block(piece)?;
                let body_bytes = if self.head_only { Some(0) } else { head.body_bytes() };
                let Ok(frame) = connection.respond(self.id, &head, body_bytes == Some(0)) else {
                    return Err(io::ErrorKind::BrokenPipe.into());
                };
                frames.push(&[frame.as_bytes(), head.block()])?;
                self.is_answered.set(true);
                self.left.set(body_bytes);
                taken += head.head_bytes();
                piece = piece.get(head.head_bytes()..).unwrap_or_default();
            }
            while !piece.is_empty() && taken < most {
                let wanted = piece.len().min(most - taken);
                let left = self.left.get();
                if left == Some(0) {
                    if !self.head_only {
                        tracing::error!(
                            bytes = piece.len(),
                            "an answer is longer than its head says: the rest is left out"
                        );
                    }
                    taken += piece.len();
                    break;
                }
                let wanted = left.map_or(wanted, |left| wanted.min(usize::try_from(left).unwrap_or(usize::MAX)));
                let ends = left == Some(wanted as u64);
                let Ok(frame) = connection.data(self.id, wanted, ends) else {
                    return if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::BrokenPipe.into()) };
                };
                let Some(frame) = frame else { return Ok(taken) };
                let (sent, rest) = piece.split_at(frame.bytes.min(piece.len()));
                frames.push(&[&frame.head, sent])?;
                self.left.set(left.map(|left| left - sent.len() as u64));
                taken += sent.len();
                piece = rest;
            }
        }
        Ok(taken)
    }
}

/// Frames on their way into records. Their bytes are copied once more, so that a head and what follows it share a record.
pub(super) struct Frames<'a, 'b> {
    plain: &'a mut Vec<u8>,
    sealer: &'a mut Sealer<'b>,
}

impl Frames<'_, '_> {
    /// Adds bytes that belong together.
    pub(super) fn push(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if self.plain.len() + bytes > RECORD_BYTES {
            self.seal()?;
        }
        for part in parts {
            self.plain.extend_from_slice(part);
        }
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        if self.plain.is_empty() {
            return Ok(());
        }
        let sealed = self.sealer.seal(self.plain);
        self.plain.clear();
        sealed
    }
}

/// The block of the head that these bytes begin with.
fn head_block(text: &[u8]) -> io::Result<HeadBlock> {
    HEADS.with_borrow_mut(|heads| {
        if let Some((_, block)) = heads.iter().find(|(head, _)| text.starts_with(head)) {
            return Ok(block.clone());
        }
        let block = HeadBlock::of_http1(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        heads.truncate(HEADS_KEPT - 1);
        let head = Bytes::copy_from_slice(text.get(..block.head_bytes()).unwrap_or_default());
        heads.push_front((head, block.clone()));
        Ok(block)
    })
}
