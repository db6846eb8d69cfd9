//! HLS (RFC 8216bis): playlists as text, and what players may ask of them. Before it: the hub's window, which knows the segments; after it:
//! players and caches.
//!
//! [`request`] reads the delivery directives of a URL, [`media`] writes a media playlist, [`vod`] one of a recording, [`multivariant`] the playlist over
//! them.
//! "§" means a section of RFC 8216bis (draft-pantos-hls-rfc8216bis-17).
pub mod media;
pub mod multivariant;
pub mod request;
#[cfg(test)]
mod tests;
pub mod vod;

use std::fmt;

/// Microseconds, written as seconds with five decimals: playlists of a window hold tens of these, and rounding must not add up.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tens = (self.0 + 5) / 10;
        write!(f, "{}.{:05}", tens / 100_000, tens % 100_000)
    }
}

/// Milliseconds, written as seconds with three decimals.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}
