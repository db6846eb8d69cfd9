//! NAL units between start codes (H.264 and H.265, annex B), as MPEG-TS has them. FLV wants a length before each.
use bytes::Bytes;

use crate::limits::RTMP_MESSAGE_BYTES_MAX;

/// Whether these bytes may begin with a start code: a cheap look. So may a NAL unit of 256 to 511 bytes.
pub(crate) fn begins(data: &[u8]) -> bool {
    matches!(data, [0, 0, 1, ..] | [0, 0, 0, 1, ..])
}

/// The NAL units of data with lengths of that many bytes. Ends at the first that does not fit.
pub(crate) fn lengths(mut data: &[u8], length_bytes: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_at_checked(length_bytes)?;
        let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        data = rest;
        Some(unit)
    })
}

/// Whether lengths of that many bytes lead exactly to the end, as they do not by chance.
pub(crate) fn fits_lengths(data: &[u8], length_bytes: usize) -> bool {
    let bytes: usize = lengths(data, length_bytes).map(|unit| length_bytes + unit.len()).sum();
    bytes == data.len()
}

/// The NAL units between start codes of three or four bytes, without the zeros that may follow one.
pub(crate) fn units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data.get(start_code(data).map_or(data.len(), |at| at + 3)..).unwrap_or_default();
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = start_code(rest);
            let unit = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            rest = end.and_then(|end| rest.get(end + 3..)).unwrap_or_default();
            let unit = trim(unit);
            if !unit.is_empty() {
                return Some(unit);
            }
        }
        None
    })
}

/// A unit without the zeros behind it: its last byte is none (H.264 7.4.1).
pub(crate) fn trim(unit: &[u8]) -> &[u8] {
    let zeros = unit.iter().rev().take_while(|&&byte| byte == 0).count();
    unit.get(..unit.len() - zeros).unwrap_or_default()
}

/// Where the next `00 00 01` stands.
fn start_code(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Two bytes of three need no look where the third is neither 0 nor 1.
    while let Some(third) = data.get(at + 2) {
        match third {
            1 if matches!(data.get(at..at + 2), Some([0, 0])) => return Some(at),
            0 => at += 1,
            _ => at += 3,
        }
    }
    None
}

/// `head` and the units of the data, each with four bytes of length. `None` where there are none, or the result is longer than a message
/// may be.
pub(crate) fn to_lengths(head: &[u8], data: &[u8]) -> Option<Bytes> {
    let mut out = Vec::with_capacity(head.len() + data.len() + 16);
    out.extend_from_slice(head);
    for unit in units(data) {
        out.extend_from_slice(&u32::try_from(unit.len()).ok()?.to_be_bytes());
        out.extend_from_slice(unit);
        if out.len() > RTMP_MESSAGE_BYTES_MAX {
            return None;
        }
    }
    (out.len() > head.len()).then(|| out.into())
}
