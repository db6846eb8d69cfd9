//! The spool: `<data_dir>/spool/<recording>/`, with an `index` and a file for each object that is not known to be in the store.
//!
//! [`disk`] is what is needed of a file system (a trait, so that the simulator can tear writes and lose what was not synced), [`directory`] the real one,
//! [`index`] reads an index, [`verify`] holds media against it, [`recover`] makes a recording of what a crash left.
pub mod directory;
pub mod disk;
mod index;
pub mod recover;
pub(crate) mod verify;
