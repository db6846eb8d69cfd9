//! `millstream backup FILE`: a consistent copy of the store, beside a server that runs or one that does not.
use std::io::Write as _;

use anyhow::Context as _;
use millstream_store::sqlite::backup;

use crate::cli::{BackupFlags, Failure};
use crate::layers::DATA_DIR;
use crate::settings;

/// Writes the copy, and says what it does not hold.
pub(crate) fn run(flags: &BackupFlags) -> Result<(), Failure> {
    let configured = match &flags.config {
        Some(file) => settings::read(file).map_err(Failure::configuration)?.data_dir,
        None => None,
    };
    let dir = flags.data_dir.clone().or(configured).unwrap_or_else(|| DATA_DIR.into());
    backup(&dir, &flags.file).map_err(Failure::running)?;
    eprintln!(
        "the copy holds no secrets: keep {} and admin-token of that directory with it, because every key is made from them",
        dir.join("master-key").display()
    );
    let file = flags.file.display();
    writeln!(std::io::stdout(), "{file}: ok").context("cannot print the result").map_err(Failure::Running)
}
