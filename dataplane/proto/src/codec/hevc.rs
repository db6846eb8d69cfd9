//! H.265: the `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 8.3.3.1). Before it: [`super::check`]; after it: [`super::Summary`],
//! and whoever needs the parameter sets or the length of NAL lengths.
use std::fmt::Write as _;

use super::bits::{Bits, unescape};
use super::error::RecordError;
use crate::cursor::Cursor;
use crate::limits::{PARAMETER_SET_PARSED_BYTES_MAX, PARAMETER_SETS_MAX};

/// The type of a sequence parameter set (H.265 table 7-1).
pub(crate) const NAL_SPS: u8 = 33;
/// Those of the other parameter sets.
pub(crate) const NAL_VPS: u8 = 32;
pub(crate) const NAL_PPS: u8 = 34;
/// Where a record says how many bytes its lengths have: in the lowest two bits.
pub(crate) const LENGTHS_AT: usize = 21;

/// A record, borrowed from its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HevcConfig<'a> {
    /// `general_profile_space`, 0 to 3.
    pub profile_space: u8,
    /// High tier instead of Main.
    pub high_tier: bool,
    /// `general_profile_idc`.
    pub profile: u8,
    /// Profile compatibility flags, flag 0 in the highest bit.
    pub compatibility: u32,
    /// Constraint indicator flags.
    pub constraints: [u8; 6],
    /// `general_level_idc`: thirty times the level.
    pub level: u8,
    /// Bytes of the length before each NAL unit of a frame: 1, 2 or 4.
    pub nal_length_bytes: u8,
    /// Parameter sets in the record's order: NAL unit type, and the unit with its header.
    pub parameter_sets: Vec<(u8, &'a [u8])>,
}

impl<'a> HevcConfig<'a> {
    /// Reads a record. Version 0 is taken as well: encoders from before the standard was final write it.
    pub fn parse(record: &'a [u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(record);
        let [version, general] = cursor.array()?;
        if version > 1 {
            return Err(RecordError::Version(version));
        }
        let compatibility = cursor.u32()?;
        let constraints = cursor.array()?;
        let level = cursor.u8()?;
        // Segmentation, parallelism, chroma format, bit depths, frame rate: the SPS says what matters of it.
        cursor.skip(8)?;
        let nal_length_bytes = cursor.u8()? % 4 + 1;
        if nal_length_bytes == 3 {
            return Err(RecordError::Field("lengthSizeMinusOne"));
        }
        let mut parameter_sets = Vec::new();
        for _ in 0..cursor.u8()? {
            let kind = cursor.u8()? & 63;
            for _ in 0..cursor.u16()? {
                let size = usize::from(cursor.u16()?);
                if parameter_sets.len() == PARAMETER_SETS_MAX {
                    return Err(RecordError::ParameterSets);
                }
                parameter_sets.push((kind, cursor.take(size)?));
            }
        }
        Ok(Self {
            profile_space: general >> 6,
            high_tier: general & 32 != 0,
            profile: general & 31,
            compatibility,
            constraints,
            level,
            nal_length_bytes,
            parameter_sets,
        })
    }

    /// RFC 6381's name, as ISO/IEC 14496-15 annex E.3 makes it.
    pub fn codec_string(&self) -> String {
        let space = match self.profile_space {
            1 => "A",
            2 => "B",
            3 => "C",
            _ => "",
        };
        let tier = if self.high_tier { 'H' } else { 'L' };
        let compatibility = self.compatibility.reverse_bits();
        let mut name = format!("hvc1.{space}{}.{compatibility:x}.{tier}{}", self.profile, self.level);
        let zeros = self.constraints.iter().rev().take_while(|byte| **byte == 0).count();
        for byte in self.constraints.iter().take(self.constraints.len() - zeros) {
            // Writing to a string cannot fail.
            let _ = write!(name, ".{byte:x}");
        }
        name
    }

    /// Width and height in pixels after cropping, if the first SPS can be read.
    pub fn picture(&self) -> Option<(u32, u32)> {
        let (_, sps) = self.parameter_sets.iter().find(|(kind, _)| *kind == NAL_SPS)?;
        let SpsHead { picture, .. } = SpsHead::read(sps)?;
        picture
    }
}

/// The first fields of a sequence parameter set (H.265 7.3.2.2.1).
struct SpsHead {
    id: u32,
    chroma_format: u32,
    bit_depths_minus8: (u32, u32),
    /// Pixels after cropping; `None` where nothing is left.
    picture: Option<(u32, u32)>,
}

