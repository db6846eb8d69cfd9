//! H.265: the `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 8.3.3.1). Before it: [`super::check`]; after it: [`super::Summary`],
//! and whoever needs the parameter sets or the length of NAL lengths.
use std::fmt::Write as _;

use super::RecordError;
use super::bits::{Bits, unescape};
use crate::cursor::Cursor;
use crate::limits::{PARAMETER_SET_PARSED_BYTES_MAX, PARAMETER_SETS_MAX};

/// The type of a sequence parameter set (H.265 table 7-1).
const NAL_SPS: u8 = 33;

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
        // Behind the two bytes of NAL header.
        sps.get(2..).filter(|sps| sps.len() <= PARAMETER_SET_PARSED_BYTES_MAX).and_then(sps_picture)
    }
}

/// The first fields of a sequence parameter set (H.265 7.3.2.2.1).
fn sps_picture(sps: &[u8]) -> Option<(u32, u32)> {
    let plain = unescape(sps);
    let mut bits = Bits::new(&plain);
    bits.skip(4)?;
    let sub_layers = bits.number(3)?;
    bits.skip(1)?;
    profile_tier_level(&mut bits, sub_layers)?;
    let _id = bits.exp_golomb()?;
    let chroma_format = bits.exp_golomb()?;
    if chroma_format == 3 {
        bits.skip(1)?;
    }
    let (width, height) = (bits.exp_golomb()?, bits.exp_golomb()?);
    let cropped = bits.flag()?;
    let mut cropping = || if cropped { bits.exp_golomb() } else { Some(0) };
    let (left, right, top, bottom) = (cropping()?, cropping()?, cropping()?, cropping()?);
    // Cropping counts in samples of chroma (table 6-1).
    let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma_format == 1 { 2 } else { 1 };
    let crop = |whole: u32, before: u32, after: u32, unit: u32| {
        let cut = before.checked_add(after)?.checked_mul(unit)?;
        whole.checked_sub(cut).filter(|left| *left > 0)
    };
    Some((crop(width, left, right, unit_x)?, crop(height, top, bottom, unit_y)?))
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
