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

use crate::failure::Failure;
use crate::flags::LogFlags;
use crate::settings::LogSettings;
use crate::settings::values::Format;
use crate::settings::values::nearest;

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
        check_words(&self.level).map_err(anyhow::Error::msg)?;
        EnvFilter::try_new(&self.level)
            .with_context(|| format!("{:?} is not a log filter; {FILTER_ADVICE}", self.level))
    }
}

/// What a filter is to look like.
const FILTER_ADVICE: &str =
    "give a level (error, warn, info, debug, trace, off), or target=level pairs with commas between";

/// Words that stand for one of all targets.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// What other programs call the levels.
const OTHER_NAMES: [(&str, &str); 8] = [
    ("warning", "warn"),
    ("verbose", "debug"),
    ("fatal", "error"),
    ("critical", "error"),
    ("all", "trace"),
    ("quiet", "off"),
    ("silent", "off"),
    ("none", "off"),
];

/// A word without a level is a target to the filter, which then selects the lines of that target and no others: a misspelt level would silence
/// the whole server.
fn check_words(text: &str) -> Result<(), String> {
    // Filters of spans have commas of their own.
    if text.contains(['[', '{']) {
        return Ok(());
    }
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty() && !word.contains('='));
    let Some(word) = words.into_iter().find(|word| !is_level(word)) else { return Ok(()) };
    let lower = word.to_ascii_lowercase();
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == lower).map(|(_, level)| *level);
    let hint = other
        .or_else(|| nearest(&lower, LEVELS.into_iter()))
        .map_or_else(String::new, |level| format!(" (did you mean {level}?)"));
    Err(format!(
        "{word:?} is not a log level{hint}; give {}, or target=level pairs with commas between",
        LEVELS.join(", ")
    ))
}

/// A filter as a flag, the environment or the file gives it.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    check_words(text)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused_and_not_taken_as_a_target() {
        let good = ["warn", "WARN", "off", "info,millstream=debug", "a::b=trace", "millstream[conn]=debug"];
        for text in good {
            assert_eq!(filter(text).as_deref(), Ok(text));
        }
        let check = |text: &str, part: &str| {
            let said = filter(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        };
        check(
            "warning",
            "\"warning\" is not a log level (did you mean warn?); give error, warn, info, debug, trace, off",
        );
        check("verbose", "did you mean debug?");
        check("inof", "did you mean info?");
        check("2", "\"2\" is not a log level; give");
        check("millstream=debug,loud", "\"loud\" is not a log level");
        check("", "is not a log filter");
    }
}
