//! FLAC: the stream's head (RFC 9639, 8.2): `fLaC`, then the STREAMINFO block; from ffmpeg what is in that block alone. Before it: [`super::check`]; after it: [`super::Summary`].
use super::bits::Bits;
use super::error::RecordError;
use crate::cursor::Cursor;

const STREAM_INFO_BYTES: usize = 34;

/// What of STREAMINFO is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlacConfig {
    /// Samples per second.
    pub rate_hz: u32,
    /// Channels, 1 to 8.
    pub channels: u8,
}

impl FlacConfig {
    /// Reads a head. Some writers leave the `fLaC` out, ffmpeg (8.1) the block's header, too.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(record.strip_prefix(b"fLaC").unwrap_or(record));
        if record.len() != STREAM_INFO_BYTES {
            let [block_type, _, _, _] = cursor.array()?;
            if block_type & 127 != 0 {
                return Err(RecordError::Field("the first metadata block's type"));
            }
        }
        let stream_info = cursor.take(STREAM_INFO_BYTES)?;
        let mut bits = Bits::new(stream_info);
        let fields = bits.skip(80).and_then(|()| Some((bits.number(20)?, bits.number(3)?)));
        match fields {
            Some((rate_hz, channels)) if rate_hz > 0 => Ok(Self { rate_hz, channels: channels as u8 + 1 }),
            _ => Err(RecordError::Field("the sample rate")),
        }
    }
}
