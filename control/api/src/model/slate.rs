//! A slate: a clip that operators upload, which streams that name it show while their publisher is away. Its bytes are kept as those of hooks'
//! modules are ([`super::MODULE`]).
use serde::{Deserialize, Serialize};

/// A slate as kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SlateRecord {
    /// SHA-256 of its file, hexadecimal.
    pub sha256: String,
    /// The file's size.
    pub bytes: u64,
    /// How long one round of it lasts, milliseconds.
    pub duration_ms: u64,
    /// Pixels across and down, where the picture says so.
    pub size: Option<(u32, u32)>,
    /// It has audio.
    pub sound: bool,
    /// It is an MP4 file, else one of FLV.
    #[serde(default)]
    pub mp4: bool,
    /// When it was first uploaded, Unix milliseconds.
    pub created_ms: u64,
    /// When it was last uploaded, Unix milliseconds.
    pub updated_ms: u64,
    /// Who did.
    pub updated_by: String,
}
