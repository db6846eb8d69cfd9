//! DASH (ISO/IEC 23009-1): the manifest over the same CMAF segments that HLS serves. Before it: the hub's window; after it: players.
//!
//! [`mpd`] writes a live manifest, [`vod`] one of a recording.
pub mod mpd;
pub mod vod;

/// Milliseconds as an ISO 8601 duration.
struct Duration(u64);

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PT{}.{:03}S", self.0 / 1_000, self.0 % 1_000)
    }
}
