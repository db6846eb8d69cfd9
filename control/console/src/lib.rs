//! The web console's files, built in: [`page`] (the document and its policy), [`file`] (what it loads). It knows no HTTP: `control/api` serves
//! them.
//!
//! All files are below one path whose name is the hash of them all. So modules import each other by relative paths, each may be kept for ever,
//! and a page never mixes files of two releases.
mod files;
mod page;

pub use files::{File, file};
pub use page::{Page, page, policy};
