//! DASH (ISO/IEC 23009-1): the manifest over the same CMAF segments that HLS serves. Before it: the hub's window; after it: players.
pub mod mpd;
