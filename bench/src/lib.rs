//! What the way of a frame through the pipeline costs, step by step, without a kernel: the steps are in [`scenario`], `benches/walk.rs` takes their time,
//! `src/bin/instructions.rs` counts their instructions. The kernel's part is measured by `floor`, beside this package.
#![forbid(unsafe_code)]

mod playlists;
pub mod scenario;
