//! What tests of several crates share: a reader and validator of playlists ([`hls`]) and of manifests ([`dash`]), a reader of MP4 files ([`mp4`]), a disk that may be full ([`disk`]), random numbers that are the same in each run
//! ([`random`]), and an S3 server with a proxy in front of it that misbehaves ([`s3`]). It knows nothing of the product.
#![forbid(unsafe_code)]
// Nobody reads this as a reference: a comment that only repeats a name is none.
#![allow(missing_docs)]

pub mod dash;
pub mod disk;
pub mod hls;
pub mod mp4;
pub mod random;
pub mod s3;
