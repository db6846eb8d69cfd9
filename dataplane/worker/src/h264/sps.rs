//! A sequence parameter set as the decoder is to see it. Before it: the set of a stream's record; after it: [`crate::codec::decode`].
//!
//! OpenH264 puts pictures into an order of showing of its own, behind holds without a bound, in all profiles but Baseline and Scalable Baseline.
//! Where it is asked for what it holds, it does not free it (2.6, `FlushFrame`). Scalable Baseline's SPS has the same fields as High's, and
//! nothing else in the decoder looks at the profile: so a stream is given out as that, and pictures come at once, in the order of decoding.
use millstream_proto::codec::bits::{Bits, unescape};

use super::bits::Writer;
use super::nal;

const BASELINE: u32 = 66;
const SCALABLE_BASELINE: u32 = 83;
/// Profiles whose SPS says its chroma format (7.3.2.1.1).
const PROFILES_WITH_CHROMA: [u32; 12] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134];
/// Higher ones are not known to the decoder. What they allow more was checked by the size of the picture.
const LEVEL_MAX: u32 = 52;
/// Frames in a cycle of picture order counts of type 1.
const CYCLE_MAX: u32 = 255;

/// The set as the decoder is to see it; `gaps`: with `gaps_in_frame_num_value_allowed_flag`. `None` where it cannot be read.
pub(crate) fn for_decoder(set: &[u8], gaps: bool) -> Option<Vec<u8>> {
    let plain = unescape(set);
    let (header, body) = plain.split_first()?;
    let mut reader = Bits::new(body);
    let mut writer = Writer::default();
    writer.number((*header).into(), 8);
    let profile = reader.number(8)?;
    let with_chroma = PROFILES_WITH_CHROMA.contains(&profile);
    writer.number(if profile == BASELINE { BASELINE } else { SCALABLE_BASELINE }, 8);
    writer.number(reader.number(8)?, 8);
    writer.number(reader.number(8)?.min(LEVEL_MAX), 8);
    let id_at = reader.position();
    let _id = reader.exp_golomb()?;
    if with_chroma {
        // Only 4:2:0 comes so far, so there is no flag of separate planes.
        let _format_and_depths = (reader.exp_golomb()?, reader.exp_golomb()?, reader.exp_golomb()?);
        let _bypass = reader.flag()?;
        if reader.flag()? {
            for list in 0..8 {
                skip_scaling_list(&mut reader, if list < 6 { 16 } else { 64 })?;
            }
        }
        writer.copy(body, id_at, reader.position())?;
    } else {
        writer.copy(body, id_at, reader.position())?;
        if profile != BASELINE {
            // 4:2:0 (1), twice 8 bits (0 and 0), no bypass, no scaling matrix.
            writer.number(0b010_1100, 7);
        }
    }
    let rest_at = reader.position();
    let _number_bits = reader.exp_golomb()?;
    match reader.exp_golomb()? {
        0 => drop(reader.exp_golomb()?),
        1 => {
            let _offsets = (reader.flag()?, reader.exp_golomb()?, reader.exp_golomb()?);
            for _ in 0..reader.exp_golomb()?.min(CYCLE_MAX) {
                reader.exp_golomb()?;
            }
        }
        _ => {}
    }
    let _references = reader.exp_golomb()?;
    writer.copy(body, rest_at, reader.position())?;
    writer.bit(reader.flag()? || gaps);
    // The end of the set is its last one bit: what was put in before it may move it, and zeros behind it say nothing.
    writer.copy(body, reader.position(), body.len() * 8)?;
    let mut out = writer.into_bytes();
    while out.last() == Some(&0) {
        out.pop();
    }
    Some(nal::escape(&out))
}

/// 7.3.2.1.1.1.
fn skip_scaling_list(reader: &mut Bits<'_>, size: usize) -> Option<()> {
    if !reader.flag()? {
        return Some(());
    }
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            let code = i64::from(reader.exp_golomb()?);
            let delta = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
            next = (last + delta).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::params::parse;
    use super::*;

    /// x264's, High and Main and Baseline.
    const SETS: [&[u8]; 3] = [
        b"\x67\x64\x00\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\xc0\xf1\x83\x19\x60",
        b"\x67\x4d\x40\x1f\xec\xa0\x28\x02\xdd\x80\xb5\x01\x01\x01\x40\x00\x00\x03\x00\x40\x00\x00\x0f\x03\xc6\x0c\x65\x80",
        b"\x67\x42\xc0\x1f\xd9\x00\x50\x05\xbb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\xc0\xf1\x83\x24\x80",
    ];

    #[test]
    fn only_what_is_meant_to_differ_differs() {
        for (set, profile) in SETS.iter().zip([83, 83, 66]) {
            let before = parse(set).unwrap();
            for gaps in [false, true] {
                let after = parse(&for_decoder(set, gaps).unwrap()).unwrap();
                assert_eq!(after.profile_idc, profile.into());
                assert_eq!(after.gaps_in_frame_num_value_allowed_flag, gaps);
                let mut same = after.clone();
                same.profile_idc = before.profile_idc;
                same.gaps_in_frame_num_value_allowed_flag = before.gaps_in_frame_num_value_allowed_flag;
                assert_eq!(format!("{same:?}"), format!("{before:?}"));
            }
            for cut in 0..set.len() {
                let _ = for_decoder(&set[..cut], true);
            }
        }
    }
}
