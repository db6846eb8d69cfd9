//! AAC: the `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1). Before it: [`super::check`]; after it: [`super::Summary`].
use super::bits::Bits;
use super::error::RecordError;

/// Sampling rates by index (table 1.18), Hz; 13 and 14 are reserved, 15 says that the rate follows.
pub(crate) const RATES_HZ: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// Spectral band replication, and with it parametric stereo.
const OBJECT_SBR: u32 = 5;
const OBJECT_PS: u32 = 29;
/// Object types whose core is AAC-LC: the decoder takes a packet of AAC-LC.
const CORE_LC: [u32; 3] = [2, OBJECT_SBR, OBJECT_PS];
/// Silent packets of AAC-LC with one channel and with two.
const SILENT: [&[u8]; 2] =
    [&[0x00, 0xC8, 0x00, 0x80, 0x23, 0x80], &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80]];

/// A record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AacConfig {
    /// Audio object type as the record begins with it: 2 for AAC-LC, 5 for HE-AAC, 29 for HE-AAC v2.
    pub object_type: u32,
    /// Samples per second that come out of the decoder, as far as the record says so up front: a record that announces SBR only
    /// behind its end says half of it.
    pub rate_hz: u32,
    /// Channels that come out; `None` where a program config element lists them.
    pub channels: Option<u8>,
    /// Samples per second of what is coded, before SBR doubles them.
    pub core_rate_hz: u32,
    /// Samples of a frame at the core rate: 1024, or 960 for broadcasters' AAC.
    pub frame_samples: u32,
}

impl AacConfig {
    /// Reads a record.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        let mut bits = Bits::new(record);
        Self::read(&mut bits).ok_or(RecordError::Field("AudioSpecificConfig")).and_then(|config| match config.rate_hz {
            0 => Err(RecordError::Field("samplingFrequency")),
            _ if config.core_rate_hz == 0 => Err(RecordError::Field("samplingFrequency")),
            _ => Ok(config),
        })
    }

    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let object_type = object_type(bits)?;
        let core_rate_hz = rate(bits)?;
        let mut rate_hz = core_rate_hz;
        let channel_configuration = bits.number(4)?;
        let mut channels = match channel_configuration {
            0 => None,
            few @ 1..=6 => Some(few as u8),
            11 => Some(7),
            7 | 12 | 14 => Some(8),
            13 => Some(24),
            _ => return None,
        };
        if matches!(object_type, OBJECT_SBR | OBJECT_PS) {
            rate_hz = rate(bits)?;
            self::object_type(bits)?;
            if object_type == OBJECT_PS && channels == Some(1) {
                channels = Some(2);
            }
        }
        // The first bit of GASpecificConfig (4.4.1); a record that ends before it has the usual length.
        let frame_samples = if bits.flag() == Some(true) { 960 } else { 1024 };
        // Object type 0 is none at all.
        (object_type != 0).then_some(Self { object_type, rate_hz, channels, core_rate_hz, frame_samples })
    }

    /// A packet of this coding that is silent, where one is known.
    pub fn silent_packet(&self) -> Option<&'static [u8]> {
        // Parametric stereo makes two channels of one.
        let channels = if self.object_type == OBJECT_PS { 1 } else { self.channels? };
        let packet = *SILENT.get(usize::from(channels).checked_sub(1)?)?;
        (CORE_LC.contains(&self.object_type) && self.frame_samples == 1024).then_some(packet)
    }

    /// How long a packet lasts, microseconds.
    pub fn packet_us(&self) -> u64 {
        u64::from(self.frame_samples) * 1_000_000 / u64::from(self.core_rate_hz.max(1))
    }

    /// RFC 6381's name.
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

fn object_type(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.number(5)? {
        31 => Some(32 + bits.number(6)?),
        short => Some(short),
    }
}

fn rate(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.number(4)? {
        15 => bits.number(24),
        index => RATES_HZ.get(index as usize).copied(),
    }
}
