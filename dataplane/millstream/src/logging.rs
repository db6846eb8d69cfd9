//! Log lines, to standard error: what `MILLSTREAM_LOG` selects, or else `RUST_LOG`, or else level info. A thread of its own writes them: who reads
//! a service's log may stop reading, and no shard waits for that. What finds no room is lost, and counted.
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use anyhow::Context as _;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::cli::Failure;

/// Lines that wait to be written: a few megabytes.
const LINES_WAITING_MAX: usize = 16_384;

static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Starts logging; once per process. Lines are written for as long as the guard is held, and the last ones when it is dropped.
pub(crate) fn start() -> Result<WorkerGuard, Failure> {
    let set = ["MILLSTREAM_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    let filter = match set {
        Some((name, text)) => EnvFilter::try_new(&text)
            .with_context(|| format!("{name} is not a log filter; give a level, or target=level pairs"))
            .map_err(Failure::Configuration)?,
        None => EnvFilter::new("info"),
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    LOST.get_or_init(|| writer.error_counter());
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| Failure::Running(anyhow::anyhow!("cannot start logging: {error}")))?;
    Ok(guard)
}

/// What `/metrics` tells of it.
pub(crate) fn numbers() -> String {
    let lost = LOST.get().map_or(0, ErrorCounter::dropped_lines);
    format!(
        "# HELP millstream_log_lines_lost Log lines that whoever reads the log did not take in time.\n\
         # TYPE millstream_log_lines_lost counter\n\
         millstream_log_lines_lost_total {lost}\n"
    )
}
