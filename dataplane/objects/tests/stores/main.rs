//! Stores as their users see them: what each keeps to, and S3 behind a proxy that breaks what it can, where each fault is overcome by trying again or has
//! its name. One program: each that links the S3 client takes a while to build.
mod contract;
#[cfg(feature = "s3")]
mod credentials;
#[cfg(feature = "s3")]
mod memory;
#[cfg(feature = "s3")]
mod parts;
#[cfg(feature = "s3")]
mod probe;
#[cfg(feature = "s3")]
mod puts;
#[cfg(feature = "s3")]
mod reads;
#[cfg(feature = "s3")]
mod support;
