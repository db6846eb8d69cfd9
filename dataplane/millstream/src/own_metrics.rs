//! What the binary adds to `/metrics`: which build this is, and what became of its log lines. OpenMetrics text without its end.
#[cfg(feature = "hooks")]
use std::sync::OnceLock;
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "hooks")]
use millstream_hook_steps::numbers::Numbers;
#[cfg(feature = "hooks")]
use millstream_hook_steps::recorder::Recorder;

use crate::logging;

/// The commit that a release was built from, where its build says so.
const REVISION: &str = match option_env!("MILLSTREAM_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

#[cfg(feature = "hooks")]
static OF_HOOKS: OnceLock<(Numbers, Option<Recorder>)> = OnceLock::new();

/// Whoever counts something beside the engine.
static MORE: Mutex<Vec<Box<dyn Fn() -> String + Send + Sync>>> = Mutex::new(Vec::new());

/// These are told of recordings, relays, certificates or workers.
pub(crate) fn and(numbers: impl Fn() -> String + Send + Sync + 'static) {
    MORE.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(numbers));
}

/// These are counted of hooks.
#[cfg(feature = "hooks")]
pub(crate) fn of_hooks(numbers: (Numbers, Option<Recorder>)) {
    // A process has one server.
    let _ = OF_HOOKS.set(numbers);
}

#[cfg(feature = "hooks")]
fn hooks() -> String {
    // Writing into a String does not fail.
    OF_HOOKS.get().and_then(|(numbers, recorder)| numbers.text(recorder.as_ref()).ok()).unwrap_or_default()
}

#[cfg(not(feature = "hooks"))]
const fn hooks() -> &'static str {
    ""
}

/// All of them.
pub(crate) fn text() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (lost, hooks) = (logging::lost(), hooks());
    let more: String = MORE.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|numbers| numbers()).collect();
    format!(
        "# HELP millstream_build Which build this is; always 1.\n\
         # TYPE millstream_build info\n\
         millstream_build_info{{version=\"{version}\",revision=\"{REVISION}\"}} 1\n\
         # HELP millstream_log_lines_lost Log lines that whoever reads the log did not take in time.\n\
         # TYPE millstream_log_lines_lost counter\n\
         millstream_log_lines_lost_total {lost}\n{hooks}{more}"
    )
}
