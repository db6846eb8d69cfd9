//! Opus: the identification header `OpusHead` (RFC 7845, 5.1), which Enhanced RTMP sends, and the `dOps` box of MP4, which some encoders
//! send instead. Before it: [`super::check`]; after it: [`super::Summary`].
use super::error::RecordError;
use crate::cursor::Cursor;

/// Opus always decodes at this rate, whatever went in; Hz.
pub const RATE_HZ: u32 = 48_000;

/// What both forms say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpusConfig {
    /// Output channels, at least one.
    pub channels: u8,
    /// Samples at 48 kHz to drop at the start.
    pub pre_skip: u16,
    /// Rate of what the encoder was given, Hz; 0 for unknown.
    pub input_rate_hz: u32,
}

impl OpusConfig {
    /// Reads a record of either form: `OpusHead` begins with its name and is little-endian, `dOps` is big-endian.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        let head = record.strip_prefix(b"OpusHead");
        let mut cursor = Cursor::new(head.unwrap_or(record));
        let version = cursor.u8()?;
        // RFC 7845: 1, and every version up to 15 reads the same; `dOps` has 0.
        let known = if head.is_some() { 1..=15 } else { 0..=0 };
        if !known.contains(&version) {
            return Err(RecordError::Version(version));
        }
        let channels = cursor.u8()?;
        if channels == 0 {
            return Err(RecordError::Field("the channel count"));
        }
        let (pre_skip, input_rate_hz) = (cursor.u16()?, cursor.u32()?);
        cursor.skip(3)?; // gain, and the channel mapping family
        Ok(match head {
            Some(_) => Self { channels, pre_skip: pre_skip.swap_bytes(), input_rate_hz: input_rate_hz.swap_bytes() },
            None => Self { channels, pre_skip, input_rate_hz },
        })
    }
}

/// Samples at 48 kHz that a packet lasts (RFC 6716, 3.1 and 3.2.5); `None` for one that says none or more than the 120 ms that are allowed.
pub fn packet_samples(packet: &[u8]) -> Option<u32> {
    const SAMPLES_MAX: u32 = 5_760;
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        // SILK: 10, 20, 40 and 60 ms.
        config @ 0..=11 => [480, 960, 1_920, 2_880].get(usize::from(config % 4)).copied()?,
        // Hybrid: 10 and 20 ms.
        config @ 12..=15 => 480 << (config % 2),
        // CELT: 2.5 to 20 ms.
        config => 120 << (config % 4),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 63),
    };
    Some(frame * frames).filter(|samples| (1..=SAMPLES_MAX).contains(samples))
}
