//! AV1: the `AV1CodecConfigurationRecord` (*AV1 in ISOBMFF* 2.3). Before it: [`super::check`]; after it: [`super::Summary`].
use super::bits::Bits;
use super::error::RecordError;
use crate::cursor::Cursor;
use crate::limits::PARAMETER_SET_PARSED_BYTES_MAX;

/// The type of a sequence header OBU (AV1 6.2.2).
const OBU_SEQUENCE_HEADER: u8 = 1;

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
        let tier = if self.high_tier { 'H' } else { 'M' };
        format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level, self.bit_depth)
    }

    /// The largest width and height in pixels, if the record holds a sequence header.
    pub fn picture(&self) -> Option<(u32, u32)> {
        let mut cursor = Cursor::new(self.obus.get(..PARAMETER_SET_PARSED_BYTES_MAX).unwrap_or(self.obus));
        loop {
            // The header of an OBU (AV1 5.3): in a record each has its size.
            let header = cursor.u8().ok()?;
            if header & 4 != 0 {
                cursor.skip(1).ok()?;
            }
            let size = if header & 2 != 0 { leb128(&mut cursor)? } else { cursor.remaining() };
            let obu = cursor.take(size).ok()?;
            if header >> 3 & 15 == OBU_SEQUENCE_HEADER {
                return sequence_picture(obu);
            }
        }
    }
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
fn sequence_picture(obu: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(obu);
    bits.skip(4)?; // seq_profile, still_picture
    let reduced = bits.flag()?;
    if reduced {
        bits.skip(5)?;
    } else {
        operating_points(&mut bits)?;
    }
    let (width_bits, height_bits) = (bits.number(4)? + 1, bits.number(4)? + 1);
    Some((bits.number(width_bits)? + 1, bits.number(height_bits)? + 1))
}

fn operating_points(bits: &mut Bits<'_>) -> Option<()> {
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
    for _ in 0..=bits.number(5)? {
        bits.skip(12)?; // operating_point_idc
        if bits.number(5)? > 7 {
            bits.skip(1)?; // seq_tier
        }
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * delay_bits + 1)?; // operating_parameters_info
        }
        if initial_delay && bits.flag()? {
            bits.skip(4)?;
        }
    }
    Some(())
}
