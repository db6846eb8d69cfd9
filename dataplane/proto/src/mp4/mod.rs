//! Progressive MP4 files (ISO/IEC 14496-12) made of the fragments that the packager cut: index first, then the same coded bytes, video and
//! audio interleaved. Before it in the pipeline: headers and fragments of CMAF tracks, wherever they are kept; after it: whoever copies the
//! bytes, and players.
//!
//! [`header`] reads a track's header, [`fragment`] the header of a fragment; no coded byte is looked at. [`build`] gathers them in
//! compact tables and ends with a [`file::File`]: the bytes of `ftyp` and `moov`, and which bytes of which object follow as `mdat`.
//!
//! ```
//! # use millstream_proto::cmaf::{fragment::{Sample, fragment}, init::init};
//! # use millstream_proto::media::{Codec, CodecConfig, Track};
//! # let config = CodecConfig { track: Track::Audio, codec: Codec::Aac, body: vec![0x12, 0x10].into(), record_at: 0 };
//! # let init = init(&config).unwrap().bytes;
//! # let sample = Sample { duration: 1024, composition: 0, sync: true, data: b"frame" };
//! # let object = fragment(1, 0, &[sample; 4]).unwrap();
//! use millstream_proto::mp4::build::{FileBuilder, Settings};
//! use millstream_proto::mp4::fragment::{Read, read};
//! use millstream_proto::mp4::header::TrackHeader;
//!
//! let header = TrackHeader::read(&init)?;
//! let mut builder = FileBuilder::new(Settings::default());
//! let track = builder.add_track(&header)?;
//! // Here the whole object is at hand; its first kilobytes would do.
//! let Read::Fragment { fragment, .. } = read(&object, &header)? else { panic!("a fragment's header") };
//! builder.push(track, &fragment, 7, 0)?;
//! let file = builder.finish()?;
//! let mut bytes = file.head().to_vec();
//! for copy in file.copies() {
//!     assert_eq!(copy.object, 7);
//!     bytes.extend_from_slice(&object[copy.at as usize..][..copy.bytes as usize]);
//! }
//! assert_eq!(bytes.len() as u64, file.file_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Times.** All tracks of a file count from the same zero, each in its own units, as the packager's do. Decode times are kept exactly: a
//! sample lasts until the next one begins, so a hole is a sample that lasts longer, in its own track only. An edit list per track puts
//! presentation times on one line: the file begins at 0 with the first picture; audio that comes before it by less than
//! [`timeline::HIDDEN_LEAD_MS_MAX`] is in the file and not heard (a decoder needs it to begin cleanly), a track that begins later begins later.
//!
//! **Cuts.** A file from a moment to another ([`build::Cut`]) holds what a decoder needs for exactly that: it begins in the file with the keyframe at or
//! before `from`, and the edit list hides what is before `from`. Chromium, ffmpeg, QuickTime and VLC follow such a list; a player that does not
//! shows a little more at the beginning, which is better than a clip that misses its first second.
pub mod build;
pub mod file;
pub mod fragment;
pub mod header;
mod moov;
mod table;
#[cfg(test)]
mod tests;
pub mod timeline;
