//! A record of which the disk, or the memory on the way, has changed one bit: the checksum tells which one. Before it: [`crate::spool::index`], which found
//! that it is damaged; after it: the record as it was written.
use millstream_proto::cursor::Cursor;

use super::record::{FRAME_BYTES, Record, framed};

/// The longest content in which one changed bit is told from any two: CRC-32 has a distance of 4 up to 91,607 bits.
const MENDED_BYTES_MAX: usize = 8 << 10;

impl Record {
    /// Reads the record at the beginning of these bytes, of which one bit is not as it was written; `None` where that does not explain it.
    ///
    /// A CRC-32 tells which bit it was, and takes no two of them for one, in records of up to [`MENDED_BYTES_MAX`].
    pub fn mend(bytes: &[u8]) -> Option<(Self, usize)> {
        let length = Cursor::new(bytes).u32().ok()?;
        if let Ok((content, sum)) = framed(bytes, length)
            && content.len() <= MENDED_BYTES_MAX
        {
            let mut content = content.to_vec();
            let wrong = sum ^ crc32fast::hash(&content);
            // In the checksum, or in the content.
            if wrong.is_power_of_two() || flip_back(&mut content, wrong) {
                return Some((Self::read(&content).ok()?, content.len() + FRAME_BYTES));
            }
        }
        // In the length.
        (0..u32::BITS).find_map(|bit| {
            let (content, sum) = framed(bytes, length ^ (1 << bit)).ok()?;
            let is_it = content.len() <= MENDED_BYTES_MAX && sum == crc32fast::hash(content);
            is_it.then(|| Self::read(content).ok().map(|record| (record, content.len() + FRAME_BYTES)))?
        })
    }
}

/// Turns the one bit whose change makes a CRC-32 differ by that, if there is one.
fn flip_back(content: &mut [u8], wrong: u32) -> bool {
    // What a change of the last bit does, then of the one before it: each is one step of the division more.
    let mut does = 1_u32;
    for byte in content.iter_mut().rev() {
        for bit in (0..u8::BITS).rev() {
            does = (does >> 1) ^ if does & 1 == 1 { 0xEDB8_8320 } else { 0 };
            if does == wrong {
                *byte ^= 1 << bit;
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::all;
    use super::*;

    #[test]
    fn any_one_bit_is_put_right_and_two_are_not_taken_for_one() {
        for record in all() {
            let whole = record.encode();
            for bit in 0..whole.len() * 8 {
                let mut changed = whole.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(Record::decode(&changed).is_err());
                // What comes behind it is no part of it.
                changed.extend_from_slice(&whole);
                assert_eq!(Record::mend(&changed), Some((record.clone(), whole.len())), "bit {bit}");
                let content = 32..whole.len() * 8 - 32;
                if content.contains(&bit) && content.contains(&(bit + 7)) {
                    let other = bit + 7;
                    changed[other / 8] ^= 1 << (other % 8);
                    assert_eq!(Record::mend(&changed), None, "bits {bit} and {}", bit + 7);
                }
            }
        }
    }

    #[test]
    fn what_is_no_record_is_not_made_one() {
        assert_eq!(Record::mend(&[0; 64]), None, "zeros that a file system leaves");
        assert_eq!(Record::mend(&[0xFF; 64]), None);
        let mut random = millstream_test_support::random::Random::new(1);
        for _ in 0..2_000 {
            let mut bytes = random.bytes(80);
            // A length that can be one.
            bytes[..4].copy_from_slice(&[0, 0, 0, 17]);
            assert_eq!(Record::mend(&bytes), None, "{bytes:?}");
        }
    }
}
