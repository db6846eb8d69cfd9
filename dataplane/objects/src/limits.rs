//! Every maximum of this crate, and by whom it is bounded.
use std::time::Duration;

/// A key, in bytes: S3 takes 1,024, and the bucket's prefix comes before it.
pub const KEY_BYTES_MAX: usize = 640;
/// A segment of a key: file systems take 255.
pub const SEGMENT_BYTES_MAX: usize = 255;
/// Segments of a key: so deep directories are walked.
pub const SEGMENTS_MAX: usize = 16;
/// Keys of one page of a listing: what S3 gives at most.
pub const PAGE_KEYS_MAX: usize = 1_000;
/// Bytes that are read of a body or an object at a time: what a put or a reader holds of it.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// A value of Content-Type or Cache-Control, in bytes.
pub const HEADER_BYTES_MAX: usize = 256;
/// What is put into S3 in one request, in bytes; more goes in parts of this size.
pub const PUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Parts of an upload: S3's own maximum.
pub const PARTS_MAX: u64 = 10_000;
/// How long an address may be signed for: S3's own maximum.
pub const PRESIGN_MAX: Duration = Duration::from_hours(7 * 24);
