//! `millstream completions SHELL` and `millstream man [DIR]`: made from the command line's definition.
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Failure};

const NAME: &str = "millstream";

/// Prints a shell's completions.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
    print(&text)
}

/// Prints the manual page, or writes that of each command into a directory.
pub(crate) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let Some(dir) = dir else {
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(Failure::running)?;
        return print(&text);
    };
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write manual pages into {}", dir.display()))
        .map_err(Failure::Running)
}

fn print(text: &[u8]) -> Result<(), Failure> {
    std::io::stdout().write_all(text).context("cannot print").map_err(Failure::Running)
}
