//! `millstream check FILE`: what is wrong with a configuration, with line and column. Nothing is opened but the file.
use std::io::Write as _;

use anyhow::Context as _;

use crate::cli::{CheckFlags, Failure};
use crate::{layers, settings};

/// Prints `FILE: ok` to standard output and warnings to standard error.
pub(crate) fn run(flags: &CheckFlags) -> Result<(), Failure> {
    let file = flags.file.display();
    let settings = settings::read(&flags.file).map_err(Failure::configuration)?;
    let layers = layers::merge(layers::Flags::default(), settings)
        .map_err(|error| Failure::Configuration(settings::in_file(&flags.file, error)))?;
    for warning in &layers.warnings {
        eprintln!("warning: {warning}");
    }
    writeln!(std::io::stdout(), "{file}: ok").context("cannot print the result").map_err(Failure::Running)
}
