//! A bounds-checked big-endian reader: every parser of bytes from outside reads through it, so that none can read past an end.
//! Before it in the pipeline: bytes of one message, record or tag; after it: whoever parses them.

/// Fewer bytes than the format needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{needed} bytes are needed at byte {at}, {left} are left")]
pub struct Truncated {
    /// Where the read started, bytes from the beginning.
    pub at: usize,
    /// How many bytes it wanted.
    pub needed: usize,
    /// How many there were.
    pub left: usize,
}

/// A position in a slice. Every read checks first; a refused read leaves the position where it was.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far: the index of the next one.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Bytes left.
    pub const fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// What is left, without reading it.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let taken = self.rest().get(..count).ok_or(Truncated { at: self.at, needed: count, left: self.remaining() })?;
        self.at += count;
        Ok(taken)
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: usize) -> Result<(), Truncated> {
        self.take(count).map(|_| ())
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (at, left) = (self.at, self.remaining());
        let array = self.rest().first_chunk::<N>().ok_or(Truncated { at, needed: N, left })?;
        self.at += N;
        Ok(*array)
    }

    /// An 8-bit number.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A 16-bit number, big-endian.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// A 24-bit number, big-endian.
    pub fn u24(&mut self) -> Result<u32, Truncated> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// A signed 24-bit number, big-endian.
    pub fn i24(&mut self) -> Result<i32, Truncated> {
        // Shifting right what stands in the top three bytes repeats the sign.
        self.array().map(|[a, b, c]| i32::from_be_bytes([a, b, c, 0]) >> 8)
    }

    /// A 32-bit number, big-endian.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_network_order() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0xFF, 0xFF, 0xDE, 0, 0, 0, 5]);
        assert_eq!(cursor.u8(), Ok(1));
        assert_eq!(cursor.u16(), Ok(0x0203));
        assert_eq!(cursor.u24(), Ok(0x0004_0506));
        assert_eq!(cursor.take(3), Ok(&[7, 8, 9][..]));
        assert_eq!(cursor.i24(), Ok(-34));
        assert_eq!(cursor.position(), 12);
        assert_eq!(cursor.u32(), Ok(5));
        assert!(cursor.is_empty());
    }

    #[test]
    fn a_refused_read_moves_nothing() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.u32(), Err(Truncated { at: 0, needed: 4, left: 3 }));
        assert_eq!(cursor.take(usize::MAX), Err(Truncated { at: 0, needed: usize::MAX, left: 3 }));
        assert_eq!(cursor.skip(3), Ok(()));
        assert_eq!(cursor.u8(), Err(Truncated { at: 3, needed: 1, left: 0 }));
        assert_eq!(cursor.rest(), &[] as &[u8]);
    }
}
