//! What the binary adds to `/metrics`: which build this is, and what became of its log lines. OpenMetrics text without its end.
use std::sync::OnceLock;

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

static OF_RECORDINGS: OnceLock<Box<dyn Fn() -> String + Send + Sync>> = OnceLock::new();

static OF_TLS: OnceLock<Box<dyn Fn() -> String + Send + Sync>> = OnceLock::new();

/// These are told of certificates.
pub(crate) fn of_tls(numbers: impl Fn() -> String + Send + Sync + 'static) {
    let _ = OF_TLS.set(Box::new(numbers));
}

/// These are counted of recordings.
pub(crate) fn of_recordings(numbers: impl Fn() -> String + Send + Sync + 'static) {
    let _ = OF_RECORDINGS.set(Box::new(numbers));
}

static OF_RELAYS: OnceLock<Box<dyn Fn() -> String + Send + Sync>> = OnceLock::new();

/// These are counted of relays.
pub(crate) fn of_relays(numbers: impl Fn() -> String + Send + Sync + 'static) {
    let _ = OF_RELAYS.set(Box::new(numbers));
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
    let recordings = OF_RECORDINGS.get().map(|numbers| numbers()).unwrap_or_default();
    let relays = OF_RELAYS.get().map(|numbers| numbers()).unwrap_or_default();
    let tls = OF_TLS.get().map(|numbers| numbers()).unwrap_or_default();
    format!(
        "# HELP millstream_build Which build this is; always 1.\n\
         # TYPE millstream_build info\n\
         millstream_build_info{{version=\"{version}\",revision=\"{REVISION}\"}} 1\n\
         # HELP millstream_log_lines_lost Log lines that whoever reads the log did not take in time.\n\
         # TYPE millstream_log_lines_lost counter\n\
         millstream_log_lines_lost_total {lost}\n{hooks}{recordings}{relays}{tls}"
    )
}
