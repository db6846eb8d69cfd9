//! Frames become bytes here, once per stream: [`block`] is what the log holds. Before it: [`crate::stream`]; after it:
//! [`crate::log`] and the viewers' cursors.
pub mod block;
pub mod preamble;
