//! HLS as a player gets it: [`boxes`] (what is in a fragment) and [`follow`] (a player that reloads, fetches what is listed and hands all of
//! it to the validator). What playlists must say is in [`millstream_test_support::hls`].
pub mod boxes;
pub mod follow;

pub use millstream_test_support::hls::{Fault, date, history, multivariant, playlist, rules};
