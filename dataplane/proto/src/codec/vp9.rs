//! VP9: the `VPCodecConfigurationBox` (*VP Codec ISO Media File Format Binding*), as Enhanced RTMP sends it: without the box's size and
//! name, with its version and flags. Before it: [`super::check`]; after it: [`super::Summary`].
use super::error::RecordError;
use crate::cursor::Cursor;

/// What of a record goes into its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vp9Config {
    /// Profile, 0 to 3.
    pub profile: u8,
    /// Ten times the level.
    pub level: u8,
    /// Bits per sample: 8, 10 or 12.
    pub bit_depth: u8,
}

impl Vp9Config {
    /// Reads a record.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(record);
        let [version, _, _, _, profile, level, depth] = cursor.array()?;
        if version != 1 {
            return Err(RecordError::Version(version));
        }
        Ok(Self { profile, level, bit_depth: depth >> 4 })
    }

    /// RFC 6381's name, in its short form.
    pub fn codec_string(&self) -> String {
        format!("vp09.{:02}.{:02}.{:02}", self.profile, self.level, self.bit_depth)
    }
}
