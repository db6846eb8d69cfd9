//! `millstream grant-key`: the key that play grants are checked with, for edges that check them by themselves, and nothing else, on standard output.
use std::io::Write as _;

use anyhow::Context as _;

use crate::cli::{Failure, GrantKeyFlags};
use crate::layers::DATA_DIR;
use crate::settings::Settings;
use crate::{keys, settings};

/// Prints it. It is derived from the master key, and tells nothing about that.
pub(crate) fn run(flags: &GrantKeyFlags) -> Result<(), Failure> {
    let settings = match &flags.config {
        Some(file) => settings::read(file).map_err(Failure::configuration)?,
        None => Settings::default(),
    };
    let dir = flags.data_dir.clone().or(settings.data_dir).unwrap_or_else(|| DATA_DIR.into());
    let generation = flags.generation.or(settings.grants.generation).unwrap_or(1);
    let master = keys::read_master_key(&dir).context("grants are made with a key that is made from the master key");
    let key = master.map_err(Failure::Configuration)?.grant_key(generation);
    eprintln!("generation {generation}; whoever has this key can make grants for every stream");
    writeln!(std::io::stdout(), "{}", key.expose()).context("cannot print the key").map_err(Failure::Running)
}
