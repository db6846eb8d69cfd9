//! AV1: the `AV1CodecConfigurationRecord` (*AV1 in ISOBMFF* 2.3). Before it: [`super::check`]; after it: [`super::Summary`].
use super::bits::Bits;
use super::error::RecordError;
use crate::cursor::Cursor;
use crate::limits::PARAMETER_SET_PARSED_BYTES_MAX;

/// `obu_type` of a sequence header (AV1 6.2.2).
pub const OBU_SEQUENCE_HEADER: u8 = 1;
/// `obu_type` of a temporal delimiter: in files and over RTMP there is none.
pub const OBU_TEMPORAL_DELIMITER: u8 = 2;

/// A record, borrowed from its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Av1Config<'a> {
    /// `seq_profile`, 0 to 2 (3 is reserved).
    pub profile: u8,
    /// `seq_level_idx_0`, 0 to 31.
    pub level: u8,
    /// High tier instead of Main.
    pub high_tier: bool,
    /// Bits per sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// The OBUs behind the fixed part: the sequence header, and metadata.
    pub obus: &'a [u8],
}

impl<'a> Av1Config<'a> {
    /// Reads a record.
    pub fn parse(record: &'a [u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(record);
        let [version, profile_level, depth, _delay] = cursor.array()?;
        if version != 0x81 {
            return Err(RecordError::Version(version));
        }
        let bit_depth = match (depth >> 6 & 1, depth >> 5 & 1) {
            (0, _) => 8,
            (_, 0) => 10,
            _ => 12,
        };
        let (profile, level) = (profile_level >> 5, profile_level & 31);
        Ok(Self { profile, level, high_tier: depth & 0x80 != 0, bit_depth, obus: cursor.rest() })
    }

    /// RFC 6381's name (*AV1 in ISOBMFF* 5), in its short form.
    pub fn codec_string(&self) -> String {
        codec_string(self.profile, self.level, self.high_tier, self.bit_depth)
    }

    /// The largest width and height in pixels, if the record holds a sequence header.
    pub fn picture(&self) -> Option<(u32, u32)> {
        let parsed = self.obus.get(..PARAMETER_SET_PARSED_BYTES_MAX).unwrap_or(self.obus);
        let header = obus(parsed).find(|obu| obu.kind == OBU_SEQUENCE_HEADER)?;
        sequence(header.data).map(|sequence| (sequence.width, sequence.height))
    }
}

/// One OBU of a temporal unit or a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Obu<'a> {
    /// `obu_type`.
    pub kind: u8,
    /// All of it.
    pub whole: &'a [u8],
    /// What is behind its header.
    pub data: &'a [u8],
}

/// The OBUs of a temporal unit or a record (AV1 5.3), as far as they can be read.
pub fn obus(mut data: &[u8]) -> impl Iterator<Item = Obu<'_>> {
    std::iter::from_fn(move || {
        let mut cursor = Cursor::new(data);
        let header = cursor.u8().ok()?;
        if header & 4 != 0 {
            cursor.skip(1).ok()?;
        }
        let size = if header & 2 != 0 { leb128(&mut cursor)? } else { cursor.remaining() };
        let obu = cursor.take(size).ok()?;
        let (whole, rest) = data.split_at_checked(data.len() - cursor.remaining())?;
        data = rest;
        Some(Obu { kind: header >> 3 & 15, whole, data: obu })
    })
}

/// The record of a sequence of 8 bits and 4:2:0 with this sequence header, an OBU as a temporal unit has it. `None`: it is not of the Main profile, or
/// cannot be read.
pub fn record(header: &Obu<'_>) -> Option<Vec<u8>> {
    let Sequence { profile: 0, level, high_tier, .. } = sequence(header.data)? else { return None };
    // `chroma_subsampling_x` and `_y`; neither a depth above 8 bits nor monochrome.
    let depth = u8::from(high_tier) << 7 | 0b1100;
    Some([&[0x81, level, depth, 0], header.whole].concat())
}

/// Levels (AV1 A.3): `seq_level_idx`, and for each the most pixels, and pixels across and down, of a picture that is shown 30 times a second.
const LEVELS: [(u8, u32, u32, u32); 6] = [
    (0, 147_456, 2_048, 1_152),
    (1, 278_784, 2_816, 1_584),
    (4, 665_856, 4_352, 2_448),
    (5, 1_065_024, 5_504, 3_096),
    (8, 2_359_296, 6_144, 3_456),
    (12, 8_912_896, 8_192, 4_352),
];

/// The level (`seq_level_idx`) that has room for pictures of this size at up to 30 a second; 31, "none", where that is no level here.
pub fn level(width: u32, height: u32) -> u8 {
    let fits = |(_, pixels, across, down): &&(u8, u32, u32, u32)| {
        width.checked_mul(height).is_some_and(|area| area <= *pixels) && width <= *across && height <= *down
    };
    LEVELS.iter().find(fits).map_or(31, |(level, ..)| *level)
}

/// [`Av1Config::codec_string`] of 8 bits in the Main profile and tier, at that level.
pub fn main_codec_string(level: u8) -> String {
    codec_string(0, level, false, 8)
}

fn codec_string(profile: u8, level: u8, high_tier: bool, bit_depth: u8) -> String {
    let tier = if high_tier { 'H' } else { 'M' };
    format!("av01.{profile}.{level:02}{tier}.{bit_depth:02}")
}

/// What a sequence header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sequence {
    profile: u8,
    /// Of the first operating point, as `high_tier`.
    level: u8,
    high_tier: bool,
    width: u32,
    height: u32,
}

/// AV1 4.10.5; sizes above 28 bits are in no record.
fn leb128(cursor: &mut Cursor<'_>) -> Option<usize> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let byte = cursor.u8().ok()?;
        value |= usize::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fields of a sequence header up to the size of the picture (AV1 5.5.1).
fn sequence(obu: &[u8]) -> Option<Sequence> {
    let mut bits = Bits::new(obu);
    let profile = bits.number(3)? as u8;
    bits.skip(1)?; // still_picture
    let reduced = bits.flag()?;
    let (level, high_tier) = if reduced { (bits.number(5)? as u8, false) } else { operating_points(&mut bits)? };
    let (width_bits, height_bits) = (bits.number(4)? + 1, bits.number(4)? + 1);
    let (width, height) = (bits.number(width_bits)? + 1, bits.number(height_bits)? + 1);
    Some(Sequence { profile, level, high_tier, width, height })
}

/// Level and tier of the first one.
fn operating_points(bits: &mut Bits<'_>) -> Option<(u8, bool)> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.skip(64)?; // num_units_in_display_tick, time_scale
        if bits.flag()? {
            bits.exp_golomb()?; // num_ticks_per_picture_minus_1
        }
        if bits.flag()? {
            delay_bits = Some(bits.number(5)? as usize + 1);
            bits.skip(32 + 5 + 5)?; // num_units_in_decoding_tick and two lengths
        }
    }
    let initial_delay = bits.flag()?;
    let mut first = None;
    for _ in 0..=bits.number(5)? {
        bits.skip(12)?; // operating_point_idc
        let level = bits.number(5)?;
        let high_tier = level > 7 && bits.flag()?;
        first.get_or_insert((level as u8, high_tier));
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * delay_bits + 1)?; // operating_parameters_info
        }
        if initial_delay && bits.flag()? {
            bits.skip(4)?;
        }
    }
    first
}
