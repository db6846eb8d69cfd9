//! What a stream is made of: configurations and frames on one 64-bit timeline. Before it in the pipeline: [`crate::rtmp`] (and
//! [`crate::flv`]'s reader) hand over tag bodies to the [`Unpacker`], for publishers by way of the [`Intake`], which repairs; after it: the hub's log.
mod announced;
mod clip;
mod clip_mp4;
mod event;
mod finding;
mod intake;
#[cfg(test)]
mod intake_tests;
pub(crate) mod kinds;
mod packet;
mod repair;
#[cfg(test)]
mod tests;
mod timeline;
mod unpack;

pub use announced::Announced;
pub use clip::{Clip, ClipError};
pub use clip_mp4::Mp4Error;
pub use event::{CodecConfig, Frame, MediaEvent};
pub use finding::{LeftOut, Repair, Unwanted};
pub use intake::Intake;
pub use kinds::{Codec, TagKind, Track, four_ccs};
pub use unpack::{Skipped, Unpacker};
