//! Log lines, to standard error: what `MILLSTREAM_LOG` selects, or else `RUST_LOG`, or else level info.
use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::cli::Failure;

/// Starts logging; once per process.
pub(crate) fn start() -> Result<(), Failure> {
    let set = ["MILLSTREAM_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    let filter = match set {
        Some((name, text)) => EnvFilter::try_new(&text)
            .with_context(|| format!("{name} is not a log filter; give a level, or target=level pairs"))
            .map_err(Failure::Configuration)?,
        None => EnvFilter::new("info"),
    };
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| Failure::Running(anyhow::anyhow!("cannot start logging: {error}")))
}
