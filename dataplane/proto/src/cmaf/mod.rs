//! CMAF (ISO/IEC 23000-19): fragmented MP4 with one track per file, as HLS and DASH serve it. Before it in the pipeline: frames that the hub
//! read out of its log; after it: the hub's parts and segments.
//!
//! [`init`] makes the file's header from a codec configuration, [`fragment`] a run of samples that can be sent as soon as its last one is
//! there. A segment is nothing but its fragments in order.
pub mod fragment;
pub mod init;
#[cfg(test)]
mod tests;

/// The track's number in every file: there is one.
const TRACK_ID: u32 = 1;
