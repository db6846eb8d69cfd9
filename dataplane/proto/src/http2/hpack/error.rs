//! Why a header block cannot be read.
use crate::cursor::Truncated;

/// A header block that is not HPACK. The connection ends with it, because the peer's table is not known any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HpackError {
    /// It ends within a field.
    #[error("a header block ends within a field")]
    Truncated,
    /// An integer that 32 bits do not hold, or that is written in more than six bytes.
    #[error("an integer of a header block is too large")]
    Integer,
    /// A string that is not of the Huffman code.
    #[error("a string of a header block is not valid in the Huffman code")]
    Huffman,
    /// An index that no entry has.
    #[error("a header block names entry {0} of its tables, which does not exist")]
    Index(usize),
    /// A dynamic table larger than it may be.
    #[error("a header block sets the size of its table to {0} bytes, more than was agreed on")]
    TableSize(usize),
    /// A change of the table's size behind a field.
    #[error("a header block changes the size of its table behind its first field")]
    TableSizeLate,
}

impl From<Truncated> for HpackError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}
