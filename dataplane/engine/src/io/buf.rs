//! What a send lends to the kernel: buffers that own what they point to until the kernel has answered.
#![allow(unsafe_code)]
use bytes::{Buf, Bytes};
use millstream_hub::viewer::Piece;
use monoio::buf::{IoBuf, IoVecBuf};

/// One piece of a viewer's send.
pub(super) struct PieceBuf(pub(super) Piece);

// SAFETY: a piece points into a block or into `Bytes`, both on the heap, immutable, and owned by the piece; moving the piece
// moves neither.
unsafe impl IoBuf for PieceBuf {
    fn read_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }
}

/// The pieces of one vectored send, with the array that the kernel reads. Reused: see `Batch`.
pub(crate) struct BatchBuf {
    pub(super) pieces: Vec<Piece>,
    iovecs: Vec<libc::iovec>,
}

impl BatchBuf {
    pub(super) fn new() -> Self {
        Self { pieces: Vec::new(), iovecs: Vec::new() }
    }

    /// Points the array at the pieces.
    pub(super) fn aim(&mut self) {
        self.iovecs.clear();
        self.iovecs.extend(
            self.pieces
                .iter()
                .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() }),
        );
    }

    pub(super) fn clear(&mut self) {
        self.iovecs.clear();
        self.pieces.clear();
    }
}

// SAFETY: the array is on the heap and unchanged while the kernel has it, because only `aim` and `clear` write to it and both
// need the batch back; the entries point to what the pieces own (see `PieceBuf`).
unsafe impl IoVecBuf for BatchBuf {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.iovecs.as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.iovecs.len()
    }
}

/// Vectors of one send at most; Linux takes 1,024.
const FILE_PIECES_MAX: usize = 64;

/// What is left of an answer whose bytes lie in several places.
pub(super) struct FileBuf {
    /// The rest, in reverse: the next piece is the last.
    pieces: Vec<Bytes>,
    iovecs: Vec<libc::iovec>,
}

impl FileBuf {
    pub(super) fn new(mut pieces: Vec<Bytes>) -> Self {
        pieces.reverse();
        let iovecs = Vec::with_capacity(pieces.len().min(FILE_PIECES_MAX));
        let mut buf = Self { pieces, iovecs };
        buf.sent(0);
        buf
    }

    /// So many bytes are with the kernel.
    pub(super) fn sent(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.last_mut() {
            let taken = count.min(piece.len());
            piece.advance(taken);
            count -= taken;
            if !piece.is_empty() {
                break;
            }
            self.pieces.pop();
        }
        self.iovecs.clear();
        self.iovecs.extend(
            self.pieces
                .iter()
                .rev()
                .take(FILE_PIECES_MAX)
                .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() }),
        );
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

// SAFETY: the array is on the heap and unchanged while the kernel has it, because only `sent` writes to it and needs the buffer back; the
// entries point into `Bytes` that the buffer owns, whose memory stays where it is when they are moved.
unsafe impl IoVecBuf for FileBuf {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.iovecs.as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.iovecs.len()
    }
}
