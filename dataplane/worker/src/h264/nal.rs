//! NAL units: out of frames with lengths, out of the encoder's start codes, and the other way. Before it: a frame; after it: a decoder or a tag.

/// A slice of a picture that is not IDR (H.264 table 7-1).
pub(crate) const SLICE: u8 = 1;
/// A slice of an IDR picture.
pub(crate) const SLICE_IDR: u8 = 5;
/// Sequence parameter set.
pub(crate) const SPS: u8 = 7;
/// Picture parameter set.
pub(crate) const PPS: u8 = 8;

/// NAL units of one frame that are looked at: one of a slice each row of macroblocks has 144.
const UNITS_MAX: usize = 512;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The type of a unit; 0 of an empty one.
pub(crate) fn kind(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |first| first & 31)
}

/// Whether others may refer to the picture of a slice (`nal_ref_idc`).
pub(crate) fn refers(unit: &[u8]) -> bool {
    unit.first().is_some_and(|first| first & 0x60 != 0)
}

/// The units of a frame, each behind a length of `length_bytes`. Ends at the first length that is wrong.
pub(crate) fn units(mut data: &[u8], length_bytes: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_at_checked(length_bytes)?;
        let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        data = rest;
        Some(unit)
    })
    .take(UNITS_MAX)
}

/// Appends a unit behind a start code.
pub(crate) fn put_annex_b(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(unit);
}

/// Appends a unit behind its length.
pub(crate) fn put_length(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend_from_slice(&(unit.len() as u32).to_be_bytes());
    out.extend_from_slice(unit);
}

/// A unit without the start code before it.
pub(crate) fn without_start_code(unit: &[u8]) -> &[u8] {
    unit.strip_prefix(&START_CODE).or_else(|| unit.strip_prefix(&[0, 0, 1])).unwrap_or(unit)
}

/// A unit with emulation prevention bytes (7.4.1): [`millstream_proto::codec::bits::unescape`] takes them out.
pub(crate) fn escape(plain: &[u8]) -> Vec<u8> {
    let mut unit = Vec::with_capacity(plain.len() + plain.len() / 64 + 4);
    let mut zeros = 0;
    for &byte in plain {
        if zeros >= 2 && byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        unit.push(byte);
    }
    unit
}

#[cfg(test)]
mod tests {
    use millstream_proto::codec::bits::unescape;

    use super::*;

    #[test]
    fn units_behind_lengths() {
        let mut data = Vec::new();
        for unit in [&[0x65, 1, 2][..], &[], &[0x41]] {
            put_length(&mut data, unit);
        }
        assert_eq!(units(&data, 4).collect::<Vec<_>>(), [&[0x65, 1, 2][..], &[], &[0x41]]);
        assert_eq!(units(&data[..9], 4).count(), 1);
        assert_eq!(units(&[2, 7, 8, 1, 9], 1).collect::<Vec<_>>(), [&[7, 8][..], &[9]]);
        assert_eq!(units(&[0xFF; 40], 4).count(), 0);
        assert_eq!((kind(&[0x65]), kind(&[0x41]), kind(&[])), (SLICE_IDR, SLICE, 0));
        assert_eq!(without_start_code(&[0, 0, 0, 1, 0x67]), [0x67]);
        assert_eq!(without_start_code(&[0, 0, 1, 0x67]), [0x67]);
    }

    #[test]
    fn emulation_prevention_both_ways() {
        for plain in [&[0, 0, 0, 0, 0, 1][..], &[0, 0, 3, 0, 0, 2, 0, 0, 4], &[1, 2, 3], &[0, 0, 0, 3]] {
            let escaped = escape(plain);
            assert!(!escaped.windows(3).any(|w| w[..2] == [0, 0] && w[2] < 3), "{escaped:?}");
            assert_eq!(unescape(&escaped), plain);
        }
    }
}
