//! What is read and rewritten of H.264 without decoding it: NAL units, parameter sets, and the slice headers of a stream that is entered in an
//! open GOP. Before it: [`crate::transcode`] has a frame; after it: [`crate::codec`].
mod bits;
pub(crate) mod entry;
pub(crate) mod nal;
pub(crate) mod params;
mod sps;
