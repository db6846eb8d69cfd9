//! `millstream config`: every setting with its default and what it does, as a file to begin with. With `--config FILE` what that file sets
//! is set in it, too.
use std::io::Write as _;

use anyhow::Context as _;

use crate::cli::{ConfigFlags, Failure};
use crate::layers::{self, Flags, Layers};
use crate::settings::{self, Settings, reference};

pub(crate) fn run(flags: &ConfigFlags) -> Result<(), Failure> {
    let defaults = merge(Settings::default())?;
    let text = match &flags.config {
        _ if flags.markdown => reference::markdown(&defaults),
        Some(file) => reference::file(&merge(settings::read(file).map_err(Failure::configuration)?)?, &defaults),
        None => reference::file(&defaults, &defaults),
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot print the configuration").map_err(Failure::Running)
}

fn merge(settings: Settings) -> Result<Layers, Failure> {
    layers::merge(Flags::default(), settings).map_err(Failure::Configuration)
}