impl SpsHead {
    fn read(sps: &[u8]) -> Option<Self> {
        // Behind the two bytes of NAL header.
        let plain = unescape(sps.get(2..).filter(|sps| sps.len() <= PARAMETER_SET_PARSED_BYTES_MAX)?);
        let mut bits = Bits::new(&plain);
        bits.skip(4)?;
        let sub_layers = bits.number(3)?;
        bits.skip(1)?;
        profile_tier_level(&mut bits, sub_layers)?;
        let id = bits.exp_golomb()?;
        let chroma_format = bits.exp_golomb()?;
        if chroma_format == 3 {
            bits.skip(1)?;
        }
        let size = (bits.exp_golomb()?, bits.exp_golomb()?);
        let cropped = bits.flag()?;
        let mut cropping = || if cropped { bits.exp_golomb() } else { Some(0) };
        let cuts = [cropping()?, cropping()?, cropping()?, cropping()?];
        // What has been shown for a size needs no bit depths.
        let bit_depths_minus8 = bits.exp_golomb().zip(bits.exp_golomb()).unwrap_or_default();
        Some(Self { id, chroma_format, bit_depths_minus8, picture: crop(size, cuts, chroma_format) })
    }
}

fn crop((width, height): (u32, u32), [left, right, top, bottom]: [u32; 4], chroma_format: u32) -> Option<(u32, u32)> {
    // Cropping counts in samples of chroma (table 6-1).
    let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma_format == 1 { 2 } else { 1 };
    let crop = |whole: u32, before: u32, after: u32, unit: u32| {
        let cut = before.checked_add(after)?.checked_mul(unit)?;
        whole.checked_sub(cut).filter(|left| *left > 0)
    };
    Some((crop(width, left, right, unit_x)?, crop(height, top, bottom, unit_y)?))
}

/// The record of these parameter sets, with lengths of four bytes. `None` where one kind but the VPS is missing, or they do not fit into a
/// record.
pub fn record(vps: &[&[u8]], sps: &[&[u8]], pps: &[&[u8]]) -> Option<Vec<u8>> {
    let first = *sps.first()?;
    let head = SpsHead::read(first)?;
    let plain = unescape(first.get(2..)?);
    // Sub-layers and nesting, then profile, compatibility, constraints and level as the record has them.
    let (&layers, profile) = (plain.first()?, plain.get(1..13)?);
    let mut record = vec![1];
    record.extend_from_slice(profile);
    let (luma, chroma) = head.bit_depths_minus8;
    let layers = ((layers >> 1 & 7) + 1) & 7;
    let nested = plain.first()? & 1;
    let chroma_format = head.chroma_format.min(3) as u8;
    record.extend_from_slice(&[
        0xF0,
        0,
        0xFC,
        0xFC | chroma_format,
        0xF8 | luma.min(7) as u8,
        0xF8 | chroma.min(7) as u8,
        0,
        0,
        layers << 3 | nested << 2 | 3,
    ]);
    if pps.is_empty() || vps.len() + sps.len() + pps.len() > PARAMETER_SETS_MAX {
        return None;
    }
    let arrays = [(NAL_VPS, vps), (NAL_SPS, sps), (NAL_PPS, pps)];
    record.push(arrays.iter().filter(|(_, units)| !units.is_empty()).count() as u8);
    for (kind, units) in arrays.into_iter().filter(|(_, units)| !units.is_empty()) {
        // The highest bit: there are no others of this kind.
        record.extend_from_slice(&[0x80 | kind, 0, units.len() as u8]);
        super::avc::put(&mut record, units)?;
    }
    Some(record)
}

/// `vps_video_parameter_set_id` (7.3.2.1).
pub(crate) fn vps_id(vps: &[u8]) -> Option<u32> {
    vps.get(2).map(|byte| u32::from(byte >> 4))
}

/// `sps_seq_parameter_set_id`.
pub(crate) fn sps_id(sps: &[u8]) -> Option<u32> {
    SpsHead::read(sps).map(|head| head.id)
}

/// `pps_pic_parameter_set_id` (7.3.2.3.1).
pub(crate) fn pps_id(pps: &[u8]) -> Option<u32> {
    Bits::new(pps.get(2..)?).exp_golomb()
}

/// Passes over `profile_tier_level(1, sub_layers)` (H.265 7.3.3).
fn profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Option<()> {
    const PROFILE_BITS: usize = 88;
    const LEVEL_BITS: usize = 8;
    bits.skip(PROFILE_BITS + LEVEL_BITS)?;
    let mut skipped = 0;
    for _ in 0..sub_layers {
        let (profile, level) = (bits.flag()?, bits.flag()?);
        skipped += if profile { PROFILE_BITS } else { 0 } + if level { LEVEL_BITS } else { 0 };
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers as usize))?;
    }
    bits.skip(skipped)
}
