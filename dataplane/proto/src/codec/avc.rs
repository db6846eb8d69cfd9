//! H.264: the `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1). Before it: [`super::check`]; after it: [`super::Summary`],
//! and whoever needs the parameter sets or the length of NAL lengths.
use h264_reader::nal::sps::{ChromaFormat, SeqParameterSet};
use h264_reader::nal::{Nal, RefNal};

use super::bits::{Bits, unescape};
use super::error::RecordError;
use crate::cursor::Cursor;
use crate::limits::{PARAMETER_SET_PARSED_BYTES_MAX, PARAMETER_SETS_MAX};

/// The type of a sequence parameter set (H.264 table 7-1).
pub(crate) const NAL_SPS: u8 = 7;
/// The type of a picture parameter set.
pub(crate) const NAL_PPS: u8 = 8;
/// Where a record says how many bytes its lengths have: in the lowest two bits.
pub(crate) const LENGTHS_AT: usize = 4;
/// Parameter sets of one kind that a record can have.
const SPS_MAX: usize = 31;
/// Profiles whose records end with chroma format and bit depths.
const PROFILES_WITH_CHROMA: [u8; 4] = [100, 110, 122, 144];

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
        self.sps.first().and_then(|sps| parse_sps(sps))?.pixel_dimensions().ok()
    }
}

fn parse_sps(sps: &[u8]) -> Option<SeqParameterSet> {
    // Also keeps the empty one from `RefNal::new`, which panics on it.
    if sps.len() > PARAMETER_SET_PARSED_BYTES_MAX || sps.first()? & 31 != NAL_SPS {
        return None;
    }
    SeqParameterSet::from_bits(RefNal::new(sps, &[], true).rbsp_bits()).ok()
}

/// The record of these parameter sets, with lengths of four bytes. `None` where one kind is missing, or they do not fit into a record.
pub fn record(sps: &[&[u8]], pps: &[&[u8]]) -> Option<Vec<u8>> {
    let &[_, profile, compatibility, level, ..] = *sps.first()? else { return None };
    if pps.is_empty() || sps.len() > SPS_MAX || pps.len() > PARAMETER_SETS_MAX {
        return None;
    }
    let mut record = vec![1, profile, compatibility, level, 0xFF, 0xE0 | sps.len() as u8];
    put(&mut record, sps)?;
    record.push(pps.len() as u8);
    put(&mut record, pps)?;
    if PROFILES_WITH_CHROMA.contains(&profile)
        && let Some(chroma) = parse_sps(sps.first()?).map(|sps| sps.chroma_info)
    {
        let format = match chroma.chroma_format {
            ChromaFormat::Monochrome => 0,
            ChromaFormat::YUV420 => 1,
            ChromaFormat::YUV422 => 2,
            _ => 3,
        };
        let (luma, chroma) = (chroma.bit_depth_luma_minus8 & 7, chroma.bit_depth_chroma_minus8 & 7);
        record.extend_from_slice(&[0xFC | format, 0xF8 | luma, 0xF8 | chroma, 0]);
    }
    Some(record)
}

/// Units, each with two bytes of length.
pub(super) fn put(record: &mut Vec<u8>, units: &[&[u8]]) -> Option<()> {
    for unit in units {
        record.extend_from_slice(&u16::try_from(unit.len()).ok()?.to_be_bytes());
        record.extend_from_slice(unit);
    }
    Some(())
}

/// Bytes in which the number of a parameter set surely is.
const ID_WITHIN_BYTES: usize = 16;

/// `seq_parameter_set_id` (7.3.2.1.1).
pub(crate) fn sps_id(sps: &[u8]) -> Option<u32> {
    // Behind the NAL header, the profile, its constraints and the level.
    id_at(sps, 4)
}

/// `pic_parameter_set_id` (7.3.2.2).
pub(crate) fn pps_id(pps: &[u8]) -> Option<u32> {
    id_at(pps, 1)
}

fn id_at(set: &[u8], at: usize) -> Option<u32> {
    let plain = unescape(set.get(..ID_WITHIN_BYTES.min(set.len()))?);
    Bits::new(plain.get(at..)?).exp_golomb()
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
