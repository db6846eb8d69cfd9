//! Log lines, to standard error: what `--log`, `MILLSTREAM_LOG`, `RUST_LOG` or the configuration selects, or else level info. A thread of
//! its own writes them: who reads a service's log may stop reading, and no shard waits for that. What finds no room is lost, and counted.
use std::io::{IsTerminal as _, Stderr, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::cli::{Failure, LogFlags};
use crate::settings::LogSettings;

/// Lines that wait to be written: a few megabytes.
const LINES_WAITING_MAX: usize = 16_384;

static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that were given to the thread, and lines that it has written.
static LOGGED: AtomicUsize = AtomicUsize::new(0);
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Standard error, as the thread writes to it.
struct Counted(Stderr);

impl Write for Counted {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // The thread gives each line whole, and drops one that cannot be written.
        let written = self.0.write_all(line);
        WRITTEN.fetch_add(1, Ordering::Release);
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The way to the thread, for one line.
fn counted(writer: &NonBlocking) -> NonBlocking {
    LOGGED.fetch_add(1, Ordering::Release);
    writer.clone()
}

/// Waits until the lines that were logged so far are on the screen, or for that long.
pub(crate) fn wait_until_written(most: Duration) {
    let (by, logged) = (Instant::now() + most, LOGGED.load(Ordering::Acquire));
    while WRITTEN.load(Ordering::Acquire) + lost() < logged && Instant::now() < by {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    /// A level, or a filter of `target=level` pairs.
    pub(crate) level: String,
    pub(crate) format: Format,
}

impl Wanted {
    /// Flags and environment over `RUST_LOG` over the file over defaults.
    pub(crate) fn merge(flags: &LogFlags, file: &LogSettings) -> Self {
        let rust_log = || std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
        let level = flags.log.clone().or_else(rust_log).or_else(|| file.level.clone());
        Self {
            level: level.unwrap_or_else(|| "info".to_owned()),
            format: flags.log_format.or(file.format).unwrap_or_default(),
        }
    }

    fn filter(&self) -> anyhow::Result<EnvFilter> {
        EnvFilter::try_new(&self.level)
            .with_context(|| format!("{:?} is not a log filter; {FILTER_ADVICE}", self.level))
    }
}

/// What a filter is to look like.
const FILTER_ADVICE: &str = "give a level (error, warn, info, debug, trace), or target=level pairs with commas between";

/// A filter as a flag, the environment or the file gives it.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a log filter (--log, MILLSTREAM_LOG, log.level); {FILTER_ADVICE}")),
    }
}

static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging; once per process. Lines are written for as long as the guard is held, and the last ones when it is dropped.
pub(crate) fn start(wanted: &Wanted) -> Result<WorkerGuard, Failure> {
    let (filter, handle) = reload::Layer::new(wanted.filter().map_err(Failure::Configuration)?);
    LEVEL.get_or_init(|| handle);
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(Counted(std::io::stderr()));
    LOST.get_or_init(|| writer.error_counter());
    let lines = tracing_subscriber::fmt::layer().with_writer(move || counted(&writer));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match wanted.format {
        Format::Text => registry.with(lines.compact().with_ansi(std::io::stderr().is_terminal())).try_init(),
        Format::Json => registry.with(lines.json().with_span_list(false)).try_init(),
    };
    started.map_err(|error| Failure::Running(anyhow::anyhow!("cannot start logging: {error}")))?;
    Ok(guard)
}

/// Selects other lines from now on.
pub(crate) fn change_level(wanted: &Wanted) -> anyhow::Result<()> {
    let filter = wanted.filter()?;
    let handle = LEVEL.get().context("logging has not started")?;
    handle.reload(filter).context("the log level cannot be changed")
}

/// Lines that found no room.
pub(crate) fn lost() -> usize {
    LOST.get().map_or(0, ErrorCounter::dropped_lines)
}
