//! ADTS: AAC with a header before each frame (ISO/IEC 13818-7, 6.2), as MPEG-TS and radio have it. FLV wants frames without.
use crate::codec::aac::RATES_HZ;

/// Samples of a frame before SBR doubles them: ADTS cannot say 960.
const FRAME_SAMPLES: u64 = 1024;
/// Bytes of a header; two more where a checksum follows.
const HEADER_BYTES: usize = 7;
const CHECKSUM_BYTES: usize = 2;

/// What the header before a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// Audio object type: 1 to 4.
    object_type: u8,
    rate_index: u8,
    /// Samples per second before SBR doubles them.
    pub(crate) rate_hz: u32,
    /// 0: a program config element in the frame lists them.
    channels: u8,
    before_bytes: usize,
    /// With the header.
    frame_bytes: usize,
    /// Raw data blocks beside the first.
    more_blocks: u8,
}

impl Header {
    /// Reads the header that the data begins with.
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        let &[sync, b1, b2, b3, b4, b5, b6, ..] = data else { return None };
        // Twelve bits of 1, either version, layer 0.
        if sync != 0xFF || b1 & 0xF6 != 0xF0 {
            return None;
        }
        let before_bytes = HEADER_BYTES + if b1 & 1 == 0 { CHECKSUM_BYTES } else { 0 };
        let rate_index = b2 >> 2 & 15;
        let rate_hz = *RATES_HZ.get(usize::from(rate_index))?;
        let frame_bytes = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
        let channels = (b2 & 1) << 2 | b3 >> 6;
        let (object_type, more_blocks) = ((b2 >> 6) + 1, b6 & 3);
        (frame_bytes >= before_bytes).then_some(Self {
            object_type,
            rate_index,
            rate_hz,
            channels,
            before_bytes,
            frame_bytes,
            more_blocks,
        })
    }

    /// The `AudioSpecificConfig` of such frames. SBR is left to the decoder to find, as it is in ADTS. `None` where the channels are not
    /// in the header.
    pub(crate) fn config(&self) -> Option<[u8; 2]> {
        let Self { object_type, rate_index, channels, .. } = *self;
        (channels != 0).then_some([object_type << 3 | rate_index >> 1, rate_index << 7 | channels << 3])
    }

    /// How long after the first frame of a message that one begins, milliseconds.
    pub(crate) fn offset_ms(&self, number: usize) -> u32 {
        let rate_hz = u64::from(self.rate_hz.max(1));
        let ms = (number as u64 * FRAME_SAMPLES * 1_000 + rate_hz / 2) / rate_hz;
        u32::try_from(ms).unwrap_or(u32::MAX)
    }
}

/// The raw frames of a message. Ends before one that is cut short, that has several blocks of which only a decoder knows where they end, or
/// that has another rate than the first.
pub(crate) fn frames(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = Header::read(data).map(|header| header.rate_hz);
    let mut rest = data;
    std::iter::from_fn(move || {
        let header = Header::read(rest).filter(|header| header.more_blocks == 0 && Some(header.rate_hz) == first)?;
        let (frame, after) = rest.split_at_checked(header.frame_bytes)?;
        rest = after;
        frame.get(header.before_bytes..).filter(|raw| !raw.is_empty())
    })
}
