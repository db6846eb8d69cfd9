//! A bounds-checked reader of bits, most significant first. Before it: a record or parameter set whose fields do not end at bytes;
//! after it: [`super::aac`], [`super::av1`], [`super::hevc`], and whoever rewrites parameter sets.

/// A position in a slice, in bits. Reads past the end give `None`.
#[derive(Clone, Debug)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    /// Starts at the first bit.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits read so far.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// One bit.
    pub fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// A number of `count` bits, at most 32.
    pub fn number(&mut self, count: u32) -> Option<u32> {
        let mut value = 0_u64;
        for _ in 0..count.min(32) {
            value = value << 1 | u64::from(self.flag()?);
        }
        u32::try_from(value).ok()
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        let at = self.at.checked_add(count)?;
        (at <= self.bytes.len().checked_mul(8)?).then(|| self.at = at)
    }

    /// An unsigned Exp-Golomb number: H.265 9.2, and AV1's `uvlc()` (4.10.3) below 32 zeros.
    pub fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let value = (1_u64 << zeros) - 1 + u64::from(self.number(zeros)?);
        u32::try_from(value).ok()
    }
}

/// A NAL unit's payload without its emulation prevention: the 3 in each `00 00 03` (H.264 7.4.1, H.265 7.4.2).
pub fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        plain.push(byte);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_exp_golomb() {
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!(bits.flag(), Some(true));
        assert_eq!(bits.exp_golomb(), Some(1)); // 010
        assert_eq!(bits.number(2), Some(1)); // 01
        assert_eq!(bits.skip(1), Some(())); // 1
        assert_eq!(bits.number(2), Some(0)); // 0 0
        assert_eq!(bits.exp_golomb(), Some(0)); // 1
        assert_eq!(bits.exp_golomb(), Some(19)); // 0000 1 0100
        assert_eq!(bits.number(20), None);
        assert_eq!(Bits::new(&[0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]).exp_golomb(), None);
        assert_eq!(Bits::new(&[0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]).exp_golomb(), Some(u32::MAX - 1));
        assert_eq!(Bits::new(&[0; 4]).skip(33), None);
        assert_eq!(Bits::new(&[0; 4]).skip(usize::MAX), None);
    }

    #[test]
    fn emulation_prevention() {
        assert_eq!(unescape(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(unescape(&[3, 0, 3, 0, 0, 0]), [3, 0, 3, 0, 0, 0]);
    }
}
