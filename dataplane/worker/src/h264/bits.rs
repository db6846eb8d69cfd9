//! A writer of bits, most significant first. Before it: a parameter set or a slice header, read bit by bit; after it: what stands in them, changed.
use millstream_proto::codec::bits::Bits;

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
        let mut reader = Bits::new(bytes);
        reader.skip(from)?;
        // Byte by byte where both stand at one: slice data is long.
        while reader.position() < to {
            let at = reader.position();
            if self.used == 0 && at.is_multiple_of(8) && to - at >= 8 {
                let whole = (to - at) / 8;
                self.bytes.extend_from_slice(bytes.get(at / 8..at / 8 + whole)?);
                reader.skip(whole * 8)?;
            } else {
                self.bit(reader.flag()?);
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
        let mut reader = Bits::new(&bytes);
        assert_eq!((reader.number(3), reader.position()), (Some(5), 3));
        assert!(Writer::default().copy(&[1], 0, 9).is_none());
    }
}
