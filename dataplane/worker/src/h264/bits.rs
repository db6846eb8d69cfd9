//! Bits, most significant first: a reader that is checked, and a writer. Before it: a parameter set or a slice header; after it: what stands in
//! them, changed.

/// A position in bytes, in bits. Reads past the end give `None`.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits read so far.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// A number of up to 32 bits.
    pub(super) fn number(&mut self, count: u32) -> Option<u32> {
        let mut value = 0_u64;
        for _ in 0..count.min(32) {
            value = value << 1 | u64::from(self.bit()?);
        }
        u32::try_from(value).ok()
    }

    /// An unsigned Exp-Golomb number (9.1).
    pub(super) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        u32::try_from((1_u64 << zeros) - 1 + u64::from(self.number(zeros)?)).ok()
    }
}

/// Bytes that grow by bits.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Bits of the last byte that are in use; 0: all of it.
    used: u32,
}

impl Writer {
    pub(super) fn bit(&mut self, bit: bool) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.used);
        }
        self.used = (self.used + 1) % 8;
    }

    /// A number of up to 32 bits.
    pub(super) fn number(&mut self, value: u32, count: u32) {
        for at in (0..count.min(32)).rev() {
            self.bit(value >> at & 1 == 1);
        }
    }

    /// Copies the bits from one position up to another.
    pub(super) fn copy(&mut self, bytes: &[u8], from: usize, to: usize) -> Option<()> {
        let mut reader = Reader { bytes, at: from };
        // Byte by byte where both stand at one: slice data is long.
        while reader.at < to {
            if self.used == 0 && reader.at.is_multiple_of(8) && to - reader.at >= 8 {
                let whole = (to - reader.at) / 8;
                self.bytes.extend_from_slice(bytes.get(reader.at / 8..reader.at / 8 + whole)?);
                reader.at += whole * 8;
            } else {
                self.bit(reader.bit()?);
            }
        }
        Some(())
    }

    /// Fills the last byte with ones: `cabac_alignment_one_bit`.
    pub(super) fn align_with_ones(&mut self) {
        while self.used != 0 {
            self.bit(true);
        }
    }

    /// Fills the last byte with zeros.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.number(0b101, 3);
        writer.copy(&[0xFF, 0x0F, 0xAA], 4, 20).unwrap();
        writer.bit(true);
        writer.align_with_ones();
        writer.copy(&[1, 2, 3, 0x80], 8, 28).unwrap();
        let bytes = writer.into_bytes();
        assert_eq!(bytes, [0b1011_1110, 0b0001_1111, 0b0101_1111, 2, 3, 0x80]);
        let mut reader = Reader::new(&bytes);
        assert_eq!((reader.number(3), reader.position()), (Some(5), 3));
        assert_eq!(Reader::new(&[0b0010_1000]).exp_golomb(), Some(4));
        assert_eq!(Reader::new(&[0, 0, 0, 0]).exp_golomb(), None);
        assert!(Writer::default().copy(&[1], 0, 9).is_none());
    }
}
