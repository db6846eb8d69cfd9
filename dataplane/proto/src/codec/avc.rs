//! H.264: the `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1). Before it: [`super::check`]; after it: [`super::Summary`],
//! and whoever needs the parameter sets or the length of NAL lengths.
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::nal::{Nal, RefNal};

use super::RecordError;
use crate::cursor::Cursor;
use crate::limits::{PARAMETER_SET_PARSED_BYTES_MAX, PARAMETER_SETS_MAX};

/// The type of a sequence parameter set (H.264 table 7-1).
const NAL_SPS: u8 = 7;

/// A record, borrowed from its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AvcConfig<'a> {
    /// `profile_idc`.
    pub profile: u8,
    /// The constraint flags.
    pub compatibility: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
    /// Bytes of the length before each NAL unit of a frame: 1, 2 or 4.
    pub nal_length_bytes: u8,
    /// Sequence parameter sets, NAL header included.
    pub sps: Vec<&'a [u8]>,
    /// Picture parameter sets, NAL header included.
    pub pps: Vec<&'a [u8]>,
}

impl<'a> AvcConfig<'a> {
    /// Reads a record. The extension behind the PPS (chroma and bit depth) is left: the SPS says the same. Parameter sets may be
    /// missing: encoders may send them in the stream.
    pub fn parse(record: &'a [u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(record);
        let [version, profile, compatibility, level, lengths, sps_count] = cursor.array()?;
        if version != 1 {
            return Err(RecordError::Version(version));
        }
        let nal_length_bytes = lengths % 4 + 1;
        if nal_length_bytes == 3 {
            return Err(RecordError::Field("lengthSizeMinusOne"));
        }
        let sps = units(&mut cursor, usize::from(sps_count & 31))?;
        let pps_count = cursor.u8()?;
        let pps = units(&mut cursor, usize::from(pps_count))?;
        Ok(Self { profile, compatibility, level, nal_length_bytes, sps, pps })
    }

    /// RFC 6381's name.
    pub fn codec_string(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.profile, self.compatibility, self.level)
    }

    /// Width and height in pixels after cropping, if the first SPS can be read and keeps its own rules.
    pub fn picture(&self) -> Option<(u32, u32)> {
        let sps = self.sps.first().filter(|sps| sps.len() <= PARAMETER_SET_PARSED_BYTES_MAX)?;
        // Also keeps the empty one from `RefNal::new`, which panics on it.
        if sps.first()? & 31 != NAL_SPS {
            return None;
        }
        SeqParameterSet::from_bits(RefNal::new(sps, &[], true).rbsp_bits()).ok()?.pixel_dimensions().ok()
    }
}

fn units<'a>(cursor: &mut Cursor<'a>, count: usize) -> Result<Vec<&'a [u8]>, RecordError> {
    if count > PARAMETER_SETS_MAX {
        return Err(RecordError::ParameterSets);
    }
    let mut units = Vec::with_capacity(count);
    for _ in 0..count {
        let size = usize::from(cursor.u16()?);
        units.push(cursor.take(size)?);
    }
    Ok(units)
}
