//! Why a decoder configuration record cannot be used. Said by the parsers beside it.
use crate::cursor::Truncated;
use crate::limits::{CODEC_CONFIG_BYTES_MAX, PARAMETER_SETS_MAX};

/// A record that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Shorter than it says.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Longer than [`CODEC_CONFIG_BYTES_MAX`].
    #[error("the record has {0} bytes; at most {CODEC_CONFIG_BYTES_MAX} are allowed")]
    Long(usize),
    /// A version of the record that is not known.
    #[error("version {0} of the record is not known")]
    Version(u8),
    /// More than [`PARAMETER_SETS_MAX`] parameter sets.
    #[error("the record has more than {PARAMETER_SETS_MAX} parameter sets")]
    ParameterSets,
    /// A field with a value that the format forbids.
    #[error("{0} has a value that is not allowed")]
    Field(&'static str),
    /// A decoder needs parameter sets, and the record has none, or only of one kind.
    #[error("the record lacks SPS or PPS")]
    NoParameterSets,
    /// The codec has no record at all.
    #[error("this codec has no configuration record")]
    None,
}
