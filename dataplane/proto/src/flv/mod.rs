//! FLV: a 9-byte header, then tags. Before it in the pipeline: bodies that [`crate::media`] understood (they are the same bytes in RTMP and
//! FLV); after it: the hub's log holds the tags, viewers get them as they are.
//!
//! [`write_tag`] frames a body, [`tags`] walks tags that we framed ourselves, [`Reader`] reads FLV from anywhere else.
//! "§" means Adobe's *Video File Format Specification*, version 10.1, annex E.
mod read;
mod tag;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Item, ReadError, Reader};
pub(crate) use tag::{PREVIOUS_SIZE_BYTES, TagHeader};
pub use tag::{TAG_HEADER_BYTES, TagRef, tag_bytes, tags};
pub use write::{
    KEEPALIVE_TIMESTAMP_MS, News, TagTooLong, file_header, keepalive_body, marker_body, news_body, write_tag,
};
